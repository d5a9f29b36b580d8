/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* All block devices with what sysfs says of them. Nothing here opens a device. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/hashmap.h"
#include "daemon/graph/gap.h"
#include "daemon/sysroot/sysroot.h"

typedef struct Block {
        char *name; /* kernel name */
        dev_t device;
        char *directory;    /* of the device below /sys, "devices/..." */
        char *parent;       /* name of the disk, for a partition */
        char **slaves;      /* kernel names */
        char *dm_name;      /* NULL unless device-mapper */
        char *dm_uuid;
        char *backing_file; /* of a bound loop device, as sysfs prints it */
        pid_t nbd_pid;      /* thread that connected an nbd, perhaps long gone; 0 = not connected */
        uint64_t size;      /* bytes */
        uint64_t diskseq;   /* of a virtual one: block_sequence() */
} Block;

typedef struct BlockTable {
        Block *blocks;
        size_t n, capacity;
        Hashmap *by_name;
        Hashmap *by_dm_name;
        const Block **by_device; /* sorted by number */
        unsigned gaps; /* some device could not be read (enum Gap) */
} BlockTable;

int block_table_read(const Sysroot *s, BlockTable *ret);
void block_table_done(BlockTable *t);

/* Reads what tells a device from its predecessor of the same number; 0 = not told. Few ask that of the device of a bus. */
uint64_t block_sequence(const Sysroot *s, const Block *b);

const Block *block_table_find(const BlockTable *t, const char *name);
const Block *block_table_find_device(const BlockTable *t, dev_t device);
/* "/dev/NAME" or "/dev/mapper/NAME", by text. */
const Block *block_table_find_path(const BlockTable *t, const char *path);
/* The same, and the other names that udev has made for devices ("/dev/VG/LV", "/dev/disk/by-id/..."), by udev's own
 * record of them. */
const Block *block_table_resolve(const Sysroot *s, const BlockTable *t, const char *path);
