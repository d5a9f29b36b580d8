# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# A stack on servers is taken down in the order of the book, from below by force, and in random orders: after
# each step of these the graph is what the machine is, and at the end nothing is left.
#
#     TEARDOWN_SEED=N      of the random orders; $SRANDOM for ever new ones
#     TEARDOWN_ROUNDS=N    how many of them
#
# timeout: 500
# disks: 1
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/stackd.sh
. /usr/lib/stackd-vm/lib/zoo.sh
require jq dmsetup nbdkit nbd-client bindfs
UBLK=/usr/lib/stackd-vm/extra/ublk-server
[[ -x $UBLK ]] || skip "no ublk-server in the payload: run.py --extra"

LOWER=/srv/lower
# Everything that is done, each so that it may be done at any time, and again.
STEPS=(over inner_a inner_fuse fs_line fs_nbd fuse lower loop_a loop_fuse line nbd_client
        kill_ublk kill_fuse kill_nbd delete_ublk swap)
# Debian 12's kernel has no ublk: another nbd stands in.
[[ $(uname -r) == 6.1.* ]] || HAVE_UBLK=1

mounted() {
        mountpoint --quiet "$1"
}

down_over() { ! mounted /mnt/over || umount --lazy /mnt/over; }
down_inner_a() { ! mounted /mnt/a || umount --lazy /mnt/a; }
down_inner_fuse() { ! mounted /mnt/c || umount --lazy /mnt/c; }
down_fs_line() { ! mounted /mnt/line || umount --lazy /mnt/line; }
down_fs_nbd() { ! mounted /mnt/nbd || umount --lazy /mnt/nbd; }
# A server that is gone makes it no mount point to stat(2).
down_fuse() { ! grep -q ' /mnt/fuse ' /proc/self/mounts || umount --lazy /mnt/fuse; }
down_lower() { ! mounted "$LOWER" || umount --lazy "$LOWER"; }
down_loop_a() { [[ ! -e /sys/block/${loop_a#/dev/}/loop ]] || losetup --detach "$loop_a"; }
down_loop_fuse() { [[ ! -e /sys/block/${loop_fuse#/dev/}/loop ]] || losetup --detach "$loop_fuse"; }
# While it is in use its table is replaced by one that gives errors.
down_line() { ! dmsetup info line &>/dev/null || dmsetup remove --force line &>/dev/null || :; }
down_nbd_client() { [[ ! -e /sys/block/nbd0/pid ]] || nbd-client -d /dev/nbd0 >/dev/null || :; }
down_swap() { ! grep -q /mnt/swap/ /proc/swaps || swapoff /mnt/swap/swap; }
down_kill_ublk() { kill_unit zoo-ublk; }
down_kill_fuse() { kill_unit zoo-fuse; }
down_kill_nbd() { kill_unit zoo-nbd; }
# The driver has it wait until nobody has the disk open.
down_delete_ublk() {
        if [[ ! -v HAVE_UBLK ]]; then
                [[ ! -e /sys/block/nbd1/pid ]] || nbd-client -d /dev/nbd1 >/dev/null || :
                return
        fi
        [[ ! -e /dev/ublkc0 ]] || systemctl --quiet is-active zoo-delete || systemd-run --quiet --collect --unit=zoo-delete "$UBLK" delete 0
}

# kill_unit NAME: in the middle of whatever its processes do.
kill_unit() {
        ! systemctl --quiet is-active "$1" || systemctl kill --signal=KILL "$1"
        wait_for 20 "! systemctl --quiet is-active $1"
        systemctl reset-failed "$1" 2>/dev/null || :
}

# nbd_up UNIT FILE DEVICE
nbd_up() {
        rm -f "/run/$1.sock"
        systemd-run --quiet --collect --unit="$1" nbdkit --foreground --unix "/run/$1.sock" file "$2"
        wait_for 20 "[[ -S /run/$1.sock ]]"
        systemd-run --quiet --collect --unit="$1-client" --property=Type=forking nbd-client -N any -nonetlink -unix "/run/$1.sock" "$3"
        wait_for 20 "[[ \$(cat /sys/block/${3#/dev/}/size) != 0 ]]"
}

up() {
        modprobe nbd nbds_max=2
        mount /dev/disk/by-id/virtio-data1 "$LOWER"
        mkdir -p "$LOWER"/{fuse,swap} /mnt/{line,a,fuse,c,nbd,over,swap}
        rm -f "$LOWER"/*.img "$LOWER"/fuse/*
        truncate --size=128M "$LOWER"/{ublk,nbd}.img
        truncate --size=32M "$LOWER/fuse/image"

        if [[ -v HAVE_UBLK ]]; then
                base=/dev/ublkb0
                systemd-run --quiet --collect --unit=zoo-ublk "$UBLK" serve 0 "$LOWER/ublk.img"
                wait_for 20 '[[ -b /dev/ublkb0 ]]'
        else
                base=/dev/nbd1
                nbd_up zoo-ublk "$LOWER/ublk.img" "$base"
        fi
        udevadm settle
        dmsetup create line --table "0 $(blockdev --getsz "$base") linear $base 0"
        format_and_mount /dev/mapper/line /mnt/line
        truncate --size=64M /mnt/line/image
        loop_a=$(loop_up /mnt/line/image)
        format_and_mount "$loop_a" /mnt/a

        systemd-run --quiet --collect --unit=zoo-fuse bindfs -f "$LOWER/fuse" /mnt/fuse
        wait_for 20 'mountpoint --quiet /mnt/fuse'
        loop_fuse=$(loop_up /mnt/fuse/image)
        format_and_mount "$loop_fuse" /mnt/c

        nbd_up zoo-nbd "$LOWER/nbd.img" /dev/nbd0
        format_and_mount /dev/nbd0 /mnt/nbd

        mkdir -p /mnt/a/{upper,work}
        mount -t overlay overlay -o lowerdir=/mnt/nbd:/mnt/c,upperdir=/mnt/a/upper,workdir=/mnt/a/work /mnt/over
        dd if=/dev/zero of=/mnt/swap/swap bs=1M count=8 status=none
        chmod 600 /mnt/swap/swap
        mkswap -q /mnt/swap/swap
        swapon /mnt/swap/swap
}

# again: what could not go before something else had gone. A file system lets go of its device a moment after its
# last mount has gone.
again() {
        local step
        for step in "${STEPS[@]}"; do
                "down_$step"
        done
        gone
}

# gone: nothing is left of the stack.
gone() {
        # It lists an nbd that was connected once.
        lsblk --nodeps --bytes --noheadings --output=NAME,SIZE | awk '$1 !~ /^vd/ && $2 > 0 { exit 1 }' &&
                [[ ! -e /dev/ublkc0 && ! -e /sys/block/nbd0/pid && ! -e /sys/block/nbd1/pid && -z $(losetup --all) ]] &&
                ! dmsetup info line &>/dev/null &&
                findmnt --noheadings --raw --output=TARGET | awk '/^\/(mnt|srv)\// { left = 1 } END { exit left }'
}

# try STEP: a kernel that has lost a server may never come back from it, and cannot be taken down any further then;
# stackd must still answer.
try() {
        local deadline=$((SECONDS + 60)) pid blocked
        printf '%(%T)T %s\n' -1 "$1"
        "down_$1" &
        pid=$!
        while kill -0 "$pid" 2>/dev/null; do
                if ((SECONDS >= deadline)); then
                        blocked=$(ps -e --no-headers --format=state,pid,comm,wchan:32 | grep ^D) || fail "$1 does not end"
                        timeout 20 stackctl status >/dev/null || (($? == 1)) || fail "stackd does not answer"
                        skip "this kernel hangs at $1:" $blocked
                fi
                sleep 0.1
        done
        wait "$pid" || fail "$1 failed"
}

# down STEP...: in this order, with a look after each, and then until nothing is left.
down() {
        local step
        for step; do
                try "$step"
                # lvs and the like would ask devices that are dead.
                oracles lsblk findmnt swaps losetup dmsetup nbd unmounted existence >/dev/null
        done
        finish
}

# finish: until nothing is left, neither of the stack nor of it in the graph.
finish() {
        wait_for 60 again
        # udev may look at the device once more.
        nbd_remove
        assert_no_stack
        oracles
        expect_table </dev/null
}

[[ ! -v HAVE_UBLK ]] || modprobe ublk_drv
modprobe fuse
mkdir -p "$LOWER" /mnt/swap
mkfs.ext4 -qF -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 /dev/disk/by-id/virtio-data1
systemctl start stackd.service
zoo_base

step "by the book"
up
oracles
for step in over inner_a loop_a fs_line line delete_ublk inner_fuse loop_fuse fuse fs_nbd nbd_client kill_nbd swap lower; do
        try "$step"
done
finish

step "from below, by force"
up
down lower kill_ublk kill_fuse kill_nbd line nbd_client delete_ublk fuse loop_fuse loop_a fs_line inner_a fs_nbd inner_fuse over swap

seed=${TEARDOWN_SEED:-12384}
RANDOM=$((seed & 32767))
for ((round = 1; round <= ${TEARDOWN_ROUNDS:-1}; round++)); do
        order=("${STEPS[@]}")
        for ((i = ${#order[@]} - 1; i > 0; i--)); do
                j=$((RANDOM % (i + 1)))
                other=${order[i]}
                order[i]=${order[j]}
                order[j]=$other
        done
        step "at random (TEARDOWN_SEED=$((seed & 32767)), round $round): ${order[*]}"
        up
        down "${order[@]}"
done
