#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# XFS <- loop device <- image <- FUSE file system of bindfs <- ext4
#
# memory: 512
# expect: hang starved unfinished

. /usr/lib/stackd-vm/extra/proof.sh

lower_up
mkdir -p "$LOWER/images" /srv/fuse
systemd-run --quiet --unit=proof-server bindfs -f "$LOWER/images" /srv/fuse
wait_for 30 'mountpoint --quiet /srv/fuse'
truncate --size=4G /srv/fuse/image
device=$(losetup --find --show /srv/fuse/image)
xfs_on "$device"
drive "block:${device##*/}" proof-server.service
