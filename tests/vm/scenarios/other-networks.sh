# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Servers in a container: in network and mount namespaces of their own, reached over a pair of virtual interfaces or a
# unix socket. And a client there too.
#
# timeout: 300
# disks: 1
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/stackd.sh
. /usr/lib/stackd-vm/lib/zoo.sh
require jq ip nbd-client nbdkit diod tgtd iscsiadm

LOWER=/srv/lower
format_and_mount /dev/disk/by-id/virtio-data1 "$LOWER"
mkdir -p "$LOWER/export" /mnt/{tcp,netlink,unix,inside,p9,iscsi}
for image in tcp netlink unix inside iscsi; do
        truncate --size=64M "$LOWER/$image"
done
modprobe nbd nbds_max=8
ip link set lo up
ip netns add container
ip link add name to-container type veth peer name eth0 netns container
ip address add 10.9.0.1/24 dev to-container
ip link set to-container up
ip -n container address add 10.9.0.2/24 dev eth0
ip -n container link set eth0 up
ip -n container link set lo up
systemctl start stackd.service
zoo_base

# inside UNIT COMMAND...: as a service in the container. tgtd ends by a KILL only.
inside() {
        systemd-run --quiet --unit="$1" --property=NetworkNamespacePath=/run/netns/container --property=PrivateMounts=yes \
                --property=TimeoutStopSec=5 "${@:2}"
}

outside() {
        systemd-run --quiet --unit="$1" "${@:2}"
}

# nbd-client, whose processes outlive the command.
FORKS=(--property=Type=forking --property=GuessMainPID=no)

# connected DEVICE
connected() {
        wait_for 20 "[[ \$(cat /sys/block/$1/size) != 0 && -e /sys/block/$1/pid ]]"
}

# served DEVICE-OR-FILESYSTEM-ID: "UNIT CERTAINTY" of each that it needs.
served() {
        stackctl --json=short status | jq -r --arg i "$1" '
                ([.processes[] | {key: .id, value: .unit}] | from_entries) as $unit
                | .layers[] | select(.id == $i) | .processes[] | select(.role == "backing") | "\($unit[.id]) \(.certainty)"' | sort -u
}

# assert_served NAME ID CERTAINTY: by the service of that name alone, which is marked.
assert_served() {
        assert_eq "$(served "$2")" "server-$1.service $3" "who serves $1"
        wait_for 20 "is_marked \$(main_pid server-$1)"
        step "$1: $(served "$2")"
}

step "NBD over TCP, with a client that stays and one that has gone"
inside server-tcp nbdkit --foreground --port 10809 file "$LOWER/tcp"
inside server-netlink nbdkit --foreground --port 10810 file "$LOWER/netlink"
wait_for 20 'ip netns exec container ss -Hltn sport = :10809 | grep -q . && ip netns exec container ss -Hltn sport = :10810 | grep -q .'
outside client-tcp "${FORKS[@]}" nbd-client -N any -nonetlink 10.9.0.2 10809 /dev/nbd0
connected nbd0
nbd-client -N any 10.9.0.2 10810 /dev/nbd1 >/dev/null
connected nbd1

step "NBD over a unix socket, from the host and from the container itself"
inside server-unix nbdkit --foreground --unix /run/nbd-unix.sock file "$LOWER/unix"
inside server-inside nbdkit --foreground --unix /run/nbd-inside.sock file "$LOWER/inside"
wait_for 20 '[[ -S /run/nbd-unix.sock && -S /run/nbd-inside.sock ]]'
outside client-unix "${FORKS[@]}" nbd-client -N any -nonetlink -unix /run/nbd-unix.sock /dev/nbd2
inside client-inside "${FORKS[@]}" nbd-client -N any -nonetlink -unix /run/nbd-inside.sock /dev/nbd3
connected nbd2
connected nbd3

step "files in mount namespaces that are newer than the last look at these"
for name in tcp unix inside; do
        wait_for 20 "[[ \$(process_field \$(main_pid server-$name) '.lower | length') == 1 ]]"
done
format_and_mount /dev/nbd0 /mnt/tcp
format_and_mount /dev/nbd1 /mnt/netlink
format_and_mount /dev/nbd2 /mnt/unix
format_and_mount /dev/nbd3 /mnt/inside
stackd_settled
assert_served tcp "block:$(cat /sys/block/nbd0/dev)" unique
assert_served netlink "block:$(cat /sys/block/nbd1/dev)" unique
assert_served unix "block:$(cat /sys/block/nbd2/dev)" proven
assert_served inside "block:$(cat /sys/block/nbd3/dev)" proven
assert_eq "$(layer_at "$LOWER" .depth_certain)" 1
oracles
captured

step "9p and iSCSI over TCP"
# diod hangs up on whom it has no name for.
echo "10.9.0.1 outside" >>/etc/hosts
inside server-p9 diod --foreground --no-auth --config-file=/dev/null --logdest=stderr --listen=10.9.0.2:5640 --export="$LOWER/export"
wait_for 20 'ip netns exec container ss -Hltn sport = :5640 | grep -q .'
mount -t 9p -o "trans=tcp,port=5640,version=9p2000.L,aname=$LOWER/export" 10.9.0.2 /mnt/p9
inside server-iscsi --property=KillSignal=SIGKILL tgtd --foreground --control-port 7
wait_for 20 'ip netns exec container ss -Hltn sport = :3260 | grep -q .'
tgtadm() {
        command tgtadm --control-port 7 --lld iscsi "$@"
}
tgtadm --op new --mode target --tid 1 -T iqn.2026-01.org.stackd:container
tgtadm --op new --mode logicalunit --tid 1 --lun 1 -b "$LOWER/iscsi"
tgtadm --op bind --mode target --tid 1 -I ALL
systemctl start iscsid.service
iscsiadm -m discoverydb -t sendtargets -p 10.9.0.2:3260 --discover >/dev/null
iscsiadm -m node -T iqn.2026-01.org.stackd:container --login >/dev/null
wait_for 30 'compgen -G "/sys/class/iscsi_session/session*/device/target*/*/block/*" >/dev/null'
disks=(/sys/class/iscsi_session/session*/device/target*/*/block/*)
disk=${disks[0]##*/}
wait_for 20 "[[ -b /dev/$disk ]]"
format_and_mount "/dev/$disk" /mnt/iscsi
stackd_settled
assert_served p9 "$(layer_at /mnt/p9 .id)" unique
assert_served iscsi "block:$(cat "/sys/block/$disk/dev")" unique
oracles
captured
for pid in $(pgrep -x stackd); do
        assert_eq "$(readlink "/proc/$pid/ns/net")" "$(readlink /proc/1/ns/net)" "network namespace of stackd"
done

step "down"
umount /mnt/{tcp,netlink,unix,inside,p9,iscsi}
iscsiadm -m node -T iqn.2026-01.org.stackd:container --logout >/dev/null
for i in 0 1 2 3; do
        nbd-client -d "/dev/nbd$i" >/dev/null
done
# The clients have ended with their disks. Whoever is being unmarked is not to end meanwhile.
stackd_settled
systemctl stop server-{tcp,netlink,unix,inside,p9,iscsi}
ip netns delete container
nbd_remove
# A server that was told to stop may still have its file open.
wait_for 20 'umount "$LOWER"'
wait_for 20 'expect_table </dev/null'
assert_no_stack
stackd_quiet
