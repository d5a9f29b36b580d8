/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/text.h"
#include "daemon/policy/mount-option.h"

/* A setting with words for its states. The last is that of which mountinfo shows nothing. */
typedef struct Choice {
        const char *type; /* of file system; NULL: any */
        MountScope scope;
        const char *key;
        const char *words[4];
} Choice;

static const Choice choices[] = {
        { NULL, MOUNT_SCOPE_MOUNT, "atime", { "noatime", "relatime", "strictatime" } },
        { NULL, MOUNT_SCOPE_MOUNT, "diratime", { "nodiratime", "diratime" } },
        { NULL, MOUNT_SCOPE_MOUNT, "suid", { "nosuid", "suid" } },
        { NULL, MOUNT_SCOPE_MOUNT, "dev", { "nodev", "dev" } },
        { NULL, MOUNT_SCOPE_MOUNT, "exec", { "noexec", "exec" } },
        { NULL, MOUNT_SCOPE_MOUNT, "symfollow", { "nosymfollow", "symfollow" } },
        { NULL, MOUNT_SCOPE_SUPERBLOCK, "lazytime", { "lazytime", "nolazytime" } },
        { NULL, MOUNT_SCOPE_SUPERBLOCK, "sync", { "sync", "async" } },
        { "ext4", MOUNT_SCOPE_SUPERBLOCK, "discard", { "discard", "nodiscard" } },
        { "ext4", MOUNT_SCOPE_SUPERBLOCK, "barrier", { "nobarrier", "barrier" } },
        { "ext4", MOUNT_SCOPE_SUPERBLOCK, "auto_da_alloc", { "noauto_da_alloc", "auto_da_alloc" } },
        { "xfs", MOUNT_SCOPE_SUPERBLOCK, "discard", { "discard", "nodiscard" } },
        { "btrfs", MOUNT_SCOPE_SUPERBLOCK, "flushoncommit", { "flushoncommit", "noflushoncommit" } },
        { "btrfs", MOUNT_SCOPE_SUPERBLOCK, "autodefrag", { "autodefrag", "noautodefrag" } },
        /* None of f2fs: a remount sets every option that it does not name to its default. */
};

/* "KEY=VALUE", with the default of which mountinfo shows nothing. */
typedef struct Number {
        const char *type, *key, *value;
} Number;

static const Number numbers[] = {
        { "ext4", "commit", "commit=5" },
        { "ext4", "max_batch_time", "max_batch_time=15000" },
        { "ext4", "min_batch_time", "min_batch_time=0" },
        { "ext4", "inode_readahead_blks", "inode_readahead_blks=32" },
        { "btrfs", "commit", "commit=30" },
};

static bool type_matches(const char *wanted, const char *type) {
        return !wanted || streq(wanted, type);
}

static const Choice *find_choice(const char *type, MountScope scope, const char *key) {
        for (size_t i = 0; i < ELEMENTSOF(choices); i++)
                if (type_matches(choices[i].type, type) && choices[i].scope == scope && streq(choices[i].key, key))
                        return &choices[i];
        return NULL;
}

static const Number *find_number(const char *type, const char *key) {
        for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
                if (streq(numbers[i].type, type) && streq(numbers[i].key, key))
                        return &numbers[i];
        return NULL;
}

int mount_option_find(const char *type, const char *word, MountOption *ret) {
        for (size_t i = 0; i < ELEMENTSOF(choices); i++)
                for (size_t k = 0; choices[i].words[k]; k++)
                        if (type_matches(choices[i].type, type) && streq(choices[i].words[k], word)) {
                                *ret = (MountOption) { .scope = choices[i].scope, .key = choices[i].key };
                                return 0;
                        }
        for (size_t i = 0; i < ELEMENTSOF(numbers); i++) {
                const char *rest = startswith(word, numbers[i].key);

                if (streq(numbers[i].type, type) && rest && rest[0] == '=' && rest[1]) {
                        *ret = (MountOption) { .scope = MOUNT_SCOPE_SUPERBLOCK, .key = numbers[i].key };
                        return 0;
                }
        }
        return -EOPNOTSUPP;
}

/* The word, or what begins with "KEY=", in a list; the length of it is *ret_length. */
static const char *list_find(const char *list, const char *word, bool prefix, size_t *ret_length) {
        size_t n = strlen(word);

        for (const char *p = list; p && *p;) {
                size_t length = strcspn(p, ",");

                if (prefix ? length > n && strncmp(p, word, n) == 0 && p[n] == '=' : length == n && strncmp(p, word, n) == 0) {
                        *ret_length = length;
                        return p;
                }
                p += length + (p[length] == ',');
        }
        return NULL;
}

char *mount_option_value(const char *type, const MountOption *option, const char *mount_options, const char *super_options) {
        const char *list = option->scope == MOUNT_SCOPE_MOUNT ? mount_options : super_options, *found;
        const Choice *choice = find_choice(type, option->scope, option->key);
        const Number *number = choice ? NULL : find_number(type, option->key);
        size_t length, last = 0;

        if (number) {
                found = list_find(list, option->key, true, &length);
                return found ? strndup(found, length) : strdup(number->value);
        }
        if (!choice)
                return strdup("");
        for (size_t i = 0; choice->words[i]; i++) {
                if (list_find(list, choice->words[i], false, &length))
                        return strdup(choice->words[i]);
                last = i;
        }
        return strdup(choice->words[last]);
}

/* "commit=030" and "commit=30" are the same to the kernel, and are written the second way by it. */
char *mount_option_wanted(const char *type, const MountOption *option, const char *word) {
        const char *value = strchr(word, '=');
        uint64_t number;

        if (find_choice(type, option->scope, option->key) || !value || text_to_u64(value + 1, 10, &number) < 0)
                return strdup(word);
        return text_format("%s=%llu", option->key, (unsigned long long) number);
}

char **mount_options_split(const char *list) {
        _cleanup_strv_free_ char **words = calloc(1, sizeof(char *));
        size_t n = 0;

        if (!words)
                return NULL;
        while (*list) {
                size_t length = strcspn(list, ",");
                _cleanup_free_ char *word = strndup(list, length);

                if (!word || (length > 0 && strv_append(&words, &n, word) < 0))
                        return NULL;
                list += length + (list[length] == ',');
        }
        return TAKE_PTR(words);
}
