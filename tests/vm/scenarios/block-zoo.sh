# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Layers of the kernel's own, as many kinds as can stand at once, eight file systems deep: seen as a person
# says, and as the field's tools see them; and what happens to backing files.
#
# timeout: 400
# disks: 2
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/stackd.sh
. /usr/lib/stackd-vm/lib/zoo.sh
require jq lvm dmsetup mkfs.btrfs mdadm cryptsetup integritysetup mksquashfs mkfs.erofs

D1=$(readlink -f /dev/disk/by-id/virtio-data1)
D2=$(readlink -f /dev/disk/by-id/virtio-data2)
FORMAT=(mkfs.ext4 -qF -E "nodiscard,lazy_itable_init=0,lazy_journal_init=0")
# Linux 6.12 reads an EROFS image without a loop device.
[[ $(uname -r) == 6.1.* ]] || EROFS_FILE=1

systemctl start stackd.service
zoo_base

step "LVM: linear, thin, snapshot, cache"
vgcreate -q vg "$D1"
for volume in plain:1G journal:64M log:80M secret:64M; do
        lvcreate -qq -y -L "${volume#*:}" -n "${volume%:*}" vg
done
lvcreate -qq -y --type thin-pool -L 128M -n pool vg
lvcreate -qq -y -V 1G -T vg/pool -n thin
lvcreate -qq -y -s -L 64M -n snap vg/plain
lvcreate -qq -y -L 64M -n cached vg
lvcreate -qq -y --type cache -L 16M -n fast vg/cached

step "ext4 with a journal elsewhere; md over images on it; XFS with a log elsewhere"
mkfs.ext4 -qF -O journal_dev -b 4096 /dev/vg/journal
"${FORMAT[@]}" -b 4096 -J device=/dev/vg/journal /dev/vg/plain
mkdir -p /mnt/{plain,xfs,btrfs,inner,squash,erofs,file,over,over2,secret,cached,thin,bind}
mount /dev/vg/plain /mnt/plain
truncate --size=400M /mnt/plain/m{0,1}.img
mdadm --create --quiet --run --level=1 --assume-clean --metadata=1.2 --bitmap=none --raid-devices=2 /dev/md/zoo \
        "$(loop_up /mnt/plain/m0.img)" "$(loop_up /mnt/plain/m1.img)"
# It waits for udev, and not long enough for an emulated one.
wait_for 60 '[[ -b /dev/md/zoo ]]'
mkfs.xfs -qfK -l logdev=/dev/vg/log,size=64m /dev/md/zoo
mount -o logdev=/dev/vg/log /dev/md/zoo /mnt/xfs

step "a partition table in an image, btrfs over both partitions, an image in a subvolume"
truncate --size=300M /mnt/xfs/disk.img
# Two primary partitions of 140 MiB each; no partitioning tool is at hand.
python3 - /mnt/xfs/disk.img <<'PYTHON'
import struct, sys
entry = lambda start, size: struct.pack("<B3sB3sII", 0, b"", 0x83, b"", start, size)
size = 140 << 11
with open(sys.argv[1], "r+b") as file:
    file.write(bytes(446) + entry(2048, size) + entry(2048 + size, size) + bytes(32) + b"\x55\xaa")
PYTHON
disk=$(loop_up /mnt/xfs/disk.img --partscan)
wait_for 20 "[[ -b ${disk}p2 ]]"
mkfs.btrfs -qfK "${disk}p1" "${disk}p2"
mount "${disk}p1" /mnt/btrfs
btrfs -q subvolume create /mnt/btrfs/sub
truncate --size=100M /mnt/btrfs/sub/image
inner=$(loop_up /mnt/btrfs/sub/image)

step "ext4 in that, squashfs in that, EROFS in that; an overlay of them, and one on that"
"${FORMAT[@]}" "$inner"
mount "$inner" /mnt/inner
mkdir -p /run/source/{a,b} /mnt/inner/{upper,work}
echo something >/run/source/a/file
mkfs.erofs --quiet /run/image.erofs /run/source 2>/dev/null
mkdir /run/squash
mv /run/image.erofs /run/squash
mksquashfs /run/squash /mnt/inner/squash.img -quiet -no-progress
squash=$(loop_up /mnt/inner/squash.img --read-only)
mount -o ro "$squash" /mnt/squash
erofs=$(loop_up /mnt/squash/image.erofs --read-only)
mount -t erofs -o ro "$erofs" /mnt/erofs
[[ ! -v EROFS_FILE ]] || mount -t erofs -o ro /mnt/squash/image.erofs /mnt/file
mount -t overlay overlay -o lowerdir=/mnt/erofs/a:/mnt/squash,upperdir=/mnt/inner/upper,workdir=/mnt/inner/work /mnt/over
mkdir -p /mnt/over/{x,y}
mount -t overlay overlay2 -o lowerdir=/mnt/over/x:/mnt/over/y /mnt/over2

step "integrity and encryption, a cached volume, a bind mount"
integritysetup format --batch-mode --integrity crc32c /dev/vg/secret
integritysetup open --integrity crc32c /dev/vg/secret whole
head -c 32 /dev/urandom >/run/key
cryptsetup open --batch-mode --type plain --cipher aes-xts-plain64 --key-size 256 --key-file /run/key /dev/mapper/whole secret
"${FORMAT[@]}" /dev/mapper/secret
mount /dev/mapper/secret /mnt/secret
"${FORMAT[@]}" /dev/vg/cached
mount /dev/vg/cached /mnt/cached
mount --bind /mnt/cached /mnt/bind

step "swap: on a thin volume, in a file, on zram with a backing device"
mkswap -q /dev/vg/thin
swapon /dev/vg/thin
# A hole would be refused.
dd if=/dev/zero of='/mnt/plain/swap file' bs=1M count=16 status=none
chmod 600 '/mnt/plain/swap file'
mkswap -q '/mnt/plain/swap file'
swapon '/mnt/plain/swap file'
modprobe zram num_devices=1
truncate --size=32M /mnt/secret/zram.img
zram=$(loop_up /mnt/secret/zram.img)
echo "$zram" >/sys/block/zram0/backing_dev
echo 32M >/sys/block/zram0/disksize
mkswap -q /dev/zram0
swapon /dev/zram0

step "all of it, by hand and by tools"
oracles
captured
{
        cat <<'TABLE'
# name                            type          depth  stands on                                        processes
/mnt/over2                        overlay       0  /mnt/over?                                           -
/mnt/over                         overlay       1  /mnt/erofs?,/mnt/squash?,/mnt/inner?                 -
/mnt/erofs                        erofs         2  loop:/mnt/squash/image.erofs                         -
loop:/mnt/squash/image.erofs      loop          3  file:/mnt/squash/image.erofs                         -
file:/mnt/squash/image.erofs      file          3  /mnt/squash                                          -
/mnt/squash                       squashfs      3  loop:/mnt/inner/squash.img                           -
loop:/mnt/inner/squash.img        loop          4  file:/mnt/inner/squash.img                           -
file:/mnt/inner/squash.img        file          4  /mnt/inner                                           -
/mnt/inner                        ext4          4  loop:/mnt/btrfs/sub/image                            -
loop:/mnt/btrfs/sub/image         loop          5  file:/mnt/btrfs/sub/image                            -
file:/mnt/btrfs/sub/image         file          5  /mnt/btrfs=                                          -
/mnt/btrfs                        btrfs         5  loop:/mnt/xfs/disk.img#1,loop:/mnt/xfs/disk.img#2    -
loop:/mnt/xfs/disk.img#1          partition     6  loop:/mnt/xfs/disk.img                               -
loop:/mnt/xfs/disk.img#2          partition     6  loop:/mnt/xfs/disk.img                               -
loop:/mnt/xfs/disk.img            loop          6  file:/mnt/xfs/disk.img                               -
file:/mnt/xfs/disk.img            file          6  /mnt/xfs                                             -
/mnt/xfs                          xfs           6  /dev/md/zoo,/dev/vg/log=                             -
/dev/vg/log                       dm-linear     7  /dev/disk/by-id/virtio-data1                         -
/dev/md/zoo                       md            7  loop:/mnt/plain/m0.img,loop:/mnt/plain/m1.img        -
loop:/mnt/plain/m0.img            loop          7  file:/mnt/plain/m0.img                               -
loop:/mnt/plain/m1.img            loop          7  file:/mnt/plain/m1.img                               -
file:/mnt/plain/m0.img            file          7  /mnt/plain                                           -
file:/mnt/plain/m1.img            file          7  /mnt/plain                                           -
/mnt/plain                        ext4          7  /dev/vg/plain,/dev/vg/journal                        -
/dev/vg/journal                   dm-linear     8  /dev/disk/by-id/virtio-data1                         -
/dev/vg/plain                     dm-snapshot-origin 8  /dev/mapper/vg-plain-real                       -
/dev/mapper/vg-plain-real         dm-linear     8  /dev/disk/by-id/virtio-data1                         -
/dev/vg/snap                      dm-snapshot   0  /dev/mapper/vg-plain-real,/dev/mapper/vg-snap-cow    !dmeventd?
/dev/mapper/vg-snap-cow           dm-linear     0  /dev/disk/by-id/virtio-data1                         -
/dev/disk/by-id/virtio-data1      disk          8  -                                                    -

/mnt/secret                       ext4          1  /dev/mapper/secret                                   -
/dev/mapper/secret                dm-crypt      2  /dev/mapper/whole                                    -
/dev/mapper/whole                 dm-integrity  2  /dev/vg/secret                                       -
/dev/vg/secret                    dm-linear     2  /dev/disk/by-id/virtio-data1                         -

/mnt/cached                       ext4          0  /dev/vg/cached                                       -
/mnt/bind                         ext4          0  /dev/vg/cached                                       -
/dev/vg/cached                    dm-cache      1  /dev/mapper/vg-cached_corig,/dev/mapper/vg-fast_cpool_cdata,/dev/mapper/vg-fast_cpool_cmeta -
/dev/mapper/vg-cached_corig       dm-linear     1  /dev/disk/by-id/virtio-data1                         -
/dev/mapper/vg-fast_cpool_cdata   dm-linear     1  /dev/disk/by-id/virtio-data1                         -
/dev/mapper/vg-fast_cpool_cmeta   dm-linear     1  /dev/disk/by-id/virtio-data1                         -

swap:/dev/vg/thin                 swap          0  /dev/vg/thin                                         -
/dev/vg/thin                      dm-thin       1  /dev/mapper/vg-pool-tpool                            -
/dev/mapper/vg-pool-tpool         dm-thin-pool  1  /dev/mapper/vg-pool_tdata,/dev/mapper/vg-pool_tmeta  !dmeventd?
/dev/mapper/vg-pool               dm-linear     0  /dev/mapper/vg-pool-tpool                            -
/dev/mapper/vg-pool_tdata         dm-linear     1  /dev/disk/by-id/virtio-data1                         -
/dev/mapper/vg-pool_tmeta         dm-linear     1  /dev/disk/by-id/virtio-data1                         -
swap:/mnt/plain/swap%20file       swap          0  path:/mnt/plain/swap%20file                          -
path:/mnt/plain/swap%20file       file          1  /mnt/plain=                                          -
swap:/dev/zram0                   swap          0  /dev/zram0                                           -
/dev/zram0                        zram          1  loop:/mnt/secret/zram.img                            -
loop:/mnt/secret/zram.img         loop          1  file:/mnt/secret/zram.img                            -
file:/mnt/secret/zram.img         file          1  /mnt/secret                                          -

process:dmeventd                  process       1  -                                                    -
TABLE
        if [[ -v EROFS_FILE ]]; then
                cat <<'TABLE'
/mnt/file                         erofs         0  path:/mnt/squash/image.erofs?                        -
path:/mnt/squash/image.erofs      file          1  /mnt/squash?                                         -
TABLE
        fi
} | expect_table

step "a backing file that is renamed, and deleted"
mv /mnt/btrfs/sub/image /mnt/btrfs/sub/renamed
oracles
rm /mnt/btrfs/sub/renamed
oracles
captured
stackctl check >/run/check || :       # it exits with 1 when it finds something
grep backing-deleted /run/check || fail "the deleted backing file is no hazard"

step "down"
swapoff --all
# udev looks into what has just been closed.
wait_for 20 '{ echo 1 >/sys/block/zram0/reset; } 2>/dev/null'
loop_down /mnt/secret/zram.img
umount /mnt/bind /mnt/cached /mnt/secret
cryptsetup close secret
integritysetup close whole
mountpoint --quiet /mnt/file && umount /mnt/file
umount /mnt/over2 /mnt/over /mnt/erofs
loop_down /mnt/squash/image.erofs
umount /mnt/squash
loop_down /mnt/inner/squash.img
umount /mnt/inner
losetup --detach "$inner"
wait_for 20 "! losetup $inner &>/dev/null"
umount /mnt/btrfs
loop_down /mnt/xfs/disk.img
umount /mnt/xfs
wait_for 20 'mdadm --stop --quiet /dev/md/zoo'
loop_down /mnt/plain/m0.img
loop_down /mnt/plain/m1.img
umount /mnt/plain
vgremove -qq -y -f vg
wait_for 20 'rmmod zram 2>/dev/null'
oracles
expect_table </dev/null

step "a backing file in another mount namespace, and when that has ended"
mkfs.ext4 -qF -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 "$D2"
mkdir -p /mnt/elsewhere /mnt/here
systemd-run --quiet --collect --unit=zoo-namespace --property=PrivateMounts=yes sh -c "mount $D2 /mnt/elsewhere &&
        truncate --size=64M /mnt/elsewhere/image && touch /run/zoo-ready && exec sleep infinity"
wait_for 20 '[[ -e /run/zoo-ready ]]'
here=$(nsenter --target "$(main_pid zoo-namespace.service)" --mount losetup --find --show /mnt/elsewhere/image)
format_and_mount "$here" /mnt/here
oracles
captured
# elsewhere TYPE PATH: of the file system there, with its mark, and of the image.
elsewhere() {
        expect_table <<TABLE
/mnt/here                         ext4          0  $here                            -
$here                             loop          1  file:$2                          -
file:$2                           file          1  fs:$D2                           -
fs:$D2                            $1            1  $D2                              -
TABLE
}
elsewhere ext4 /mnt/elsewhere/image
systemctl stop zoo-namespace.service
oracles
# It lives on, mounted nowhere; paths begin where it was mounted.
elsewhere ext4~ /image
umount /mnt/here
losetup --detach "$here"
wait_for 20 "! losetup $here &>/dev/null"
expect_table </dev/null

step "names that mean harm"
hostile=$'/mnt/a\nb \e[31m\\x1b'
mkdir -p "$hostile"
mount -t tmpfs $'t\tm' "$hostile"
dmsetup create 'evil name (deleted)' --table "0 2048 linear $D2 0"
oracles
captured
! stackctl list layers | LC_ALL=C grep -q $'[\e\x01-\x08]' || fail "a control character reached the terminal"
umount "$hostile"
dmsetup remove --retry "evil name (deleted)"
oracles
assert_no_stack
stackd_quiet
