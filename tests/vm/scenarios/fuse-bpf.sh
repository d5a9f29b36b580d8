# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Who serves which FUSE file system, where fdinfo does not tell and nothing else
# does: three servers that differ in nothing but where they are mounted, one with
# a descriptor for each of its threads, one of a user's whose descriptor
# fusermount3 opened, one that is stopped dead, and some who hold /dev/fuse and
# serve nothing.
#
# timeout: 600
# disks: 2
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/fuse.sh
. /usr/lib/stackd-vm/lib/stackd.sh
require jq bindfs fusermount3 python3

ALIKE=(one two three)

# alike_up NAME OPTIONS...: the options are systemd-run's.
alike_up() {
        mkdir -p "/mnt/$1"
        systemd-run --quiet --unit="alike-$1" --collect "${@:2}" bindfs -f "$FUSE_LOWER/alike" "/mnt/$1"
}

# idle_up NAME COMMAND: a process that holds something, and is no server.
idle_up() {
        systemd-run --quiet --unit="$1" --collect bash -c "$2; exec sleep infinity"
        wait_for 30 "systemctl --quiet is-active '$1'"
}

# Descriptors of its own for one connection, for suites whose servers cannot do
# that: it never answers, so nothing but the mount table shall look at it.
clones_up() {
        mkdir -p /mnt/clones
        systemd-run --quiet --unit=clones --collect python3 -c '
import ctypes, fcntl, os, signal, struct
first = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={first},rootmode=40000,user_id=0,group_id=0".encode()
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"clones", b"/mnt/clones", b"fuse", 0, options) != 0:
    raise OSError(ctypes.get_errno(), "mount")
for _ in range(3):
    FUSE_DEV_IOC_CLONE = 0x8004e500
    fcntl.ioctl(os.open("/dev/fuse", os.O_RDWR), FUSE_DEV_IOC_CLONE, struct.pack("I", first))
os.open("/dev/fuse", os.O_RDWR)
signal.pause()'
        wait_for 30 "is_mounted /mnt/clones"
}

is_mounted() {
        findmnt --noheadings --kernel "$1" >/dev/null
}

# fuse_fds PID
fuse_fds() {
        find "/proc/$1/fd" -lname /dev/fuse -printf '%f\n'
}

tells() {
        grep -qs '^fuse_connection:' /proc/[0-9]*/fdinfo/*
}

# served_by MOUNTPOINT <STATUS: "PID CERTAINTY EVIDENCE", a line for each edge.
served_by() {
        jq -er --arg m "$1" '
                [.processes[] | {key: .id, value: .pid}] as $processes | ($processes | from_entries) as $pid
                | .layers[] | select(.mounts | index($m)) | .lower[], .processes[]?
                | "\($pid[.id]) \(.certainty) \(.evidence)"'
}

# assert_served MOUNTPOINT PID
assert_served() {
        local edges pid certainty evidence
        edges=$(served_by "$1" </run/status.json) || fail "no edge of $1 in: $(cat /run/status.json)"
        read -r pid certainty evidence <<<"$edges"
        assert_eq "$edges" "$2 proven $evidence" "edges of $1"
        step "$1: $edges"
        tells || [[ $evidence =~ ^'BPF task_file iterator: /proc/'$2'/fd/'([0-9]+)$ ]] || fail "evidence: $evidence"
        tells || fuse_fds "$2" | grep -qx "${BASH_REMATCH[1]}" || fail "it is no descriptor of /dev/fuse"
}

# assert_all_served: each by the process that has the mount point on its own
# command line.
assert_all_served() {
        local name
        stackd_settled
        stackctl --json=short status >/run/status.json
        for name in "${ALIKE[@]}" user; do
                grep -qz "^/mnt/$name$" "/proc/$(main_pid "alike-$name")/cmdline" || fail "whose is /mnt/$name?"
                assert_served "/mnt/$name" "$(main_pid "alike-$name")"
        done
        assert_served /mnt/clones "$(main_pid clones)"
        ! [[ ${FUSE_KINDS[*]} == *clone* ]] || assert_served "$(fuse_mount clone)" "$(main_pid "$(fuse_unit clone)")"
}

fuse_lower_up
mkdir "$FUSE_LOWER/alike"
chown user: "$FUSE_LOWER/alike"

step "who serves nothing"
idle_up idle-one 'exec 3<>/dev/fuse'
idle_up idle-two 'exec 5<>/dev/fuse 6<>/dev/fuse'
idle_up idle-name 'exec 3>/run/fuse'    # a file of that name

step "all at once"
for name in "${ALIKE[@]}"; do
        alike_up "$name" &
done
wait
fuse_allow_other
mkdir -p /mnt/user
chown user: /mnt/user
alike_up user --uid=user
clones_up
! [[ ${FUSE_KINDS[*]} == *clone* ]] || fuse_up clone
for name in "${ALIKE[@]}" user; do
        wait_for 30 "is_mounted /mnt/$name"
done
findmnt --kernel --types fuse,fuse.bindfs,fuse.ext4,fuse.fuse2fs --output TARGET,MAJ:MIN,FSTYPE,OPTIONS
for unit in idle-one idle-two "${ALIKE[@]/#/alike-}" alike-user clones; do
        step "$unit: $(main_pid "$unit"), descriptors $(fuse_fds "$(main_pid "$unit")" | xargs)"
done
assert_all_served

step "what is known stays so while a new one is asked about"
alike_up four
wait_for 30 "is_mounted /mnt/four"
ALIKE+=(four)
assert_all_served
# With the idle ones there are too many holders for anyone to be certain by elimination.
undone=$(journalctl --quiet _COMM=stackd --grep='mark off bindfs' --output=cat || :)
assert_eq "$undone" "" "marks taken off"

step "one is stopped dead, and stackd starts anew"
stopped=$(main_pid alike-two)
kill -STOP "$stopped"
defer 'systemctl kill --signal=CONT alike-two 2>/dev/null'
wait_for 10 "grep -q '^State:.*stopped' /proc/$stopped/status"
systemctl restart stackd.service
begin=$EPOCHSECONDS
wait_for 60 "[[ \$(stackctl --json=short status | served_by /mnt/two || :) == '$stopped proven '* ]]"
step "known $((EPOCHSECONDS - begin)) s after stackd was ready"
assert_all_served
systemctl kill --signal=CONT alike-two

step "who serves nothing is not known at all"
for unit in idle-one idle-two idle-name; do
        pid=$(main_pid "$unit")
        assert_eq "$(stackctl --json=short status | jq "[.processes[] | select(.pid == $pid)] | length")" 0 "processes $pid of $unit"
        assert_unmarked "$pid"
done

step "one goes, another takes its number"
number=$(findmnt --noheadings --kernel --output MAJ:MIN /mnt/three)
umount /mnt/three
wait_for 30 '! systemctl --quiet is-active alike-three'
alike_up five
wait_for 30 'is_mounted /mnt/five'
assert_eq "$(findmnt --noheadings --kernel --output MAJ:MIN /mnt/five)" "$number" "number of /mnt/five"
ALIKE=(one two four five)
assert_all_served

systemctl stop idle-one idle-two idle-name clones
umount /mnt/clones
! [[ ${FUSE_KINDS[*]} == *clone* ]] || fuse_down clone
for name in "${ALIKE[@]}" user; do
        umount "/mnt/$name"
        wait_for 30 "! systemctl --quiet is-active alike-$name"
done
fuse_lower_down
assert_no_stack
stackd_settled
stackd_quiet
