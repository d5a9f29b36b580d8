/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/text.h"
#include "daemon/source/probe.h"
#include "daemon/sysroot/sysroot.h"
#include "tests/unit/tap.h"

#define Q "dm 253:0 7"

static void take(ProbeCache *c, size_t expected) {
        _cleanup_strv_free_ char **questions = NULL;
        size_t n = 0;

        CHECK(probe_cache_take_wanted(c, PROBE_QUICK, &questions) == 0);
        for (char **q = questions; q && *q; q++)
                n++;
        CHECK(n == expected);
}

static void asked_once(void) {
        ProbeCache c;
        bool hung = true;

        CHECK(probe_cache_init(&c) == 0);
        CHECK(!probe_cache_get(&c, Q, &hung) && !hung);
        take(&c, 1);
        take(&c, 0);
        CHECK(probe_cache_answer(&c, Q, "linear 8:0") == 0);
        CHECK(streq_ptr(probe_cache_get(&c, Q, &hung), "linear 8:0") && !hung);
        take(&c, 0);
        probe_cache_done(&c);
}

/* It could not be asked: it is open again, and what was known of it holds. */
static void put_back(void) {
        ProbeCache c;

        CHECK(probe_cache_init(&c) == 0);
        (void) probe_cache_get(&c, Q, NULL);
        CHECK(probe_cache_has_wanted(&c, PROBE_QUICK) && !probe_cache_has_wanted(&c, PROBE_UNITS));
        take(&c, 1);
        CHECK(!probe_cache_has_wanted(&c, PROBE_QUICK));
        CHECK(probe_cache_answer(&c, Q, "linear 8:0") == 0);
        probe_cache_put_back(&c, Q); /* it has been answered */
        CHECK(!probe_cache_has_wanted(&c, PROBE_QUICK));
        probe_cache_refresh(&c, Q);
        take(&c, 1);
        probe_cache_put_back(&c, Q);
        CHECK(probe_cache_has_wanted(&c, PROBE_QUICK) && streq_ptr(probe_cache_get(&c, Q, NULL), "linear 8:0"));
        take(&c, 1);
        probe_cache_done(&c);
}

static void hung(void) {
        ProbeCache c;
        bool hangs = false;

        CHECK(probe_cache_init(&c) == 0);
        (void) probe_cache_get(&c, Q, NULL);
        take(&c, 1);
        CHECK(probe_cache_answer(&c, Q, NULL) == 0);
        CHECK(!probe_cache_get(&c, Q, &hangs) && hangs);
        take(&c, 0);
        /* While it is asked again it still counts as hung. */
        CHECK(probe_cache_has_hung(&c) && probe_cache_want_hung(&c) && !probe_cache_want_hung(&c));
        take(&c, 1);
        CHECK(!probe_cache_get(&c, Q, &hangs) && hangs);
        CHECK(probe_cache_answer(&c, Q, "linear 8:0") == 0);
        CHECK(probe_cache_get(&c, Q, &hangs) && !hangs && !probe_cache_has_hung(&c));
        probe_cache_forget(&c, "dm 253:0 ");
        CHECK(!probe_cache_get(&c, Q, &hangs) && !hangs);
        take(&c, 1);
        probe_cache_done(&c);
}

/* The device changed while the question was under way: the answer may be about what was before. */
static void late_answer(void) {
        ProbeCache c;

        CHECK(probe_cache_init(&c) == 0);
        (void) probe_cache_get(&c, Q, NULL);
        take(&c, 1);
        probe_cache_forget(&c, "dm 253:0 ");
        (void) probe_cache_get(&c, Q, NULL);
        CHECK(probe_cache_answer(&c, Q, "linear 8:0") == 0);
        CHECK(!probe_cache_get(&c, Q, NULL));
        take(&c, 1);
        probe_cache_done(&c);
}

static void unwanted_ones_expire(void) {
        ProbeCache c;

        CHECK(probe_cache_init(&c) == 0);
        for (int i = 0; i < 40; i++) {
                char q[32];

                sprintf(q, "loop 7:%d 1", i);
                (void) probe_cache_get(&c, q, NULL);
        }
        probe_cache_begin(&c);
        (void) probe_cache_get(&c, "loop 7:3 1", NULL);
        probe_cache_expire(&c);
        take(&c, 1);
        probe_cache_done(&c);
}

/* Asks this machine, as the child does. */
static void check_answer(const char *question, const char *answer) {
        char *const questions[] = { (char *) question, NULL };
        _cleanup_free_ char *want = text_format("%s=%s\n", question, answer);
        char have[512] = "";
        int pipes[2];

        CHECK(want && pipe(pipes) == 0);
        probe_run(questions, pipes[1]);
        CHECK(read(pipes[0], have, sizeof(have) - 1) > 0);
        if (!streq(have, want))
                printf("# have %s# want %s", have, want);
        CHECK(streq(have, want));
        fd_close(pipes[0]);
        fd_close(pipes[1]);
}

static void descriptor(void) {
        _cleanup_close_ int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        struct statx stx;

        CHECK(fd >= 0 && statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &stx) == 0);
        check_answer(PATH("descriptor %llu 1 %d/fd/%d", (unsigned long long) stx.stx_mnt_id, getpid(), fd),
                     PATH("%u:%u", stx.stx_dev_major, stx.stx_dev_minor));
        /* It is of another mount by now; it is closed. */
        check_answer(PATH("descriptor %llu 1 %d/fd/%d", (unsigned long long) stx.stx_mnt_id + 1, getpid(), fd), PATH("!%d", ESTALE));
        check_answer(PATH("descriptor 1 1 %d/fd/%d", getpid(), 999), PATH("!%d", ENOENT));
}

static void file(void) {
        const char *denied = access("/proc/1/root/", F_OK) < 0 ? PATH("!%d", errno) : NULL;
        char place[] = "/tmp/stackd test=XXXXXX";
        int fd = mkstemp(place);

        CHECK(fd >= 0);
        check_answer(PATH("file /tmp/stackd\\040test\\075%s", place + strlen("/tmp/stackd test=")), denied ?: "yes");
        CHECK(unlink(place) == 0);
        check_answer(PATH("file /tmp/stackd\\040test\\075%s", place + strlen("/tmp/stackd test=")), denied ?: "no");
        check_answer("file /tmp", denied ?: "no");
        fd_close(fd);
}

/* What was said holds until something else is. */
static void refreshed(void) {
        ProbeCache c;

        CHECK(probe_cache_init(&c) == 0);
        (void) probe_cache_get(&c, Q, NULL);
        probe_cache_refresh(&c, "dm "); /* not asked yet */
        take(&c, 1);
        CHECK(probe_cache_answer(&c, Q, "linear 8:0") == 0);
        probe_cache_refresh(&c, "loop ");
        take(&c, 0);
        probe_cache_refresh(&c, "dm ");
        CHECK(streq(probe_cache_get(&c, Q, NULL), "linear 8:0"));
        take(&c, 1);
        CHECK(streq(probe_cache_get(&c, Q, NULL), "linear 8:0"));
        CHECK(probe_cache_answer(&c, Q, "linear 8:1") == 0 && streq(probe_cache_get(&c, Q, NULL), "linear 8:1"));
        probe_cache_done(&c);
}

TEST_MAIN(TEST(asked_once), TEST(put_back), TEST(hung), TEST(late_answer), TEST(unwanted_ones_expire), TEST(refreshed), TEST(descriptor), TEST(file))
