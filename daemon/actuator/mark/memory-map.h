/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The target's address space: what is mapped where, and its bytes. Reading may wait for the target's mmap_lock
 * or for its storage, so it is done by the disposable worker, and before any thread is stopped. */

#include <stddef.h>

#include "daemon/actuator/mark/target.h"

typedef struct Mapping {
        uint64_t start, end;
        bool read, write, execute, shared;
        bool file;  /* backed by a file */
        bool stack; /* the main thread's */
        bool preferred; /* likely to hold the C library */
} Mapping;

typedef struct MemoryMap {
        Mapping *mappings; /* ascending */
        size_t n, capacity;
} MemoryMap;

/* The leader may have ended before the others, and has no memory then: so a thread is named. */
int memory_map_read(const Target *t, pid_t tid, MemoryMap *ret);
void memory_map_done(MemoryMap *m);
/* NULL where nothing is mapped. */
const Mapping *memory_map_find(const MemoryMap *m, uint64_t address);

/* An address space, the same for as long as this is open; after an exec() there is nothing in it. */
typedef struct MemoryPin {
        int fd;
        bool writable; /* else this would take more privileges than we want to have */
} MemoryPin;

int memory_pin(const Target *t, pid_t tid, MemoryPin *ret);
bool memory_pin_holds(const MemoryPin *p, uint64_t address, const void *buffer, size_t size);
int memory_pin_write(const MemoryPin *p, uint64_t address, const void *buffer, size_t size);

/* All of it or an error. */
int memory_read(pid_t tid, uint64_t address, void *buffer, size_t size);
/* Of a tracee in a ptrace stop: slow, and never another task that has come by its number. */
int memory_write_tracee(pid_t tid, uint64_t address, const void *buffer, size_t size);
/* Whether every page of [start, end) is in memory now, and this process's alone, so that writing takes no other page: 1, or 0.
 * It brings none in. */
int memory_is_resident(const Target *t, pid_t tid, uint64_t start, uint64_t end);
/* Makes [start, end) resident by reading a byte of each page. */
int memory_touch(pid_t tid, uint64_t start, uint64_t end);

/* Makes [start, end) resident as pages of this process alone, as writing would, and writes nothing. */
int memory_touch_for_writing(pid_t tid, uint64_t start, uint64_t end);

typedef struct MemoryPattern {
        const unsigned char *bytes;
        size_t size;
        unsigned alignment;
} MemoryPattern;

/* Finds one of the n patterns in code that cannot be written to: its address, or -ENOENT. */
int memory_map_search(const MemoryMap *m, pid_t tid, const MemoryPattern *patterns, size_t n, uint64_t *ret);

/* The first guard inside of a mapping (MADV_GUARD_INSTALL, Linux 6.13) in [start, end), or 'end'. Linux reports guards
 * since 6.15. The C library uses them since glibc 2.42: with it, stacks on 6.13 and 6.14 may share a mapping, and the
 * pointer to the thread's own control block alone tells them apart. Before, each guard is a mapping of its own. */
int memory_find_guard(const Target *t, pid_t tid, uint64_t start, uint64_t end, uint64_t *ret);

static inline void memory_map_donep(MemoryMap *m) {
        memory_map_done(m);
}
#define _cleanup_memory_map_ _cleanup_(memory_map_donep)
