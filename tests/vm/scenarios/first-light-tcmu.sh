# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# The stack of the 2019 thread, with stackd installed and told nothing: it is
# started by udev, sees every layer, and has marked tcmu-runner by the time that
# anyone could write to the XFS; after the teardown nothing of that is left.
#
# timeout: 400
# disks: 1
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/tcmu.sh
. /usr/lib/stackd-vm/lib/stackd.sh
require dmzadm tcmu-runner jq

step "not running before there is a reason"
assert_eq "$(systemctl is-active stackd.service || :)" inactive

tcmu_lower_up
step "up: backstore"
tcmu_backstore_up
runner=$(main_pid "$TCMU_UNIT")
wait_for 10 'systemctl --quiet is-active stackd.service'
step "stackd was started by udev: $(systemctl show --property=TriggeredBy,WantedBy stackd.service | tr '\n' ' ')"
daemon=$(main_pid stackd.service)

for layer in disk dm; do
        step "up: $layer"
        "tcmu_${layer}_up"
done
stackd_settled
assert_eq "$(cat "/sys/block/$(basename "$(tcmu_disk)")/queue/zoned")" host-managed
step "a server of nothing mounted is not marked"
assert_unmarked "$runner"
# What else is done to it, too: memory.min, OOM score, and what its unit was told.
settings_of_runner() {
        echo "$(cat "/sys/fs/cgroup/system.slice/$TCMU_UNIT/memory.min" "/proc/$runner/oom_score_adj" /sys/fs/cgroup/system.slice/memory.min | xargs)" \
                "$(systemctl show --property=MemoryMin,ManagedOOMPreference "$TCMU_UNIT" | xargs)" \
                "$(find /run/systemd/system.control -name '50-*' 2>/dev/null | xargs || :)"
}
before_settings=$(settings_of_runner)
assert_eq "$(process_field "$runner" .depth)" 0 "depth of tcmu-runner with nothing mounted"

step "up: xfs"
mkfs.xfs -qfK "$(tcmu_dm)"
mkdir -p "$TCMU_XFS"
assert_unmarked "$runner"
mount "$(tcmu_dm)" "$TCMU_XFS"
elapsed=$(stopwatch 'is_marked "$runner"')
step "marked $elapsed ms after mount(8) returned"
assert_marked "$runner"
truncate --size=512M "$TCMU_XFS/inner.img"
tcmu_inner_up
stackd_settled

step "and has a reservation: $(settings_of_runner)"
assert_eq "$(process_field "$runner" .protected)" true protected
(($(cat "/sys/fs/cgroup/system.slice/$TCMU_UNIT/memory.min") > 0))
assert_eq "$(cat "/proc/$runner/oom_score_adj")" -900

step "depths"
stackctl --no-pager status
stackctl --json=pretty status >/run/status.json
assert_eq "$(layer_at "$TCMU_INNER" .depth)" 0
assert_eq "$(layer_at "$TCMU_XFS" .depth)" 1
assert_eq "$(process_field "$runner" .depth)" 2
assert_eq "$(process_field "$runner" .io_flusher)" all
assert_eq "$(layer_at "$TCMU_LOWER" .depth)" 2

step "every edge of the stack is proven, and says by what"
# From the inner file system down to the lower one, through the process.
chain=("$(layer_at "$TCMU_INNER" .id)")
while [[ ${chain[-1]} != "$(layer_at "$TCMU_LOWER" .id)" ]]; do
        edge=$(lower_edge "${chain[-1]}")
        echo "${chain[-1]} -> $edge"
        assert_eq "$(jq -r .certainty <<<"$edge")" proven "certainty below ${chain[-1]}"
        [[ -n $(jq -r '.evidence // ""' <<<"$edge") ]] || fail "no evidence below ${chain[-1]}"
        chain+=("$(jq -r .id <<<"$edge")")
        ((${#chain[@]} < 20)) || fail "the chain does not end: ${chain[*]}"
done
# inner, loop, file, xfs, dm, sda, tcmu-runner, file, lower
assert_eq "${#chain[@]}" 9 "length of ${chain[*]}"

step "the private mode says the same"
stackctl --json=pretty status >/run/bus.json
stackctl --direct --json=pretty status >/run/direct.json
# What was done is known to the one that did it; and threads of tcmu-runner come and go.
same='del(.actions, .marking, .processes[].threads, .processes[].threads_io_flusher)'
diff <(jq "$same" /run/bus.json) <(jq "$same" /run/direct.json)

step "data through the whole stack; threads that tcmu-runner starts meanwhile are marked too"
verify_io "$TCMU_INNER" 32
assert_marked "$runner"

step "kill -9 of stackd: it comes back, sees the same, and does nothing twice"
before=$(marks_made)
kill -KILL "$daemon"
wait_for 10 '[[ $(systemctl show --property=MainPID --value stackd.service) != 0 && $(main_pid stackd.service) != '"$daemon"' ]]'
wait_for 10 'systemctl --quiet is-active stackd.service'
stackd_settled
assert_marked "$runner"
assert_eq "$(marks_made)" "$before" "number of times a mark was made"
stackctl --json=pretty status >/run/again.json
diff <(jq "$same" /run/bus.json) <(jq "$same" /run/again.json)

step "teardown"
tcmu_inner_down
tcmu_xfs_down
elapsed=$(stopwatch 'is_unmarked "$runner"')
step "unmarked $elapsed ms after umount(8) returned"
assert_unmarked "$runner"
stackd_settled
assert_eq "$(settings_of_runner)" "$before_settings" "settings of a process that lives on"
tcmu_dm_down
tcmu_disk_down
tcmu_backstore_down
tcmu_lower_down
assert_no_stack
stackd_settled
assert_eq "$(stackctl --json=short status | jq '[.layers[] | select(.mounts[]? | startswith("/mnt") or startswith("/srv"))] | length')" 0
assert_eq "$(grep -c . /run/stackd/ledger)" 1 "lines of the ledger"
stackd_quiet
