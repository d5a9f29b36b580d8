#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# XFS <- /dev/nbd0 <- nbd-server, as Debian has it <- file <- ext4
#
# memory: 512
# expect: hang starved
# quick: yes

. /usr/lib/stackd-vm/extra/proof.sh

lower_up
truncate --size=4G "$LOWER/image"
printf '[generic]\nunixsock=/run/nbd.sock\n[e]\nexportname=%s\n' "$LOWER/image" >/run/nbd-server.conf
systemd-run --quiet --unit=proof-server nbd-server -d -C /run/nbd-server.conf
wait_for 30 '[[ -S /run/nbd.sock ]]'
modprobe nbd
udevadm settle         # which has each of them open for a moment, and the kernel then calls it busy
nbd-client -unix /run/nbd.sock -N e /dev/nbd0 >/dev/null
wait_for 30 '[[ $(cat /sys/block/nbd0/size) != 0 ]]'
xfs_on /dev/nbd0
drive block:nbd0 proof-server.service
