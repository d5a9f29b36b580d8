# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# What a reservation is for: a server two slices deep, whose memory is its own
# and could be swapped out, and a hog that takes what it can get. With stackd
# the server keeps its memory, without it loses it.
#
# timeout: 400
# memory: 512
# disks: 1
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/stackd.sh
require nbdkit nbd-client jq python3

HOG_MIB=420
UNIT=/sys/fs/cgroup/system.slice/system-deep.slice/nbdkit.service

resident() {
        awk '$1 == "VmRSS:" { print $2 }' "/proc/$server/status"
}

# hog: touches more than there is again and again, from a scope that may swap.
hog() {
        systemd-run --quiet --wait --collect --unit=hog python3 -c "
size = $HOG_MIB << 20
memory = bytearray(size)
for _ in range(2):
    for i in range(0, size, 4096):
        memory[i] = (memory[i] + 1) & 255"
}

# wake: all of it in memory again, by reading it through the device.
wake() {
        echo 3 >/proc/sys/vm/drop_caches
        cat /mnt/nbd/data >/dev/null
        echo 3 >/proc/sys/vm/drop_caches
}

mkswap --quiet /dev/disk/by-id/virtio-data1
swapon /dev/disk/by-id/virtio-data1

step "a server with its data in memory"
modprobe nbd nbds_max=1
systemd-run --quiet --unit=nbdkit --slice=system-deep.slice nbdkit --foreground --unix /run/nbd.sock memory 128M
wait_for 20 '[[ -S /run/nbd.sock ]]'
systemd-run --quiet --unit=client --property=Type=forking --property=GuessMainPID=no nbd-client -nonetlink -unix /run/nbd.sock /dev/nbd0
wait_for 20 '[[ $(cat /sys/block/nbd0/size) != 0 ]]'
format_and_mount /dev/nbd0 /mnt/nbd
head -c 48M /dev/urandom >/mnt/nbd/data
sync -f /mnt/nbd
server=$(main_pid nbdkit.service)
stackd_settled
wake

for with in yes no; do
        if [[ $with == yes ]]; then
                stackctl apply >/dev/null
                (($(cat "$UNIT/memory.min") > 0)) || fail "no reservation"
        else
                stackctl revert >/dev/null
                assert_eq "$(cat "$UNIT/memory.min")" 0
        fi
        wake
        before=$(resident)
        hog
        after=$(resident)
        step "reservation: $with ($(cat "$UNIT/memory.min"), used $(process_field "$server" .memory_min_effective) in effect); resident before $before KiB, after $after KiB; swapped $(cat "$UNIT/memory.swap.current")"
        if [[ $with == yes ]]; then
                ((after * 10 >= before * 9)) || fail "lost memory that was reserved"
        else
                ((after * 2 <= before)) || fail "kept its memory without: the hog is too small to prove anything"
        fi
done

stackctl apply >/dev/null
umount /mnt/nbd
nbd-client -d /dev/nbd0
systemctl stop nbdkit.service
nbd_remove
swapoff /dev/disk/by-id/virtio-data1
assert_no_stack
stackd_settled
stackd_quiet
