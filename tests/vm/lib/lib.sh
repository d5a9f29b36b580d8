# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# What every scenario sources first. A scenario fails with the first command
# that does, and says which; the harness shows the line that starts with FAIL.

set -Eeuo pipefail
shopt -s inherit_errexit nullglob

IO_FLUSHER=0x180000     # PF_MEMALLOC_NOIO | PF_LOCAL_THROTTLE

# Marks would have the kernel change its own code all the time, which QEMU does not always survive.
if [[ -x /usr/lib/stackd-vm/extra/hold-clock ]] && ! systemctl --quiet is-active hold-clock.service; then
        systemd-run --quiet --unit=hold-clock --slice=system-holdclock.slice /usr/lib/stackd-vm/extra/hold-clock
fi

_deferred=()
trap '_failed $? "$BASH_COMMAND"' ERR
trap _run_deferred EXIT

_failed() {
        printf 'FAIL: %s:%s: exit status %s of: %s\n' \
                "$(basename "${BASH_SOURCE[1]:-$0}")" "${BASH_LINENO[0]}" "$1" "$2" >&2
}

_run_deferred() {
        local status=$? i
        set +e
        trap - ERR
        for ((i = ${#_deferred[@]} - 1; i >= 0; i--)); do
                eval "${_deferred[i]}"
        done
        exit "$status"
}

# Runs a command at the end of the scenario, last one first, however it ends.
defer() {
        _deferred+=("$*")
}

step() {
        printf '%(%T)T -- %s\n' -1 "$*"
}

# fail TEXT: with the line of the scenario, not that of the function it called.
fail() {
        local lines=(0 "${BASH_LINENO[@]}")
        printf 'FAIL: %s:%s: %s\n' "$(basename "$0")" "${lines[-2]}" "$*" >&2
        exit 1
}

skip() {
        printf '%s\n' "$*"
        exit 77
}

# require COMMAND...: not every suite has every tool.
require() {
        local command
        for command; do
                command -v "$command" >/dev/null || skip "no $command in this guest"
        done
}

# wait_for SECONDS CONDITION: until the shell code is true.
wait_for() {
        local deadline=$((SECONDS + $1))
        until eval "$2"; do
                ((SECONDS < deadline)) || fail "not within $1s: $2"
                sleep 0.1
        done
}

assert_eq() {
        [[ $1 == "$2" ]] || fail "${3:-values differ}: '$1' is not '$2'"
}

# refute COMMAND...: it must not work. (To the shell, '! COMMAND' may do either.)
refute() {
        ! "$@" || fail "this worked: $*"
}

have_stackd() {
        [[ -x /usr/bin/stackctl ]]
}

# flags_of PID: a line "TID HEX" for each thread, HEX being its IO_FLUSHER bits.
flags_of() {
        local task stat fields
        for task in "/proc/$1/task/"*; do
                { read -r stat <"$task/stat"; } 2>/dev/null || continue # it has just ended
                # The name before it may hold anything, a ')' too.
                read -ra fields <<<"${stat##*)}"
                printf '%s 0x%x\n' "${task##*/}" $((fields[6] & IO_FLUSHER))
        done
}

_assert_flags() {
        local flags
        flags=$(flags_of "$1")
        [[ -n $flags ]] || fail "process $1 has no threads"
        awk -v wanted="$2" '$2 != wanted { exit 1 }' <<<"$flags" ||
                fail "process $1: not all threads have flags $2:" $flags
}

assert_marked() {
        _assert_flags "$1" "$IO_FLUSHER"
}

assert_unmarked() {
        _assert_flags "$1" 0x0
}

# capabilities_of PID SET
capabilities_of() {
        awk -v set="Cap$2:" '$1 == set { print $2 }' "/proc/$1/status"
}

# has_sys_resource PID SET
has_sys_resource() {
        ((0x$(capabilities_of "$1" "$2") & 1 << 24))
}

# main_pid UNIT: of a running service.
main_pid() {
        local pid
        pid=$(systemctl show --property=MainPID --value "$1")
        [[ $pid != 0 ]] || fail "$1 is not running"
        echo "$pid"
}

# verify_io DIRECTORY MIB: what was written there comes back from below the
# page cache.
verify_io() {
        local file=$1/verify
        head -c "$2M" /dev/urandom >/run/verify # which is on a tmpfs, that keeps it
        cp /run/verify "$file"
        sync "$file"
        echo 1 >/proc/sys/vm/drop_caches
        cmp "$file" /run/verify || fail "other contents of $file than were written"
        rm "$file" /run/verify
}

# format_and_mount DEVICE DIRECTORY: an ext4 that does no work of its own later.
format_and_mount() {
        mkfs.ext4 -qF -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 "$1"
        mkdir -p "$2"
        mount -o noatime "$1" "$2"
}

# memory_min CGROUP: as the kernel has it.
memory_min() {
        cat "/sys/fs/cgroup/$1/memory.min"
}

# loop_of FILE: the loop device that is bound to it.
loop_of() {
        losetup --noheadings --output=NAME --associated "$1"
}

# nbd_remove: a client that is just ending and udev still have a disk open for a moment.
nbd_remove() {
        wait_for 20 "modprobe --remove nbd 2>/dev/null"
}

# assert_no_stack: nothing is left but the guest's own disks.
assert_no_stack() {
        local left
        udevadm settle
        left=$(
                lsblk --nodeps --noheadings --output=NAME | grep -v '^vd'
                losetup --all
                dmsetup ls | grep -v '^No devices'
                findmnt --noheadings --raw --output=TARGET | grep -E '^/(mnt|srv)'
                echo /sys/kernel/config/target/core/user_* /sys/kernel/config/target/loopback/naa.* /sys/class/uio/*
        ) || :
        [[ -z ${left//[[:space:]]/} ]] || fail "left behind:" $left
}
