/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The executor with children that are played, and a clock that is made up: late, dead, hung and wrong ones, and what the record says of
 * each. The functions of child.h and sd-event(3) that it calls are the test's own. */
#include <errno.h>
#include <unistd.h>

#include "common/log.h"
#include "daemon/child/child.h"
#include "daemon/executor/executor.h"
#include "daemon/executor/failures.h"
#include "tests/unit/fake-root.h"

#define S UINT64_C(1000000)
#define STALE "stale\n7\n"
#define CHILDREN_MAX 64

struct Child {
        ChildSpec spec;
        bool running;
};

static struct Child children[CHILDREN_MAX];
static unsigned n_children, n_stuck, n_changed;
static int start_result;
static uint64_t now = 1000 * S, alarm_at;
static sd_event_time_handler_t alarm_handler;
static void *alarm_userdata;
static char last_changed[32];

int child_start(sd_event *event _unused_, const ChildSpec *spec, Child **ret) {
        if (start_result < 0)
                return start_result;
        CHECK(n_children < CHILDREN_MAX);
        children[n_children] = (struct Child) { .spec = *spec, .running = true };
        *ret = &children[n_children++];
        return 0;
}

int child_attach(sd_event *event _unused_, const ChildSpec *spec _unused_, int connection_fd _unused_, Child **ret _unused_) {
        return -EOPNOTSUPP;
}

Child *child_cancel(Child *c) {
        if (c)
                c->running = false;
        return NULL;
}

unsigned child_count_stuck(ChildKind kind _unused_) {
        return n_stuck;
}

int sd_event_now(sd_event *event _unused_, clockid_t clock _unused_, uint64_t *ret) {
        *ret = now;
        return 0;
}

int sd_event_add_time(sd_event *event _unused_, sd_event_source **ret, clockid_t clock _unused_, uint64_t usec, uint64_t accuracy _unused_,
                      sd_event_time_handler_t handler, void *userdata) {
        static char source;

        *ret = (sd_event_source *) &source;
        alarm_at = usec;
        alarm_handler = handler;
        alarm_userdata = userdata;
        return 0;
}

int sd_event_source_set_time(sd_event_source *source _unused_, uint64_t usec) {
        alarm_at = usec;
        return 0;
}

int sd_event_source_set_enabled(sd_event_source *source _unused_, int enabled _unused_) {
        return 0;
}

sd_event_source *sd_event_source_disable_unref(sd_event_source *source _unused_) {
        return NULL;
}

/* ---- the scene ---- */

typedef struct Scene {
        FakeRoot fake;
        Ledger ledger;
        Executor *executor;
} Scene;

static void on_changed(const Action *action, void *userdata _unused_) {
        n_changed++;
        snprintf(last_changed, sizeof(last_changed), "%s", !action ? "nothing to tell" : action->state == ACTION_FAILED ? "failed" : "done");
}

static void scene_init(Scene *s) {
        *s = (Scene) { .fake = fake_root_make(), .ledger = LEDGER_NULL };
        n_children = n_stuck = n_changed = 0;
        start_result = 0;
        alarm_at = 0;
        log_set_max_level(LOG_EMERG);
        CHECK(executor_new(NULL, "/marker", NULL, s->fake.root, &s->ledger, on_changed, NULL, &s->executor) == 0);
}

static void scene_done(Scene *s) {
        executor_free(s->executor);
        ledger_done(&s->ledger);
        fake_root_done(&s->fake);
}
#define _cleanup_scene_ _cleanup_(scene_done)

static Action action_of(ActionKind kind, const char *target) {
        const bool mark = kind == ACTION_IO_FLUSHER;

        return (Action) {
                .kind = kind,
                .target = (char *) target,
                .key = (char *) "",
                .subject = (char *) "process:800:7",
                .pid = mark ? getpid() : 0,
                .start = mark ? 7 : 0,
                .name = (char *) "server",
                .from = (char *) (mark ? "none" : "0"),
                .to = (char *) (mark ? "all" : "4096"),
                .rule = (char *) "policy:1",
                .reason = (char *) "for a test",
        };
}

static void run(Scene *s, const Action *a, bool at_once) {
        _cleanup_(plan_done) Plan p = {};

        CHECK(plan_append_copy(&p, a) == 0);
        executor_run(s->executor, &p, at_once);
}

static void finish(unsigned child, int status, const char *output) {
        CHECK(child < n_children && children[child].running);
        children[child].running = false;
        children[child].spec.done(status, output, children[child].spec.userdata);
}

static const Record *record_of(const Scene *s, const Action *a) {
        RecordView v = ledger_view(&s->ledger);

        return record_find(&v, a->kind, a->target, a->key);
}

/* ---- deeds ---- */

static void done(void) {
        _cleanup_scene_ Scene s;
        Action a = action_of(ACTION_MEMORY_MIN, "unit:server.service");

        scene_init(&s);
        run(&s, &a, false);
        CHECK(n_children == 1 && executor_is_busy(s.executor));
        CHECK(record_of(&s, &a) && !record_of(&s, &a)->set); /* what is being done can be undone whoever dies now */
        run(&s, &a, false);
        CHECK(n_children == 1); /* one at a time */
        finish(0, 0, "done\n4096\n\n");
        CHECK(!executor_is_busy(s.executor) && streq(last_changed, "done") && executor_last(s.executor, &a)->state == ACTION_APPLIED);
        CHECK(streq(record_of(&s, &a)->set, "4096") && streq(record_of(&s, &a)->from, "0"));
        a.undo = true;
        run(&s, &a, false);
        finish(1, 0, "done\n0\n\n");
        CHECK(executor_last(s.executor, &a)->state == ACTION_REVERTED && !record_of(&s, &a));
}

/* Ends that are none: nothing is claimed of them, and what was there before stays what an undo restores. */
static void ended_otherwise(void) {
        static const struct {
                int status;
                const char *output;
                const char *set; /* what the record says then; "-": there is none; NULL: it is not known */
                const char *error;
        } ends[] = {
                { -EIO, "", NULL, "ended before it had said" },
                { 0, "", NULL, "ended before it had said" },
                { 0, "done", NULL, "ended before it had said" },
                { 0, "nonsense\n\n\n", NULL, "ended before it had said" },
                { -ETIME, "", NULL, "within the time that is allowed" },
                { 0, "failed\n0\nno such thing\n", "-", "no such thing" },
                { 0, "failed\n\nno such thing\n", NULL, "no such thing" },
                { 0, "failed\n2048\nhalf of it\n", "2048", "half of it" },
                { 0, "refused\n0\nnever\n", "-", "never" },
                { 0, STALE "\n", "-", "it is 7 by now" },
        };

        for (size_t i = 0; i < ELEMENTSOF(ends); i++) {
                _cleanup_scene_ Scene s;
                Action a = action_of(ACTION_MEMORY_MIN, "unit:server.service");
                const Record *r;

                scene_init(&s);
                run(&s, &a, false);
                finish(0, ends[i].status, ends[i].output);
                CHECK(executor_failed(s.executor, &a) && strstr(executor_failed(s.executor, &a)->error, ends[i].error));
                r = record_of(&s, &a);
                CHECK((r != NULL) == !streq_ptr(ends[i].set, "-"));
                CHECK(!r || streq_ptr(r->set, ends[i].set));
        }
}

/* What was ours before is still known to be when another try fails. */
static void a_second_try_fails(void) {
        _cleanup_scene_ Scene s;
        Action a = action_of(ACTION_MEMORY_MIN, "unit:server.service");

        scene_init(&s);
        run(&s, &a, false);
        finish(0, 0, "done\n4096\n\n");
        a.from = (char *) "4096";
        a.to = (char *) "8192";
        run(&s, &a, false);
        CHECK(!record_of(&s, &a)->set);
        finish(1, 0, "failed\n4096\nno\n");
        CHECK(streq(record_of(&s, &a)->set, "4096") && streq(record_of(&s, &a)->from, "0"));
        start_result = -EAGAIN;
        run(&s, &a, true);
        CHECK(streq(record_of(&s, &a)->set, "4096") && executor_failed(s.executor, &a) && n_children == 2);
}

static void it_has_gone(void) {
        _cleanup_scene_ Scene s;
        Action a = action_of(ACTION_MEMORY_MIN, "unit:server.service");

        scene_init(&s);
        run(&s, &a, false);
        finish(0, 0, "gone\n4096\n\n"); /* after it was told: that may have left a trace */
        CHECK(record_of(&s, &a) && streq(record_of(&s, &a)->set, "4096") && streq(last_changed, "nothing to tell"));
        a.undo = true;
        run(&s, &a, false);
        finish(1, 0, "gone\n\n\n");
        CHECK(!record_of(&s, &a) && !executor_last(s.executor, &a));
}

/* Somebody else has set it meanwhile: it is his, and the record is over. */
static void left_alone(void) {
        _cleanup_scene_ Scene s;
        Action a = action_of(ACTION_MEMORY_MIN, "unit:server.service");

        scene_init(&s);
        run(&s, &a, false);
        finish(0, 0, "done\n4096\n\n");
        a.undo = true;
        run(&s, &a, false);
        finish(1, 0, "left\n9\n\n");
        CHECK(!record_of(&s, &a) && strstr(executor_last(s.executor, &a)->error, "it is 9"));
}

/* Settings of one object one after the other, objects beside each other, and of all no more than there may be. */
static void turns(void) {
        _cleanup_scene_ Scene s;
        Action a = action_of(ACTION_MEMORY_MIN, "unit:a.service"), b = action_of(ACTION_SWAP_MAX, "unit:a.service");

        scene_init(&s);
        run(&s, &a, true);
        run(&s, &b, true);
        CHECK(n_children == 1);
        finish(0, 0, "done\n4096\n\n");
        CHECK(n_children == 2 && children[1].running);
        for (unsigned i = 0; i < 40; i++) {
                Action other = action_of(ACTION_MEMORY_MIN, PATH("unit:%u.service", i));

                run(&s, &other, true);
        }
        CHECK(n_children == 1 + 16);
        for (unsigned i = 1; i < 42; i++) /* whoever ends makes room for one */
                finish(i, i % 3 == 0 ? -EIO : 0, "done\n4096\n\n");
        CHECK(!executor_is_busy(s.executor));
}

/* Children that will not die are no reason to make more of them. */
static void stuck(void) {
        _cleanup_scene_ Scene s;
        Action a = action_of(ACTION_MEMORY_MIN, "unit:server.service");

        scene_init(&s);
        n_stuck = 32;
        run(&s, &a, false);
        CHECK(n_children == 0 && executor_failed(s.executor, &a) && !record_of(&s, &a) && !executor_is_busy(s.executor));
}

static void given_up_with_the_executor(void) {
        _cleanup_scene_ Scene s;
        Action a = action_of(ACTION_MEMORY_MIN, "unit:server.service"), b = action_of(ACTION_SWAP_MAX, "unit:server.service");

        scene_init(&s);
        run(&s, &a, true);
        run(&s, &b, true);
        s.executor = executor_free(s.executor);
        CHECK(!children[0].running && n_changed == 0);
        CHECK(record_of(&s, &a) && !record_of(&s, &a)->set); /* for whoever comes next */
}

/* ---- when it is tried again ---- */

static void again_less_and_less_often(void) {
        _cleanup_scene_ Scene s;
        Action a = action_of(ACTION_MEMORY_MIN, "unit:server.service");
        uint64_t before;

        scene_init(&s);
        for (unsigned i = 0; i < 7; i++) {
                run(&s, &a, false);
                CHECK(n_children == i + 1);
                finish(i, -EIO, "");
                CHECK(alarm_at == now + (UINT64_C(100000) << i));
                before = n_changed;
                run(&s, &a, false);
                CHECK(n_children == i + 1); /* it is too early */
                now = alarm_at;
                alarm_handler(NULL, 0, alarm_userdata);
                CHECK(n_changed == before + 1);
        }
        alarm_at = 0;
        run(&s, &a, false);
        finish(7, -EIO, "");
        CHECK(alarm_at == 0); /* from now on when there is another reason to look */
        now += 13 * S;
        run(&s, &a, false);
        CHECK(n_children == 9);
        finish(8, 0, "done\n4096\n\n");
        a.to = (char *) "8192";
        run(&s, &a, false);
        CHECK(n_children == 10); /* that it worked is forgotten */
}

static void one_that_hung_waits_longer(void) {
        _cleanup_scene_ Scene s;
        Action a = action_of(ACTION_MEMORY_MIN, "unit:server.service");

        scene_init(&s);
        run(&s, &a, false);
        finish(0, -ETIME, "");
        now += 200 * S;
        run(&s, &a, false);
        CHECK(n_children == 1);
        now += 10 * S;
        run(&s, &a, false);
        CHECK(n_children == 2);
}

static void what_is_refused(void) {
        _cleanup_scene_ Scene s;
        Action a = action_of(ACTION_MEMORY_MIN, "unit:server.service");

        scene_init(&s);
        run(&s, &a, false);
        finish(0, 0, "refused\n0\nnever\n");
        now += 86400 * S;
        run(&s, &a, false);
        CHECK(n_children == 1); /* it would be again */
        a.to = (char *) "8192";
        run(&s, &a, false);
        CHECK(n_children == 2); /* that is something else */
        finish(1, 0, "refused\n0\nnever\n");
        run(&s, &a, true);
        CHECK(n_children == 3); /* and so is an administrator who asks */
}

/* ---- marks ---- */

static void marks(void) {
        static const struct {
                int status;
                const char *output;
                const char *set; /* as above */
                bool failed;
        } ends[] = {
                { 0, "result all total 2 marked 2 passes 1 cut 1 max-stopped-ns 9\n", NULL, false },
                { 1, "thread 9 busy 0\nresult partial total 2 marked 1 passes 9 cut 2 max-stopped-ns 9\n", NULL, true },
                { 1, "result gone total 0 marked 0 passes 1 cut 0 max-stopped-ns 0\n", "-", false },
                { -ETIME, "", NULL, true },
                { -EIO, "thread 9 done 0\n", NULL, true },
        };
        unsigned cut = 0;

        for (size_t i = 0; i < ELEMENTSOF(ends); i++) {
                _cleanup_free_ char *target = text_format("process:%d:7", getpid());
                _cleanup_scene_ Scene s;
                Action a = action_of(ACTION_IO_FLUSHER, target);

                CHECK(target);
                scene_init(&s);
                fake_file(&s.fake, PATH("proc/%d/stat", getpid()), PATH("%d (test) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 7 0 0\n", getpid()));
                run(&s, &a, false);
                CHECK(n_children == 1);
                finish(0, ends[i].status, ends[i].output);
                CHECK(!!executor_failed(s.executor, &a) == ends[i].failed);
                CHECK(!!record_of(&s, &a) == !streq_ptr(ends[i].set, "-"));
                cut += executor_mark_counts(s.executor)->cut;
        }
        CHECK(cut == 3);
}

TEST_MAIN(TEST(done), TEST(ended_otherwise), TEST(a_second_try_fails), TEST(it_has_gone), TEST(left_alone), TEST(turns), TEST(stuck),
          TEST(given_up_with_the_executor), TEST(again_less_and_less_often), TEST(one_that_hung_waits_longer), TEST(what_is_refused), TEST(marks))
