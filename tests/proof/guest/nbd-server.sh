#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# XFS <- /dev/nbd0 <- nbd-server, as Debian has it <- file <- ext4
#
# memory: 512
# expect: hang starved
# quick: yes

. /usr/lib/stackd-vm/extra/nbd-server-proof.sh

nbd_server_up
drive block:nbd0 proof-server.service
