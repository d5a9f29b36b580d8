# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Kinds that stand beside those of block-zoo and server-zoo: file systems that few use, file systems in memory, a FUSE
# file system on a block device, CIFS, overlays with awkward names and with hundreds of directories, bcache, and
# the kernel's NVMe target.
#
# timeout: 500
# disks: 1
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/stackd.sh
. /usr/lib/stackd-vm/lib/zoo.sh
require jq mkfs.f2fs mkfs.jfs mkfs.gfs2 mkfs.xfs make-bcache smbd mount.cifs python3

LOWER=/srv/lower
LIB=/usr/lib/stackd-vm/lib
format_and_mount /dev/disk/by-id/virtio-data1 "$LOWER"
mkdir -p "$LOWER/share" /mnt/{f2fs,jfs,gfs2,xfs,memory,ram,in-memory,in-ram,fuseblk,cifs,bcache,nvme1,nvme2,names,plain,many} /srv/{a,b}
for image in f2fs0 f2fs1 jfs gfs2 fuseblk cached cache nvme1 nvme2; do
        truncate --size=128M "$LOWER/$image"
done
truncate --size=512M "$LOWER"/{xfs,rt}
ip link set lo up
systemctl start stackd.service
zoo_base

# on FILE: the loop device over a file on the lower file system.
on() {
        loop_up "$LOWER/$1"
}

step "f2fs on two devices, JFS, GFS2, XFS with a real-time device"
second=$(on f2fs1)
first=$(on f2fs0)
mkfs.f2fs -q -f -c "$second" "$first" >/dev/null
mount -t f2fs "$first" /mnt/f2fs
mkfs.jfs -q "$(on jfs)" >/dev/null
mount -t jfs "$(loop_of "$LOWER/jfs")" /mnt/jfs
mkfs.gfs2 -O -p lock_nolock -j 1 -J 8 "$(on gfs2)" >/dev/null
mount -t gfs2 "$(loop_of "$LOWER/gfs2")" /mnt/gfs2
rt=$(on rt)
mkfs.xfs -qf -r "rtdev=$rt" "$(on xfs)"
mount -o "rtdev=$rt" "$(loop_of "$LOWER/xfs")" /mnt/xfs

step "images in tmpfs and ramfs"
mount -t tmpfs memory /mnt/memory
mount -t ramfs ram /mnt/ram
truncate --size=16M /mnt/memory/image /mnt/ram/image
format_and_mount "$(loop_up /mnt/memory/image)" /mnt/in-memory
format_and_mount "$(loop_up /mnt/ram/image)" /mnt/in-ram

step "fuseblk"
systemd-run --quiet --unit=zoo-fuseblk python3 "$LIB/fuse-server.py" serve /mnt/fuseblk fuseblk.zoo "$(on fuseblk)"
wait_for 20 'mountpoint --quiet /mnt/fuseblk'

step "CIFS from Samba"
mkdir -p /run/zoo-samba /run/samba
cat >/run/zoo-samba/smb.conf <<CONF
[global]
server role = standalone server
map to guest = bad user
guest account = root
bind interfaces only = yes
interfaces = lo
disable netbios = yes
smb ports = 445
log file = /run/zoo-samba/log
pid directory = /run/zoo-samba
lock directory = /run/zoo-samba
state directory = /run/zoo-samba
cache directory = /run/zoo-samba
private dir = /run/zoo-samba
[share]
path = $LOWER/share
read only = no
guest ok = yes
force user = root
CONF
systemd-run --quiet --unit=zoo-samba smbd --foreground --no-process-group --configfile=/run/zoo-samba/smb.conf
wait_for 60 'ss -Hltn sport = :445 | grep -q .'
mount -t cifs -o guest,vers=3.1.1 //127.0.0.1/share /mnt/cifs
# What it serves it shows while something is open.
exec 9>/mnt/cifs/file
smbd=$(ss -Htnp state established sport = :445 | grep -Po 'pid=\K[0-9]+')

step "overlays"
python3 "$LIB/overlays.py" names /srv/awkward /mnt/names
mount -t tmpfs a /srv/a
mount -t tmpfs b /srv/b
python3 "$LIB/overlays.py" many /mnt/many 340 /srv/a /srv/b
# Layers that are given one by one are Linux 6.8's.
if [[ $(uname -r) != 6.1.* ]]; then
        python3 "$LIB/overlays.py" plain /srv/awkward /mnt/plain
        HAVE_PLAIN=1
fi

step "bcache"
modprobe bcache
# With the usual buckets so small a cache is refused.
make-bcache --bucket 64k --cache "$(on cache)" --bdev "$(on cached)" >/dev/null
# udev may have been first.
for image in cache cached; do
        { loop_of "$LOWER/$image" >/sys/fs/bcache/register_quiet; } 2>/dev/null || :
done
wait_for 20 '[[ -b /dev/bcache0 ]] && (($(ls -d /sys/block/bcache0/slaves/* | wc -l) == 2))'
format_and_mount /dev/bcache0 /mnt/bcache

# nvme_disk NSID
nvme_disk() {
        local disk
        for disk in /sys/devices/virtual/nvme-subsystem/nvme-subsys*/nvme*n*; do
                [[ $(cat "$disk/nsid") != "$1" ]] || echo "/dev/${disk##*/}"
        done
}

# Debian 12 has built no nvme-loop.
if [[ $(uname -r) != 6.1.* ]]; then
        HAVE_NVME=1
        step "the kernel's NVMe target, a file and a device"
        modprobe --all nvmet nvme-loop
        nvmet=/sys/kernel/config/nvmet
        # The names of subsystems are as free as those of files.
        subsystem="$nvmet/subsystems/zoo: all of it"
        mkdir -p "$subsystem"/namespaces/{1,2} "$nvmet/ports/1"
        echo 1 >"$subsystem/attr_allow_any_host"
        printf '%s' "$LOWER/nvme1" >"$subsystem/namespaces/1/device_path"
        on nvme2 | tr -d '\n' >"$subsystem/namespaces/2/device_path"
        echo 1 | tee "$subsystem"/namespaces/{1,2}/enable >/dev/null
        echo loop >"$nvmet/ports/1/addr_trtype"
        ln -s "$subsystem" "$nvmet/ports/1/subsystems/"
        echo "transport=loop,nqn=${subsystem##*/}" >/dev/nvme-fabrics
        wait_for 20 '[[ -b $(nvme_disk 1) && -b $(nvme_disk 2) ]]'
        format_and_mount "$(nvme_disk 1)" /mnt/nvme1
        format_and_mount "$(nvme_disk 2)" /mnt/nvme2
fi

step "all of it, by hand and by tools"
# Linux 6.1 does not tell of the second device.
F2FS=loop:$LOWER/f2fs0 F2FS_DEPTH=0
if [[ $(uname -r) != 6.1.* ]]; then
        F2FS+=,loop:$LOWER/f2fs1= F2FS_DEPTH=1
fi
# row FILE DEPTH: a loop device and its file on the lower file system.
row() {
        printf 'loop:%s loop %s file:%s -\nfile:%s file %s %s -\n' "$LOWER/$1" "$2" "$LOWER/$1" "$LOWER/$1" "$2" "$LOWER"
}
AWKWARD="/srv/awkward/a%2C1?,/srv/awkward/b:2?,/srv/awkward/c%5C3?,/srv/awkward/d%204?,/srv/awkward/e%0A5?,/srv/awkward/é?"
UPPER=/srv/awkward/u%2C:%5C%20%0A6
{
        for image in jfs gfs2 xfs rt fuseblk cached cache f2fs0; do
                row "$image" 1
        done
        row f2fs1 "$F2FS_DEPTH"
        for name in a%2C1 b:2 c%5C3 d%204 e%0A5 é; do
                printf '%s tmpfs 1 - -\n' "/srv/awkward/$name"
        done
        [[ ! -v HAVE_PLAIN ]] || printf '/mnt/plain overlay 0 %s -\n' "$AWKWARD"
        if [[ -v HAVE_NVME ]]; then
                row nvme2 1
                cat <<TABLE
/mnt/nvme1            ext4          0  $(nvme_disk 1)                              -
$(nvme_disk 1)        disk          1  path:$LOWER/nvme1                           -
path:$LOWER/nvme1     file          1  /srv/lower=                                 -
/mnt/nvme2            ext4          0  $(nvme_disk 2)                              -
$(nvme_disk 2)        disk          1  loop:$LOWER/nvme2                           -
TABLE
        fi
        cat <<TABLE
# name                type          depth  stands on                               processes
/srv/lower            ext4          1  /dev/disk/by-id/virtio-data1                -
/dev/disk/by-id/virtio-data1 disk   2  -                                           -

/mnt/f2fs             f2fs          0  $F2FS                                       -
/mnt/jfs              jfs           0  loop:$LOWER/jfs                             -
/mnt/gfs2             gfs2          0  loop:$LOWER/gfs2                            -
/mnt/xfs              xfs           0  loop:$LOWER/xfs,loop:$LOWER/rt=             -

/mnt/in-memory        ext4          0  loop:/mnt/memory/image                      -
loop:/mnt/memory/image loop         1  file:/mnt/memory/image                      -
file:/mnt/memory/image file         1  /mnt/memory                                 -
/mnt/memory           tmpfs         1  -                                           -
/mnt/in-ram           ext4          0  loop:/mnt/ram/image                         -
loop:/mnt/ram/image   loop          1  file:/mnt/ram/image                         -
file:/mnt/ram/image   file          1  /mnt/ram                                    -
/mnt/ram              ramfs         1  -                                           -

/mnt/fuseblk          fuseblk.zoo   0  -                                           python3
process:python3       process       1  loop:$LOWER/fuseblk                         -

/mnt/cifs             cifs          0  -                                           $(cat "/proc/$smbd/comm")
process:$(cat "/proc/$smbd/comm") process 1  file:$LOWER/share/file,/srv/lower?          -
file:$LOWER/share/file file         1  /srv/lower                                  -

/mnt/names            overlay       0  $AWKWARD,$UPPER?                            -
$UPPER                tmpfs         1  -                                           -
/mnt/many             overlay       0  /srv/a?,/srv/b?                             -
/srv/a                tmpfs         1  -                                           -
/srv/b                tmpfs         1  -                                           -

/mnt/bcache           ext4          0  /dev/bcache0                                -
/dev/bcache0          bcache        1  loop:$LOWER/cached,loop:$LOWER/cache        -
TABLE
} | expect_table
oracles
captured

step "who serves is marked"
wait_for 20 "is_marked $(main_pid zoo-fuseblk)"
wait_for 20 "is_marked $smbd"
assert_unmarked "$(main_pid zoo-samba)"
verify_io /mnt/cifs 4

step "down"
umount /mnt/{bcache,names,many,fuseblk,in-memory,in-ram,xfs,gfs2,jfs,f2fs}
[[ ! -v HAVE_PLAIN ]] || umount /mnt/plain
umount /srv/awkward/* /srv/a /srv/b
exec 9>&-
umount /mnt/cifs
systemctl stop zoo-samba
wait_for 20 '! systemctl --quiet is-active zoo-fuseblk'
if [[ -v HAVE_NVME ]]; then
        umount /mnt/nvme1 /mnt/nvme2
        for controller in /sys/class/nvme/nvme*; do
                echo 1 >"$controller/delete_controller"
        done
        rm "$nvmet/ports/1/subsystems/${subsystem##*/}"
        rmdir "$nvmet/ports/1" "$subsystem"/namespaces/* "$subsystem"
        loop_down "$LOWER/nvme2"
fi
echo 1 >/sys/block/bcache0/bcache/detach
wait_for 20 '[[ $(cat /sys/block/bcache0/bcache/state) == "no cache" ]]'
echo 1 | tee /sys/fs/bcache/*-*/stop /sys/block/bcache0/bcache/stop >/dev/null
wait_for 20 '[[ ! -e /sys/block/bcache0 ]] && ! compgen -G "/sys/fs/bcache/*-*" >/dev/null'
for file in /mnt/{memory,ram}/image "$LOWER"/{jfs,gfs2,xfs,rt,fuseblk,cached,cache,f2fs0,f2fs1}; do
        loop_down "$file"
done
umount /mnt/memory /mnt/ram "$LOWER"
oracles
expect_table </dev/null
assert_no_stack
stackd_quiet
