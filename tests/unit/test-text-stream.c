/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "common/cleanup.h"
#include "common/text-stream.h"
#include "common/text.h"
#include "tests/unit/tap.h"

static void what_is_written(void) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        FILE *f = text_stream_open(&text, &size);

        CHECK(f && streq(text, "") && size == 0);
        fprintf(f, "%s %d", "seven", 7);
        CHECK(fflush(f) == 0 && streq(text, "seven 7") && size == 7);
        rewind(f);
        CHECK(!ferror(f) && size == 0 && streq(text, ""));
        for (unsigned i = 0; i < 100000; i++)
                putc('x', f);
        CHECK(fclose(f) == 0 && size == 100000 && strlen(text) == size && strspn(text, "x") == size);
}

/* A sanitizer's allocator ends the process instead. */
#ifdef __has_feature
#define SANITIZED __has_feature(address_sanitizer)
#elif defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* Not in an emulator, where it would be its own. */
static bool limit_holds(const struct rlimit *limit) {
        struct rlimit before;
        void *memory;

        CHECK(getrlimit(RLIMIT_AS, &before) == 0 && setrlimit(RLIMIT_AS, limit) == 0);
        memory = mmap(NULL, limit->rlim_cur, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory != MAP_FAILED)
                munmap(memory, limit->rlim_cur);
        CHECK(setrlimit(RLIMIT_AS, &before) == 0);
        return memory == MAP_FAILED;
}

/* In a process of 256 MiB at most, a text of more. */
static void what_does_not_fit_is_told(void) {
        const struct rlimit limit = { .rlim_cur = 1UL << 28, .rlim_max = RLIM_INFINITY };
        _cleanup_free_ char *text = NULL, *part = malloc(4U << 20);
        struct rlimit before;
        size_t size;
        FILE *f;

        if (SANITIZED || !limit_holds(&limit))
                return;
        memset(part, 'x', 4U << 20);
        CHECK(getrlimit(RLIMIT_AS, &before) == 0);
        f = text_stream_open(&text, &size);
        CHECK(f && setrlimit(RLIMIT_AS, &limit) == 0);
        for (unsigned i = 0; i < 80; i++)
                (void) fwrite(part, 1, 4U << 20, f);
        CHECK(setrlimit(RLIMIT_AS, &before) == 0);
        CHECK(ferror(f));
        fputs("more", f); /* there would be room for that */
        CHECK(ferror(f) && fclose(f) != 0 && size < 1UL << 28 && text[size] == 0);
}

TEST_MAIN(TEST(what_is_written), TEST(what_does_not_fit_is_told))
