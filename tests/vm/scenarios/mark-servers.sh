# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Real servers of what the kernel's own clients use, with a file system on each. They are marked and unmarked while files are written
# and compared, by tests/mark/test-servers.py: no error, and nothing in the log of the kernel.
#
# timeout: 900
# disks: 1
# needs: stackd
# by hand: it takes ten minutes and proves nothing that the tests of suite mark do not look for, with more races

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/stackd.sh
extra=/usr/lib/stackd-vm/extra
[[ -e $extra/test-servers.py ]] || skip "no test programs in the payload: run.py --extra"
require jq tcmu-runner tgtadm iscsiadm nbd-server nbd-client ganesha.nfsd

LOWER=/srv/lower
target=/sys/kernel/config/target
fabric=$target/loopback/naa.5001405000000001
format_and_mount /dev/disk/by-id/virtio-data1 "$LOWER"
mkdir -p /mnt/marked
ip link set lo up

# quiet_kernel: it has seen no error of a disk, no time-out and no server that does not answer, since the last look.
quiet_kernel() {
        local trouble
        trouble=$(dmesg --read-clear | grep -iE 'error|timed? ?out|not responding|abort|reset|reconnect|lost|conn[0-9]+:|BUG|WARNING') || :
        [[ -z $trouble ]] || fail "the kernel says:" "$trouble"
}

# marked_often PROCESS-NAME: it serves what is mounted at /mnt/marked. stackd rests meanwhile.
marked_often() {
        local pids
        stackd_settled
        pids=$(pgrep -x "$1" | paste -sd,)
        [[ -n $pids ]] || fail "no process $1"
        systemctl stop stackd.service
        dmesg --clear
        step "$1 ($pids) is marked and unmarked"
        python3 "$extra/test-servers.py" /usr/libexec/stackd/stackd-mark --running "$pids" --directory /mnt/marked \
                --marks 250 --seconds 60 --phases idle
        quiet_kernel
        assert_eq "$(pgrep -x "$1" | paste -sd,)" "$pids"
        systemctl start stackd.service
        verify_io /mnt/marked 4
        quiet_kernel
}

# protected: stackd has marked it in the end.
protected() {
        stackd_settled
        wait_for 60 '! stackctl --no-pager status /mnt/marked | grep -qE "(NOT|PARTLY) protected"'
        stackctl --no-pager status /mnt/marked
}

# disk_of_session: of iSCSI, where there is one.
disk_of_session() {
        local found=(/sys/class/iscsi_session/session*/device/target*/*/block/*)
        ((${#found[@]} == 1)) && echo "/dev/${found[0]##*/}"
}

step "tcmu-runner: a file as qcow2, a disk by tcm_loop, XFS"
modprobe --all target_core_user tcm_loop
systemctl start tcmu-runner.service
qemu-img create -q -f qcow2 "$LOWER/disk.qcow2" 512M
mkdir -p "$target/core/user_0/disk" "$fabric/tpgt_1/lun/lun_0"
printf naa.5001405000000002 >"$fabric/tpgt_1/nexus"
printf 'dev_size=%s,async=1,dev_config=qcow/%s' $((512 << 20)) "$LOWER/disk.qcow2" >"$target/core/user_0/disk/control"
echo 1 >"$target/core/user_0/disk/enable"
echo 0 >"$target/core/user_0/disk/attrib/cmd_time_out"
ln -s "$target/core/user_0/disk" "$fabric/tpgt_1/lun/lun_0/x"
# disk_of_loop: what the kernel has made of the LUN.
disk_of_loop() {
        local found
        found=("/sys/class/scsi_disk/$(cat "$fabric/tpgt_1/address"):0/device/block/"*)
        ((${#found[@]} == 1)) && echo "/dev/${found[0]##*/}"
}
wait_for 30 '[[ -b $(disk_of_loop) ]]'
udevadm settle
mkfs.xfs -qfK "$(disk_of_loop)"
mount "$(disk_of_loop)" /mnt/marked
systemctl start stackd.service
marked_often tcmu-runner
protected
umount /mnt/marked
rm "$fabric/tpgt_1/lun/lun_0/x"
rmdir "$fabric/tpgt_1/lun/lun_0" "$target/core/user_0/disk" "$fabric/tpgt_1" "$fabric" "$target/core/user_0"
systemctl stop tcmu-runner.service

step "nbd-server, ext4"
modprobe nbd nbds_max=1
truncate --size=256M "$LOWER/nbd.img"
printf '[generic]\nlistenaddr=127.0.0.1\nport=10809\n[b]\nexportname=%s\nflush=true\n' "$LOWER/nbd.img" >/run/nbd-server.conf
systemd-run --quiet --unit=nbd-server-b --property=Type=forking --property=GuessMainPID=no nbd-server -C /run/nbd-server.conf
wait_for 20 'ss -Hltn sport = :10809 | grep -q .'
nbd-client -N b 127.0.0.1 10809 /dev/nbd0
wait_for 20 '[[ $(cat /sys/block/nbd0/size) != 0 ]]'
mkfs.ext4 -qF -E nodiscard /dev/nbd0
mount /dev/nbd0 /mnt/marked
marked_often nbd-server
protected
umount /mnt/marked
nbd-client -d /dev/nbd0
systemctl stop nbd-server-b.service || :
nbd_remove

step "tgtd by iSCSI, XFS"
systemctl start tgt.service
systemctl start iscsid.service
truncate --size=512M "$LOWER/tgt.img"
tgtadm --lld iscsi --op new --mode target --tid 1 -T iqn.2026-01.test:tgt
tgtadm --lld iscsi --op new --mode logicalunit --tid 1 --lun 1 -b "$LOWER/tgt.img"
tgtadm --lld iscsi --op bind --mode target --tid 1 -I ALL
iscsiadm -m discoverydb -t sendtargets -p 127.0.0.1:3260 --discover >/dev/null
iscsiadm -m node -T iqn.2026-01.test:tgt -p 127.0.0.1:3260 --login >/dev/null
wait_for 30 '[[ -b $(disk_of_session) ]]'
udevadm settle
mkfs.xfs -qfK "$(disk_of_session)"
mount "$(disk_of_session)" /mnt/marked
marked_often tgtd
protected
umount /mnt/marked
iscsiadm -m node -T iqn.2026-01.test:tgt --logout >/dev/null
iscsiadm -m node -T iqn.2026-01.test:tgt -o delete
systemctl stop tgt.service

step "ganesha by NFS 4.1: it marks itself, and has no capability any more with which that could be done again"
mkdir -p /run/ganesha /var/lib/nfs/ganesha "$LOWER/export"
cat >/run/ganesha.conf <<CONF
NFS_Core_Param { Protocols = 4; Enable_NLM = false; Enable_RQUOTA = false; }
NFSv4 { Graceless = true; Minor_Versions = 1, 2; }
EXPORT { Export_Id = 7; Path = $LOWER/export; Pseudo = /gexp; Access_Type = RW; Squash = No_Root_Squash; Protocols = 4; Transports = TCP; SecType = sys; FSAL { Name = VFS; } }
CONF
systemd-run --quiet --unit=ganesha --property=Type=forking --property=LimitNOFILE=8192 \
        ganesha.nfsd -f /run/ganesha.conf -L /run/ganesha.log -p /run/ganesha.pid
wait_for 60 'ss -Hltn sport = :2049 | grep -q .'
wait_for 60 'timeout 20 mount -t nfs4 -o vers=4.1,rsize=262144,wsize=262144 127.0.0.1:/gexp /mnt/marked'
marked_often ganesha.nfsd
! grep -E 'reconnect|:(FATAL|MAJ) ' /run/ganesha.log || fail "ganesha has complained"
umount /mnt/marked
systemctl stop ganesha.service

umount "$LOWER"
assert_no_stack
