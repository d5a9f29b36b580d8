/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <archive.h>
#include <archive_entry.h>
#include <string.h>

#include "cli/complain.h"
#include "cli/tarball.h"
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

static int complain_write(struct archive *to, const char *name) {
        return complain("Cannot write the capture to '%s': %s. Nothing is left of it.", name, archive_error_string(to) ?: "unknown error");
}

/* ARCHIVE_OK, or what the failing side said is complained about. */
static int copy_entry(struct archive *from, struct archive *to, struct archive_entry *entry, const char *name) {
        const void *block;
        size_t n;
        la_int64_t offset;
        int r;

        if (archive_write_header(to, entry) < ARCHIVE_WARN)
                return complain_write(to, name);
        while ((r = archive_read_data_block(from, &block, &n, &offset)) == ARCHIVE_OK)
                if (archive_write_data(to, block, n) < 0)
                        return complain_write(to, name);
        return r == ARCHIVE_EOF ? 0 : complain("stackd's capture is damaged: %s. Please report it.", archive_error_string(from));
}

int tarball_write(const char *archive, size_t size, const char *name, int fd, size_t *ret_n) {
        _cleanup_(archive_freep) struct archive *from = archive_read_new(), *to = archive_write_new();
        struct archive_entry *entry;
        size_t count = 0;
        int r;

        if (!from || !to)
                return -ENOMEM;
        if (archive_read_support_format_cpio(from) != ARCHIVE_OK || archive_read_open_memory(from, archive, size) != ARCHIVE_OK)
                return complain("stackd's capture is damaged: %s. Please report it.", archive_error_string(from));
        if (archive_write_set_format_pax_restricted(to) != ARCHIVE_OK || add_filter(to, name) < ARCHIVE_WARN ||
            archive_write_open_fd(to, fd) != ARCHIVE_OK)
                return complain_write(to, name);
        while ((r = archive_read_next_header(from, &entry)) == ARCHIVE_OK) {
                r = copy_entry(from, to, entry, name);
                if (r < 0)
                        return r;
                count++;
        }
        if (r != ARCHIVE_EOF)
                return complain("stackd's capture is damaged: %s. Please report it.", archive_error_string(from));
        if (archive_write_close(to) != ARCHIVE_OK)
                return complain_write(to, name);
        *ret_n = count;
        return 0;
}
