#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# XFS <- dm-zoned <- SCSI disk <- tcmu-runner, time-outs as shipped <- file <- ext4: the whole stack of the 2019 thread
#
# memory: 512
# suites: trixie
# expect: failed hang starved unfinished

. /usr/lib/stackd-vm/extra/tcmu-proof.sh
tcmu_up model-HM conv-8
dmzadm --format "/dev/$DISK" --force >/dev/null
dmzadm --start "/dev/$DISK" >/dev/null
udevadm settle
xfs_on /dev/dm-0
drive "block:$DISK" tcmu-runner.service
