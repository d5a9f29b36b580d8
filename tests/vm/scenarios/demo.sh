# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# To be read as it runs: what "make run" shows where the machine itself allows
# no marks. stackd is installed in this guest, and nothing has started it.
#
# timeout: 300
# disks: 1
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/tcmu.sh
. /usr/lib/stackd-vm/lib/stackd.sh
require dmzadm tcmu-runner jq
export PAGER=cat

heading() {
        printf '\n--- %s\n\n' "$*"
}

show_flags() {
        printf 'task flags of tcmu-runner, as /proc tells: '
        flags_of "$runner" | awk '{ n[$2]++ } END { for (flags in n) printf "%d threads & 0x180000 = %s; ", n[flags], flags; print "" }'
}

heading "A disk served by a process: ext4 <- image file <- tcmu-runner <- SCSI disk <- dm-zoned"
for layer in lower backstore disk dm; do
        "tcmu_${layer}_up" >/dev/null 2>&1
done
runner=$(main_pid "$TCMU_UNIT")
stackd_settled
echo "udev has started stackd: $(systemctl is-active stackd.service). Nothing is mounted on the disk, so nothing is done:"
show_flags
assert_unmarked "$runner"

heading "XFS is mounted on it, and an ext4 image on that XFS"
tcmu_xfs_up
wait_for 10 'is_marked "$runner"'
tcmu_inner_up
stackd_settled
stackctl --no-pager status "$TCMU_INNER"
echo
show_flags
assert_marked "$runner"

heading "Data goes through the whole stack; threads that come up meanwhile are marked as well"
verify_io "$TCMU_INNER" 16
show_flags
assert_marked "$runner"

heading "Both are unmounted; tcmu-runner runs on, and must reclaim memory like any other again"
tcmu_inner_down
tcmu_xfs_down
wait_for 10 'is_unmarked "$runner"'
show_flags
assert_unmarked "$runner"

for layer in dm disk backstore lower; do
        "tcmu_${layer}_down" >/dev/null 2>&1
done
assert_no_stack
