# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Memory reservations, swap and OOM scores of the processes below a file system:
# done, as the kernel tells; done once; someone else's change left alone; undone
# to what was there before and without a trace, whatever happens meanwhile.
#
# timeout: 600
# disks: 2
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/fuse.sh
. /usr/lib/stackd-vm/lib/stackd.sh
require jq bindfs choom

CGROUP=/sys/fs/cgroup
DEEP=system.slice/system-deep.slice

# carried PATH: each ancestor has at least what its children have together.
carried() {
        local parent=$1 sum value
        while parent=${parent%/*} && [[ -n $parent ]]; do
                sum=0
                for value in "$CGROUP/$parent"/*/memory.min; do
                        sum=$((sum + $(cat "$value")))
                done
                (($(memory_min "$parent") == sum)) || fail "$parent carries $(memory_min "$parent"), its children have $sum"
                [[ $parent == */* ]] || break
        done
}

score_of() {
        cat "/proc/$1/oom_score_adj"
}

# reserved PATH
reserved() {
        (($(memory_min "$1") > 0))
}

# traces: what systemd has been told at run time, and is not of a unit that is there anyway.
traces() {
        find /run/systemd/system.control /run/systemd/transient -name '50-*.conf' 2>/dev/null | sort || :
}

# changes_made: by stackd's own account.
changes_made() {
        journalctl --quiet _COMM=stackd --output=cat | grep -cE '^(Set|Restored) ' || :
}

action() {
        stackctl --json=short status | jq -er --arg kind "$1" --arg target "$2" \
                '[.actions[] | select(.kind == $kind and .target == $target)] | if length == 1 then .[0] else error("\(length) actions") end | '"$3"
}

fuse_lower_up
before=$(memory_min system.slice)
assert_eq "$before" 0 "memory.min of system.slice"
assert_eq "$(traces)" "" "settings of units"

step "a service two slices deep"
FUSE_UNIT_OPTIONS=(--slice=system-deep.slice)
fuse_up single
unit=$DEEP/$(fuse_unit single)
server=$(main_pid "$(fuse_unit single)")
wait_for 20 'reserved "$unit" && is_marked "$server" && [[ $(score_of "$server") == -500 ]]'
stackd_settled
carried "$unit"
first=$(memory_min "$unit")
step "memory.min: $first of the service, $(memory_min "$DEEP") of its slice, $(memory_min system.slice) of system.slice"
assert_eq "$(process_field "$server" .memory_min_effective)" "$first" "what is in effect"
assert_eq "$(process_field "$server" .protected)" true protected
assert_eq "$(systemctl show --property=MemoryMin --value "$(fuse_unit single)")" "$first" "what systemd knows"
assert_eq "$(action memory-min "unit:$(fuse_unit single)" '"\(.state) \(.from) \(.to)"')" "applied 0 $first"
assert_eq "$(action oom-score "$(process_field "$server" .id)" '"\(.state) \(.from) \(.to)"')" "applied 0 -500"

preference() {
        python3 -c 'import os, sys; print(*[x for x in os.listxattr(sys.argv[1]) if x.startswith("user.oomd")])' "$CGROUP/$unit"
}
assert_eq "$(preference)" user.oomd_avoid
assert_eq "$(systemctl show --property=ManagedOOMPreference --value "$(fuse_unit single)")" avoid

step "again: nothing changes, not after daemon-reload, a restart, kill -9"
made=$(changes_made)
stackctl apply
systemctl daemon-reload
stackd_settled
systemctl restart stackd.service
stackd_settled
kill -KILL "$(main_pid stackd.service)"
wait_for 20 'systemctl --quiet is-active stackd.service && stackctl status >/dev/null'
stackd_settled
assert_eq "$(memory_min "$unit") $(score_of "$server")" "$first -500"
assert_eq "$(changes_made)" "$made" "changes made"
carried "$unit"

step "a deeper nesting reserves more"
fuse_inner_up single
wait_for 20 '(($(memory_min "$unit") > first)) && [[ $(score_of "$server") == -900 ]]'
stackd_settled
assert_eq "$(process_field "$server" .depth)" 2
carried "$unit"
step "depth 2: $(memory_min "$unit"), and $(memory_min system.slice) of system.slice"

step "swap above it: it must not be swapped out to there"
swap=$CGROUP/$unit/memory.swap.max
assert_eq "$(cat "$swap")" max
truncate --size=64M "$(fuse_mount single)/swap.img"
losetup --find "$(fuse_mount single)/swap.img"
device=$(loop_of "$(fuse_mount single)/swap.img")
mkswap --quiet "$device"
swapon "$device"
wait_for 20 '[[ $(cat "$swap") == 0 ]]'
swapoff "$device"
wait_for 20 '[[ $(cat "$swap") == max ]]'
losetup --detach "$device"
rm "$(fuse_mount single)/swap.img"

step "someone else's change is left alone, and said"
systemctl set-property --runtime "$(fuse_unit single)" MemoryMin=1M
choom -n -300 -p "$server" >/dev/null
stackd_settled
assert_eq "$(memory_min "$unit") $(score_of "$server")" "1048576 -300"
status=0
stackctl plan >/run/plan 2>&1 || status=$?
cat /run/plan
assert_eq "$status" 1 "status of plan"
grep -q 'memory-min of .* would not change: someone else has set it to 1048576 meanwhile' /run/plan
grep -q 'oom-score of .* would not change: someone else has set it to -300 meanwhile' /run/plan
stackctl revert "$server" >/run/revert
cat /run/revert
grep -q 'it is 1048576, which someone else has set meanwhile, and is left so' /run/revert
assert_eq "$(memory_min "$unit") $(score_of "$server")" "1048576 -300"
assert_unmarked "$server"
assert_eq "$(preference)" ""
assert_eq "$(systemctl show --property=ManagedOOMPreference --value "$(fuse_unit single)")" none

step "applied again, what was left is what an undo restores"
stackctl apply "$server"
(($(memory_min "$unit") > 1048576))
assert_eq "$(score_of "$server")" -900
stackctl revert "$server"
assert_eq "$(memory_min "$unit") $(score_of "$server")" "1048576 -300"
assert_eq "$(grep -c MemoryMin=1048576 "$(traces | grep "$(fuse_unit single)")")" 1 "their drop-in"
choom -n 0 -p "$server" >/dev/null
stackctl apply "$server" >/dev/null

step "what someone else puts back stays so, and is said"
put_back() {
        echo "$(memory_min "$unit") $(memory_min "$DEEP") $(score_of "$server") $(preference)"
}
in_force=$(put_back)
# (It tells the cgroup of the preference only together with something else.)
systemctl set-property --runtime "$(fuse_unit single)" MemoryMin=1M ManagedOOMPreference=none
systemctl set-property --runtime system-deep.slice MemoryMin=0
choom -n 0 -p "$server" >/dev/null
systemctl restart stackd.service
stackd_settled
assert_eq "$(memory_min "$unit") $(memory_min "$DEEP") $(score_of "$server")" "1048576 0 0"
status=0
stackctl plan >/run/plan 2>&1 || status=$?
cat /run/plan
assert_eq "$status" 1 "status of plan"
assert_eq "$(grep -c 'would not change: someone else has set it back to' /run/plan)" 4 "what was put back"
stackctl apply >/dev/null
assert_eq "$(put_back)" "$in_force"

step "depth 0: everything is undone"
fuse_inner_down single
# The process lives on; what is mounted on it does not.
exec 9<"/proc/$server/stat"
umount "$(fuse_mount single)"
wait_for 30 '! systemctl --quiet is-active "$(fuse_unit single)"'
exec 9<&-
stackd_settled
wait_for 20 '[[ $(memory_min system.slice) == "$before" ]]'
wait_for 20 '[[ $(grep -c . /run/stackd/ledger) == 1 ]]'
# What they had told systemd of the slice is as they had told it.
theirs=/run/systemd/system.control/system-deep.slice.d/50-MemoryMin.conf
assert_eq "$(traces) $(grep -c '^MemoryMin=0$' "$theirs")" "$theirs 1" "settings of units"
rm -r "${theirs%/*}"
systemctl daemon-reload

step "a service that crashes and is restarted"
mkdir -p "$FUSE_LOWER/again" /mnt/again
cat >/run/systemd/system/again.service <<UNIT
[Service]
ExecStart=bindfs -f $FUSE_LOWER/again /mnt/again
ExecStopPost=-umount --lazy /mnt/again
Restart=always
RestartSec=100ms
UNIT
systemctl daemon-reload
systemctl start again.service
unit=system.slice/again.service
wait_for 20 'reserved "$unit"'
for signal in KILL SEGV; do
        server=$(main_pid again.service)
        kill "-$signal" "$server"
        wait_for 20 '[[ $(systemctl show --property=MainPID --value again.service) != @(0|"$server") ]] && mountpoint --quiet /mnt/again'
        wait_for 20 'is_marked "$(main_pid again.service)" && [[ $(score_of "$(main_pid again.service)") == -500 ]] && reserved "$unit"'
        stackd_settled
        carried "$unit"
done
step "killed together with stackd"
server=$(main_pid again.service)
kill -KILL "$server" "$(main_pid stackd.service)"
wait_for 20 '[[ $(systemctl show --property=MainPID --value again.service) != @(0|"$server") ]] && mountpoint --quiet /mnt/again'
wait_for 20 'is_marked "$(main_pid again.service)" && reserved "$unit"'
stackd_settled
carried "$unit"
systemctl stop again.service
wait_for 20 '[[ $(memory_min system.slice) == "$before" && -z $(traces) && $(grep -c . /run/stackd/ledger) == 1 ]]'

step "a bus that hangs holds up only what needs it"
bus=$(main_pid dbus.service)
kill -STOP "$bus"
defer "kill -CONT $bus"
FUSE_UNIT_OPTIONS=()
fuse_up pool
server=$(main_pid "$(fuse_unit pool)")
wait_for 20 'is_marked "$server" && [[ $(score_of "$server") == -500 ]]'
unit=system.slice/$(fuse_unit pool)
assert_eq "$(memory_min "$unit")" 0
kill -CONT "$bus"
wait_for 30 'reserved "$unit"'
fuse_down pool

if [[ ${FUSE_KINDS[*]} == *clone* ]]; then
        step "a service of another user"
        fuse_up clone
        server=$(main_pid "$(fuse_unit clone)")
        unit=system.slice/$(fuse_unit clone)
        assert_eq "$(stat --format=%U "/proc/$server/oom_score_adj")" user
        wait_for 20 '[[ $(score_of "$server") == -500 ]] && reserved "$unit"'
        stackctl revert "$server" >/dev/null
        assert_eq "$(memory_min "$unit") $(score_of "$server")" "0 0"
        fuse_down clone
fi

step "in a limited group nothing is made unkillable"
systemd-run --quiet --unit=limited --collect --property=MemoryMax=200M --property=OOMPolicy=continue bindfs -f "$FUSE_LOWER/again" /mnt/again
wait_for 20 'mountpoint --quiet /mnt/again && reserved system.slice/limited.service'
stackd_settled
assert_eq "$(score_of "$(main_pid limited.service)")" 0
status=0
stackctl plan >/run/plan 2>&1 || status=$?
assert_eq "$status" 1
grep 'oom-score of .*: /system.slice/limited.service may hold 209715200 bytes only' /run/plan
# It is full: the kernel finds something to kill, at once.
server=$(main_pid limited.service)
status=0
sh -c "echo \$\$ >$CGROUP/system.slice/limited.service/cgroup.procs && exec python3 -c 'x = bytearray(400 << 20)'" || status=$?
assert_eq "$status" 137 "status of what was too large"
grep . $CGROUP/system.slice/limited.service/memory.events
(($(awk '$1 == "oom" { print $2 }' $CGROUP/system.slice/limited.service/memory.events) < 100)) || fail "it was tried again and again"
assert_eq "$(main_pid limited.service)" "$server" "the server"
umount /mnt/again
wait_for 20 '! systemctl --quiet is-active limited.service'

step "in a scope, and in a session's"
systemd-run --quiet --scope --unit=some.scope --collect bindfs -f "$FUSE_LOWER/again" /mnt/again &
wait_for 20 'mountpoint --quiet /mnt/again && reserved system.slice/some.scope'
umount /mnt/again
wait_for 20 '! systemctl --quiet is-active some.scope'
systemd-run --quiet --scope --unit=session-99.scope --slice=user-0.slice --collect bindfs -f "$FUSE_LOWER/again" /mnt/again &
wait_for 20 'mountpoint --quiet /mnt/again'
stackd_settled
status=0
stackctl plan >/run/plan 2>&1 || status=$?
assert_eq "$status" 1
grep 'memory-min of .*: it runs in a login session' /run/plan
assert_eq "$(memory_min user.slice/user-0.slice/session-99.scope)" 0
umount /mnt/again
wait_for 20 '! systemctl --quiet is-active session-99.scope'

fuse_lower_down
assert_no_stack
stackd_settled
wait_for 20 '[[ $(memory_min system.slice) == "$before" && -z $(traces) && $(grep -c . /run/stackd/ledger) == 1 ]]'
stackd_quiet
