/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/cleanup.h"
#include "daemon/pace.h"
#include "daemon/source/scan.h"
#include "tests/unit/tap.h"

#define MS UINT64_C(1000)
#define S UINT64_C(1000000)

/* A machine whose clock is ours. */
typedef struct Machine {
        Pace pace;
        uint64_t now;
        uint64_t costs;      /* each look */
        PaceOutcome outcome; /* of each */
        unsigned looks;
        uint64_t looked; /* altogether */
        uint64_t last;   /* when the last one began */
        PaceLook look;   /* it */
} Machine;

static Machine machine(uint64_t costs) {
        Machine m = { .pace = PACE_NULL, .now = 100 * S, .costs = costs };

        m.pace.has_devices = true;
        pace_begin_all(&m.pace, m.now);
        pace_end(&m.pace, m.now + costs, &(PaceOutcome) { .processes_read = true });
        m.now += 100 * S;
        return m;
}

/* Lets the time go on to that moment. */
static void until(Machine *m, uint64_t end) {
        while (pace_next(&m->pace) <= end) {
                const uint64_t next = pace_next(&m->pace);

                m->now = MAX(m->now, next);
                if (!pace_begin(&m->pace, m->now, &m->look)) {
                        CHECK(pace_next(&m->pace) > m->now); /* or we would come here for ever */
                        continue;
                }
                m->last = m->now;
                m->now += m->costs;
                m->looks++;
                m->looked += m->costs;
                pace_end(&m->pace, m->now, &m->outcome);
        }
        m->now = MAX(m->now, end);
}

static void nothing_happens(void) {
        Machine m = machine(MS);

        CHECK(pace_next(&m.pace) == PACE_NEVER);
        until(&m, m.now + 3600 * S);
        CHECK(m.looks == 0);
}

static void a_swarm_is_one_look(void) {
        Machine m = machine(MS);
        const uint64_t began = m.now;

        for (unsigned i = 0; i < 1000; i++) {
                pace_event(&m.pace, m.now, i % 2 ? TABLE_BLOCKS : TABLE_MOUNTS);
                until(&m, m.now + 3);
        }
        until(&m, m.now + S);
        CHECK(m.looks == 1 && m.last == began + 5 * MS && m.look.tables == (TABLE_MOUNTS | TABLE_BLOCKS));
        CHECK(!m.look.retry && !m.look.reconcile);
}

/* Events that do not end: looks take at most half of the time, and in a storm a tenth of it, or there is one in half a second. */
static void a_storm(void) {
        static const uint64_t costs[] = { 100, MS, 20 * MS, 200 * MS };

        for (size_t i = 0; i < ELEMENTSOF(costs); i++) {
                Machine m = machine(costs[i]);
                const uint64_t began = m.now;
                uint64_t longest = 0;

                while (m.now < began + 60 * S) {
                        const uint64_t before = m.last;

                        pace_event(&m.pace, m.now, TABLE_MOUNTS);
                        until(&m, m.now + MS);
                        if (before > 0)
                                longest = MAX(longest, m.last - before);
                }
                CHECK(m.looked <= (m.now - began) / 2);
                CHECK(costs[i] > 50 * MS || m.looked <= (m.now - began) / 9);
                CHECK(longest <= 501 * MS + 5 * MS + costs[i]);
                /* And the last event is seen soon after it. */
                pace_event(&m.pace, m.now, TABLE_PROCESSES);
                const uint64_t last = m.now;
                until(&m, last + 60 * S);
                CHECK((m.look.tables & TABLE_PROCESSES) && m.last <= last + 506 * MS + costs[i]);
        }
}

/* Looks that fail: again after 1, 2, 4 seconds and so on, and at least twice a minute; events in between change nothing. */
static void failures(void) {
        Machine m = machine(MS);
        uint64_t before = 0;

        m.outcome.failed = true;
        pace_event(&m.pace, m.now, TABLE_BLOCKS);
        until(&m, m.now + 10 * MS);
        CHECK(m.looks == 1 && pace_failure_wait(&m.pace) == 1 && !pace_has_failed_often(&m.pace));
        for (unsigned i = 1; i < 12; i++) {
                before = m.last;
                pace_event(&m.pace, m.now, TABLE_MOUNTS);
                pace_event(&m.pace, m.now + MS, TABLE_MOUNTS);
                until(&m, pace_next(&m.pace));
                CHECK(m.looks == i + 1 && m.last - before == MIN(1U << (i - 1), 30U) * S);
                CHECK(m.look.tables == TABLE_ALL);
                CHECK(pace_has_failed_often(&m.pace) == (m.looks >= 3));
        }
        m.outcome.failed = false;
        until(&m, m.now + 31 * S);
        CHECK(pace_failure_wait(&m.pace) == 0 && pace_next(&m.pace) == PACE_NEVER);
}

/* What is on its way is looked for eight times, less and less often; an event begins that anew. What lasts is looked after for good. */
static void what_is_open(void) {
        Machine m = machine(MS);

        m.outcome = (PaceOutcome) { .unsettled = true, .retry = TABLE_PROCESSES };
        for (unsigned round = 0; round < 2; round++) {
                m.looks = 0;
                pace_event(&m.pace, m.now, TABLE_MOUNTS);
                until(&m, m.now + 6 * MS);
                CHECK(m.looks == 1);
                until(&m, m.now + 102 * MS);
                CHECK(m.looks == 2 && m.look.retry && m.look.tables == TABLE_PROCESSES);
                until(&m, m.now + 3600 * S);
                CHECK(m.looks == 9 && pace_next(&m.pace) == PACE_NEVER);
        }
        m.outcome.lasting = true;
        m.looks = 0;
        pace_request(&m.pace, m.now, 0);
        until(&m, m.now + 3600 * S);
        CHECK(m.looks >= 3600 * 1000 / 25600 && m.looks < 3600 * 1000 / 25600 + 15);
        m.outcome = (PaceOutcome) {};
        until(&m, m.now + 60 * S);
        CHECK(pace_next(&m.pace) == PACE_NEVER);
}

/* Memory grows, settings change and servers come back without an event. */
static void what_is_in_force(void) {
        Machine m = machine(MS);
        uint64_t began;

        m.outcome.open_end = true;
        pace_event(&m.pace, m.now, TABLE_MOUNTS);
        until(&m, m.now + S);
        began = m.last;
        until(&m, began + 599 * S);
        CHECK(m.looks == 1);
        until(&m, began + 601 * S);
        CHECK(m.looks == 2 && m.look.reconcile && !m.look.retry && m.look.tables == TABLE_PROCESSES);
        m.outcome.open_end = false;
        until(&m, m.now + 3600 * S);
        CHECK(m.looks == 3 && pace_next(&m.pace) == PACE_NEVER);
}

/* What a table lacked is read in the next look, and what is older than what was seen at once. */
static void tables(void) {
        Machine m = machine(MS);

        m.outcome.stale = TABLE_ALL;
        pace_event(&m.pace, m.now, TABLE_BLOCKS);
        until(&m, m.now + S);
        CHECK(m.looks == 1 && pace_next(&m.pace) == PACE_NEVER);
        m.outcome = (PaceOutcome) { .outdated = TABLE_MOUNTS };
        pace_event(&m.pace, m.now, TABLE_BLOCKS);
        until(&m, m.now + 6 * MS);
        CHECK(m.looks == 2 && m.look.tables == TABLE_ALL);
        m.outcome = (PaceOutcome) {};
        until(&m, m.now + S);
        CHECK(m.looks == 3 && m.look.tables == TABLE_MOUNTS);
}

/* Processes are read with mounts, but not with each of a storm; where no event of a device comes, with each. */
static void mounts(void) {
        Machine m = machine(MS);

        m.outcome.processes_read = true;
        pace_mounts(&m.pace, m.now);
        until(&m, m.now + S);
        CHECK(m.look.tables == (TABLE_MOUNTS | TABLE_PROCESSES));
        m.outcome.processes_read = false;
        pace_mounts(&m.pace, m.now);
        until(&m, m.now + S);
        CHECK(m.look.tables == TABLE_MOUNTS);
        until(&m, m.now + 5 * S);
        pace_mounts(&m.pace, m.now);
        until(&m, m.now + S);
        CHECK(m.look.tables == (TABLE_MOUNTS | TABLE_PROCESSES));
        m.pace.has_devices = false;
        pace_mounts(&m.pace, m.now);
        until(&m, m.now + S);
        CHECK(m.look.tables == (TABLE_MOUNTS | TABLE_PROCESSES));
}

/* A service has its pauses whoever waits; who is there for an answer only has none. */
static void somebody_waits(void) {
        for (unsigned only = 0; only < 2; only++) {
                Machine m = machine(2 * S);
                uint64_t asked;

                m.pace.answers_only = only;
                pace_event(&m.pace, m.now, TABLE_MOUNTS);
                until(&m, m.now + 5 * MS);
                asked = m.now;
                pace_request(&m.pace, m.now, TABLE_ALL);
                pace_await(&m.pace, m.now);
                until(&m, m.now + 60 * S);
                CHECK(m.looks == 2 && m.last == (only ? asked : asked + 2 * S));
        }
}

static unsigned chance(unsigned n) {
        return (unsigned) rand() % n;
}

/* A day of events of all kinds, and of trouble: what happened is always followed by a look that began after it, and soon; looks leave
 * the machine alone for most of the time; and with the last trouble the looks end. */
static void days(void) {
        for (unsigned seed = 1; seed <= 20; seed++) {
                Machine m = machine(1 + seed * MS / 2);
                const uint64_t began = m.now;
                uint64_t event = 0;

                srand(seed);
                while (m.now < began + 86400 * S) {
                        const unsigned burst = 1 + (chance(20) == 0 ? chance(3000) : chance(3));

                        m.outcome = (PaceOutcome) {
                                .failed = chance(50) == 0,
                                .unsettled = chance(4) == 0,
                                .lasting = chance(30) == 0,
                                .processes_read = chance(2),
                                .open_end = chance(2),
                                .outdated = 0,
                                .retry = chance(2) ? TABLE_ALL : TABLE_PROCESSES,
                        };
                        for (unsigned i = 0; i < burst; i++) {
                                event = m.now;
                                if (chance(2))
                                        pace_mounts(&m.pace, m.now);
                                else
                                        pace_event(&m.pace, m.now, chance(TABLE_ALL + 1));
                                until(&m, m.now + chance(5) * MS);
                        }
                        if (!m.outcome.failed) {
                                until(&m, MAX(m.now, event + 31 * S));
                                CHECK(m.last >= event && !m.pace.pending);
                        }
                        until(&m, m.now + (uint64_t) chance(1000) * S);
                }
                CHECK(m.looked < (m.now - began) / 100);
                m.outcome = (PaceOutcome) {};
                until(&m, m.now + 1000 * S);
                CHECK(pace_next(&m.pace) == PACE_NEVER);
        }
}

TEST_MAIN(TEST(nothing_happens), TEST(a_swarm_is_one_look), TEST(a_storm), TEST(failures), TEST(what_is_open), TEST(what_is_in_force), TEST(tables),
          TEST(mounts), TEST(somebody_waits), TEST(days))
