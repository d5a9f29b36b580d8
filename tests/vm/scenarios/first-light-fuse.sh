# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# FUSE daemons under stackd: one single-threaded, one with a pool, one with a
# descriptor for each thread, of a user and mounted by fusermount3. Each is marked when
# its file system is mounted, and stays so with another
# file system on top of it.
#
# timeout: 500
# disks: 2
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/fuse.sh
. /usr/lib/stackd-vm/lib/stackd.sh
require jq bindfs

# The prctl asks for a capability of the daemon's own; a user's daemon has it only if its unit grants it.
FUSE_UNIT_OPTIONS=(--property=AmbientCapabilities=CAP_SYS_RESOURCE)

fuse_lower_up
for kind in "${FUSE_KINDS[@]}"; do
        step "$kind: the file system alone"
        fuse_up "$kind"
        server=$(main_pid "$(fuse_unit "$kind")")
        ms=$(stopwatch 'is_marked "$server"')
        step "$kind: marked $ms ms after the mount, $(flags_of "$server" | wc -l) threads"
        systemctl --quiet is-active stackd.service || fail "stackd does not run"
        stackd_settled
        assert_eq "$(process_field "$server" .depth)" 1 "depth of the daemon"
        assert_eq "$(layer_at "$(fuse_mount "$kind")" .depth)" 0 "depth of its file system"
        assert_eq "$(layer_at "$FUSE_LOWER" .depth)" 1 "depth of the file system below"

        step "$kind: a file system in an image on it"
        fuse_inner_up "$kind"
        stackd_settled
        assert_eq "$(layer_at "$(fuse_inner "$kind")" .depth)" 0
        assert_eq "$(layer_at "$(fuse_mount "$kind")" .depth)" 1
        assert_eq "$(process_field "$server" .depth)" 2
        assert_eq "$(layer_at "$FUSE_LOWER" .depth)" 2
        verify_io "$(fuse_inner "$kind")" 16
        assert_marked "$server"
        stackctl --no-pager status "$(fuse_inner "$kind")"
        threads=$(flags_of "$server" | wc -l)
        step "$kind: $threads threads under load, all marked"
        case $kind in
        single) assert_eq "$threads" 1 "threads" ;;
        pool) ((threads > 1)) ;;
        clone) (($(find "/proc/$server/fd" -lname /dev/fuse | wc -l) > 1)) ;;
        esac

        step "$kind: teardown"
        fuse_inner_down "$kind"
        stackd_settled
        assert_eq "$(process_field "$server" .depth)" 1
        assert_marked "$server"
        fuse_down "$kind"
done

step "all at once, and stackd dies meanwhile"
for kind in "${FUSE_KINDS[@]}"; do
        fuse_up "$kind"
        [[ $kind != single ]] || kill -KILL "$(main_pid stackd.service)"
        fuse_inner_up "$kind"
done
wait_for 10 'systemctl --quiet is-active stackd.service'
stackd_settled
for kind in "${FUSE_KINDS[@]}"; do
        server=$(main_pid "$(fuse_unit "$kind")")
        stopwatch 'is_marked "$server"'
        assert_eq "$(process_field "$server" .depth_certain)" 2 "certain depth of $kind"
done
for kind in "${FUSE_KINDS[@]}"; do
        fuse_inner_down "$kind"
        fuse_down "$kind"
done

fuse_lower_down
assert_no_stack
stackd_settled
assert_eq "$(grep -c . /run/stackd/ledger)" 1 "lines of the ledger"
stackd_quiet
