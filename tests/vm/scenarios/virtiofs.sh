# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# A file system from outside of the machine is the end of a stack: nothing below it, no server here, and what stands
# on it is seen all the same.
#
# virtiofs: yes
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/stackd.sh
. /usr/lib/stackd-vm/lib/zoo.sh
require jq

systemctl start stackd.service
zoo_base

step "virtiofs, and a file system in a file of it"
mkdir -p /mnt/{shared,inner}
wait_for 60 'compgen -G "/sys/bus/virtio/drivers/virtiofs/virtio*"'
mount -t virtiofs shared /mnt/shared
truncate --size=64M /mnt/shared/image
format_and_mount "$(loop_up /mnt/shared/image)" /mnt/inner
expect_table <<'TABLE'
# name                  type      depth  stands on               processes
/mnt/inner              ext4          0  loop:/mnt/shared/image  -
loop:/mnt/shared/image  loop          1  file:/mnt/shared/image  -
file:/mnt/shared/image  file          1  /mnt/shared             -
/mnt/shared             virtiofs      1  -                       -
TABLE
oracles
verify_io /mnt/inner 4

step "down"
umount /mnt/inner
loop_down /mnt/shared/image
umount /mnt/shared
expect_table </dev/null
assert_no_stack
stackd_quiet
