/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A map from strings to pointers. Keys are borrowed: whoever puts an entry keeps the key alive as long as
 * the entry (usually the key is a member of the value). Values are not freed by the map. */

#include <stddef.h>

#include "common/cleanup.h"

typedef struct Hashmap Hashmap;

Hashmap *hashmap_new(void); /* NULL when out of memory */
Hashmap *hashmap_free(Hashmap *h);
DEFINE_TRIVIAL_CLEANUP_FUNC(Hashmap *, hashmap_free);

/* 0, -EEXIST (the old entry stays) or -ENOMEM. */
int hashmap_put(Hashmap *h, const char *key, void *value);
/* The value, or NULL. */
void *hashmap_get(const Hashmap *h, const char *key);
/* Takes the entry out and returns its value, or NULL. */
void *hashmap_remove(Hashmap *h, const char *key);
size_t hashmap_size(const Hashmap *h);

/* Iteration in no particular order. Start with *position = 0; returns NULL at the end. The map must not be changed meanwhile, but
 * that the entry returned last may be removed, and *position set back by one: all others are still come by. */
void *hashmap_next(const Hashmap *h, size_t *position);
