/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Open addressing with linear probing and backward-shift deletion: no tombstones, so that a map that lives
 * as long as the daemon does not decay. The seed is random, since keys are written by users. */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>

#include "common/hashmap.h"

typedef struct Entry {
        const char *key;
        void *value;
        uint64_t hash;
} Entry;

struct Hashmap {
        Entry *entries;
        size_t n, mask;
        uint64_t seed;
};

static uint64_t hash_string(uint64_t seed, const char *s) {
        uint64_t h = seed ^ 0xcbf29ce484222325ULL;

        for (; *s; s++)
                h = (h ^ (uint8_t) *s) * 0x100000001b3ULL;
        h ^= h >> 32;
        h *= 0xd6e8feb86659fd93ULL;
        return h ^ (h >> 32);
}

Hashmap *hashmap_new(void) {
        Hashmap *h = calloc(1, sizeof(Hashmap));

        if (!h)
                return NULL;
        h->mask = 15;
        h->entries = calloc(h->mask + 1, sizeof(Entry));
        if (!h->entries)
                return hashmap_free(h);
        if (getrandom(&h->seed, sizeof(h->seed), GRND_NONBLOCK) != sizeof(h->seed))
                h->seed = (uintptr_t) h;
        return h;
}

Hashmap *hashmap_free(Hashmap *h) {
        if (!h)
                return NULL;
        free(h->entries);
        free(h);
        return NULL;
}

static Entry *find(const Hashmap *h, uint64_t hash, const char *key) {
        for (size_t i = hash & h->mask;; i = (i + 1) & h->mask) {
                Entry *e = &h->entries[i];

                if (!e->key || (e->hash == hash && strcmp(e->key, key) == 0))
                        return e;
        }
}

static int grow(Hashmap *h) {
        size_t old_size = h->mask + 1;
        Entry *old = h->entries, *new = calloc(old_size * 2, sizeof(Entry));

        if (!new)
                return -ENOMEM;
        h->entries = new;
        h->mask = old_size * 2 - 1;
        for (size_t i = 0; i < old_size; i++)
                if (old[i].key)
                        *find(h, old[i].hash, old[i].key) = old[i];
        free(old);
        return 0;
}

int hashmap_put(Hashmap *h, const char *key, void *value) {
        uint64_t hash = hash_string(h->seed, key);
        Entry *e;
        int r;

        if ((h->n + 1) * 4 > (h->mask + 1) * 3) {
                r = grow(h);
                if (r < 0)
                        return r;
        }
        e = find(h, hash, key);
        if (e->key)
                return -EEXIST;
        *e = (Entry) { .key = key, .value = value, .hash = hash };
        h->n++;
        return 0;
}

void *hashmap_get(const Hashmap *h, const char *key) {
        Entry *e = find(h, hash_string(h->seed, key), key);

        return e->key ? e->value : NULL;
}

void *hashmap_remove(Hashmap *h, const char *key) {
        Entry *e = find(h, hash_string(h->seed, key), key);
        size_t hole, i;
        void *value;

        if (!e->key)
                return NULL;
        value = e->value;
        hole = e - h->entries;
        for (i = (hole + 1) & h->mask; h->entries[i].key; i = (i + 1) & h->mask) {
                size_t home = h->entries[i].hash & h->mask;

                /* An entry may fill the hole unless its home lies cyclically in (hole, i]. */
                if (((i - home) & h->mask) >= ((i - hole) & h->mask)) {
                        h->entries[hole] = h->entries[i];
                        hole = i;
                }
        }
        h->entries[hole] = (Entry) {};
        h->n--;
        return value;
}

size_t hashmap_size(const Hashmap *h) {
        return h->n;
}

void *hashmap_next(const Hashmap *h, size_t *position) {
        while (*position <= h->mask) {
                Entry *e = &h->entries[(*position)++];

                if (e->key)
                        return e->value;
        }
        return NULL;
}
