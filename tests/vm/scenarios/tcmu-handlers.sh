# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Every handler of tcmu-runner that Debian packages but rbd, which needs a Ceph cluster: a disk from each, all served
# by the one process, and its file below that.
#
# timeout: 300
# disks: 1
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/stackd.sh
. /usr/lib/stackd-vm/lib/zoo.sh
require jq tcmu-runner qemu-img

LOWER=/srv/lower
SIZE=$((256 << 20))
target=/sys/kernel/config/target
fabric=$target/loopback/naa.5001405000000001
tpg=$fabric/tpgt_1

format_and_mount /dev/disk/by-id/virtio-data1 "$LOWER"
mkdir -p /mnt/qcow
qemu-img create -q -f qcow2 "$LOWER/disk.qcow2" "$SIZE"
truncate --size="$SIZE" "$LOWER"/{disc.iso,zoned.img}
handlers=$(cd /usr/lib/x86_64-linux-gnu/tcmu-runner && ls)
assert_eq "$(xargs <<<"$handlers")" "handler_file_optical.so handler_file_zbc.so handler_qcow.so handler_rbd.so"
systemctl start stackd.service
zoo_base

# disk_up NUMBER BLOCK-SIZE CONFIG: a backstore and a LUN of that number.
disk_up() {
        local store=$target/core/user_0/disk$1
        mkdir -p "$store" "$tpg/lun/lun_$1"
        printf '%s' "dev_size=$SIZE,hw_block_size=$2,async=1,dev_config=$3" >"$store/control"
        echo 1 >"$store/enable"
        cat /proc/sys/kernel/random/uuid >"$store/wwn/vpd_unit_serial"
        echo 0 >"$store/attrib/cmd_time_out"
        ln -s "$store" "$tpg/lun/lun_$1/x"
        wait_for 30 "[[ -b \$(disk $1) ]]"
}

# disk NUMBER: what the kernel has made of the LUN.
disk() {
        local found
        found=("/sys/class/scsi_device/$(cat "$tpg/address"):$1/device/block/"*)
        ((${#found[@]} == 1)) && echo "/dev/${found[0]##*/}"
}

step "qcow, an optical disc (fbo), a zoned disk (zbc)"
modprobe --all target_core_user tcm_loop
systemctl start tcmu-runner.service
mkdir -p "$tpg"
printf naa.5001405000000002 >"$tpg/nexus"
disk_up 0 512 "qcow/$LOWER/disk.qcow2"
disk_up 1 2048 "fbo/$LOWER/disc.iso"
disk_up 2 4096 "zbc/model-HM/lba-4096/zsize-64/conv-2@$LOWER/zoned.img"
udevadm settle
format_and_mount "$(disk 0)" /mnt/qcow

step "all of it, by hand and by tools"
expect_table <<TABLE
# name                type          depth  stands on                               processes
/srv/lower            ext4          1  /dev/disk/by-id/virtio-data1                -
/dev/disk/by-id/virtio-data1 disk   2  -                                           -
/mnt/qcow             ext4          0  $(disk 0)                                   -
$(disk 0)             tcm_loop      1  -                                           tcmu-runner
$(disk 1)             rom           0  -                                           tcmu-runner
$(disk 2)             tcm_loop      0  -                                           tcmu-runner
process:tcmu-runner   process       1  file:$LOWER/disk.qcow2,file:$LOWER/disc.iso,file:$LOWER/zoned.img,file:/var/log/tcmu-runner.log? -
file:/var/log/tcmu-runner.log file  1  /                                           -
file:$LOWER/disk.qcow2 file         1  /srv/lower                                  -
file:$LOWER/disc.iso  file          1  /srv/lower                                  -
file:$LOWER/zoned.img file          1  /srv/lower                                  -
TABLE
oracles
captured
wait_for 20 'is_marked "$(main_pid tcmu-runner.service)"'
verify_io /mnt/qcow 4

step "down"
umount /mnt/qcow
for number in 0 1 2; do
        rm "$tpg/lun/lun_$number/x"
        rmdir "$tpg/lun/lun_$number" "$target/core/user_0/disk$number"
done
rmdir "$tpg" "$fabric" "$target/core/user_0"
systemctl stop tcmu-runner.service
oracles
umount "$LOWER"
expect_table </dev/null
assert_no_stack
stackd_quiet
