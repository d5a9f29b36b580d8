# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# File systems that are mounted nowhere any more and still in use, below a loop device, a swap area, a server's open file,
# anybody's open file; and while they are being unmounted. They are seen, and gone when they are.
#
# timeout: 400
# disks: 1
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/stackd.sh
. /usr/lib/stackd-vm/lib/zoo.sh
require jq bindfs mkfs.btrfs nbdkit nbd-client

LOWER=/srv/lower

# holder NAME FILE: a process in a unit that has a file open there and is in its directory.
holder() {
        systemd-run --quiet --collect --unit="$1" --property=WorkingDirectory="${2%/*}" \
                sh -c "exec 3>>'$2'; touch /run/$1.ready; exec sleep infinity"
        wait_for 20 "[[ -e /run/$1.ready ]]"
        rm "/run/$1.ready"
}

# unmounted TYPE: a jq filter, the file systems of that type that are mounted nowhere.
unmounted() {
        printf '[.layers[] | select(.kind == "filesystem" and .type == "%s" and .mounts == [])]' "$1"
}

# image NAME SIZE: a loop device over a new image of that size.
image() {
        truncate --size="$2" "$LOWER/$1.img"
        loop_up "$LOWER/$1.img"
}

modprobe fuse
modprobe nbd nbds_max=1
format_and_mount /dev/disk/by-id/virtio-data1 "$LOWER"
mkdir -p "$LOWER"/{fuse,export} /mnt/{a,fuse,inner,btrfs,nbd,swap,nfs}
systemctl start stackd.service
zoo_base

step "ext4, an open file of anybody's"
device=$(image a 32M)
format_and_mount "$device" /mnt/a
holder zoo-holder /mnt/a/file
umount --lazy /mnt/a
told 20 "$(unmounted ext4) | length == 1"
expect_table <<TABLE
unmounted:ext4                    ext4~         0  $device                                          -
$device                           loop          1  file:$LOWER/a.img                                -
file:$LOWER/a.img                 file          1  $LOWER                                           -
TABLE
systemctl stop zoo-holder
# No event tells of its end: this is looked for, at most half a minute after it.
told 60 "$(unmounted ext4) | length == 0"

step "ext4, a swap file"
format_and_mount "$device" /mnt/swap
dd if=/dev/zero of=/mnt/swap/area bs=1M count=4 status=none
chmod 600 /mnt/swap/area
mkswap -q /mnt/swap/area
holder zoo-holder /mnt/swap/file
swapon /mnt/swap/area
umount --lazy /mnt/swap
told 20 "$(unmounted ext4) | length == 1"
expect_table <<TABLE
swap:/area                        swap          0  path:/area                                       -
path:/area                        file~         1  unmounted:ext4?                                  -
unmounted:ext4                    ext4~         1  $device                                          -
$device                           loop          2  file:$LOWER/a.img                                -
file:$LOWER/a.img                 file          2  $LOWER                                           -
TABLE
swapoff "/proc/$(main_pid zoo-holder)/cwd/area"
told 20 '[.layers[] | select(.kind == "swap")] == []'
systemctl stop zoo-holder
told 60 "$(unmounted ext4) | length == 0"
losetup --detach "$device"

step "FUSE, below a loop device; its server dies"
truncate --size=32M "$LOWER/fuse/image"
systemd-run --quiet --collect --unit=zoo-fuse bindfs -f "$LOWER/fuse" /mnt/fuse
wait_for 20 'mountpoint --quiet /mnt/fuse'
inner=$(loop_up /mnt/fuse/image)
format_and_mount "$inner" /mnt/inner
umount --lazy /mnt/fuse
told 20 "$(unmounted fuse) | length == 1"
fuse_table() {
        expect_table <<TABLE
/mnt/inner                        ext4          0  $inner                                           -
$inner                            loop          1  file:/image                                      -
file:/image                       file          1  unmounted:fuse                                   -
unmounted:fuse                    fuse~         1  -                                                $1
$2
TABLE
}
fuse_table bindfs "process:bindfs process 2 file:$LOWER/fuse?,file:$LOWER/fuse/image,$LOWER? -
file:$LOWER/fuse file 2 $LOWER -
file:$LOWER/fuse/image file 2 $LOWER -"
assert_marked "$(main_pid zoo-fuse)"
systemctl kill --signal=KILL zoo-fuse
told 20 '[.processes[] | select(.comm == "bindfs")] == []'
# Where the file is cannot be asked any more.
told 20 "$(unmounted fuse) | length == 1"
umount --lazy /mnt/inner
losetup --detach "$inner"
told 60 "$(unmounted fuse) | length == 0"

step "btrfs on two devices, below a loop device in a subvolume, and a file of a server"
first=$(image b1 140M)
second=$(image b2 140M)
mkfs.btrfs -qfK "$first" "$second"
mount "$first" /mnt/btrfs
btrfs -q subvolume create /mnt/btrfs/sub
truncate --size=32M /mnt/btrfs/sub/{image,nbd}
inner=$(loop_up /mnt/btrfs/sub/image)
format_and_mount "$inner" /mnt/inner
systemd-run --quiet --collect --unit=zoo-nbd nbdkit --foreground --unix /run/zoo-nbd.sock file /mnt/btrfs/sub/nbd
wait_for 20 "[[ -S /run/zoo-nbd.sock ]]"
systemd-run --quiet --collect --unit=zoo-client --property=Type=forking nbd-client -N any -nonetlink -unix /run/zoo-nbd.sock /dev/nbd0
wait_for 20 '[[ $(cat /sys/block/nbd0/size) != 0 ]]'
format_and_mount /dev/nbd0 /mnt/nbd
umount --lazy /mnt/btrfs
told 20 "$(unmounted btrfs) | length == 1"
expect_table <<TABLE
/mnt/inner                        ext4          0  $inner                                           -
$inner                            loop          1  path:/sub/image                                  -
path:/sub/image                   file~         1  unmounted:btrfs?                                 -
/mnt/nbd                          ext4          0  /dev/nbd0                                        -
/dev/nbd0                         nbd           1  -                                                nbdkit,!nbd-client
process:nbd-client                process       1  -                                                -
process:nbdkit                    process       1  file:/sub/nbd                                    -
file:/sub/nbd                     file          1  unmounted:btrfs                                  -
unmounted:btrfs                   btrfs~        1  $first,$second                                   -
$first                            loop          2  file:$LOWER/b1.img                               -
$second                           loop          2  file:$LOWER/b2.img                               -
file:$LOWER/b1.img                file          2  $LOWER                                           -
file:$LOWER/b2.img                file          2  $LOWER                                           -
TABLE
umount /mnt/inner /mnt/nbd
nbd-client -d /dev/nbd0 >/dev/null
systemctl stop zoo-nbd
losetup --detach "$inner"
told 30 "$(unmounted btrfs) | length == 0"
losetup --detach "$first" "$second"
told 20 '[.layers[] | select(.type == "loop" or .type == "nbd")] == []'

step "NFS from the kernel's server, below a loop device"
if systemctl start nfs-server.service; then
        ip link set lo up
        exportfs -o rw,no_root_squash,fsid=7,insecure "127.0.0.1:$LOWER/export"
        mount -t nfs4 -o vers=4.2 "127.0.0.1:$LOWER/export" /mnt/nfs
        truncate --size=16M /mnt/nfs/image
        inner=$(loop_up /mnt/nfs/image)
        format_and_mount "$inner" /mnt/inner
        umount --lazy /mnt/nfs
        told 20 "$(unmounted nfs4) | length == 1"
        expect_table <<TABLE
/mnt/inner                        ext4          0  $inner                                           -
$inner                            loop          1  file:/image                                      -
file:/image                       file          1  unmounted:nfs4                                   -
unmounted:nfs4                    nfs4~         1  $LOWER?                                          -
TABLE
        umount /mnt/inner
        losetup --detach "$inner"
        told 30 "$(unmounted nfs4) | length == 0"
        exportfs -ua
        systemctl stop nfs-server.service
fi

step "while it is unmounted, and written back, it is there, and its server stays marked"
truncate --size=64M "$LOWER/slow.img"
systemd-run --quiet --collect --unit=zoo-nbd nbdkit --foreground --unix /run/zoo-slow.sock --filter=delay file "$LOWER/slow.img" delay-write=300ms
wait_for 20 "[[ -S /run/zoo-slow.sock ]]"
systemd-run --quiet --collect --unit=zoo-client --property=Type=forking nbd-client -N any -nonetlink -unix /run/zoo-slow.sock /dev/nbd0
wait_for 20 '[[ $(cat /sys/block/nbd0/size) != 0 ]]'
format_and_mount /dev/nbd0 /mnt/nbd
stackd_settled
server=$(main_pid zoo-nbd)
wait_for 20 'is_marked "$server"'
dd if=/dev/zero of=/mnt/nbd/file bs=1M count=40 status=none
umount /mnt/nbd &
umount=$!
wait_for 20 '! grep -q " /mnt/nbd " /proc/self/mounts'
told 20 "$(unmounted ext4) | length == 1"
assert_marked "$server"
kill -0 "$umount" || fail "it was unmounted before that could be looked at"
wait "$umount"
told 60 "$(unmounted ext4) | length == 0"
wait_for 20 'is_unmarked "$server"'
nbd-client -d /dev/nbd0 >/dev/null
systemctl stop zoo-nbd

umount "$LOWER"
# udev may look at the device once more.
nbd_remove
assert_no_stack
oracles
stackd_quiet
