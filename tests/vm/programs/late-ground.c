/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Preloaded into a server: has it map a file, as a plugin or a library that is loaded late is, or take a directory for its
 * working directory. Which one, is read from the named pipe $LATE_GROUND, once; a thread of its own waits for that, since
 * the path may lead to what the others serve. */

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void *wait_for_path(void *pipe) {
        char path[256] = {};
        int fd = open(pipe, O_RDONLY | O_CLOEXEC);

        if (fd < 0 || read(fd, path, sizeof(path) - 1) <= 0)
                abort();
        close(fd);
        path[strcspn(path, "\n")] = 0;
        if (chdir(path) == 0)
                return NULL;
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED)
                abort();
        close(fd);
        return NULL;
}

static __attribute__((constructor)) void begin(void) {
        char *pipe = getenv("LATE_GROUND");
        pthread_t thread;

        if (pipe && pthread_create(&thread, NULL, wait_for_path, pipe) != 0)
                abort();
}
