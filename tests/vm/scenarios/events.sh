# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# What comes, changes and goes reaches the graph by events: nothing asks stackd to look. Then events that are lost, and
# none at all.
#
# timeout: 400
# disks: 1
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/stackd.sh
. /usr/lib/stackd-vm/lib/zoo.sh
require jq dmsetup mdadm nbdkit nbd-client bindfs
UBLK=/usr/lib/stackd-vm/extra/ublk-server

LOWER=/srv/lower

# lower DEVICE: a jq filter, what that block device stands on.
lower() {
        printf '.layers[] | select(.kind == "block" and .name == "%s") | [.lower[].id]' "${1#/dev/}"
}

# id DEVICE: of its layer.
id() {
        printf 'block:%s' "$(lsblk --nodeps --noheadings --output=MAJ:MIN "$1" | tr -d ' ')"
}

# gone NAME: a jq filter, whether there is no block device of that name.
gone() {
        printf '[.layers[] | select(.kind == "block" and .name == "%s")] == []' "${1#/dev/}"
}

# serves COMM: a jq filter, whether there is a process of that name.
serves() {
        printf '[.processes[] | select(.comm == "%s")] != []' "$1"
}

image() {
        truncate --size=64M "$LOWER/$1.img"
        loop_up "$LOWER/$1.img"
}

modprobe fuse
modprobe nbd nbds_max=1
format_and_mount /dev/disk/by-id/virtio-data1 "$LOWER"
mkdir -p "$LOWER/fuse" /mnt/{a,b,fuse}
systemctl start stackd.service
stackd_settled

step "mount, bind mount, unmount"
mount -t tmpfs zoo /mnt/a
told 20 '[.layers[] | select(.mounts == ["/mnt/a"])] | length == 1'
mount --bind /mnt/a /mnt/b
told 20 '[.layers[] | select(.mounts == ["/mnt/a", "/mnt/b"])] | length == 1'
umount /mnt/a
told 20 '[.layers[] | select(.mounts == ["/mnt/b"])] | length == 1'
umount /mnt/b
told 20 '[.layers[] | select(.mounts | index("/mnt/b"))] == []'

step "loop"
first=$(image first)
second=$(image second)
told 20 "$(lower "$first") | length == 1"
told 20 '[.layers[] | select(.kind == "file" and .path == $p and (.id | test(":[0-9]+$")))] | length == 1' --arg p "$LOWER/first.img"

step "device-mapper: another table, removed"
dmsetup create line --table "0 131072 linear $first 0"
line=$(basename "$(readlink -f /dev/mapper/line)")
told 20 "$(lower "$line") == [\"$(id "$first")\"]"
dmsetup load line --table "0 131072 linear $second 0"
dmsetup resume line
told 20 "$(lower "$line") == [\"$(id "$second")\"]"
dmsetup remove --retry line
told 20 "$(gone "$line")"

step "md"
mdadm --create --quiet --run --level=1 --assume-clean --metadata=1.2 --bitmap=none --raid-devices=2 /dev/md/zoo "$first" "$second"
md=$(readlink -f /dev/md/zoo)
told 20 "$(lower "$md") | length == 2"
mdadm --manage --quiet "$md" --fail "$second"
wait_for 20 "mdadm --manage --quiet $md --remove $second"
told 20 "$(lower "$md") == [\"$(id "$first")\"]"
wait_for 20 "mdadm --stop --quiet $md"
told 20 "$(gone "$md")"
# udev would put it together again from whatever shows that file next.
wipefs --all --quiet "$first" "$second"

step "swap"
mkswap -qf "$first"
swapon "$first"
told 20 '[.layers[] | select(.kind == "swap")] | length == 1'
swapoff "$first"
told 20 '[.layers[] | select(.kind == "swap")] == []'

step "nbd: its server dies, it is disconnected"
systemd-run --quiet --collect --unit=zoo-nbd nbdkit --foreground --unix /run/zoo-nbd.sock file "$LOWER/second.img"
wait_for 20 "[[ -S /run/zoo-nbd.sock ]]"
systemd-run --quiet --collect --unit=zoo-client --property=Type=forking nbd-client -N any -nonetlink -unix /run/zoo-nbd.sock /dev/nbd0
told 20 "$(serves nbdkit)"
told 20 "$(serves nbd-client)"
systemctl kill --signal=KILL zoo-nbd
told 20 "$(serves nbdkit) | not"
told 20 "$(gone nbd0)"

if [[ -x $UBLK ]] && modprobe --quiet ublk_drv; then
        step "ublk: its server dies"
        systemd-run --quiet --collect --unit=zoo-ublk "$UBLK" serve 0 "$LOWER/second.img"
        told 20 "$(serves ublk-server)"
        # One that dies while the kernel is still reading the partition table deadlocks the driver.
        wait_for 20 '[[ -b /dev/ublkb0 ]]'
        udevadm settle
        systemctl kill --signal=KILL zoo-ublk
        told 20 "$(serves ublk-server) | not"
        told 20 "$(gone ublkb0)"
        "$UBLK" delete 0
fi

step "FUSE: its server dies, it is unmounted"
systemd-run --quiet --collect --unit=zoo-fuse bindfs -f "$LOWER/fuse" /mnt/fuse
told 20 "$(serves bindfs)"
systemctl kill --signal=KILL zoo-fuse
told 20 "$(serves bindfs) | not"
told 20 '[.layers[] | select(.mounts == ["/mnt/fuse"])] | length == 1'
umount /mnt/fuse
told 20 '[.layers[] | select(.mounts == ["/mnt/fuse"])] == []'

step "in another mount namespace"
systemd-run --quiet --collect --unit=zoo-elsewhere --property=PrivateMounts=yes sleep infinity
elsewhere=(nsenter --target "$(main_pid zoo-elsewhere)" --mount)
# FUSE has an event of its own.
systemd-run --quiet --collect --unit=zoo-fuse "${elsewhere[@]}" bindfs -f "$LOWER/fuse" /mnt/fuse
told 20 "$(serves bindfs)"
told 20 '[.layers[] | select(.mounts == ["/mnt/fuse"])] | length == 1'
# What has none is told of by Linux 6.15 and later, and is else seen with the next event. The end of a namespace is
# noticed by that of its processes.
mkfs.ext4 -qF -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 "$first"
udevadm settle
"${elsewhere[@]}" mount "$first" /mnt/a
[[ $(printf '6.15\n%s\n' "$(uname -r)" | sort --version-sort | head -1) == 6.15 ]] || udevadm trigger --settle "$second"
told 20 '[.layers[] | select(.mounts == ["/mnt/a"] and .type == "ext4")] | length == 1'
systemctl stop zoo-fuse
told 20 "$(serves bindfs) | not"
systemctl stop zoo-elsewhere
told 60 '[.layers[] | select(.kind == "filesystem" and .device == $d)] == []' --arg d "$(id "$first" | cut -d: -f2-)"

step "events that find no room"
dmsetup create line --table "0 131072 linear $first 0"
line=$(basename "$(readlink -f /dev/mapper/line)")
# libsystemd asks for as much as it may have.
room=$(sysctl -n net.core.rmem_max)
sysctl -q net.core.rmem_max=4608
systemctl restart stackd.service
sysctl -q "net.core.rmem_max=$room"
told 20 "$(lower "$line") == [\"$(id "$first")\"]"
systemctl kill --signal=STOP stackd.service
for ((i = 0; i < 10; i++)); do
        udevadm trigger --settle "$first"
done
dmsetup load line --table "0 131072 linear $second 0"
dmsetup resume line
udevadm settle
systemctl kill --signal=CONT stackd.service
told 20 "$(lower "$line") == [\"$(id "$second")\"]"
journalctl --quiet --unit=stackd.service --grep='more events of devices' >/dev/null || fail "no event was lost: nothing was tried"
dmsetup remove --retry line
told 20 "$(gone "$line")"

step "down"
losetup --detach "$first" "$second"
told 20 '[.layers[] | select(.type == "loop")] == []'
umount "$LOWER"
nbd_remove
assert_no_stack

step "nothing happens"
stackd_settled
stackd=$(main_pid stackd.service)
# switches: how often it has waited for something.
switches() {
        awk '/^voluntary_ctxt_switches/ { print $2 }' "/proc/$stackd/status"
}
# What has just happened, udev's own events too, takes a moment to pass.
calm() {
        local before
        before=$(switches)
        sleep 10
        [[ $(switches) == "$before" ]]
}
wait_for 60 calm
before=$(switches)
sleep 20
assert_eq "$(switches)" "$before" "stackd woke up with nothing to do"
stackd_quiet
