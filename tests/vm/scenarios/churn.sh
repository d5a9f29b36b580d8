# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Services that serve a file system each, and as many mounts again, come, change and go while policies are reloaded:
# stackd keeps no descriptor, no memory, no child and no record of what is gone, and what it changed is undone.
#
# In the environment, where --exec can say more: CHURN_SERVICES, CHURN_ROUNDS; with 100 of them a round takes three minutes.
#
# timeout: 1200
# disks: 2
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/fuse.sh
. /usr/lib/stackd-vm/lib/stackd.sh
require jq bindfs

SERVICES=${CHURN_SERVICES:-40} # in the first round, which is what the others are compared to, a quarter of them
ROUNDS=${CHURN_ROUNDS:-2}
# What came of the last 1,024 changes is kept, up to half a KiB of each. A round makes several thousand, and a small record
# leaked with each would be more.
GROWTH=524288
extra=/usr/lib/stackd-vm/extra
policy=/etc/stackd/policy
mkdir -p "$policy"

cat >/run/systemd/system/churn@.service <<UNIT
[Service]
Slice=system-churn.slice
ExecStart=bindfs -f $FUSE_LOWER/%i /mnt/churn-%i
ExecStopPost=-umount --lazy /mnt/churn-%i
UNIT
systemctl daemon-reload

# each COMMAND NAME [FIRST STEP]: for every service, or every STEPth, '%' in NAME being its number, in one go.
each() {
        local i names=()
        for ((i = ${3:-0}; i < SERVICES; i += ${4:-1})); do
                names+=("${2//%/$i}")
        done
        $1 "${names[@]}"
}

traces() {
        find /run/systemd/system.control /run/systemd/transient -name '50-*.conf' 2>/dev/null | sort || :
}

descriptors() {
        find "/proc/$stackd/fd" -mindepth 1 | wc -l
}

resident() {
        awk '$1 == "RssAnon:" { print $2 }' "/proc/$stackd/status"
}

heap_in_use() {
        rm -f /run/stackd/heap-in-use
        kill -USR2 "$stackd"
        wait_for 10 "[[ -e /run/stackd/heap-in-use ]]"
        cat /run/stackd/heap-in-use
}

# reload_often: policies that ask for something else each time, until the file is gone.
reload_often() {
        local i=0
        while [[ -e /run/reloading ]]; do
                i=$((i + 1))
                printf '[Match]\nFilesystemType=fuse\n[Mount]\nOptions=%s\n[Writeback]\nMaxRatio=%s\n' \
                        "$( ((i % 2)) && echo nodev || echo noexec)" $((i % 5 + 2)) >"$policy/10-layers.policy"
                printf '[Match]\nProcess=bindfs\nDepth=1\n[Process]\nIOFlusher=%s\n[Memory]\nMin=%sM\n' \
                        "$( ((i % 3)) && echo yes || echo no)" $((i % 7 + 4)) >"$policy/10-processes.policy"
                stackctl reload || echo "reload $i: $?"
        done
        echo "$i reloads"
}

stop_reloading() {
        rm -f /run/reloading
        wait "$reloading"
}

[[ -e $extra/heap-in-use.so ]] || skip "no heap-in-use.so in the payload: run.py --extra"
mkdir -p /run/systemd/system/stackd.service.d
printf '[Service]\nEnvironment=LD_PRELOAD=%s\n' "$extra/heap-in-use.so" >/run/systemd/system/stackd.service.d/heap.conf
systemctl daemon-reload
fuse_lower_up
each "mkdir -p" "$FUSE_LOWER/%"
each "mkdir -p" "/mnt/churn-%"
each "mkdir -p" "/mnt/bind-%"
systemctl start stackd.service
stackd_settled
before="$(memory_min system.slice) $(traces)"

all=$SERVICES
for ((round = 1; round <= ROUNDS; round++)); do
        SERVICES=$((round == 1 ? (all + 3) / 4 : all))
        step "round $round: $SERVICES services come"
        touch /run/reloading
        reload_often &
        reloading=$!
        defer "rm -f /run/reloading"
        each "systemctl start" churn@%
        for ((i = 0; i < SERVICES; i++)); do
                wait_for 120 "mountpoint --quiet /mnt/churn-$i"
                mount --bind "/mnt/churn-$i" "/mnt/bind-$i"
        done
        step "a third is killed, a third started anew, and mounts are moved about"
        for ((i = 0; i < SERVICES; i += 3)); do
                kill -KILL "$(main_pid churn@$i)"
        done
        for ((i = 1; i < SERVICES; i += 3)); do
                mount -o remount,bind,ro "/mnt/bind-$i"
                umount "/mnt/bind-$i"
        done
        each "systemctl restart" churn@% 1 3
        stop_reloading
        step "what is asked for at the end is done"
        rm -f "$policy"/10-*.policy
        stackctl reload
        stackd_settled
        stackd=$(main_pid stackd.service)
        for ((i = 1; i < SERVICES; i += 3)); do
                wait_for 60 "is_marked $(main_pid churn@$i) && (($(memory_min "system.slice/system-churn.slice/churn@$i.service") >= 17825792))"
        done
        step "all go"
        each "systemctl stop" churn@%
        each "systemctl reset-failed" churn@% 2>/dev/null || :
        for ((i = 0; i < SERVICES; i++)); do
                umount --quiet "/mnt/bind-$i" || :
                umount --quiet --lazy "/mnt/churn-$i" || :
        done
        wait_for 120 '(($(grep -c . /run/stackd/ledger) == 1))'
        stackd_settled
        assert_eq "$(memory_min system.slice) $(traces)" "$before" "what was changed of units"
        [[ -z $(ps --no-headers --ppid "$stackd" -o pid,args) ]] || fail "children left: $(ps --ppid "$stackd")"
        in_use=$(heap_in_use)
        step "round $round: $(descriptors) descriptors, $in_use bytes in use, $(resident) KiB resident"
        if ((round == 1)); then
                first=$stackd
                open=$(descriptors)
                used=$in_use
        fi
done
assert_eq "$stackd" "$first" "stackd"
assert_eq "$(descriptors)" "$open" "open descriptors"
((in_use <= used + GROWTH)) || fail "$used bytes in use after the first round, $in_use after $ROUNDS"
assert_eq "$(stackctl --json=short status | jq '[.actions[]] | length')" 0 "actions"
# Hundreds of markers at once would all be late. One may be, on a busy machine, and is tried again.
late=$({ journalctl --quiet --unit=stackd.service --grep='within the time that is allowed' || :; } | wc -l)
((late <= SERVICES / 10)) || fail "$late marks were not made in time"
fuse_lower_down
assert_no_stack
