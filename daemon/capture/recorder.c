/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "common/array.h"
#include "common/hashmap.h"
#include "daemon/capture/recorder.h"

struct Recorder {
        Captured **records;
        size_t n, capacity;
        Hashmap *by_path;
        int error;
};

static void captured_free(Captured *e) {
        free(e->path);
        free(e->content);
        free(e);
}

Recorder *recorder_free(Recorder *r) {
        if (!r)
                return NULL;
        for (size_t i = 0; i < r->n; i++)
                captured_free(r->records[i]);
        free(r->records);
        hashmap_free(r->by_path);
        free(r);
        return NULL;
}

Recorder *recorder_new(void) {
        Recorder *r = calloc(1, sizeof(Recorder));

        if (!r)
                return NULL;
        r->by_path = hashmap_new();
        return r->by_path ? r : recorder_free(r);
}

static int set_content(Captured *e, CapturedKind kind, const char *content, size_t size) {
        char *copy = malloc(size + 1);

        if (!copy)
                return -ENOMEM;
        if (size > 0)
                memcpy(copy, content, size);
        copy[size] = 0;
        free(e->content);
        e->content = copy;
        e->size = size;
        e->kind = kind;
        return 0;
}

static int captured_new(Recorder *r, CapturedKind kind, const char *path, const char *content, size_t size) {
        Captured *e = calloc(1, sizeof(Captured));
        int k = -ENOMEM;

        if (!e)
                return -ENOMEM;
        e->path = strdup(path);
        if (e->path)
                k = set_content(e, kind, content, size);
        if (k >= 0)
                k = hashmap_put(r->by_path, e->path, e);
        if (k >= 0) {
                k = ARRAY_APPEND(r->records, r->n, r->capacity, e);
                if (k < 0)
                        hashmap_remove(r->by_path, e->path);
        }
        if (k < 0)
                captured_free(e);
        return k;
}

static int add_one(Recorder *r, CapturedKind kind, const char *path, const char *content, size_t size) {
        Captured *e = hashmap_get(r->by_path, path);

        if (!e)
                return captured_new(r, kind, path, content, size);
        if (e->kind > CAPTURED_DENIED || e->kind >= kind)
                return e->kind == kind || e->kind <= CAPTURED_DENIED ? 0 : -EEXIST;
        return set_content(e, kind, content, size);
}

static int add_parents(Recorder *r, const char *path) {
        _cleanup_free_ char *parent = strdup(path);
        int k = 0;

        if (!parent)
                return -ENOMEM;
        for (char *slash = strchr(parent, '/'); slash && k >= 0; slash = strchr(slash + 1, '/')) {
                *slash = 0;
                k = add_one(r, CAPTURED_DIRECTORY, parent, "", 0);
                *slash = '/';
        }
        return k;
}

void recorder_add(Recorder *r, CapturedKind kind, const char *path, const char *content, size_t size) {
        int k;

        k = add_parents(r, path);
        if (k >= 0)
                k = add_one(r, kind, path, content, size);
        /* Anything else is a path that changed its nature meanwhile: what was there first stays. */
        if (k == -ENOMEM)
                r->error = k;
}

const Captured *recorder_get(const Recorder *r, const char *path) {
        return hashmap_get(r->by_path, path);
}

static int compare_paths(const void *a, const void *b) {
        return strcmp((*(Captured *const *) a)->path, (*(Captured *const *) b)->path);
}

int recorder_finish(Recorder *r, Captured ***ret, size_t *ret_n) {
        if (r->error < 0)
                return r->error;
        if (r->n > 1)
                qsort(r->records, r->n, sizeof(Captured *), compare_paths);
        *ret = r->records;
        *ret_n = r->n;
        return 0;
}
