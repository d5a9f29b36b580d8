# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Processes that serve block devices and file systems, or are needed to recover them, as many kinds as can stand at
# once beside those of the scenarios nbd, network and fuse: ublk, vDPA in user space, 9p, md with mdmon, a SCSI
# target's block backstore over iSCSI on two paths with multipathd.
#
# timeout: 600
# disks: 1
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/stackd.sh
. /usr/lib/stackd-vm/lib/zoo.sh
require jq lvm mdadm diod multipathd iscsiadm vdpa
UBLK=/usr/lib/stackd-vm/extra/ublk-server
[[ -x $UBLK ]] || skip "no ublk-server in the payload: run.py --extra"

LOWER=/srv/lower
# targetcli insists on a dot in the domain.
IQN=iqn.2026-01.org.stackd:zoo
format_and_mount /dev/disk/by-id/virtio-data1 "$LOWER"
mkdir -p "$LOWER/export" /mnt/{ublk,vduse,p9unix,p9tcp,outside,md,mpath}
for image in ublk vduse md0 md1 pv; do
        truncate --size=128M "$LOWER/$image.img"
done
ip link set lo up
systemctl start stackd.service
zoo_base

# vduse_disk: what the kernel has made of it.
vduse_disk() {
        local found=(/sys/devices/virtual/vduse/vd0/vd0/virtio*/block/*)
        ((${#found[@]} == 1)) && echo "/dev/${found[0]##*/}"
}

# Debian 12's kernel has no ublk, and the server of the vDPA disk comes there with all of QEMU.
if [[ $(uname -r) != 6.1.* ]]; then
        step "ublk"
        modprobe ublk_drv
        systemd-run --quiet --unit=zoo-ublk "$UBLK" serve 0 "$LOWER/ublk.img"
        wait_for 20 '[[ -b /dev/ublkb0 ]]'
        format_and_mount /dev/ublkb0 /mnt/ublk
        HAVE_UBLK=1

        step "vDPA in user space"
        modprobe --all vduse virtio_vdpa
        systemd-run --quiet --unit=zoo-vduse qemu-storage-daemon --blockdev "driver=file,filename=$LOWER/vduse.img,node-name=disk" \
                --export type=vduse-blk,id=export,node-name=disk,name=vd0,writable=on
        wait_for 20 '[[ -c /dev/vduse/vd0 ]]'
        vdpa dev add name vd0 mgmtdev vduse
        wait_for 20 '[[ -b $(vduse_disk) ]]'
        format_and_mount "$(vduse_disk)" /mnt/vduse
        HAVE_VDUSE=1
fi

step "9p over a unix socket, over TCP, and from outside"
systemd-run --quiet --unit=zoo-9p diod --foreground --no-auth --config-file=/dev/null --logdest=stderr \
        --listen=/run/diod.sock --listen=127.0.0.1:5640 --export="$LOWER/export"
wait_for 20 '[[ -S /run/diod.sock ]] && ss -Hltn sport = :5640 | grep -q .'
mount -t 9p -o "trans=unix,version=9p2000.L,aname=$LOWER/export" /run/diod.sock /mnt/p9unix
mount -t 9p -o "trans=tcp,port=5640,version=9p2000.L,aname=$LOWER/export" 127.0.0.1 /mnt/p9tcp
mount -t 9p -o trans=virtio outside /mnt/outside

step "md with metadata that mdmon keeps"
members=("$(loop_up "$LOWER/md0.img")" "$(loop_up "$LOWER/md1.img")")
mdadm --create --quiet --run --metadata=ddf --level=container --raid-devices=2 /dev/md/ddf "${members[@]}"
# Newer ones wait for udev, and not long enough for an emulated one.
wait_for 60 '[[ -b /dev/md/ddf ]]'
mdadm --create --quiet --run --level=1 --raid-devices=2 --assume-clean /dev/md/volume /dev/md/ddf
wait_for 60 '[[ -b /dev/md/volume ]]'
wait_for 20 'pgrep -x mdmon'
# udev may take the names away while somebody has them open.
volume=$(readlink -f /dev/md/volume) container=$(readlink -f /dev/md/ddf)
format_and_mount "$volume" /mnt/md

step "a target's block backstore, over iSCSI, on two paths"
vgcreate -q vg "$(loop_up "$LOWER/pv.img")"
lvcreate -qq -y -L 96M -n iblock vg
modprobe --all target_core_iblock iscsi_target_mod
core=/sys/kernel/config/target/core/iblock_0/zoo
mkdir -p "$core"
echo udev_path=/dev/vg/iblock >"$core/control"
echo 1 >"$core/enable"
# As targetcli does; the kernel itself does not know the path.
printf /dev/vg/iblock >"$core/udev_path"
cat /proc/sys/kernel/random/uuid >"$core/wwn/vpd_unit_serial"
tpg=/sys/kernel/config/target/iscsi/$IQN/tpgt_1
mkdir -p "$tpg/lun/lun_0" "$tpg/np/127.0.0.1:3260" "$tpg/np/127.0.0.2:3260"
echo 1 >"$tpg/attrib/generate_node_acls"
echo 0 >"$tpg/attrib/demo_mode_write_protect"
echo 0 >"$tpg/attrib/authentication"
ln -s "$core" "$tpg/lun/lun_0/x"
echo 1 >"$tpg/enable"
printf 'defaults {\n find_multipaths no\n user_friendly_names yes\n}\n' >/etc/multipath.conf
systemctl start iscsid.service multipathd.service
iscsiadm -m discoverydb -t sendtargets -p 127.0.0.1:3260 --discover >/dev/null
iscsiadm -m node -T "$IQN" --login >/dev/null
wait_for 120 '[[ -b /dev/mapper/mpatha ]] && (($(ls -d /sys/class/block/$(basename "$(realpath /dev/mapper/mpatha)")/slaves/* | wc -l) == 2))'
format_and_mount /dev/mapper/mpatha /mnt/mpath
paths=(/sys/class/block/"$(basename "$(realpath /dev/mapper/mpatha)")"/slaves/*)

step "a user who holds, binds and sends what looks like it"
systemd-run --quiet --unit=zoo-intruder --property=User=65534 python3 /usr/lib/stackd-vm/lib/intruder.py \
        ${HAVE_UBLK:+/dev/ublkc0} ${HAVE_VDUSE:+/dev/vduse/vd0} /dev/mapper/control /dev/fuse --path /run/diod.sock
wait_for 20 '[[ -e /dev/shm/intruder-ready ]]'

step "all of it, by hand and by tools"
{
        cat <<TABLE
# name                       type          depth  stands on                               processes
/srv/lower                   ext4          1  /dev/disk/by-id/virtio-data1                -
/dev/disk/by-id/virtio-data1 disk          2  -                                           -

/mnt/p9unix                  9p            0  /srv/lower?                                 diod
/mnt/p9tcp                   9p            0  /srv/lower?                                 diod
process:diod                 process       1  -                                           -
/mnt/outside                 9p            0  -                                           -

/mnt/md                      ext4          0  /dev/md/volume                              -
/dev/md/volume               md            1  ${members[0]},${members[1]},/dev/md/ddf     mdmon
/dev/md/ddf                  md            1  ${members[0]},${members[1]}                 -
process:mdmon                process       1  -                                           -
${members[0]}                loop          1  file:$LOWER/md0.img                         -
${members[1]}                loop          1  file:$LOWER/md1.img                         -
file:$LOWER/md0.img          file          1  /srv/lower                                  -
file:$LOWER/md1.img          file          1  /srv/lower                                  -

/mnt/mpath                   ext4          0  /dev/mapper/mpatha                          -
/dev/mapper/mpatha           dm-multipath  1  /dev/${paths[0]##*/},/dev/${paths[1]##*/}   !multipathd=
/dev/${paths[0]##*/}         disk          1  /dev/vg/iblock                              !iscsid
/dev/${paths[1]##*/}         disk          1  /dev/vg/iblock                              !iscsid
/dev/vg/iblock               dm-linear     1  loop:$LOWER/pv.img                          -
loop:$LOWER/pv.img           loop          1  file:$LOWER/pv.img                          -
file:$LOWER/pv.img           file          1  /srv/lower                                  -
process:iscsid               process       1  -                                           -
process:multipathd           process       1  /dev/${paths[0]##*/},/dev/${paths[1]##*/} -
TABLE
        [[ ! -v HAVE_UBLK ]] || cat <<TABLE
/mnt/ublk                    ext4          0  /dev/ublkb0                                 -
/dev/ublkb0                  ublk          1  -                                           ublk-server
process:ublk-server          process       1  file:$LOWER/ublk.img                        -
file:$LOWER/ublk.img         file          1  /srv/lower                                  -
TABLE
        [[ ! -v HAVE_VDUSE ]] || cat <<TABLE
/mnt/vduse                   ext4          0  $(vduse_disk)                               -
$(vduse_disk)                disk          1  -                                           qemu-storage-da
process:qemu-storage-da      process       1  file:$LOWER/vduse.img                       -
file:$LOWER/vduse.img        file          1  /srv/lower                                  -
TABLE
} | expect_table
oracles
captured

step "who serves is marked, who only recovers is left alone"
[[ ! -v HAVE_UBLK ]] || wait_for 20 "is_marked $(pgrep -ox ublk-server)"
wait_for 20 "is_marked $(pgrep -ox diod) && is_marked $(pgrep -ox mdmon)"
[[ ! -v HAVE_VDUSE ]] || wait_for 20 "is_marked $(pgrep -ox qemu-storage-da)"
assert_unmarked "$(pgrep -ox multipathd)"

step "down"
systemctl stop zoo-intruder
rm /dev/shm/intruder-ready
umount /mnt/{p9unix,p9tcp,outside,md,mpath}
if [[ -v HAVE_UBLK ]]; then
        umount /mnt/ublk
        "$UBLK" delete 0
fi
if [[ -v HAVE_VDUSE ]]; then
        umount /mnt/vduse
        vdpa dev del vd0
        systemctl stop zoo-vduse
fi
systemctl stop zoo-9p
wait_for 20 'multipath -f mpatha'
iscsiadm -m node -T "$IQN" --logout >/dev/null
systemctl stop multipathd.service multipathd.socket
rm "$tpg/lun/lun_0/x"
rmdir "$tpg/lun/lun_0" "$tpg"/np/* "$tpg" "${tpg%/*}" "$core" "${core%/*}"
vgremove -qq -y -f vg
loop_down "$LOWER/pv.img"
wait_for 20 'mdadm --stop --quiet "$volume"'
wait_for 20 'mdadm --stop --quiet "$container"'
loop_down "$LOWER/md0.img"
loop_down "$LOWER/md1.img"
oracles
umount "$LOWER"
wait_for 20 '! pgrep -x mdmon'
expect_table </dev/null
assert_no_stack
stackd_quiet
