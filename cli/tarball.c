/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <archive.h>
#include <archive_entry.h>
#include <string.h>

#include "cli/complain.h"
#include "cli/tarball.h"
#include "common/text-stream.h"
#include "common/text.h"

DEFINE_TRIVIAL_CLEANUP_FUNC(struct archive *, archive_free);

static int add_filter(struct archive *to, const char *name) {
        static const struct {
                const char *suffix;
                int (*add)(struct archive *);
        } filters[] = {
                { ".gz", archive_write_add_filter_gzip }, { ".tgz", archive_write_add_filter_gzip },
                { ".xz", archive_write_add_filter_xz },   { ".zst", archive_write_add_filter_zstd },
        };

        for (size_t i = 0; i < ELEMENTSOF(filters); i++)
                if (endswith(name, filters[i].suffix))
                        return filters[i].add(to);
        return ARCHIVE_OK;
}

static int complain_damaged(struct archive *a) {
        return complain("stackd's capture is damaged: %s. Please report it.", archive_error_string(a) ?: "unknown error");
}

static int copy_entry(struct archive *from, struct archive *to, struct archive_entry *entry) {
        const void *block;
        size_t n;
        la_int64_t offset;
        int r;

        if (archive_write_header(to, entry) < ARCHIVE_WARN)
                return complain_damaged(to);
        while ((r = archive_read_data_block(from, &block, &n, &offset)) == ARCHIVE_OK)
                if (archive_write_data(to, block, n) < 0)
                        return complain_damaged(to);
        return r == ARCHIVE_EOF ? 0 : complain_damaged(from);
}

static int copy(const char *archive, size_t size, const char *name, FILE *f, size_t *ret_n) {
        _cleanup_(archive_freep) struct archive *from = archive_read_new(), *to = archive_write_new();
        struct archive_entry *entry;
        size_t n = 0;
        int r;

        if (!from || !to)
                return -ENOMEM;
        if (archive_read_support_format_cpio(from) != ARCHIVE_OK || archive_read_open_memory(from, archive, size) != ARCHIVE_OK)
                return complain_damaged(from);
        if (archive_write_set_format_pax_restricted(to) != ARCHIVE_OK || add_filter(to, name) < ARCHIVE_WARN ||
            archive_write_set_bytes_in_last_block(to, 1) != ARCHIVE_OK || /* nothing behind what is compressed */
            archive_write_open_FILE(to, f) != ARCHIVE_OK)
                return complain("Cannot make an archive of the kind that '%s' ends in: %s.", name, archive_error_string(to));
        while ((r = archive_read_next_header(from, &entry)) == ARCHIVE_OK) {
                r = copy_entry(from, to, entry);
                if (r < 0)
                        return r;
                n++;
        }
        if (r != ARCHIVE_EOF)
                return complain_damaged(from);
        if (archive_write_close(to) != ARCHIVE_OK)
                return complain_damaged(to);
        *ret_n = n;
        return 0;
}

int tarball_new(const char *archive, size_t size, const char *name, char **ret, size_t *ret_size, size_t *ret_n) {
        _cleanup_free_ char *buffer = NULL;
        FILE *f;
        int r;

        f = text_stream_open(&buffer, ret_size);
        if (!f)
                return -errno;
        r = copy(archive, size, name, f, ret_n);
        if (fclose(f) != 0 && r >= 0)
                r = -ENOMEM;
        if (r >= 0)
                *ret = TAKE_PTR(buffer);
        return r;
}
