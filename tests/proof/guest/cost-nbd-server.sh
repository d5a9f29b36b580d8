#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# XFS <- /dev/nbd0 <- nbd-server <- file <- ext4, with plenty of memory
#
# memory: 2048
# expect: completed
# by hand: it proves nothing, but tells what the cure costs where there is no disease

. /usr/lib/stackd-vm/extra/nbd-server-proof.sh

nbd_server_up
drive block:nbd0 proof-server.service --writers 2 --mib 100 --latency 500
