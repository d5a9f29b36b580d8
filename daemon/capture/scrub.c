/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "common/array.h"
#include "common/hashmap.h"
#include "common/text.h"
#include "daemon/capture/scrub.h"

/* A LIO disk's wwid is this and the first digits of its backstore's serial, filled up with zeros
 * (lio-backstores.h): wherever it is written, it must go on matching. */
#define NAA_LIO "6001405"
#define NAA_DIGITS 25
#define NAA_DIGITS_MIN 17
#define KNOWN_MIN 16 /* digits of what is looked for everywhere, */
#define KNOWN_MAX 32
#define MATCH_MIN 12 /* and of those that must be there */
#define DISTINCT_MIN 5
#define UUID_LENGTH_MIN 32
#define LVM_IDS_LENGTH 64

typedef struct Replacement {
        char *key, *value;
} Replacement;

struct Scrubber {
        Hashmap *by_key;
        Replacement **items;
        size_t n, capacity;
        Replacement **known; /* of these, what is looked for everywhere: sorted by key */
        size_t n_known;
};

static void replacement_free(Replacement *r) {
        free(r->key);
        free(r->value);
        free(r);
}

Scrubber *scrubber_free(Scrubber *s) {
        if (!s)
                return NULL;
        for (size_t i = 0; i < s->n; i++)
                replacement_free(s->items[i]);
        free(s->items);
        free(s->known);
        hashmap_free(s->by_key);
        free(s);
        return NULL;
}

Scrubber *scrubber_new(void) {
        Scrubber *s = calloc(1, sizeof(Scrubber));

        if (!s)
                return NULL;
        s->by_key = hashmap_new();
        return s->by_key ? s : scrubber_free(s);
}

/* No modulo bias worth speaking of: these are no keys. Never a zero, which would vanish where zeros fill up. */
static char draw(char old, uint8_t byte) {
        static const char digits[] = "123456789abcdef", letters[] = "ghijklmnopqrstuvwxyz";

        if (isxdigit((unsigned char) old))
                return digits[byte % (sizeof(digits) - 1)];
        return isalpha((unsigned char) old) ? letters[byte % (sizeof(letters) - 1)] : old;
}

/* What replaces the key, drawn at first use; it has the key's form. */
static int look_up(Scrubber *s, const char *key, const char **ret) {
        Replacement *r = hashmap_get(s->by_key, key);
        size_t n = strlen(key);
        int k = 0;

        if (!r) {
                r = calloc(1, sizeof(Replacement));
                if (!r)
                        return -ENOMEM;
                r->key = strdup(key);
                r->value = malloc(n + 1);
                if (!r->key || !r->value)
                        k = -ENOMEM;
                for (size_t done = 0; k >= 0 && done < n;) {
                        ssize_t got = getrandom(r->value + done, n - done, 0);

                        if (got < 0 && errno != EINTR)
                                k = -errno;
                        done += got > 0 ? (size_t) got : 0;
                }
                for (size_t i = 0; k >= 0 && i < n; i++)
                        r->value[i] = draw(key[i], (uint8_t) r->value[i]);
                if (k >= 0) {
                        r->value[n] = 0;
                        k = hashmap_put(s->by_key, r->key, r);
                }
                if (k >= 0)
                        k = ARRAY_APPEND(s->items, s->n, s->capacity, r);
                if (k < 0) {
                        hashmap_remove(s->by_key, key);
                        replacement_free(r);
                        return k;
                }
        }
        *ret = r->value;
        return 0;
}

static bool is_digit(char c) {
        return isxdigit((unsigned char) c);
}
static bool is_letter(char c) {
        return isalpha((unsigned char) c) && !is_digit(c);
}

/* Replaces those of the first 'length' characters that are of a kind, from the 'first' of them on, at most 'max'
 * of them, as one. Zeros at their end stay, as does the case of letters. */
static int replace(Scrubber *s, char *text, size_t length, bool (*of_kind)(char), size_t first, size_t max) {
        _cleanup_free_ char *key = malloc(length + 1);
        const char *value;
        size_t n = 0, seen = 0;
        int r;

        if (!key)
                return -ENOMEM;
        for (size_t i = 0; i < length; i++)
                if (of_kind(text[i]) && seen++ >= first && n < max)
                        key[n++] = (char) tolower((unsigned char) text[i]);
        while (n > 0 && key[n - 1] == '0')
                n--;
        if (n == 0)
                return 0;
        key[n] = 0;
        r = look_up(s, key, &value);
        if (r < 0)
                return r;
        seen = 0;
        for (size_t i = 0, k = 0; i < length && k < n; i++)
                if (of_kind(text[i]) && seen++ >= first) {
                        text[i] = isupper((unsigned char) text[i]) ? (char) toupper((unsigned char) value[k]) : value[k];
                        k++;
                }
        return 0;
}

static int scrub_part(Scrubber *s, char *text, size_t length) {
        int r;

        r = replace(s, text, length, is_letter, 0, SIZE_MAX);
        if (r >= 0)
                r = replace(s, text, length, is_digit, NAA_DIGITS, SIZE_MAX);
        return r < 0 ? r : replace(s, text, length, is_digit, 0, NAA_DIGITS);
}

/* A worldwide name is written "naa.6001405...", "36001405..." or, in names that are made of it, without either. */
int scrub_identifier(Scrubber *s, char *text) {
        char *rest = startswith(text, "naa.") ?: startswith(text, "eui.") ?: text;

        if (rest == text && text[0] == '3' && strspn(text, "0123456789abcdef") >= NAA_DIGITS_MIN)
                rest++;
        rest = startswith(rest, NAA_LIO) ?: rest;
        return scrub_part(s, rest, strlen(rest));
}

/* The maker's prefix tells what the device is, as does what follows the two ids of LVM ("-tpool"). */
static int scrub_dm_uuid(Scrubber *s, char *text) {
        static const char *const prefixes[] = { "CRYPT-", "LUKS1-", "LUKS2-", "PLAIN-", "VERITY-", "INTEGRITY-", "TEMP-", "LVM-", "mpath-", "dmz-" };
        char *p = text, *rest;
        size_t n;

        if (startswith(p, "part") && isdigit((unsigned char) p[4])) {
                rest = p + 4 + strspn(p + 4, "0123456789");
                if (*rest == '-')
                        p = rest + 1;
        }
        for (size_t i = 0; i < ELEMENTSOF(prefixes); i++)
                p = startswith(p, prefixes[i]) ?: p;
        n = strlen(p);
        if (p >= text + 4 && memcmp(p - 4, "LVM-", 4) == 0 && n > LVM_IDS_LENGTH && p[LVM_IDS_LENGTH] == '-')
                n = LVM_IDS_LENGTH;
        return n < strlen(p) ? scrub_part(s, p, n) : scrub_identifier(s, p);
}

/* "12345678-1234-...", and the NFS server's "12345678:12345678:..." */
static size_t uuid_length(const char *p) {
        size_t n = strspn(p, "0123456789abcdefABCDEF-:");

        return n >= UUID_LENGTH_MIN ? n : 0;
}

static bool ends_in(const char *text, const char *end, const char *suffix) {
        size_t n = strlen(suffix);

        return (size_t) (end - text) >= n && strncasecmp(end - n, suffix, n) == 0;
}

/* "uuid=", "fsid=", "/dev/disk/by-uuid/". Others are parts of paths, which stay. */
static int scrub_options(Scrubber *s, char *text) {
        for (char *p = text; *p; p++) {
                int r;

                if (!ends_in(text, p, "uuid=") && !ends_in(text, p, "fsid=") &&
                    !ends_in(text, p, "/dev/disk/by-uuid/") && !ends_in(text, p, "/dev/disk/by-partuuid/"))
                        continue;
                r = scrub_part(s, p, uuid_length(p));
                if (r < 0)
                        return r;
        }
        return 0;
}

/* As what it stands for, which is elsewhere without the escapes; these stay, and so does its length. */
static int scrub_escaped(Scrubber *s, char *text, size_t length) {
        _cleanup_free_ char *plain = strndup(text, length), *escaped = NULL;
        int r;

        if (!plain)
                return -ENOMEM;
        text_unescape_octal(plain);
        r = scrub_part(s, plain, strlen(plain));
        if (r < 0)
                return r;
        escaped = text_escape_octal(plain);
        if (!escaped)
                return -ENOMEM;
        if (strlen(escaped) == length)
                memcpy(text, escaped, length);
        return 0;
}

/* "MAJ:MIN DISKSEQ NQN NSID UUID=..." */
static int scrub_nvmet(Scrubber *s, char *text) {
        int r = 0;

        for (unsigned word = 0; r >= 0 && word < 5; word++) {
                size_t n = strcspn(text, " =\n");

                if (word == 2 || word == 4)
                        r = scrub_escaped(s, text, n);
                text += n + (text[n] == ' ');
        }
        return r;
}

/* "lio MAJ:MIN DISKSEQ naa.6001405...=core/HBA_N/NAME path:/dev/disk/by-id/..." */
static int scrub_probes(Scrubber *s, char *text) {
        static const char *const places[] = { ("naa." NAA_LIO), "path:/dev/disk/by-id/", "=/dev/disk/by-id/" };
        int r = 0;

        for (char *p = text; r >= 0 && *p; p++) {
                char *nvmet = p == text || p[-1] == '\n' ? startswith(p, "nvmet ") : NULL;

                if (nvmet)
                        r = scrub_nvmet(s, nvmet);
                for (size_t i = 0; r >= 0 && i < ELEMENTSOF(places); i++) {
                        char *rest = startswith(p, places[i]);

                        if (rest)
                                r = scrub_part(s, rest, strcspn(rest, " =\n"));
                }
        }
        return r;
}

/* The file system's UUID is a directory's name: "sys/fs/btrfs/UUID/...". */
static int scrub_path(Scrubber *s, char *path) {
        static const char *const places[] = { "sys/fs/btrfs/", "sys/fs/bcachefs/" };

        for (size_t i = 0; i < ELEMENTSOF(places); i++) {
                char *p = startswith(path, places[i]);

                if (p)
                        return scrub_part(s, p, uuid_length(p));
        }
        return 0;
}

static int scrub_one(Scrubber *s, Captured *c) {
        static const struct {
                const char *name; /* end of the path, from a slash on */
                int (*scrub)(Scrubber *s, char *text);
        } by_name[] = {
                { "/dm/uuid", scrub_dm_uuid },
                { "/md/uuid", scrub_identifier },
                { "/uuid", scrub_identifier }, /* of an NVMe namespace */
                { "/subsysnqn", scrub_identifier },
                { "/wwid", scrub_identifier },
                { "/serial", scrub_identifier },
                { "/unique_id", scrub_identifier },
                { "/boot_id", scrub_identifier },
                { "/mountinfo", scrub_options },
                { "/nfsd/exports", scrub_options },
                { "/stackd/probes", scrub_probes },
        };
        int r;

        r = scrub_path(s, c->path);
        for (size_t i = 0; r >= 0 && c->kind == CAPTURED_FILE && i < ELEMENTSOF(by_name); i++)
                if (endswith(c->path, by_name[i].name))
                        return by_name[i].scrub(s, c->content);
        return r;
}

/* How much of the key the text begins with, dashes and colons left out: digits, and the length in the text. */
static size_t match(const char *text, const char *key, size_t *ret_length) {
        size_t digits = 0, length = 0;

        for (size_t i = 0; key[digits]; i++) {
                if (i > 0 && (text[i] == '-' || text[i] == ':'))
                        continue;
                if (tolower((unsigned char) text[i]) != key[digits])
                        break;
                digits++;
                length = i + 1;
        }
        *ret_length = length;
        return digits;
}

/* Numbers that are no serial number have many zeros, and few different digits. */
static bool is_telling(const char *key) {
        unsigned seen = 0;

        if (strlen(key) < KNOWN_MIN || strspn(key, "0123456789abcdef") < KNOWN_MIN)
                return false;
        for (size_t i = 0; i < MATCH_MIN; i++)
                seen |= 1U << (key[i] <= '9' ? key[i] - '0' : key[i] - 'a' + 10);
        return __builtin_popcount(seen) >= DISTINCT_MIN;
}

/* The identifier that begins here: digits, dashes and colons, with no more digits than the longest one has. */
static size_t identifier_length(const char *text) {
        size_t digits = 0, length = 0;

        for (size_t i = 0; digits < KNOWN_MAX && (is_digit(text[i]) || text[i] == '-' || text[i] == ':'); i++)
                if (is_digit(text[i])) {
                        digits++;
                        length = i + 1;
                }
        return length;
}

static int compare_keys(const void *a, const void *b) {
        return strcmp((*(Replacement *const *) a)->key, (*(Replacement *const *) b)->key);
}

static int collect_known(Scrubber *s) {
        free(s->known);
        s->n_known = 0;
        s->known = malloc((s->n + 1) * sizeof(Replacement *));
        if (!s->known)
                return -ENOMEM;
        for (size_t i = 0; i < s->n; i++)
                if (is_telling(s->items[i]->key))
                        s->known[s->n_known++] = s->items[i];
        if (s->n_known > 1)
                qsort(s->known, s->n_known, sizeof(Replacement *), compare_keys);
        return 0;
}

/* The digits that begin here, without what stands between them. */
static size_t digits_of(const char *text, char ret[KNOWN_MAX + 1]) {
        size_t n = 0;

        for (; n < KNOWN_MAX && (is_digit(*text) || (n > 0 && (*text == '-' || *text == ':'))); text++)
                if (is_digit(*text))
                        ret[n++] = (char) tolower((unsigned char) *text);
        ret[n] = 0;
        return n;
}

/* Of what is known the one that the text begins with most of. Among sorted keys it stands beside where the text would:
 * users make as many of them as they like, and all of them are looked for at each place. */
static const Replacement *find_known(const Scrubber *s, const char *text, const char *digits) {
        size_t low = 0, high = s->n_known, best = 0, length;
        const Replacement *found = NULL;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (strcmp(s->known[middle]->key, digits) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        for (size_t i = low > 0 ? low - 1 : 0; i < s->n_known && i <= low; i++) {
                size_t n = match(text, s->known[i]->key, &length);

                if (n > best) {
                        best = n;
                        found = s->known[i];
                }
        }
        return best >= MATCH_MIN ? found : NULL;
}

/* What is known by now stands in names too: of a multipath device, of a mount point. */
static int scrub_known(Scrubber *s, char *text) {
        for (char *p = text; *p; p++) {
                char digits[KNOWN_MAX + 1];
                const Replacement *known = digits_of(p, digits) >= MATCH_MIN ? find_known(s, p, digits) : NULL;
                size_t length, n = known ? match(p, known->key, &length) : 0;
                int r;

                if (!known)
                        continue;
                if (!known->key[n]) {
                        /* All of it, and perhaps more: what follows was taken for itself. */
                        length = identifier_length(p);
                        r = scrub_part(s, p, length);
                        if (r < 0)
                                return r;
                } else
                        for (size_t k = 0, digit = 0; k < length; k++)
                                if (is_digit(p[k]))
                                        p[k] = known->value[digit++];
                p += length - 1;
        }
        return 0;
}

static int compare_paths(const void *a, const void *b) {
        return strcmp((*(Captured *const *) a)->path, (*(Captured *const *) b)->path);
}

int scrub_all(Scrubber *s, Captured **all, size_t n) {
        int r;

        for (size_t i = 0; i < n; i++) {
                r = scrub_one(s, all[i]);
                if (r < 0)
                        return r;
        }
        r = collect_known(s);
        for (size_t i = 0; r >= 0 && i < n; i++) {
                r = scrub_known(s, all[i]->path);
                if (r >= 0)
                        r = scrub_known(s, all[i]->content);
        }
        if (r < 0)
                return r;
        if (n > 1)
                qsort(all, n, sizeof(Captured *), compare_paths);
        return 0;
}
