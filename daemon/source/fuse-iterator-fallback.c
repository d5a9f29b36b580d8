/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "daemon/source/fuse-iterator.h"

int fuse_iterator_read(FuseServers *ret _unused_) {
        return -EOPNOTSUPP;
}
