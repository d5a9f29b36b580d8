# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# The FUSE stacks come up in the guest, carry data, and go without a trace.
#
# by hand: with stackd in the payload first-light-fuse has the same stacks
# timeout: 300
# disks: 2

. /usr/lib/stackd-vm/lib/lib.sh
require bindfs fuse2fs
. /usr/lib/stackd-vm/lib/fuse.sh

# fuse_fds PID: how many /dev/fuse it has open.
fuse_fds() {
        find "/proc/$1/fd" -lname /dev/fuse | wc -l
}

fuse_lower_up
for kind in "${FUSE_KINDS[@]}"; do
        step "up: $kind"
        fuse_up "$kind"
        fuse_inner_up "$kind"

        step "data through $kind"
        verify_io "$(fuse_inner "$kind")" 16

        pid=$(main_pid "$(fuse_unit "$kind")")
        threads=$(flags_of "$pid" | wc -l)
        step "$kind: pid $pid, $threads threads, $(fuse_fds "$pid") descriptors of /dev/fuse"
        case $kind in
        single) assert_eq "$threads" 1 "threads" ;;
        pool) ((threads > 1)) ;;
        clone) (($(fuse_fds "$pid") > 1)) ;;
        esac
        have_stackd || assert_unmarked "$pid"
done
lsblk; findmnt | grep fuse

for kind in "${FUSE_KINDS[@]}"; do
        step "down: $kind"
        fuse_inner_down "$kind"
        fuse_down "$kind"
done
fuse_lower_down
assert_no_stack
