# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Who serves an NBD: over a unix socket and TCP, by servers that fork, that use
# threads, that are their own client, with clients that stay and clients that have
# configured the device over netlink and gone. A file system, or swap, on each.
#
# timeout: 400
# disks: 1
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/stackd.sh
require nbd-client nbd-server nbdkit qemu-nbd jq

LOWER=/srv/nbd-lower
format_and_mount /dev/disk/by-id/virtio-data1 "$LOWER"
modprobe nbd nbds_max=8
ip link set lo up

# in_unit NAME COMMAND...: as a service of its own, whose processes outlive the command.
in_unit() {
        local unit=$1
        shift
        systemd-run --quiet --unit="$unit" --property=Type=forking --property=GuessMainPID=no "$@"
}

# served_by DEVICE COMM CERTAINTY: a file system there has that process below it, and that one the lower file
# system.
served_by() {
        local device=$1 comm=$2 certainty=$3 name mnt=/mnt/${1##*/} server
        name=${device##*/}
        mkfs.ext4 -qF -E nodiscard "$device"
        mkdir -p "$mnt"
        mount "$device" "$mnt"
        stackd_settled
        stackctl --no-pager status "$mnt"
        server=$(stackctl --json=short status | jq -er --arg n "$name" --arg c "$comm" --arg k "$certainty" '
                . as $all | [.layers[] | select(.name == $n and .kind == "block") | .processes[]
                | select(.role == "backing" and .certainty == $k) | . as $s
                | $all.processes[] | select(.id == $s.id and .comm == $c) | .pid] | unique
                | if length == 1 then .[0] else error("servers of \($n): \(.)") end')
        # The thread of qemu-nbd that waits for its device in the kernel does not count, so ask stackd.
        ms=$(stopwatch "[[ \$(process_field $server .io_flusher) == all ]]")
        step "$comm[$server] is marked ($ms ms)"
        assert_eq "$(process_field "$server" .depth)" 1
        assert_eq "$(layer_at "$LOWER" .depth)" 1
        verify_io "$mnt" 8
        umount "$mnt"
        stackd_settled
        stopwatch "is_unmarked $server" >/dev/null
        assert_eq "$(process_field "$server" .depth)" 0
}

step "nbdkit on a unix socket, a client that stays"
truncate --size=256M "$LOWER/a.img"
# With a seccomp filter, as many services have one: stackd-mark has to read it first.
systemd-run --quiet --unit=nbdkit-a --property=Type=forking --property=GuessMainPID=no --property=SystemCallFilter=@system-service \
        nbdkit --unix /run/nbd-a.sock --pidfile /run/nbdkit-a.pid file "$LOWER/a.img"
wait_for 20 '[[ -s /run/nbdkit-a.pid ]]'
grep -q '^Seccomp:.2' "/proc/$(cat /run/nbdkit-a.pid)/status" || fail "nbdkit has no seccomp filter"
in_unit client-a nbd-client -N any -nonetlink -unix /run/nbd-a.sock /dev/nbd0
wait_for 20 '[[ $(cat /sys/block/nbd0/size) != 0 ]]'
served_by /dev/nbd0 nbdkit proven
stackctl --json=short status | jq -e '.layers[] | select(.name == "nbd0" and .kind == "block") | .processes[] | select(.role == "error-path")' >/dev/null ||
        fail "the client is not seen as error path"
assert_unmarked "$(pgrep -x nbd-client)"
# Which only one that has none itself may do: stackd has one.
grep -q '^Seccomp:.2' "/proc/$(main_pid stackd.service)/status" || fail "stackd has no seccomp filter"
marker=$(main_pid stackd-mark.service)
((marker > 0)) || fail "stackd-mark does not run"
grep -q '^Seccomp:.0' "/proc/$marker/status" || fail "stackd-mark has a seccomp filter"
nbd-client -d /dev/nbd0
systemctl stop nbdkit-a || :
pkill -x nbdkit || :

step "nbd-server, which forks, over TCP, a client that is gone"
truncate --size=256M "$LOWER/b.img"
printf '[generic]\nlistenaddr=127.0.0.1\nport=10809\n[b]\nexportname=%s\n' "$LOWER/b.img" >/run/nbd-server.conf
in_unit nbd-server-b nbd-server -C /run/nbd-server.conf
wait_for 20 'ss -Hltn sport = :10809 | grep -q .'
nbd-client -N b 127.0.0.1 10809 /dev/nbd1
wait_for 20 '[[ $(cat /sys/block/nbd1/size) != 0 ]]'
served_by /dev/nbd1 nbd-server unique
nbd-client -d /dev/nbd1
pkill -x nbd-server || :

step "qemu-nbd, its own client"
truncate --size=256M "$LOWER/c.img"
in_unit qemu-nbd-c qemu-nbd --fork --format=raw --connect=/dev/nbd2 "$LOWER/c.img"
wait_for 20 '[[ $(cat /sys/block/nbd2/size) != 0 ]]'
served_by /dev/nbd2 qemu-nbd proven

step "swap on it: the process is below what reclaim writes to"
mkswap -q /dev/nbd2
swapon /dev/nbd2
stackd_settled
server=$(stackctl --json=short status | jq -er '.processes[] | select(.comm == "qemu-nbd") | .pid')
assert_eq "$(process_field "$server" .depth)" 1
stopwatch "[[ \$(process_field $server .io_flusher) == all ]]" >/dev/null
swapoff /dev/nbd2
stackd_settled
stopwatch "is_unmarked $server" >/dev/null
qemu-nbd --disconnect /dev/nbd2

step "several connections to one server, beside a user who has one that looks alike"
systemd-run --quiet --unit=intruder --property=User=65534 python3 /usr/lib/stackd-vm/lib/intruder.py
wait_for 20 '[[ -e /dev/shm/intruder-ready ]]'
truncate --size=256M "$LOWER/d.img"
in_unit nbdkit-d nbdkit --unix /run/nbd-d.sock --pidfile /run/nbdkit-d.pid file "$LOWER/d.img"
wait_for 20 '[[ -s /run/nbdkit-d.pid ]]'
nbd-client -C 2 -unix /run/nbd-d.sock /dev/nbd5
wait_for 20 '[[ $(cat /sys/block/nbd5/size) != 0 ]]'
(($(ss -Hxn src /run/nbd-d.sock | grep -c ESTAB) == 2)) || fail "there are not two connections"
served_by /dev/nbd5 nbdkit unique
nbd-client -d /dev/nbd5
pkill -x nbdkit || :
wait_for 20 '! pgrep -x nbdkit'
systemctl stop intruder
rm /dev/shm/intruder-ready

step "two netlink devices: either server may serve either, both are below"
for i in 3 4; do
        truncate --size=256M "$LOWER/n$i.img"
        in_unit "nbdkit-n$i" nbdkit --unix "/run/nbd-n$i.sock" --pidfile "/run/nbdkit-n$i.pid" file "$LOWER/n$i.img"
        nbd-client -unix "/run/nbd-n$i.sock" "/dev/nbd$i"
        wait_for 20 "[[ \$(cat /sys/block/nbd$i/size) != 0 ]]"
        mkfs.ext4 -qF -E nodiscard "/dev/nbd$i"
done
mkdir -p /mnt/n3 /mnt/n4
mount /dev/nbd3 /mnt/n3
stackd_settled
for pid in $(pgrep -x nbdkit); do
        assert_eq "$(process_field "$pid" .depth_certain)" 0 "one of two is mounted: neither is certain"
        assert_unmarked "$pid"
done
mount /dev/nbd4 /mnt/n4
stackd_settled
for pid in $(pgrep -x nbdkit); do
        stopwatch "is_marked $pid" >/dev/null
        assert_eq "$(process_field "$pid" .depth_certain)" 1
done
umount /mnt/n3 /mnt/n4
nbd-client -d /dev/nbd3
nbd-client -d /dev/nbd4
pkill -x nbdkit || :
wait_for 20 '! pgrep -x nbdkit'
umount "$LOWER"
stackd_settled
stackctl --json=short status | jq -e '[.layers[] | select(.type == "nbd")] == []' >/dev/null || fail "an nbd is left in the graph"
stackd_quiet
