#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# XFS <- /dev/nbd0 <- nbdkit, one thread <- file <- ext4; server and writer in one cgroup of 160 MiB, as in a container
#
# memory: 512
# expect: hang starved unfinished

. /usr/lib/stackd-vm/extra/proof.sh

lower_up
truncate --size=4G "$LOWER/image"
systemd-run --quiet --unit=proof-server --property=MemoryMax=160M \
        nbdkit --foreground --threads=1 --unix /run/nbd.sock file "$LOWER/image"
nbd_client_up
xfs_on /dev/nbd0
drive block:nbd0 proof-server.service --join
