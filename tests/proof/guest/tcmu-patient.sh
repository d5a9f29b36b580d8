#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# XFS <- SCSI disk <- tcmu-runner, zbc handler, time-outs off <- file <- ext4
#
# memory: 512
# expect: hang starved

. /usr/lib/stackd-vm/extra/tcmu-proof.sh
tcmu_up model-HA conv-62 patient
xfs_on "/dev/$DISK" -d size=3840m
drive "block:$DISK" tcmu-runner.service
