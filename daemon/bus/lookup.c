/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "common/text.h"
#include "daemon/bus/lookup.h"

static bool names_device(const NodeFact *f, const char *what) {
        const char *name = startswith(what, "/dev/mapper/");

        if (name)
                return f->label && streq(f->label, name);
        name = startswith(what, "/dev/") ?: what;
        return streq_ptr(f->name, name) || streq_ptr(f->label, name) || streq_ptr(f->device, what);
}

static bool matches(const Node *n, const char *what) {
        const NodeFact *f = n->fact;
        pid_t pid;

        if (streq(n->id, what))
                return true;
        if (!f)
                return false;
        switch (f->kind) {
        case NODE_PROCESS:
                return streq_ptr(f->unit, what) || (text_to_pid(what, &pid) >= 0 && f->pid == pid);
        case NODE_FILESYSTEM:
                return strv_contains(f->mounts, what);
        case NODE_BLOCK:
                return names_device(f, what);
        case NODE_SWAP:
        case NODE_FILE:
                return streq_ptr(f->path, what);
        default:
                return false;
        }
}

static int compare(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

int lookup(const Graph *g, const char *what, char ***ret) {
        _cleanup_strv_free_ char **ids = NULL;
        size_t n = 0, position = 0;
        Node *node;

        while ((node = graph_next(g, &position)))
                if (matches(node, what) && strv_append(&ids, &n, node->id) < 0)
                        return -ENOMEM;
        if (n == 0)
                return -ENOENT;
        qsort(ids, n, sizeof(char *), compare);
        *ret = TAKE_PTR(ids);
        return 0;
}
