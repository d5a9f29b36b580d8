#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# swap <- /dev/nbd0 <- qemu-nbd, direct I/O <- disk
#
# memory: 384
# expect: hang starved
# by hand: it takes real-time priority as well, which stackd does not give

. /usr/lib/stackd-vm/extra/proof.sh

systemd-run --quiet --unit=proof-server \
        qemu-nbd --format=raw --cache=none --persistent --socket=/run/nbd.sock /dev/disk/by-id/virtio-data1
nbd_client_up
mkswap /dev/nbd0 >/dev/null
swapon /dev/nbd0
drive block:nbd0 proof-server.service --swap --writers 1 --mib 420
