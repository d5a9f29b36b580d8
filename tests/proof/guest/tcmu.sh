#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# XFS <- SCSI disk <- tcmu-runner, zbc handler, time-outs as shipped <- file <- ext4: the server of the 2019 thread
#
# memory: 512
# expect: failed hang starved unfinished

. /usr/lib/stackd-vm/extra/tcmu-proof.sh
tcmu_up model-HA conv-62
xfs_on "/dev/$DISK" -d size=3840m
drive "block:$DISK" tcmu-runner.service
