/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/fanotify.h>

#include "daemon/watch/mount-watch.h"

/* Newer than the headers of some of the systems that this is built on (include/uapi/linux/fanotify.h). */
#ifndef FAN_REPORT_MNT
#define FAN_REPORT_MNT 0x00004000
#define FAN_MARK_MNTNS 0x00000110
#define FAN_MNT_ATTACH 0x01000000
#define FAN_MNT_DETACH 0x02000000
#endif

struct MountWatch {
        const Sysroot *root;
        int fd;
        sd_event_source *source;
        MountEvent handler;
        void *userdata;
};

/* What has happened is seen by reading the tables: it is enough that something has. */
static int on_event(sd_event_source *source _unused_, int fd, uint32_t revents _unused_, void *userdata) {
        MountWatch *w = userdata;
        char buffer[4096];

        while (read(fd, buffer, sizeof(buffer)) > 0)
                ;
        w->handler(w->userdata);
        return 0;
}

int mount_watch_new(sd_event *event, const Sysroot *root, MountEvent handler, void *userdata, MountWatch **ret) {
        MountWatch *w = calloc(1, sizeof(MountWatch));
        int r;

        if (!w)
                return -ENOMEM;
        *w = (MountWatch) { .root = root, .handler = handler, .userdata = userdata };
        w->fd = fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK | FAN_CLOEXEC | FAN_REPORT_MNT, 0);
        r = w->fd < 0 ? -errno : sd_event_add_io(event, &w->source, w->fd, EPOLLIN, on_event, w);
        if (r < 0) {
                mount_watch_free(w);
                return r;
        }
        *ret = w;
        return 0;
}

MountWatch *mount_watch_free(MountWatch *w) {
        if (!w)
                return NULL;
        sd_event_source_disable_unref(w->source);
        fd_close(w->fd);
        free(w);
        return NULL;
}

void mount_watch_update(MountWatch *w, const MountTable *t) {
        for (unsigned space = 1; space < t->n_spaces; space++) {
                _cleanup_close_ int fd = sysroot_open_at(w->root, AREA_PROC, PATH("%d/ns/mnt", t->space_pids[space]), O_RDONLY);

                /* A process that has ended meanwhile, or has gone to another namespace, costs at most an event too much. */
                if (fd >= 0)
                        (void) fanotify_mark(w->fd, FAN_MARK_ADD | FAN_MARK_MNTNS, FAN_MNT_ATTACH | FAN_MNT_DETACH, fd, NULL);
        }
}
