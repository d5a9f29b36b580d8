# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Storage that comes back to this machine over the network: iSCSI from tgtd and from
# the kernel's target (LIO), NFS from ganesha and from the kernel's server.
#
# timeout: 500
# disks: 1
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/stackd.sh
require jq iscsiadm tgtadm

LOWER=/srv/net-lower
format_and_mount /dev/disk/by-id/virtio-data1 "$LOWER"
ip link set lo up

# disk_of IQN: the disk of the session with that target.
disk_of() {
        local session found
        for session in /sys/class/iscsi_session/session*; do
                [[ $(cat "$session/targetname") != "$1" ]] && continue
                found=("$session"/device/target*/*/block/*)
                ((${#found[@]} == 1)) && echo "${found[0]##*/}"
        done
}

# iscsi_up IQN PORT
iscsi_up() {
        iscsiadm -m discoverydb -t sendtargets -p "127.0.0.1:$2" --discover >/dev/null
        iscsiadm -m node -T "$1" -p "127.0.0.1:$2" --login >/dev/null
        wait_for 30 "[[ -n \$(disk_of '$1') && -b /dev/\$(disk_of '$1') ]]"
}

iscsi_down() {
        iscsiadm -m node -T "$1" --logout >/dev/null
        iscsiadm -m node -T "$1" -o delete
}

# edge UPPER-ID LOWER-COMM ROLE: certainty of the edge to a process.
edge() {
        stackctl --json=short status | jq -er --arg u "$1" --arg c "$2" --arg r "$3" '
                . as $all | .layers[] | select(.id == $u) | .processes[] | select(.role == $r) | . as $e
                | $all.processes[] | select(.id == $e.id and .comm == $c) | $e.certainty' | head -1
}

tgt_up() {
        tgtadm --lld iscsi --op new --mode target --tid 1 -T iqn.2026-01.test:tgt
        tgtadm --lld iscsi --op new --mode logicalunit --tid 1 --lun 1 -b "$LOWER/tgt.img"
        tgtadm --lld iscsi --op bind --mode target --tid 1 -I ALL
}

step "iSCSI from tgtd"
systemctl start tgt.service
systemctl start iscsid.service
truncate --size=512M "$LOWER/tgt.img"
tgt_up
iscsi_up iqn.2026-01.test:tgt 3260
disk=$(disk_of iqn.2026-01.test:tgt)
mkfs.ext4 -qF -E nodiscard "/dev/$disk"
mkdir -p /mnt/tgt
mount "/dev/$disk" /mnt/tgt
stackd_settled
stackctl --no-pager status /mnt/tgt
id=block:$(cat "/sys/block/$disk/dev")
assert_eq "$(edge "$id" tgtd backing)" proven
assert_eq "$(edge "$id" iscsid error-path)" proven
tgtd=$(pgrep -ox tgtd)
ms=$(stopwatch "[[ \$(process_field $tgtd .io_flusher) == all ]]")
step "tgtd is marked ($ms ms)"
assert_eq "$(layer_at "$LOWER" .depth)" 1
verify_io /mnt/tgt 8

step "tgtd comes back when nobody looks for it any more"
systemctl kill --signal=KILL tgt.service
wait_for 20 '! systemctl --quiet is-active tgt.service'
sleep 30        # longer than stackd looks again by itself, and shorter than the initiator waits (replacement_timeout)
systemctl start tgt.service
tgt_up
tgtd=$(pgrep -ox tgtd)
wait_for 60 'is_marked "$tgtd"'
verify_io /mnt/tgt 8
umount /mnt/tgt
stackd_settled
stopwatch "[[ \$(process_field $tgtd .io_flusher) == none ]]" >/dev/null
iscsi_down iqn.2026-01.test:tgt
systemctl stop tgt.service

step "iSCSI from the kernel's target, a file"
modprobe --all target_core_file iscsi_target_mod
truncate --size=512M "$LOWER/lio.img"
core=/sys/kernel/config/target/core/fileio_0/lio
mkdir -p "$core"
printf 'fd_dev_name=%s,fd_dev_size=%s' "$LOWER/lio.img" $((512 << 20)) >"$core/control"
printf 1 >"$core/enable"
# As targetcli does; the kernel itself does not know the path.
printf '%s' "$LOWER/lio.img" >"$core/udev_path"
cat /proc/sys/kernel/random/uuid >"$core/wwn/vpd_unit_serial"
tpg=/sys/kernel/config/target/iscsi/iqn.2026-01.test:lio/tpgt_1
mkdir -p "$tpg/lun/lun_0" "$tpg/np/127.0.0.1:3270"
printf 1 >"$tpg/attrib/generate_node_acls"
printf 0 >"$tpg/attrib/demo_mode_write_protect"
printf 0 >"$tpg/attrib/authentication"
ln -s "$core" "$tpg/lun/lun_0/x"
printf 1 >"$tpg/enable"
iscsi_up iqn.2026-01.test:lio 3270
disk=$(disk_of iqn.2026-01.test:lio)
mkfs.ext4 -qF -E nodiscard "/dev/$disk"
mkdir -p /mnt/lio
mount "/dev/$disk" /mnt/lio
stackd_settled
stackctl --no-pager status /mnt/lio
assert_eq "$(layer_at "$LOWER" .depth)" 1 "depth below the kernel's target"
umount /mnt/lio
stackd_settled
assert_eq "$(layer_at "$LOWER" .depth)" 0
iscsi_down iqn.2026-01.test:lio

step "NFS from the kernel's server"
mkdir -p "$LOWER/export" /mnt/nfs
systemctl start nfs-server.service
exportfs -o rw,no_root_squash,fsid=7,insecure "127.0.0.1:$LOWER/export"
mount -t nfs4 -o vers=4.2 "127.0.0.1:$LOWER/export" /mnt/nfs
echo data >/mnt/nfs/file
stackd_settled
stackctl --no-pager status /mnt/nfs
assert_eq "$(layer_at "$LOWER" .depth)" 1 "depth below the kernel's NFS server"
assert_eq "$(layer_at "$LOWER" .depth_certain)" 1
umount /mnt/nfs
exportfs -ua
systemctl stop nfs-server.service

step "NFS from ganesha"
mkdir -p /run/ganesha /var/lib/nfs/ganesha
cat >/run/ganesha.conf <<CONF
NFS_Core_Param { Protocols = 4; Enable_NLM = false; Enable_RQUOTA = false; }
NFSv4 { Graceless = true; Minor_Versions = 1, 2; }
EXPORT { Export_Id = 7; Path = $LOWER/export; Pseudo = /gexp; Access_Type = RW; Squash = No_Root_Squash; Protocols = 4; Transports = TCP; SecType = sys; FSAL { Name = VFS; } }
CONF
systemd-run --quiet --unit=ganesha --property=Type=forking --property=LimitNOFILE=8192 \
        ganesha.nfsd -f /run/ganesha.conf -L /run/ganesha.log -p /run/ganesha.pid
wait_for 60 'ss -Hltn sport = :2049 | grep -q .'
wait_for 60 'timeout 20 mount -t nfs4 -o vers=4.1,rsize=262144,wsize=262144 127.0.0.1:/gexp /mnt/nfs'
stackd_settled
stackctl --no-pager status /mnt/nfs
id=$(layer_at /mnt/nfs .id)
assert_eq "$(edge "$id" ganesha.nfsd backing)" proven
step "it is started anew: whoever takes over is seen, and nothing else has happened"
systemctl restart ganesha.service
wait_for 60 'ss -Hltn sport = :2049 | grep -q .'
timeout 60 stat /mnt/nfs/. >/dev/null
ganesha=$(pgrep -ox ganesha.nfsd)
wait_for 40 '[[ $(process_field "$ganesha" .depth) == 1 ]]'
assert_eq "$(edge "$id" ganesha.nfsd backing)" proven
if [[ $(uname -r) != 6.1.* ]]; then
        # It marks itself; stackd has nothing to do, and nothing to take off afterwards.
        assert_eq "$(process_field "$ganesha" .io_flusher)" all
        umount /mnt/nfs
        stackd_settled
        assert_marked "$ganesha"
        stackd_quiet
else
        # That of Debian 12 does not, and has dropped the capability with which it could be marked.
        assert_unmarked "$ganesha"
        ! has_sys_resource "$ganesha" Prm || fail "it could be marked, and was not"
        assert_eq "$(process_field "$ganesha" .io_flusher)" none
        assert_eq "$({ stackctl --json=short check || :; } | jq -r '.hazards[] | select(.id == "nofs-denied") | .pid')" "$ganesha" "who is denied"
        umount /mnt/nfs
        stackd_settled
        stackctl check
fi
