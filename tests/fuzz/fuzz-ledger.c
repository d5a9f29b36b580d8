/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The ledger as a predecessor, or somebody else, left it. What is taken from it is what is written and read again. */
#include "common/text.h"
#include "daemon/actuator/ledger.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/scratch-directory.h"

static Sysroot *root;

static void forget(void) {
        root = sysroot_free(root);
}

static void prepare(void) {
        scratch_file("proc/sys/kernel/random/boot_id", "b\n", 2);
        scratch_file("sys/x", "", 0);
        scratch_parents("run/stackd/");
        MUST(sysroot_open(scratch_directory(), &root, NULL) >= 0);
        MUST(atexit(forget) == 0);
}

static void check_same(const Ledger *a, const Ledger *b) {
        MUST(a->n == b->n && a->all_held == b->all_held && strv_equal(a->held, b->held));
        for (size_t i = 0; i < a->n; i++) {
                const Record *x = &a->records[i], *y = &b->records[i];

                MUST(x->kind == y->kind && streq(x->target, y->target) && streq(x->key, y->key) && x->pid == y->pid && x->start == y->start);
                MUST(streq(x->subject, y->subject) && streq(x->name, y->name) && streq(x->from, y->from));
                MUST(x->kind == ACTION_IO_FLUSHER || (streq(x->to, y->to) && streq_ptr(x->set, y->set) && streq_ptr(x->detail, y->detail)));
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        Ledger l = LEDGER_NULL, again = LEDGER_NULL;
        unsigned skipped, skipped_again;

        if (!root)
                prepare();
        scratch_file("run/stackd/ledger", data, size);
        MUST(ledger_open(&l, root, true, &skipped) >= 0);
        /* Everything is written whenever anything is. */
        MUST(ledger_hold(&l, (char *[]) { (char *) "fs:0:1", NULL }, !l.all_held) >= 0);
        MUST(ledger_open(&again, root, false, &skipped_again) >= 0);
        MUST(skipped_again == 0);
        check_same(&l, &again);
        ledger_done(&again);
        for (size_t n = l.n; n > 0; n = l.n) {
                char *target = strdup(l.records[0].target), *key = strdup(l.records[0].key);

                MUST(target && key && ledger_remove(&l, l.records[0].kind, target, key) >= 0 && l.n == n - 1);
                free(target);
                free(key);
        }
        ledger_done(&l);
        return 0;
}
