/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/array.h"
#include "common/text.h"
#include "daemon/actuator/mark/memory-map.h"

#define MAPS_MAX (64U << 20)
#define CHUNK_SIZE 65536U
#define SEARCH_MAX (64U << 20)
#define PAGE 4096U /* or a multiple of it */
#define PAGEMAP_GUARD (UINT64_C(1) << 58)
#define PAGEMAP_PRESENT (UINT64_C(1) << 63) /* Documentation/admin-guide/mm/pagemap.rst */
#define PAGEMAP_EXCLUSIVE (UINT64_C(1) << 56)
#define FRAME_PAGES_MAX 16U

static int mapping_parse(char *line, Mapping *ret) {
        unsigned long long start, end, inode;
        char permissions[5];
        const char *path, *name;
        Mapping m;
        int at = -1;

        if (sscanf(line, "%llx-%llx %4s %*x %*x:%*x %llu %n", &start, &end, permissions, &inode, &at) < 4 || at < 0)
                return -EBADMSG;
        path = line + at;
        name = strrchr(path, '/');
        name = name ? name + 1 : path;
        m = (Mapping) {
                .start = start,
                .end = end,
                .read = permissions[0] == 'r',
                .write = permissions[1] == 'w',
                .execute = permissions[2] == 'x',
                .shared = permissions[3] == 's',
                .file = inode != 0,
                .stack = inode == 0 && streq(path, "[stack]"),
                .preferred = startswith(name, "libc.so") || startswith(name, "libc-") || startswith(name, "ld-musl") ||
                        streq(path, "[vdso]"),
        };
        *ret = m;
        return 0;
}

int memory_map_read(const Target *t, pid_t tid, MemoryMap *ret) {
        _cleanup_memory_map_ MemoryMap m = {};
        _cleanup_free_ char *text = NULL;
        char *save = NULL, path[64];
        int r;

        r = target_read(t, thread_path(tid, "maps", path), MAPS_MAX, &text);
        if (r < 0)
                return r;
        for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                Mapping mapping;

                if (mapping_parse(line, &mapping) < 0)
                        return -EBADMSG;
                r = ARRAY_APPEND(m.mappings, m.n, m.capacity, mapping);
                if (r < 0)
                        return r;
        }
        if (m.n == 0)
                return -ESRCH;
        *ret = m;
        m = (MemoryMap) {};
        return 0;
}

void memory_map_done(MemoryMap *m) {
        free(m->mappings);
        *m = (MemoryMap) {};
}

const Mapping *memory_map_find(const MemoryMap *m, uint64_t address) {
        size_t low = 0, high = m->n;

        while (low < high) {
                size_t middle = low + (high - low) / 2;
                const Mapping *p = &m->mappings[middle];

                if (address < p->start)
                        high = middle;
                else if (address >= p->end)
                        low = middle + 1;
                else
                        return p;
        }
        return NULL;
}

int memory_read(pid_t tid, uint64_t address, void *buffer, size_t size) {
        struct iovec local = { buffer, size }, remote = { (void *) address, size };
        ssize_t n = process_vm_readv(tid, &local, 1, &remote, 1, 0);

        return n < 0 ? -errno : (size_t) n == size ? 0 : -EFAULT;
}

int memory_write_tracee(pid_t tid, uint64_t address, const void *buffer, size_t size) {
        for (size_t i = 0; i < size; i += sizeof(long)) {
                const size_t k = MIN(size - i, sizeof(long));
                long word = 0;

                if (k < sizeof(word)) {
                        errno = 0;
                        word = ptrace(PTRACE_PEEKDATA, tid, (void *) (address + i), NULL);
                        if (errno != 0)
                                return -errno;
                }
                memcpy(&word, (const char *) buffer + i, k);
                if (ptrace(PTRACE_POKEDATA, tid, (void *) (address + i), (void *) word) < 0)
                        return -errno;
        }
        return 0;
}

int memory_pin(const Target *t, pid_t tid, MemoryPin *ret) {
        char path[64];
        int fd;

        thread_path(tid, "mem", path);
        fd = openat(t->proc_fd, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        *ret = (MemoryPin) { fd, true };
        if (fd < 0 && errno == EACCES) { /* another user's; reading takes CAP_DAC_READ_SEARCH only */
                fd = openat(t->proc_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
                *ret = (MemoryPin) { fd, false };
        }
        if (fd < 0)
                return errno == ENOENT ? -ESRCH : -errno;
        return 0;
}

bool memory_pin_holds(const MemoryPin *p, uint64_t address, const void *buffer, size_t size) {
        char found[64];

        return size <= sizeof(found) && pread(p->fd, found, size, (off_t) address) == (ssize_t) size &&
                memcmp(found, buffer, size) == 0;
}

int memory_pin_write(const MemoryPin *p, uint64_t address, const void *buffer, size_t size) {
        ssize_t n = pwrite(p->fd, buffer, size, (off_t) address);

        return n < 0 ? -errno : (size_t) n == size ? 0 : -EFAULT;
}

int memory_touch(pid_t tid, uint64_t start, uint64_t end) {
        for (uint64_t a = start & ~(uint64_t) (PAGE - 1); a < end; a += PAGE) {
                char byte;
                int r = memory_read(tid, a, &byte, 1);

                if (r < 0)
                        return r;
        }
        return 0;
}

/* The kernel takes the other process's page for writing before it reads ours, which cannot be read. */
int memory_touch_for_writing(pid_t tid, uint64_t start, uint64_t end) {
        static void *unreadable;

        if (!unreadable) {
                void *p = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

                if (p == MAP_FAILED)
                        return -errno;
                unreadable = p;
        }
        for (uint64_t a = start & ~(uint64_t) (PAGE - 1); a < end; a += PAGE) {
                struct iovec local = { unreadable, 1 }, remote = { (void *) a, 1 };

                if (process_vm_writev(tid, &local, 1, &remote, 1, 0) < 0 && errno != EFAULT)
                        return -errno;
        }
        return 0;
}

static int pagemap_open(const Target *t, pid_t tid) {
        char path[64];
        int fd = openat(t->proc_fd, thread_path(tid, "pagemap", path), O_RDONLY | O_CLOEXEC);

        if (fd < 0)
                return errno == ENOENT ? -ESRCH : -errno;
        return fd;
}

int memory_is_resident(const Target *t, pid_t tid, uint64_t start, uint64_t end) {
        const uint64_t size = (uint64_t) sysconf(_SC_PAGESIZE), page = start / size;
        const size_t n = (size_t) ((end + size - 1) / size - page);
        _cleanup_close_ int fd = pagemap_open(t, tid);
        uint64_t entries[FRAME_PAGES_MAX];

        if (fd < 0)
                return fd;
        if (n > ELEMENTSOF(entries))
                return -E2BIG;
        if (pread(fd, entries, n * sizeof(entries[0]), (off_t) (page * sizeof(entries[0]))) != (ssize_t) (n * sizeof(entries[0])))
                return -ESRCH;
        for (size_t i = 0; i < n; i++)
                if ((entries[i] & (PAGEMAP_PRESENT | PAGEMAP_EXCLUSIVE)) != (PAGEMAP_PRESENT | PAGEMAP_EXCLUSIVE))
                        return 0;
        return 1;
}

static const unsigned char *chunk_search(const unsigned char *chunk, size_t size, uint64_t address,
                                         const MemoryPattern *p) {
        const unsigned char *hit = memmem(chunk, size, p->bytes, p->size);

        while (hit && (address + (uint64_t) (hit - chunk)) % p->alignment != 0)
                hit = memmem(hit + 1, size - (size_t) (hit + 1 - chunk), p->bytes, p->size);
        return hit;
}

static int mapping_search(const Mapping *m, pid_t tid, const MemoryPattern *patterns, size_t n, size_t *budget,
                          uint64_t *ret) {
        static unsigned char chunk[CHUNK_SIZE];
        const size_t overlap = 16;

        for (uint64_t a = m->start; a < m->end; a += CHUNK_SIZE - overlap) {
                size_t size = MIN(m->end - a, (uint64_t) CHUNK_SIZE);

                if (*budget < size)
                        return -ENOENT;
                *budget -= size;
                if (memory_read(tid, a, chunk, size) < 0)
                        return -ENOENT;
                for (size_t i = 0; i < n; i++) {
                        const unsigned char *hit = chunk_search(chunk, size, a, &patterns[i]);

                        if (hit) {
                                *ret = a + (uint64_t) (hit - chunk);
                                return 0;
                        }
                }
        }
        return -ENOENT;
}

int memory_map_search(const MemoryMap *m, pid_t tid, const MemoryPattern *patterns, size_t n, uint64_t *ret) {
        size_t budget = SEARCH_MAX;

        for (int preferred = 1; preferred >= 0; preferred--)
                for (size_t i = 0; i < m->n; i++) {
                        const Mapping *p = &m->mappings[i];

                        if (!p->read || !p->execute || p->write || p->shared || p->preferred != preferred ||
                            p->end > (UINT64_C(1) << 63))
                                continue;
                        if (mapping_search(p, tid, patterns, n, &budget, ret) >= 0)
                                return 0;
                }
        return -ENOENT;
}

int memory_find_guard(const Target *t, pid_t tid, uint64_t start, uint64_t end, uint64_t *ret) {
        _cleanup_close_ int fd = pagemap_open(t, tid);
        const uint64_t size = (uint64_t) sysconf(_SC_PAGESIZE);
        uint64_t entries[512], page = start / size, last = (end + size - 1) / size;

        if (fd < 0)
                return fd;
        while (page < last) {
                size_t n = MIN(last - page, (uint64_t) ELEMENTSOF(entries));
                ssize_t k = pread(fd, entries, n * sizeof(entries[0]), (off_t) (page * sizeof(entries[0])));

                if (k < (ssize_t) sizeof(entries[0]))
                        return k < 0 ? -errno : -ESRCH;
                n = (size_t) k / sizeof(entries[0]);
                for (size_t i = 0; i < n; i++)
                        if (entries[i] & PAGEMAP_GUARD) {
                                *ret = (page + i) * size;
                                return 0;
                        }
                page += n;
        }
        *ret = end;
        return 0;
}
