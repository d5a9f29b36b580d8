/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "common/array.h"
#include "common/hashmap.h"
#include "daemon/watch/process-watch.h"
#include "daemon/source/process-table.h"

typedef struct Watched {
        char key[40]; /* pid and start time */
        int pidfd;
        sd_event_source *source;
        bool wanted;
        ProcessWatch *watch;
} Watched;

struct ProcessWatch {
        sd_event *event;
        const Sysroot *root;
        ProcessEnded ended;
        void *userdata;
        Watched **processes;
        size_t n, capacity;
        Hashmap *by_key;
};

static void watched_free(Watched *p) {
        if (hashmap_get(p->watch->by_key, p->key) == p)
                (void) hashmap_remove(p->watch->by_key, p->key);
        sd_event_source_disable_unref(p->source);
        fd_close(p->pidfd);
        free(p);
}

static int on_exit_event(sd_event_source *source, int fd _unused_, uint32_t revents _unused_, void *userdata) {
        Watched *p = userdata;

        (void) sd_event_source_set_enabled(source, SD_EVENT_OFF);
        p->watch->ended(p->watch->userdata);
        return 0;
}

int process_watch_add(ProcessWatch *w, pid_t pid, uint64_t start) {
        char key[sizeof((Watched) {}.key)];
        Watched *p;
        int r;

        snprintf(key, sizeof(key), "%d %llu", (int) pid, (unsigned long long) start);
        p = hashmap_get(w->by_key, key);
        if (p) {
                p->wanted = true;
                return 0;
        }
        p = calloc(1, sizeof(Watched));
        if (!p)
                return -ENOMEM;
        *p = (Watched) { .wanted = true, .watch = w };
        memcpy(p->key, key, sizeof(key));
        p->pidfd = r = process_open(w->root, pid, start);
        if (r >= 0)
                r = sd_event_add_io(w->event, &p->source, p->pidfd, EPOLLIN, on_exit_event, p);
        if (r >= 0)
                r = hashmap_put(w->by_key, p->key, p);
        if (r >= 0)
                r = ARRAY_APPEND(w->processes, w->n, w->capacity, p);
        if (r < 0)
                watched_free(p);
        return r;
}

void process_watch_begin(ProcessWatch *w) {
        for (size_t i = 0; i < w->n; i++)
                w->processes[i]->wanted = false;
}

void process_watch_end(ProcessWatch *w) {
        size_t kept = 0;

        for (size_t i = 0; i < w->n; i++)
                if (w->processes[i]->wanted)
                        w->processes[kept++] = w->processes[i];
                else
                        watched_free(w->processes[i]);
        w->n = kept;
}

int process_watch_new(sd_event *event, const Sysroot *root, ProcessEnded ended, void *userdata, ProcessWatch **ret) {
        ProcessWatch *w = calloc(1, sizeof(ProcessWatch));

        if (!w)
                return -ENOMEM;
        *w = (ProcessWatch) { .event = event, .root = root, .ended = ended, .userdata = userdata, .by_key = hashmap_new() };
        if (!w->by_key) {
                free(w);
                return -ENOMEM;
        }
        *ret = w;
        return 0;
}

ProcessWatch *process_watch_free(ProcessWatch *w) {
        if (!w)
                return NULL;
        process_watch_begin(w);
        process_watch_end(w);
        free(w->processes);
        hashmap_free(w->by_key);
        free(w);
        return NULL;
}
