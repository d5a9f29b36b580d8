# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# What an ordinary user can do to stackd: call things what they are not, make more of them than anybody reads, ask without
# end. None of it gets him anything, and root's servers are looked after meanwhile. Whom polkit lets, may.
#
# timeout: 500
# disks: 2
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/fuse.sh
. /usr/lib/stackd-vm/lib/stackd.sh
require jq bindfs runuser iconv

FUSE_UNIT_OPTIONS=(--setenv=PASSWORD=open-sesame)

# hostile WHAT [ARGUMENT]: as a user who has logged in would; until 'enough'.
hostile() {
        coproc HOSTILE { systemd-run --quiet --scope --slice=user-1000.slice --uid=user /usr/lib/stackd-vm/lib/hostile-user.py "$@"; }
        hostile_pid=$HOSTILE_PID
}

hostile_ready() {
        local line
        read -r -t 240 line <&"${HOSTILE[0]}" && assert_eq "$line" ready
}

enough() {
        local input=${HOSTILE[1]}
        exec {input}>&-
        wait "$hostile_pid"
        wait_for 30 '! pgrep --uid user'
        stackd_settled
}

size() {
        local pid
        pid=$(main_pid stackd.service)
        awk -v what="$1" '/^(VmRSS|VmHWM)/ { printf "%s%s %d KiB", n++ ? ", " : what ": ", $1, $2 }' "/proc/$pid/status"
        printf ', %d descriptors, %d lines in the journal\n' "$(ls "/proc/$pid/fd" | wc -l)" "$(journal_lines)"
}

# peak: the most memory that it has had, in KiB.
peak() {
        awk '$1 == "VmHWM:" { print $2 }' "/proc/$(main_pid stackd.service)/status"
}

descriptors() {
        ls "/proc/$(main_pid stackd.service)/fd" | wc -l
}

journal_lines() {
        journalctl --quiet --unit=stackd.service --output=cat | wc -l
}

layers() {
        stackctl --json=short status | jq '.layers | length'
}

# root_asks: what the bus has to carry before this call, it carries first, and refuses the call while that is more than it keeps:
# that is not stackd's time.
root_asks() {
        local end=$((SECONDS + 120))
        until busctl --timeout=300 --json=short call org.stackd1 /org/stackd1 org.stackd1.Manager DescribeNested >/run/answer 2>&1; do
                grep -q 'full message queue' /run/answer && ((SECONDS < end)) || fail "$(cat /run/answer)"
        done
        grep layers /run/answer >/dev/null
}

# clean COMMAND...: what it prints may go to a terminal.
clean() {
        "$@" >/run/printed 2>&1 || :
        [[ -s /run/printed ]] || fail "'$*' printed nothing"
        refute env LC_ALL=C grep -naP '[\x00-\x08\x0b-\x1f\x7f]' /run/printed
        iconv -f UTF-8 -t UTF-8 /run/printed >/dev/null
}

fuse_single_marked
server=$(main_pid "$(fuse_unit single)")
before=$(layers) marks=$(marks_made) lines=$(journal_lines) fds=$(descriptors)
size "before all"

step "what he calls things"
hostile names
hostile_ready
stackd_settled
size "names"
(($(layers) > before)) || fail "nothing of his is seen"
assert_eq "$(marks_made)" "$marks" "marks"
for pid in $(pgrep --uid user); do
        [[ ! -d /proc/$pid/task ]] || is_unmarked "$pid" || fail "process $pid of an ordinary user is marked"
        assert_eq "$(cat "/proc/$pid/oom_score_adj")" 0 "OOM score of process $pid"
done
for group in user.slice user.slice/user-1000.slice; do
        assert_eq "$(cat "/sys/fs/cgroup/$group/memory.min") $(cat "/sys/fs/cgroup/$group/memory.low")" "0 0" "$group"
done
stackctl --json=short status | jq -e '[.processes[] | select(.entitled and .uid != 0)] == []' >/dev/null
stackctl --json=short plan | jq -e '.actions == []' >/dev/null
clean stackctl status
clean stackctl list
clean stackctl check
clean stackctl explain
clean stackctl graph
clean stackctl metrics
clean stackctl --json=pretty status
stackctl --json=short status | jq -e . >/dev/null
journalctl --quiet --unit=stackd.service --output=json | jq -se 'all(.[]; .MESSAGE | type == "string" and (explode | all(. >= 32 and . != 127)))' >/dev/null
(($(journal_lines) - lines < 60)) || fail "$(journal_lines) lines in the journal"
enough
wait_for 60 "((\$(layers) == $before))"

step "what he asks"
most=$(peak)
hostile calls 10000
root_asks
fuse_up pool
stopwatch 'is_marked "$(main_pid "$(fuse_unit pool)")"'
begin=${EPOCHREALTIME/[^0-9]/}
root_asks
printf 'an answer to root beside it: %d ms\n' $(((${EPOCHREALTIME/[^0-9]/} - begin) / 1000))
hostile_ready
size "calls"
(($(peak) - most < 24576)) || fail "it grew from $most to $(peak) KiB"
(($(descriptors) <= fds + 8)) || fail "$(descriptors) descriptors are open, and were $fds"
fuse_down pool
enough
assert_marked "$server"
refute journalctl --quiet --unit=stackd.service --output=cat --grep='watchdog|Main process exited'

step "more than is read"
# polkit has been started meanwhile, which has mounts of its own.
lines=$(journal_lines) before=$(layers)
hostile flood
hostile_ready
stackd_settled
size "flood"
journalctl --quiet --unit=stackd.service --output=cat | grep -cF '(namespace-limit)' | grep -qx 1
fuse_up pool
stopwatch 'is_marked "$(main_pid "$(fuse_unit pool)")"'
fuse_down pool
assert_marked "$server"
enough
size "after it"
(($(journal_lines) - lines < 20)) || fail "$(journal_lines) lines in the journal"
assert_eq "$(layers)" "$before"
(($(descriptors) <= fds + 2)) || fail "$(descriptors) descriptors are open, and were $fds"

step "what he is told"
as_user=(runuser -u user --)
as_user_call=("${as_user[@]}" busctl --json=short call org.stackd1 /org/stackd1 org.stackd1.Manager)
{
        "${as_user_call[@]}" Describe s ""
        "${as_user_call[@]}" DescribeNested
        "${as_user_call[@]}" Plan as 0
        "${as_user_call[@]}" Explain as 0
        "${as_user_call[@]}" DumpConfiguration
} >/run/told
grep -qF "\\\"pid\\\":$server," /run/told
refute grep -i sesame /run/told

step "whom polkit lets"
id=$(stackctl --json=short status | jq -er --argjson p "$server" '.processes[] | select(.pid == $p) | .id')
refute "${as_user[@]}" stackctl revert "$id"
cat >/etc/polkit-1/rules.d/10-users.rules <<'RULES'
polkit.addRule(function(action, subject) {
        if (action.id == "org.stackd1.revert" && subject.user == "user")
                return polkit.Result.YES;
});
RULES
wait_for 30 '"${as_user[@]}" stackctl revert "$id" 2>/run/stderr'
assert_unmarked "$server"
refute "${as_user[@]}" stackctl apply "$id"
assert_unmarked "$server"
stackctl apply "$id"
assert_marked "$server"
step "and nobody where polkit is not there"
systemctl stop polkit.service
systemctl mask --runtime --quiet polkit.service
refute "${as_user[@]}" stackctl revert "$id" 2>/run/stderr
cat /run/stderr
grep -qF "Only root may do that" /run/stderr
assert_marked "$server"

fuse_down single
fuse_lower_down
assert_no_stack
