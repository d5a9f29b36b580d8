# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Who serves a FUSE file system that somebody else has mounted, from another mount or pid namespace, with cloned
# descriptors in two processes, or with the service manager keeping a copy; and what is said of it when neither
# the kernel nor a BPF program tells.
#
# timeout: 400
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/stackd.sh
. /usr/lib/stackd-vm/lib/zoo.sh
require jq python3 unshare

# server UNIT ARGUMENTS... [-- SYSTEMD-RUN-OPTIONS...]: lib/fuse-server.py as a service.
server() {
        local unit=$1 arguments=()
        shift
        while (($# > 0)) && [[ $1 != -- ]]; do
                arguments+=("$1")
                shift
        done
        # shellcheck disable=SC2086
        systemd-run --quiet --unit="$unit" --collect "${@:2}" $PREFIX python3 /usr/lib/stackd-vm/lib/fuse-server.py "${arguments[@]}"
}
PREFIX=     # of what the next server is started with

# handed NAME [SYSTEMD-RUN-OPTIONS...]: one process mounts /mnt/NAME, another serves it, over there.
handed() {
        systemctl stop "give-$1" 2>/dev/null || :
        rm -f "/run/fuse-$1"
        server "take-$1" take "/run/fuse-$1" -- "${@:2}"
        PREFIX=
        wait_for 20 "[[ -S /run/fuse-$1 ]]"
        server "give-$1" give "/mnt/$1" "/run/fuse-$1"
        wait_for 20 "timeout 5 stat /mnt/$1/ &>/dev/null && [[ -z \$(fuse_fds \$(main_pid give-$1)) ]]"
}

# fuse_fds PID
fuse_fds() {
        find "/proc/$1/fd" -lname /dev/fuse -printf '%f\n'
}

# worker UNIT: the one process of the service that has /dev/fuse open.
worker() {
        local pid found=()
        for pid in $(systemctl show --property=ControlGroup --value "$1" | xargs -I{} cat /sys/fs/cgroup{}/cgroup.procs); do
                [[ -z $(fuse_fds "$pid") ]] || found+=("$pid")
        done
        ((${#found[@]} == 1)) && echo "${found[0]}"
}

# edges MOUNT: "PID CERTAINTY" of each server, in order.
edges() {
        stackctl --json=short status | jq -r --arg m "$1" '
                ([.processes[] | {key: .id, value: .pid}] | from_entries) as $pid
                | .layers[] | select(.mounts | index($m)) | .processes[]? | "\($pid[.id]) \(.certainty)"' | sort
}

# assert_served MOUNT TEXT: what edges() says of it, once all answers are there.
assert_served() {
        local deadline=$((SECONDS + 30))
        stackd_settled
        until [[ $(edges "$1") == "$2" ]]; do
                ((SECONDS < deadline)) || fail "$1 is served by '$(edges "$1")', not '$2'"
                stackd_settled
        done
}

tells() {
        grep -qs '^fuse_connection:' /proc/[0-9]*/fdinfo/*
}

modprobe fuse
mkdir -p /mnt/{handed,mounts,pids,private,clones,kept}
systemctl start stackd.service
zoo_base

step "the one who mounted is not the one who serves: alone; in another mount namespace; in another pid namespace"
handed handed
handed mounts --property=PrivateMounts=yes
PREFIX="unshare --pid --fork --mount-proc"
handed pids
step "mounted and served in a mount namespace of its own"
server private serve /mnt/private -- --property=PrivateMounts=yes
wait_for 20 "grep -qs ' /mnt/private ' /proc/\$(main_pid private)/mountinfo"
step "cloned descriptors, in two processes"
server clones clones /mnt/clones 4
wait_for 20 'timeout 5 stat /mnt/clones/ &>/dev/null && (($(pgrep -fc "fuse-server.py clones") == 2))'
step "the service manager has a copy of the descriptor"
server kept keep /mnt/kept -- --property=FileDescriptorStoreMax=1 --property=NotifyAccess=all
wait_for 20 'timeout 5 stat /mnt/kept/ &>/dev/null && [[ -n $(fuse_fds 1) ]]'

# served_as_it_is: each by whoever reads its requests.
served_as_it_is() {
        local name pids
        for name in handed mounts pids; do
                assert_served "/mnt/$name" "$(worker "take-$name") proven"
        done
        assert_served /mnt/private "$(main_pid private) proven"
        mapfile -t pids < <(pgrep -f 'fuse-server.py clones' | sort)
        assert_served /mnt/clones "$(printf '%s proven\n' "${pids[@]}")"
        assert_served /mnt/kept "$(printf '%s\n' "1 inferred" "$(main_pid kept) proven" | sort)"
}

step "each is known"
served_as_it_is
for unit in take-handed take-mounts take-pids private clones kept; do
        wait_for 20 "is_marked \$(worker $unit || main_pid $unit)"
done
for unit in give-handed give-mounts give-pids; do
        assert_unmarked "$(main_pid "$unit")"
done
assert_unmarked 1

step "without BPF"
mkdir -p /run/systemd/system/stackd.service.d
printf '[Service]\nSystemCallFilter=~bpf\nSystemCallErrorNumber=EPERM\n' >/run/systemd/system/stackd.service.d/50-no-bpf.conf
systemctl daemon-reload
systemctl restart stackd.service
if tells; then
        served_as_it_is
else
        # Seven processes hold /dev/fuse for six file systems: whoever it is, nobody is called the server of one.
        stackd_settled
        stackctl --json=short status | jq -e '[.layers[] | select(.type | startswith("fuse")) | select(.type != "fusectl")
                | .processes[] | select(.certainty != "inferred")] == []' >/dev/null || fail "something is certain without reason"
        for name in handed mounts pids private clones kept; do
                (($(edges "/mnt/$name" | wc -l) == 7)) || fail "candidates of /mnt/$name: $(edges "/mnt/$name")"
        done
        # With one file system and one process left it is that.
        for name in mounts pids clones kept; do
                umount "/mnt/$name"
        done
        systemctl stop private
        assert_served /mnt/handed "$(worker take-handed) unique"
        # As many processes as file systems: none knows which, but each is below one.
        handed mounts
        assert_served /mnt/handed "$(printf '%s inferred\n' "$(worker take-handed)" "$(worker take-mounts)" | sort)"
        assert_eq "$(process_field "$(worker take-handed)" .depth_certain)" 1
        assert_eq "$(process_field "$(worker take-mounts)" .depth_certain)" 1
fi

step "down"
umount /mnt/{handed,mounts}
for name in pids clones kept; do
        ! mountpoint --quiet "/mnt/$name" || umount "/mnt/$name"
done
systemctl stop private give-{handed,mounts,pids} 2>/dev/null || :
rm /run/systemd/system/stackd.service.d/50-no-bpf.conf
systemctl daemon-reload
systemctl restart stackd.service
wait_for 20 '! pgrep -f "fuse-server.py (take|serve|clones|keep)"'
expect_table </dev/null
assert_no_stack
stackd_quiet
