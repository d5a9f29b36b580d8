/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "daemon/actuator/mark/mark-protocol.h"

static const char *const result_table[_MARK_RESULT_MAX] = {
        [MARK_DONE] = "done",
        [MARK_GONE] = "gone",
        [MARK_DENIED] = "denied",
        [MARK_SECCOMP] = "seccomp",
        [MARK_BUSY] = "busy",
        [MARK_TRACED] = "traced",
        [MARK_USER_WORKER] = "user-worker",
        [MARK_FOREIGN_STACK] = "foreign-stack",
        [MARK_UNSUPPORTED] = "unsupported",
        [MARK_FAILED] = "failed",
};

static const char *const state_table[_MARK_STATE_MAX] = {
        [MARK_STATE_ALL] = "all",
        [MARK_STATE_NONE] = "none",
        [MARK_STATE_PARTIAL] = "partial",
        [MARK_STATE_GONE] = "gone",
        [MARK_STATE_DENIED] = "denied",
        [MARK_STATE_BUSY] = "busy",
        [MARK_STATE_UNSUPPORTED] = "unsupported",
};

static int table_find(const char *const *table, int n, const char *s) {
        for (int i = 0; i < n; i++)
                if (strcmp(table[i], s) == 0)
                        return i;
        return -EINVAL;
}

const char *mark_result_to_string(MarkResult result) {
        return result >= 0 && result < _MARK_RESULT_MAX ? result_table[result] : NULL;
}

const char *mark_state_to_string(MarkState state) {
        return state >= 0 && state < _MARK_STATE_MAX ? state_table[state] : NULL;
}

MarkResult mark_result_from_string(const char *s) {
        return table_find(result_table, _MARK_RESULT_MAX, s);
}

MarkState mark_state_from_string(const char *s) {
        return table_find(state_table, _MARK_STATE_MAX, s);
}

/* Plain decimal digits, no sign and no leading space as strtoull() would accept. */
static int number_parse(const char *s, uint64_t max, uint64_t *ret) {
        unsigned long long v;
        char *end;

        if (!s || !isdigit((unsigned char) s[0]))
                return -EINVAL;
        errno = 0;
        v = strtoull(s, &end, 10);
        if (errno != 0 || *end || v > max)
                return -EINVAL;
        *ret = v;
        return 0;
}

static int result_parse(const char *s, MarkLine *l) {
        static const char failed[] = "failed:";
        uint64_t error;

        if (strncmp(s, failed, strlen(failed)) == 0) {
                if (number_parse(s + strlen(failed), 4095, &error) < 0 || error == 0)
                        return -EINVAL;
                l->result = MARK_FAILED;
                l->error = (int) error;
                return 0;
        }
        l->result = mark_result_from_string(s);
        return l->result < 0 || l->result == MARK_FAILED ? -EINVAL : 0;
}

static int thread_parse(char *const *words, size_t n, MarkLine *l) {
        uint64_t tid;

        if (n != 4 || number_parse(words[1], INT32_MAX, &tid) < 0 || tid == 0 ||
            result_parse(words[2], l) < 0 || number_parse(words[3], UINT64_MAX, &l->stopped_ns) < 0)
                return -EINVAL;
        l->tid = (pid_t) tid;
        return 0;
}

static int final_parse(char *const *words, size_t n, MarkLine *l) {
        static const char *const keys[] = { "total", "marked", "passes", "cut", "max-stopped-ns" };
        uint64_t values[ELEMENTSOF(keys)];

        if (n != 2 + 2 * ELEMENTSOF(keys))
                return -EINVAL;
        l->state = mark_state_from_string(words[1]);
        if (l->state < 0)
                return -EINVAL;
        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                if (strcmp(words[2 + 2 * i], keys[i]) != 0 ||
                    number_parse(words[3 + 2 * i], i == 4 ? UINT64_MAX : UINT32_MAX, &values[i]) < 0)
                        return -EINVAL;
        l->total = (unsigned) values[0];
        l->marked = (unsigned) values[1];
        l->passes = (unsigned) values[2];
        l->cut = (unsigned) values[3];
        l->max_stopped_ns = values[4];
        l->final = true;
        return 0;
}

int mark_line_parse(const char *s, MarkLine *ret) {
        MarkLine l = {};
        char buffer[160], *words[16] = {}, *save = NULL;
        size_t length = strcspn(s, "\n"), n = 0;
        int r;

        if (length >= sizeof(buffer) || (s[length] == '\n' && s[length + 1]))
                return -EINVAL;
        memcpy(buffer, s, length);
        buffer[length] = 0;
        if (length == 0 || strstr(buffer, "  ") || buffer[0] == ' ' || buffer[length - 1] == ' ')
                return -EINVAL;
        for (char *w = strtok_r(buffer, " ", &save); w && n < ELEMENTSOF(words); w = strtok_r(NULL, " ", &save))
                words[n++] = w;
        if (!words[0])
                r = -EINVAL;
        else if (strcmp(words[0], "thread") == 0)
                r = thread_parse(words, n, &l);
        else if (strcmp(words[0], "result") == 0)
                r = final_parse(words, n, &l);
        else
                r = -EINVAL;
        if (r < 0)
                return r;
        *ret = l;
        return 0;
}

int mark_line_format(const MarkLine *l, char *buffer, size_t size) {
        char failed[32];
        const char *word;
        int k;

        if (l->final) {
                k = snprintf(buffer, size, "result %s total %u marked %u passes %u cut %u max-stopped-ns %llu\n",
                             mark_state_to_string(l->state), l->total, l->marked, l->passes, l->cut,
                             (unsigned long long) l->max_stopped_ns);
        } else {
                snprintf(failed, sizeof(failed), "failed:%d", l->error);
                word = l->result == MARK_FAILED ? failed : mark_result_to_string(l->result);
                k = snprintf(buffer, size, "thread %d %s %llu\n", (int) l->tid, word,
                             (unsigned long long) l->stopped_ns);
        }
        return k < 0 || (size_t) k >= size ? -ENOBUFS : k;
}
