/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "common/cleanup.h"
#include "daemon/watch/file-watch.h"

struct FileWatch {
        int fd;
        bool once;
        sd_event_source *source;
        FileChanged changed;
        void *userdata;
};

bool file_watch_is_over(const FileWatch *w) {
        return !w || w->fd < 0;
}

static int on_file(sd_event_source *source _unused_, int fd _unused_, uint32_t revents _unused_, void *userdata) {
        FileWatch *w = userdata;

        if (w->once) {
                w->source = sd_event_source_disable_unref(w->source);
                w->fd = fd_close(w->fd);
        }
        w->changed(w->userdata);
        return 0;
}

int file_watch_new(sd_event *event, const Sysroot *root, const char *path, bool once, FileChanged changed, void *userdata, FileWatch **ret) {
        FileWatch *w = calloc(1, sizeof(FileWatch));
        int r;

        if (!w)
                return -ENOMEM;
        *w = (FileWatch) { .once = once, .changed = changed, .userdata = userdata };
        w->fd = sysroot_open_at(root, AREA_PROC, path, O_RDONLY);
        r = w->fd < 0 ? w->fd : sd_event_add_io(event, &w->source, w->fd, EPOLLPRI, on_file, w);
        if (r < 0) {
                file_watch_free(w);
                return r;
        }
        *ret = w;
        return 0;
}

FileWatch *file_watch_free(FileWatch *w) {
        if (!w)
                return NULL;
        sd_event_source_disable_unref(w->source);
        fd_close(w->fd);
        free(w);
        return NULL;
}
