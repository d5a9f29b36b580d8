# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Layers of the kernel's own, many kinds at once and on top of each other: seen as
# the field's tools see them, with the edges that they do not see; and gone when
# they are gone, in whatever order.
#
# by hand: it has not been seen to pass to its end yet
# timeout: 500
# disks: 2
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/stackd.sh
require jq lvm dmsetup mkfs.btrfs

oracles() {
        stackd_settled
        python3 /usr/lib/stackd-vm/lib/oracle.py || fail "the oracles disagree"
}

# below UPPER LOWER CERTAINTY: of blocks by kernel name, of anything else by id.
below() {
        stackctl --json=short status | jq -e --arg u "$1" --arg l "$2" --arg c "$3" '
                def is($x): .id == $x or (.kind == "block" and (.name == $x or .label == $x)) or (.mounts | index($x));
                . as $all | [$all.layers[] | select(is($l)) | .id] as $lower
                | [.layers[] | select(is($u)) | .lower[] | select(.certainty == $c and (.id as $i | $lower | index($i)))]
                | length > 0' >/dev/null || { stackctl --no-pager status; fail "$1 does not stand on $2 ($3)"; }
}

# depth WHAT NUMBER
depth() {
        assert_eq "$(layer_at "$1" .depth)" "$2" "depth of $1"
}

D1=$(readlink -f /dev/disk/by-id/virtio-data1)
D2=$(readlink -f /dev/disk/by-id/virtio-data2)

step "LVM: linear, thin, snapshot"
vgcreate -q vg "$D1"
lvcreate -qq -y -L 1G -n plain vg
lvcreate -qq -y --type thin-pool -L 1G -n pool vg 2>/dev/null || echo "(no thin tools here)"
if lvs vg/pool &>/dev/null; then
        lvcreate -qq -y -V 2G -T vg/pool -n thin
fi
lvcreate -qq -y -s -L 256M -n snap vg/plain
oracles
below vg-plain vg-plain-real proven

step "ext4 on a snapshot origin, an image on it, a partition table in the image"
format_and_mount /dev/vg/plain /mnt/plain
truncate --size=600M /mnt/plain/disk.img
# Two primary partitions of 290 MiB each; no partitioning tool is at hand.
python3 - /mnt/plain/disk.img <<'PYTHON'
import struct, sys
entry = lambda start, size: struct.pack("<B3sB3sII", 0, b"", 0x83, b"", start, size)
size = 290 << 11
with open(sys.argv[1], "r+b") as file:
    file.write(bytes(446) + entry(2048, size) + entry(2048 + size, size) + bytes(32) + b"\x55\xaa")
PYTHON
loop=$(losetup --find --show --partscan /mnt/plain/disk.img)
loop=${loop#/dev/}
wait_for 10 "[[ -b /dev/${loop}p2 ]]"
oracles
below "${loop}p1" "$loop" proven

step "btrfs over both partitions, a subvolume, a swap file and an image in it"
mkfs.btrfs -qf "/dev/${loop}p1" "/dev/${loop}p2"
mkdir -p /mnt/btrfs
mount "/dev/${loop}p1" /mnt/btrfs
btrfs -q subvolume create /mnt/btrfs/sub
truncate --size=200M /mnt/btrfs/sub/image
inner=$(losetup --find --show /mnt/btrfs/sub/image)
inner=${inner#/dev/}
oracles
below /mnt/btrfs "${loop}p1" proven
below /mnt/btrfs "${loop}p2" proven
depth /mnt/btrfs 0
depth /mnt/plain 1

step "ext4 in the image in the subvolume; an overlay of three places; an overlay on that"
format_and_mount "/dev/$inner" /mnt/inner
mkdir -p '/mnt/inner/lo,w:er' /mnt/inner/{upper,work} /mnt/plain/lower /mnt/over /mnt/over2
mount -t overlay overlay -o 'lowerdir=/mnt/inner/lo\,w\:er:/mnt/plain/lower,upperdir=/mnt/inner/upper,workdir=/mnt/inner/work' /mnt/over
mkdir -p /mnt/over/{a,b}
mount -t overlay overlay2 -o 'lowerdir=/mnt/over/a:/mnt/over/b' /mnt/over2
oracles
below /mnt/over /mnt/inner inferred
below /mnt/over /mnt/plain inferred
below /mnt/over2 /mnt/over inferred
depth /mnt/over2 0
depth /mnt/over 1
depth /mnt/inner 2
depth /mnt/btrfs 3
depth /mnt/plain 4

step "swap: a file on ext4, zram with a backing device"
# fallocate makes holes that swapon refuses on some file systems.
dd if=/dev/zero of='/mnt/plain/swap file' bs=1M count=32 status=none
chmod 600 '/mnt/plain/swap file'
mkswap -q '/mnt/plain/swap file'
swapon '/mnt/plain/swap file'
modprobe zram num_devices=1
truncate --size=64M /mnt/plain/zram.img
back=$(losetup --find --show /mnt/plain/zram.img)
oracles
if echo "$back" >/sys/block/zram0/backing_dev; then
        echo 64M >/sys/block/zram0/disksize
        mkswap -q /dev/zram0
        swapon /dev/zram0
        oracles
        below zram0 "${back#/dev/}" proven
        stackctl --json=short status | jq -e '.layers[] | select(.kind == "swap" and .name == "zram0" and .height >= 1)' >/dev/null ||
                fail "swap on zram does not stand on the file system that it is written back to"
        swapoff /dev/zram0
fi
echo 1 >/sys/block/zram0/reset
losetup --detach "$back"
wait_for 10 "! losetup $back 2>/dev/null"
stackctl --json=short status | jq -e '.layers[] | select(.kind == "swap" and .path == "/mnt/plain/swap file" and .depth == 0 and .height >= 1)' >/dev/null ||
        fail "the swap file does not stand on its file system"

step "a backing file that is renamed, and deleted"
mv /mnt/btrfs/sub/image /mnt/btrfs/sub/renamed
stackd_settled
# No event tells of that; looking again does.
oracles
rm /mnt/btrfs/sub/renamed
stackd_settled
stackctl check >/run/check || :       # it exits with 1 when it finds something
grep backing-deleted /run/check || fail "the deleted backing file is no hazard"

step "torn down from below: lazily, by force"
umount --lazy /mnt/btrfs
oracles
umount /mnt/over2 /mnt/over /mnt/inner
losetup --detach "/dev/$inner"
wait_for 10 "! losetup /dev/$inner 2>/dev/null"
losetup --detach "/dev/$loop" || :
wait_for 10 "! losetup /dev/$loop 2>/dev/null"
oracles
swapoff '/mnt/plain/swap file'
umount /mnt/plain
vgchange -qq -an vg
oracles
vgremove -qq -y vg
oracles

step "names that mean harm"
hostile=$'/mnt/a\nb \e[31m\\x1b'
mkdir -p "$hostile"
mount -t tmpfs $'t\tm' "$hostile"
dmsetup create $'evil name (deleted)' --table "0 2048 linear $D2 0" 2>/dev/null || dmsetup create evil --table "0 2048 linear $D2 0"
oracles
stackctl list layers | LC_ALL=C grep -q $'[\e\x01-\x08]' && fail "a control character reached the terminal"
umount "$hostile"
dmsetup remove_all
oracles
stackd_quiet
