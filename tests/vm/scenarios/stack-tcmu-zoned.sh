# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# The tcmu stack comes up in the guest, carries data, and goes without a trace.
#
# by hand: with stackd in the payload first-light-tcmu has the same stack
# timeout: 300
# disks: 1

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/tcmu.sh
require dmzadm tcmu-runner

tcmu_zoned_stack_up
lsblk --inverse "$(tcmu_dm)"
ls -l "/proc/$(main_pid "$TCMU_UNIT")/fd"
assert_eq "$(cat "/sys/block/$(basename "$(tcmu_disk)")/queue/zoned")" host-managed

step "data through the whole stack"
verify_io "$TCMU_INNER" 32

have_stackd || assert_unmarked "$(main_pid "$TCMU_UNIT")"

tcmu_zoned_stack_down
assert_no_stack
