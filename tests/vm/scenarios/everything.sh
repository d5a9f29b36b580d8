# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Every setting that stackd changes, in one stack and each with an original of its own, through everything that may happen:
# done, as the kernel tells; done once, also after restarts, kill -9, daemon-reload and an upgrade of the package;
# someone else's change respected; undone to exactly what was there; and gone with a server that is killed.
#
# timeout: 900
# disks: 1
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/stackd.sh
require nbdkit nbd-client jq choom dpkg-deb mkswap

CGROUP=/sys/fs/cgroup
SLICE=system.slice/system-deep.slice
UNIT=$SLICE/server.service
LOWER=/srv/lower
UPPER=/mnt/nbd
INNER=/mnt/inner
BDI=/sys/class/bdi/43:0

cat >/run/systemd/system/server.service <<UNIT
[Service]
Slice=system-deep.slice
ExecStartPre=-rm -f /run/server.sock
ExecStart=nbdkit --foreground --unix /run/server.sock file $LOWER/disk.img
OOMScoreAdjust=-10
MemoryMin=3M
MemoryLow=1M
MemorySwapMax=100M
ManagedOOMPreference=avoid
UNIT
mkdir -p /run/systemd/system/{system-deep.slice,server.service}.d /etc/stackd/policy
printf '[Slice]\nMemoryMin=4M\n' >/run/systemd/system/system-deep.slice.d/10-mine.conf
cat >/etc/stackd/policy/10-server.policy <<POLICY
[Match]
Unit=server.service
[Process]
IOFlusher=yes
[Memory]
Min=auto
Low=64M
SwapMax=auto
[OOM]
ScoreAdjust=-700
ManagedPreference=omit
POLICY
cat >/etc/stackd/policy/10-upper.policy <<POLICY
[Match]
Mount=$UPPER
[Mount]
Options=commit=17,nodev
[Writeback]
MaxRatio=40
StrictLimit=yes
POLICY
cat >/etc/stackd/policy/10-loop.policy <<POLICY
[Match]
Layer=loop
[Block]
DirectIO=yes
POLICY
systemctl daemon-reload

server_up() {
        systemctl start server.service
        wait_for 20 '[[ -S /run/server.sock ]]'
        systemd-run --quiet --unit=client --collect --property=Type=forking --property=GuessMainPID=no \
                nbd-client -nonetlink -unix /run/server.sock /dev/nbd0
        wait_for 20 '[[ $(cat /sys/block/nbd0/size) != 0 ]]'
        server=$(main_pid server.service)
}

mount_upper() {
        mount -o noatime,commit=7 /dev/nbd0 $UPPER
}

mount_inner() {
        losetup --find $UPPER/image
        loop=$(loop_of $UPPER/image)
        mount -o noatime "$loop" $INNER
}

inner_down() {
        umount $INNER
        losetup --detach "$loop"
}

# above PATH FILE: what is reserved, or that it is more than what anybody but stackd has reserved here.
above() {
        local value
        value=$(cat "$CGROUP/$1/$2")
        if ((value > 4 << 20)); then echo more; else echo "$value"; fi
}

# has OPTION LIST: also with its value.
has() {
        tr , '\n' <<<"$2" | grep -xE "$1" || echo "no $1"
}

# state: a line for each setting, from whoever has it.
state() {
        local line
        echo "mark $(flags_of "$server" | cut -d' ' -f2 | sort -u | tr '\n' ' ')"
        echo "score $(cat "/proc/$server/oom_score_adj")"
        echo "min $(above $UNIT memory.min)"
        echo "low $(above $UNIT memory.low)"
        echo "slice min $(above $SLICE memory.min)"
        echo "slice low $(above $SLICE memory.low)"
        echo "top min $(above system.slice memory.min)"
        echo "top low $(above system.slice memory.low)"
        echo "swap $(cat $CGROUP/$UNIT/memory.swap.max) $(systemctl show --property=MemorySwapMax --value server.service)"
        echo "preference $(preference) $(systemctl show --property=ManagedOOMPreference --value server.service)"
        echo "drop-ins $(find /run/systemd -path '*/system.control/*' -name '50-*.conf' | wc -l)"
        line=$(awk -v m=$UPPER '$5 == m { print $6 "," $NF }' /proc/self/mountinfo)
        echo "commit $(has 'commit=[0-9]+' "$line")"
        echo "nodev $(has nodev "$line")"
        echo "ratio $(cat $BDI/max_ratio)"
        echo "strict $(cat $BDI/strict_limit)"
        [[ ! -e /sys/block/${loop##*/}/loop/dio ]] || echo "dio $(cat "/sys/block/${loop##*/}/loop/dio")"
}

preference() {
        python3 -c 'import os, sys; print(*[x for x in os.listxattr(sys.argv[1]) if x.startswith("user.oomd")])' "$CGROUP/$UNIT"
}

changes_made() {
        journalctl --quiet _COMM=stackd --output=cat | grep -cE '^(Set|Restored|Marked|Took) ' || :
}

# in_force WHAT: all of it, and nothing was done for that.
in_force() {
        stackd_settled
        assert_eq "$(state)" "$after" "state after $1"
        assert_eq "$(changes_made)" "$made" "changes made after $1"
        step "... $1"
}

stackd_answers() {
        wait_for 20 'systemctl --quiet is-active stackd.service && stackctl status >/dev/null'
}

step "a stack, and nothing done"
stackctl revert >/dev/null # nothing, from now on
format_and_mount /dev/disk/by-id/virtio-data1 $LOWER
truncate --size=1G $LOWER/disk.img
modprobe nbd nbds_max=1
server_up
mkfs.ext4 -qF -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 /dev/nbd0
mkdir -p $UPPER $INNER
mount_upper
truncate --size=128M $UPPER/image
mkfs.ext4 -qF $UPPER/image
mount_inner
dd if=/dev/zero of=$UPPER/swap bs=1M count=16 status=none
chmod 600 $UPPER/swap
mkswap --quiet $UPPER/swap
swapon $UPPER/swap
echo 90 >$BDI/max_ratio
stackd_settled
before=$(state)
echo "$before"
assert_eq "$(grep -vcE '^held' /run/stackd/ledger)" 1 "lines of the ledger"

step "applied: each setting is another one"
stackctl apply
after=$(state)
echo "$after"
assert_eq "$(comm -12 <(sort <<<"$before") <(sort <<<"$after"))" "" "what is as before"
stackctl --json=short status | jq -r '.actions[] | "\(.kind) \(.key) \(.target) \(.from) -> \(.to) \(.state)"' | sort
assert_eq "$(stackctl --json=short status | jq '[.actions[] | select(.state != "applied")] | length')" 0 "actions that are not applied"

step "applied again, and everything that must not matter"
made=$(changes_made)
assert_eq "$(stackctl apply)" "Nothing to do: everything was as policy wants it already."
in_force "another apply"
systemctl restart stackd.service
in_force "a restart of stackd"
kill -KILL "$(main_pid stackd.service)"
stackd_answers
in_force "kill -9"
systemctl daemon-reload
in_force "daemon-reload"
systemctl daemon-reexec
in_force "daemon-reexec"
systemctl reload stackd.service
in_force "a reload"

step "an administrator's file that comes after systemd's own says what was there before: nobody has decided anything"
printf '[Service]\nMemoryMin=3M\nMemorySwapMax=100M\n' >/run/systemd/system/server.service.d/override.conf
systemctl daemon-reload
systemctl set-property --runtime server.service MemoryHigh=100G # systemd tells the cgroup all of it again
wait_for 20 '[[ $(systemctl show --property=MemoryMin --value server.service) == 3145728 && $(cat $CGROUP/$UNIT/memory.swap.max) != 0 ]]'
assert_eq "$(cat $CGROUP/$UNIT/memory.min)" 3145728
stackd_settled
rm /run/systemd/system.control/server.service.d/50-MemoryHigh.conf
assert_eq "$(state)" "$after" "state"
rm /run/systemd/system/server.service.d/override.conf
systemctl daemon-reload
made=$(changes_made)
in_force "the file is gone again"

step "the package is upgraded"
# What was installed, as a package with what dh_installsystemd makes of debian/rules.
package() {
        local tree=/var/tmp/stackd-$1
        mkdir -p "$tree/DEBIAN"
        tar -xf /dev/disk/by-id/virtio-payload -C "$tree" --exclude='usr/lib/stackd-vm*'
        printf 'Package: stackd\nVersion: %s\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\nDescription: test\n' "$1" >"$tree/DEBIAN/control"
        cat >"$tree/DEBIAN/postinst" <<'END'
#!/bin/sh
set -e
if [ "$1" = configure ]; then
        systemctl --system daemon-reload >/dev/null || true
        if [ -n "$2" ]; then action=restart; else action=start; fi
        deb-systemd-invoke $action stackd.service || true
fi
END
        cat >"$tree/DEBIAN/prerm" <<'END'
#!/bin/sh
set -e
[ "$1" != remove ] || deb-systemd-invoke stop stackd.service || true
END
        cat >"$tree/DEBIAN/postrm" <<'END'
#!/bin/sh
set -e
[ "$1" != purge ] || rm -rf /run/stackd
[ "$1" != remove ] || systemctl --system daemon-reload >/dev/null || true
END
        chmod 755 "$tree/DEBIAN"/p*
        dpkg-deb --root-owner-group --build "$tree" "/var/tmp/stackd-$1.deb" >/dev/null
}
package 1
package 2
dpkg --force-overwrite -i /var/tmp/stackd-1.deb
in_force "an installation"
stackd=$(main_pid stackd.service)
dpkg -i /var/tmp/stackd-2.deb
stackd_answers
[[ $(main_pid stackd.service) != "$stackd" ]] || fail "the upgrade did not restart it"
in_force "an upgrade"
# Killed between the new files and the restart.
dpkg --unpack /var/tmp/stackd-1.deb
kill -KILL "$(main_pid stackd.service)"
stackd_answers
dpkg --configure stackd
stackd_answers
in_force "an upgrade with kill -9"

step "killed at any moment"
for round in {1..10}; do
        deed=Revert
        ((round % 2)) || deed=Apply
        busctl call org.stackd1 /org/stackd1 org.stackd1.Manager $deed as 0 >/dev/null 2>&1 &
        # Any moment: on this machine all is done after a second or two.
        sleep "$((RANDOM % 2)).$((RANDOM % 10))"
        kill -KILL "$(main_pid stackd.service)"
        wait $! || :
        stackd_answers
done
stackctl revert >/dev/null
assert_eq "$(state)" "$before" "state after a revert"
stackctl apply >/dev/null
assert_eq "$(state)" "$after" "state after an apply"

step "someone else's changes are left alone, and said"
choom -n -300 -p "$server" >/dev/null
systemctl set-property --runtime server.service MemoryMin=1M MemoryLow=2M MemorySwapMax=10M ManagedOOMPreference=none
mount -o remount,commit=9 $UPPER
echo 30 >$BDI/max_ratio
echo 0 >$BDI/strict_limit
losetup --direct-io=off "$loop"
systemctl restart stackd.service
stackd_settled
others=$(state)
echo "$others"
status=0
stackctl plan >/run/plan 2>&1 || status=$?
cat /run/plan
assert_eq "$status" 1 "status of plan"
assert_eq "$(grep -c 'someone else has set it to' /run/plan)" 7 "settings that someone else has changed"
assert_eq "$(grep -c 'someone else has set it back to' /run/plan)" 2 "settings that someone else has put back"
stackctl revert >/run/revert
assert_eq "$(grep -c 'which someone else has set meanwhile, and is left so' /run/revert)" 7 "what was left"
choom -n -10 -p "$server" >/dev/null
systemctl set-property --runtime server.service MemoryMin=3M MemoryLow=1M MemorySwapMax=100M ManagedOOMPreference=avoid
rm -r /run/systemd/system.control/server.service.d # theirs
systemctl daemon-reload
mount -o remount,commit=7 $UPPER
echo 90 >$BDI/max_ratio
stackd_settled
assert_eq "$(state)" "$before" "state with theirs taken back"
stackctl apply >/dev/null
assert_eq "$(state)" "$after" "state after an apply"

step "nothing above it any more: the process, which lives on, is as it was"
swapoff $UPPER/swap
inner_down
wait_for 20 '[[ $(cat $CGROUP/$UNIT/memory.swap.max) == 104857600 ]]'
umount $UPPER
wait_for 20 '(($(grep -c . /run/stackd/ledger) == 1))'
stackd_settled
assert_eq "$(main_pid server.service)" "$server" "the server"
assert_eq "$(state | grep -vE '^(commit|nodev) ')" "$(grep -vE '^(commit|nodev|dio) ' <<<"$before")" "state at depth 0"

step "depth 1, and 2: sized anew"
mount_upper
wait_for 20 'is_marked "$server" && [[ $(above $UNIT memory.min) == more ]]'
stackd_settled
one=$(cat $CGROUP/$UNIT/memory.min)
assert_eq "$(process_field "$server" .memory_min_effective)" "$one" "what is in effect"
mount_inner
wait_for 20 '(($(cat $CGROUP/$UNIT/memory.min) > one))'
stackd_settled
two=$(cat $CGROUP/$UNIT/memory.min)
assert_eq "$(process_field "$server" '"\(.depth) \(.memory_min_effective)"')" "2 $two"
step "reserved at depth 1: $one, at depth 2: $two"

step "the server is killed, and what it serves with it, while things are changed"
busctl call org.stackd1 /org/stackd1 org.stackd1.Manager Revert as 0 >/dev/null 2>&1 &
kill -KILL "$server"
wait $! || :
umount --lazy $INNER
losetup --detach "$loop" || :
umount --lazy $UPPER
nbd-client -d /dev/nbd0 >/dev/null 2>&1 || :
wait_for 60 '[[ $(cat /sys/block/nbd0/size) == 0 ]]'
systemctl reset-failed server.service
wait_for 30 '(($(grep -vcE "^held" /run/stackd/ledger) == 1))'
wait_for 30 '[[ -z $(find /run/systemd/system.control /run/systemd/transient -name "50-*.conf" 2>/dev/null) ]]'
assert_eq "$(cat $BDI/max_ratio) $(cat $BDI/strict_limit)" "90 0" "what outlives it"
stackctl apply >/dev/null
server_up
mount_upper
mount_inner
swapon $UPPER/swap
wait_for 30 '[[ $(state) == "$after" ]]'
swapoff $UPPER/swap

step "taken down"
inner_down
umount $UPPER
nbd-client -d /dev/nbd0 >/dev/null
systemctl stop server.service
nbd_remove
umount $LOWER
rm /etc/stackd/policy/10-{server,upper,loop}.policy
assert_no_stack
stackd_settled
wait_for 20 '(($(grep -c . /run/stackd/ledger) == 1))'
assert_eq "$(cat $CGROUP/system.slice/memory.min) $(cat $CGROUP/system.slice/memory.low)" "0 0"
assert_eq "$(find /run/systemd/system.control /run/systemd/transient -name '50-*.conf' 2>/dev/null)" "" "settings of units"
