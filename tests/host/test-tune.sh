#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Mount options, writeback limits and direct I/O as policy asks for them, on loop
# devices of this machine: done once, undone exactly, and neither lost nor done
# twice when stackd is killed at any moment. In namespaces of its own, with a bus
# of its own; nothing stays.
#
# Usage: test-tune.sh STACKCTL STACKD
set -Eeuo pipefail
shopt -s inherit_errexit

if [[ ${1:-} != --inside ]]; then
        ((EUID == 0)) || { echo "needs root"; exit 77; }
        command -v dbus-daemon busctl losetup mkfs.ext4 >/dev/null || { echo "needs dbus-daemon, busctl, losetup and mkfs.ext4"; exit 77; }
        unshare --mount --pid --fork true 2>/dev/null || { echo "may not make namespaces"; exit 77; }
        directory=$(mktemp --directory /tmp/stackd-tune-XXXXXX)
        trap 'rmdir "$directory"' EXIT
        status=0
        unshare --mount --pid --fork --kill-child bash "$0" --inside "$directory" "$(realpath "$1")" "$(realpath "$2")" || status=$?
        exit "$status"
fi

D=$2 STACKCTL=$3
export STACKD_BINARY=$4 DBUS_SYSTEM_BUS_ADDRESS=unix:path=$D/bus
trap 'echo "FAIL: line $LINENO: $BASH_COMMAND"' ERR

fail() {
        echo "FAIL: line ${BASH_LINENO[0]}: $*"
        exit 1
}

assert_eq() {
        [[ $1 == "$2" ]] || fail "'$1' is not '$2'"
}

# wait_for CONDITION
wait_for() {
        local deadline=$((SECONDS + 20))
        until eval "$1"; do
                ((SECONDS < deadline)) || fail "not within 20 s: $1"
                sleep 0.02
        done
}

mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs tune "$D"
mount -t tmpfs run /run
LOWER=$D/lower BIND=$D/bind INNER=$D/inner
mkdir -p "$LOWER" "$BIND" "$INNER" /run/stackd/policy

cat >"$D/bus.conf" <<CONF
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>custom</type>
  <listen>unix:path=$D/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="root"/>
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
CONF
dbus-daemon --config-file="$D/bus.conf" --nofork 2>/dev/null &
wait_for '[[ -S $D/bus ]]'

# bdi_of MOUNTPOINT
bdi_of() {
        echo "/sys/class/bdi/$(mountpoint --fs-devno "$1")"
}

restore_limits() {
        echo 100 >"$(bdi_of "$1")/max_ratio"
        echo 0 >"$(bdi_of "$1")/strict_limit"
}

tear_down() {
        local status=$?
        trap - EXIT ERR
        set +e
        [[ -z ${daemon:-} ]] || kill -KILL "$daemon"
        # A loop device keeps the limits of its bdi for whoever uses it next.
        for mount in "$INNER" "$LOWER"; do
                ! mountpoint --quiet "$mount" || restore_limits "$mount"
        done
        umount "$INNER" && losetup --detach "$loop"
        umount "$BIND"
        umount "$LOWER"
        losetup --detach "$disk"
        exit "$status"
}
truncate --size=256M "$D/disk"
mkfs.ext4 -qF "$D/disk"
disk=$(losetup --find --show "$D/disk") || { echo "may not set up loop devices"; exit 77; }
trap tear_down EXIT
mount -o noatime "$disk" "$LOWER" || { echo "may not mount"; exit 77; }
[[ -w $(bdi_of "$LOWER")/max_ratio && -e $(bdi_of "$LOWER")/strict_limit ]] || { echo "may not write to /sys/class/bdi, or the kernel is too old"; exit 77; }
mount --bind "$LOWER" "$BIND"
mount -o remount,bind,noexec "$BIND"
truncate --size=64M "$LOWER/image"
mkfs.ext4 -qF "$LOWER/image"
loop=$(losetup --find --show "$LOWER/image")
mount "$loop" "$INNER"

# limits MOUNTPOINT: a share of bytes is another each time; here it is only less than all.
limits() {
        local share
        share=$(cat "$(bdi_of "$1")/max_ratio")
        [[ $1 != "$INNER" ]] || ((share == 100)) || share=less
        echo "$share $(cat "$(bdi_of "$1")/strict_limit")"
}

# options FIELD MOUNTPOINT
options() {
        awk -v m="$2" -v f="$1" '$5 == m { print f < 0 ? $NF : $f }' /proc/self/mountinfo
}

state() {
        echo "$(options 6 "$LOWER") $(options 6 "$BIND") $(options -1 "$LOWER") $(limits "$LOWER")" \
                "$(options 6 "$INNER") $(options -1 "$INNER") $(limits "$INNER") $(cat "/sys/block/${loop##*/}/loop/dio")"
}

call() {
        busctl call org.stackd1 /org/stackd1 org.stackd1.Manager "$@"
}

# Started again for a while, as a service manager does: a child that its predecessor has just made may hold the
# lock until it is killed, too.
daemon_up() {
        local tries
        for tries in {1..10}; do
                "$STACKD_BINARY" >>"$D/log" 2>&1 &
                daemon=$!
                wait_for 'call Refresh >/dev/null 2>&1 || ! kill -0 "$daemon" 2>/dev/null'
                ! kill -0 "$daemon" 2>/dev/null || return 0
                tail -n 1 "$D/log" | grep -q 'Cannot start: Device or resource busy' || break
                sleep 0.1
        done
        fail "stackd ended at try $tries: $(tail -n 3 "$D/log")"
}

daemon_killed() {
        kill -KILL "$daemon"
        wait "$daemon" 2>/dev/null || :
        daemon_up
}

changes() {
        grep -cE 'stackd: (Set|Restored) ' "$D/log" || :
}

cat >/run/stackd/policy/10-lower.policy <<POLICY
[Match]
Mount=$LOWER
[Mount]
Options=relatime,nodev,commit=17,lazytime
[Writeback]
MaxRatio=40
StrictLimit=yes
POLICY
cat >/run/stackd/policy/10-inner.policy <<POLICY
[Match]
Mount=$INNER
[Mount]
Options=commit=60
[Writeback]
MaxBytes=1M
POLICY
cat >/run/stackd/policy/10-loop.policy <<POLICY
[Match]
Device=${loop##*/}
[Block]
DirectIO=yes
POLICY

before=$(state)
daemon_up
after=$(state)
echo "before: $before"
echo "after:  $after"
assert_eq "$after" "rw,nodev,relatime rw,nodev,noexec,relatime rw,lazytime,commit=17 40 1 rw,relatime rw,commit=60 less 0 1"
assert_eq "$(changes)" 11

daemon_killed
daemon_killed
"$STACKCTL" apply >/dev/null
assert_eq "$(state) $(changes)" "$after 11"

mount -o remount,commit=9 "$LOWER"
"$STACKCTL" plan >"$D/plan" 2>&1 && fail "someone else's change is not seen"
grep -q "someone else has set it to commit=9 meanwhile" "$D/plan"
"$STACKCTL" revert >"$D/revert"
grep -q "it is commit=9, which someone else has set meanwhile" "$D/revert"
mount -o remount,commit=5 "$LOWER"
assert_eq "$(state)" "$before"
"$STACKCTL" apply >/dev/null
assert_eq "$(state)" "$after"

# Put back to what it was: a decision like any other, also for the next stackd.
mount -o remount,commit=5 "$LOWER"
echo 100 >"$(bdi_of "$LOWER")/max_ratio"
losetup --direct-io=off "$loop"
others=$(state)
daemon_killed
call Refresh
assert_eq "$(state)" "$others"
"$STACKCTL" plan >"$D/plan" 2>&1 && fail "what was put back is not seen"
assert_eq "$(grep -oE "someone else has set it back to [^ ]+ meanwhile" "$D/plan" | sort | tr '\n' ';')" \
        "someone else has set it back to 100% meanwhile;someone else has set it back to commit=5 meanwhile;someone else has set it back to no meanwhile;"
"$STACKCTL" apply >/dev/null
assert_eq "$(state)" "$after"

# The next file system with that number, mounted before anybody has seen that the first one was gone, is another one.
kill -STOP "$daemon"
umount "$INNER"
mount "$loop" "$INNER"
kill -CONT "$daemon"
call Refresh
assert_eq "$(state)" "$after"
assert_eq "$(grep -c '^mount-option fs:.* commit=60 ' /run/stackd/ledger)" 1

for round in {1..20}; do
        deed=Revert
        ((round % 2)) || deed=Apply
        call "$deed" as 0 >/dev/null 2>&1 &
        caller=$!
        sleep "0.0$((RANDOM % 10))" # any moment
        daemon_killed
        wait "$caller" || :
done
"$STACKCTL" revert >/dev/null
assert_eq "$(state)" "$before"
assert_eq "$(grep -cv '^held' /run/stackd/ledger)" 1
"$STACKCTL" apply >/dev/null
assert_eq "$(state)" "$after"

rm /run/stackd/policy/10-*.policy
call Reload >/dev/null
call Refresh
assert_eq "$(state)" "$before"
umount "$INNER"
losetup --detach "$loop"
call Refresh
assert_eq "$(grep -c . /run/stackd/ledger)" 1
! grep -v 'Cannot start: Device or resource busy' "$D/log" | grep Cannot || fail "stackd complained"
losetup "$loop" "$LOWER/image"
mount "$loop" "$INNER"
echo "20 times killed: nothing lost, $(changes) changes in all"
