# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Asking the stackd under test.

# stackd_settled: until it has seen everything that happened up to now.
stackd_settled() {
        udevadm settle
        busctl --timeout=300 call org.stackd1 /org/stackd1 org.stackd1.Manager Refresh >/dev/null
}

# told SECONDS FILTER [JQ-OPTION...]: until the graph is so, of events alone: nothing asks stackd to look.
told() {
        local deadline=$((SECONDS + $1))
        until stackctl --json=short status | jq -e "${@:3}" "$2" >/dev/null; do
                ((SECONDS < deadline)) || fail "not within $1s, without being asked: $2 ${*:3}"
                sleep 0.2
        done
}

# layer_at MOUNTPOINT FILTER: of the one file system that is mounted there.
layer_at() {
        stackctl --json=short status | jq -er --arg m "$1" ".layers[] | select(.mounts | index(\$m)) | $2"
}

# process_field PID FILTER
process_field() {
        stackctl --json=short status | jq -er --argjson p "$1" ".processes[] | select(.pid == \$p) | $2"
}

# lower_edge ID: the one backing edge below a layer or process, as JSON. Hints (inferred edges) are no part of
# the stack.
lower_edge() {
        stackctl --json=short status | jq -ec --arg id "$1" '
                [((.layers[], .processes[]) | select(.id == $id) | (.lower[], .processes[]?))
                 | select(.certainty != "inferred") | {id, certainty, evidence}]
                | if length == 1 then .[0] else error("not one edge below \($id): \(.)") end'
}

is_marked() {
        [[ -z $(flags_of "$1" | grep -v " $IO_FLUSHER\$") ]]
}

is_unmarked() {
        [[ -z $(flags_of "$1" | grep -v ' 0x0$') ]]
}

# stopwatch CONDITION: milliseconds until it holds, at most ten seconds.
stopwatch() {
        local begin=${EPOCHREALTIME/[^0-9]/} now
        until eval "$1"; do
                now=${EPOCHREALTIME/[^0-9]/}
                ((now - begin < 10000000)) || fail "not within 10 s: $1"
        done
        now=${EPOCHREALTIME/[^0-9]/}
        echo $(((now - begin) / 1000))
}

# marks_made: how often stackd has marked a process since the boot, by its own account.
marks_made() {
        journalctl --quiet --unit=stackd.service --grep='^Marked as IO_FLUSHER' --output=cat | wc -l
}

# stackd_quiet: it has complained about nothing.
stackd_quiet() {
        local complaints
        complaints=$(journalctl --quiet _COMM=stackd --priority=warning --output=cat)
        [[ -z $complaints ]] || fail "stackd complained:" "$complaints"
}

# fuse_single_marked: the service, and the server 'single' of fuse.sh, which it has marked.
fuse_single_marked() {
        fuse_lower_up
        systemctl start stackd.service
        fuse_up single
        stopwatch 'is_marked "$(main_pid "$(fuse_unit single)")"' >/dev/null
        stackd_settled
}
