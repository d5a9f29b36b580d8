/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A fuzzer without libFuzzer: it is given directories and files, and takes every file as it is, cut off at some places,
 * and with some of its bytes changed. */
#include <dirent.h>
#include <errno.h>

#include "common/file.h"
#include "common/text.h"
#include "tests/fuzz/fuzz.h"

#define PLACES_MAX 64U

static void vary(uint8_t *data, size_t size) {
        static const uint8_t bytes[] = { 0, '\n', '\\', '[', '=', 0xff };
        size_t step = size / PLACES_MAX + 1;

        LLVMFuzzerTestOneInput(data, size);
        for (size_t i = 0; i < size; i += step) {
                uint8_t byte = data[i];

                LLVMFuzzerTestOneInput(data, i);
                for (size_t k = 0; k < ELEMENTSOF(bytes); k++) {
                        data[i] = bytes[k];
                        LLVMFuzzerTestOneInput(data, size);
                }
                data[i] = byte;
        }
}

static int run_file(const char *path) {
        _cleanup_fclose_ FILE *f = fopen(path, "re");
        _cleanup_free_ char *text = NULL;
        _cleanup_free_ uint8_t *data = NULL;
        size_t size;
        int r;

        if (!f)
                return -errno;
        r = file_read_fd(fileno(f), 1 << 24, &text, &size);
        if (r < 0)
                return r;
        /* Of its own size, so that a sanitizer sees what reads beyond it. */
        data = malloc(size ?: 1);
        if (!data)
                return -ENOMEM;
        memcpy(data, text, size);
        vary(data, size);
        return 0;
}

static int run(const char *path, unsigned *n) {
        _cleanup_closedir_ DIR *d = opendir(path);
        struct dirent *de;
        int r;

        if (!d) {
                ++*n;
                return errno == ENOTDIR ? run_file(path) : -errno;
        }
        while ((errno = 0, de = readdir(d))) {
                _cleanup_free_ char *inner = text_format("%s/%s", path, de->d_name);

                if (de->d_name[0] == '.')
                        continue;
                r = inner ? run(inner, n) : -ENOMEM;
                if (r < 0)
                        return r;
        }
        return -errno;
}

int main(int argc, char **argv) {
        printf("1..%d\n", argc - 1);
        for (int i = 1; i < argc; i++) {
                unsigned n = 0;
                int r = run(argv[i], &n);

                if (r < 0 || n == 0) {
                        printf("Bail out! %s: %s\n", argv[i], r < 0 ? strerror(-r) : "there is nothing in it");
                        return 1;
                }
                printf("ok %d - %s: %u files\n", i, argv[i], n);
        }
        return 0;
}
