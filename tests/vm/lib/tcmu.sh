# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# The stack of the hang that started it all, each layer by a function of its own:
#
#   lower      ext4 on a data disk, with a sparse image file
#   backstore  tcmu-runner serves that file as a host-managed zoned device
#   disk       tcm_loop makes a SCSI disk of it
#   dm         dm-zoned makes an ordinary block device of that
#   xfs        XFS on it, with an image file
#   inner      a loop device over that file, and ext4 on it
#
# tcmu_zoned_stack_up and _down run them all, tcmu_NAME_up and _down just one.
# The functions for one layer need those before it.

TCMU_LAYERS=(lower backstore disk dm xfs inner)
TCMU_LOWER=/srv/lower
TCMU_XFS=/mnt/xfs
TCMU_INNER=/mnt/inner
TCMU_SIZE=$((4 << 30))
TCMU_UNIT=tcmu-runner.service

_tcmu_target=/sys/kernel/config/target
_tcmu_backstore=$_tcmu_target/core/user_0/z
_tcmu_loopback=$_tcmu_target/loopback/naa.5001405000000001
_tcmu_tpg=$_tcmu_loopback/tpgt_1

tcmu_zoned_stack_up() {
        local layer
        for layer in "${TCMU_LAYERS[@]}"; do
                step "up: $layer"
                "tcmu_${layer}_up"
        done
}

tcmu_zoned_stack_down() {
        local i
        for ((i = ${#TCMU_LAYERS[@]} - 1; i >= 0; i--)); do
                step "down: ${TCMU_LAYERS[i]}"
                "tcmu_${TCMU_LAYERS[i]}_down"
        done
}

tcmu_lower_up() {
        format_and_mount /dev/disk/by-id/virtio-data1 "$TCMU_LOWER"
        truncate --size="$TCMU_SIZE" "$TCMU_LOWER/zoned.img"
}

tcmu_lower_down() {
        umount "$TCMU_LOWER"
}

tcmu_backstore_up() {
        modprobe --all target_core_user tcm_loop
        systemctl start "$TCMU_UNIT"
        mkdir -p "$_tcmu_backstore"
        printf '%s' "dev_size=$TCMU_SIZE,hw_block_size=4096,async=1," \
                "dev_config=zbc/model-HM/lba-4096/zsize-64/conv-8@$TCMU_LOWER/zoned.img" >"$_tcmu_backstore/control"
        printf 1 >"$_tcmu_backstore/enable"
        # As targetcli does; the disk's world-wide name is made of it.
        cat /proc/sys/kernel/random/uuid >"$_tcmu_backstore/wwn/vpd_unit_serial"
        # An emulated processor is slow enough for the default to strike at
        # random; it cannot be changed any more once there is a LUN.
        printf 0 >"$_tcmu_backstore/attrib/cmd_time_out"
}

# tcmu_backstore_remove: it alone, with its server left running.
tcmu_backstore_remove() {
        rmdir "$_tcmu_backstore" "${_tcmu_backstore%/*}"
}

tcmu_backstore_down() {
        tcmu_backstore_remove
        systemctl stop "$TCMU_UNIT"
}

tcmu_disk_up() {
        local disk
        mkdir -p "$_tcmu_tpg/lun/lun_0"
        printf naa.5001405000000002 >"$_tcmu_tpg/nexus"
        ln -s "$_tcmu_backstore" "$_tcmu_tpg/lun/lun_0/z"
        wait_for 30 '[[ -b $(tcmu_disk) ]]'
        disk=$(tcmu_disk)
        udevadm settle
        printf 600 >"/sys/block/${disk##*/}/device/timeout"
        printf 600 >"/sys/block/${disk##*/}/device/eh_timeout"
}

tcmu_disk_down() {
        rm "$_tcmu_tpg/lun/lun_0/z"
        rmdir "$_tcmu_tpg/lun/lun_0" "$_tcmu_tpg" "$_tcmu_loopback"
}

# tcmu_disk: the SCSI disk, by its address and not by its name, which depends on
# what else there is.
tcmu_disk() {
        local found
        found=("/sys/class/scsi_disk/$(cat "$_tcmu_tpg/address"):0/device/block/"*)
        ((${#found[@]} == 1)) && echo "/dev/${found[0]##*/}"
}

tcmu_dm_up() {
        local disk
        disk=$(tcmu_disk)
        modprobe dm-zoned
        dmzadm --format "$disk" --force
        dmzadm --start "$disk"
        wait_for 30 '[[ -b $(tcmu_dm) ]]'
        udevadm settle
}

tcmu_dm_down() {
        dmzadm --stop "$(tcmu_disk)"
}

# tcmu_dm: what dm-zoned has made of the disk.
tcmu_dm() {
        local disk found
        disk=$(tcmu_disk)
        found=("/sys/block/${disk##*/}/holders/"*)
        ((${#found[@]} == 1)) && echo "/dev/${found[0]##*/}"
}

tcmu_xfs_up() {
        mkfs.xfs -qfK "$(tcmu_dm)"
        mkdir -p "$TCMU_XFS"
        mount "$(tcmu_dm)" "$TCMU_XFS"
        truncate --size=512M "$TCMU_XFS/inner.img"
}

tcmu_xfs_down() {
        umount "$TCMU_XFS"
}

tcmu_inner_up() {
        losetup --find "$TCMU_XFS/inner.img"
        format_and_mount "$(loop_of "$TCMU_XFS/inner.img")" "$TCMU_INNER"
}

tcmu_inner_down() {
        umount "$TCMU_INNER"
        losetup --detach "$(loop_of "$TCMU_XFS/inner.img")"
}
