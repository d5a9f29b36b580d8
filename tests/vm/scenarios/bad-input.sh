# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# What is asked wrongly gets one clear sentence, status 2, and no answer that could
# be taken for the whole. An ordinary user may look, and change nothing.
#
# timeout: 300
# disks: 2
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/fuse.sh
. /usr/lib/stackd-vm/lib/stackd.sh
require jq bindfs runuser

# refused STATUS PATTERN COMMAND...: it fails so, says so on standard error, and prints nothing else.
refused() {
        local status=$1 pattern=$2 out err got=0
        shift 2
        out=$("$@" 2>/run/stderr) || got=$?
        err=$(cat /run/stderr)
        printf '%s\n  %s: %s\n' "$*" "$got" "$err"
        assert_eq "$got" "$status" "status of '$*'"
        [[ -z $out ]] || fail "'$*' printed: $out"
        [[ $err == *$pattern* ]] || fail "'$*' did not say '$pattern' but: $err"
}

# incomplete GAP COMMAND...: it answers with what it sees, with status 1, and names what it does not see.
incomplete() {
        local gap=$1 got=0
        shift
        "$@" >/run/stdout || got=$?
        assert_eq "$got" 1 "status of '$*'"
        jq -e --arg gap "$gap" '(.layers | length > 5) and any(.gaps[]; .id == $gap)' /run/stdout >/dev/null || fail "'$*' printed: $(cut -c-300 /run/stdout)"
}

fuse_lower_up
fuse_up single
server=$(main_pid "$(fuse_unit single)")
stopwatch 'is_marked "$server"'

step "words"
refused 2 "Unknown command 'stauts'" stackctl stauts
refused 2 "'99999999'" stackctl status 99999999
refused 2 "'/no/such/mount'" stackctl status /no/such/mount
refused 2 "'/dev/nosuch'" stackctl show /dev/nosuch
refused 2 "'nosuch.service'" stackctl show nosuch.service
refused 2 "'nosuch.service'" stackctl apply nosuch.service
refused 2 "json" stackctl --json=perhaps status

step "captured machines"
refused 2 "/no/such/root" stackctl --root=/no/such/root status
mkdir -p /run/half/proc
refused 2 "'sys'" stackctl --root=/run/half status
mkdir -p /run/half/sys
refused 2 "mountinfo" stackctl --root=/run/half status
mkdir -p /run/half/proc/1
cat /proc/1/mountinfo >/run/half/proc/1/mountinfo
incomplete no-namespaces stackctl --root=/run/half --json=short status
refused 2 "captured machine cannot be changed" stackctl --root=/run/half apply

step "a second writer"
refused 2 "Another stackd is running" stackctl --direct revert

step "an ordinary user"
as_user=(runuser -u user --)
"${as_user[@]}" stackctl status "$(fuse_mount single)"
assert_eq "$("${as_user[@]}" stackctl --json=short status | jq -S .)" \
        "$(stackctl --json=short status | jq -S .)" "what a user sees on the bus"
refused 2 "" "${as_user[@]}" stackctl apply
refused 2 "" "${as_user[@]}" stackctl revert
assert_marked "$server"
refute "${as_user[@]}" busctl call org.stackd1 /org/stackd1 org.stackd1.Manager Revert as 0
assert_marked "$server"
step "his private stackd sees less, and says so"
incomplete no-privilege "${as_user[@]}" stackctl --direct --json=short status
refused 2 "" "${as_user[@]}" stackctl --direct apply

step "no bus"
systemctl stop dbus.socket dbus.service stackd.service 2>/dev/null || :
DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nonexistent stackctl --json=short status |
        jq -e --argjson p "$server" '.processes[] | select(.pid == $p) | .io_flusher == "all"' >/dev/null
refused 2 "/nonexistent/stackd" env STACKD_BINARY=/nonexistent/stackd stackctl --direct status

fuse_down single
fuse_lower_down
