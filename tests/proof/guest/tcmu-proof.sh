# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# tcmu_up MODEL CONVENTIONAL [patient]: a SCSI disk, $DISK, that tcmu-runner serves.

. /usr/lib/stackd-vm/extra/proof.sh

tcmu_up() {
        local store=/sys/kernel/config/target/core/user_0/z loopback=/sys/kernel/config/target/loopback/naa.5001405000000001
        local place
        lower_up
        truncate --size=4G "$LOWER/image"
        modprobe --all target_core_user tcm_loop
        systemctl start tcmu-runner.service
        mkdir -p "$store"
        printf '%s' "dev_size=$((4 << 30)),hw_block_size=4096,async=1,dev_config=zbc/$1/lba-4096/zsize-64/$2@$LOWER/image" >"$store/control"
        printf 1 >"$store/enable"
        cat /proc/sys/kernel/random/uuid >"$store/wwn/vpd_unit_serial"
        [[ ${3:-} != patient ]] || printf 0 >"$store/attrib/cmd_time_out"
        mkdir -p "$loopback/tpgt_1/lun/lun_0"
        printf naa.5001405000000002 >"$loopback/tpgt_1/nexus"
        ln -s "$store" "$loopback/tpgt_1/lun/lun_0/z"
        wait_for 30 'compgen -G "/sys/devices/tcm_loop_0/tcm_loop_adapter_0/host*/target*/*/block/sd*" >/dev/null'
        udevadm settle
        place=$(echo /sys/devices/tcm_loop_0/tcm_loop_adapter_0/host*/target*/*/block/sd*)
        DISK=${place##*/}
        if [[ ${3:-} == patient ]]; then
                printf 600 >"/sys/block/$DISK/device/timeout"
                printf 600 >"/sys/block/$DISK/device/eh_timeout"
        fi
}
