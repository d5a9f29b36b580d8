# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# The service itself at bad times: with thousands of mounts, without memory, and when it turns no more. What was done stays, and
# the next stack is looked after.
#
# timeout: 600
# memory: 512
# disks: 2
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/fuse.sh
. /usr/lib/stackd-vm/lib/stackd.sh
require jq bindfs python3 apparmor_parser

size() {
        awk -v what="$1" '/^(VmRSS|VmHWM|VmLck|VmSwap)/ { printf "%s%s %d KiB", n++ ? ", " : what ": ", $1, $2 } END { print "" }' \
                "/proc/$(main_pid stackd.service)/status"
}

# start_takes: milliseconds from the command to READY=1.
start_takes() {
        local begin
        systemctl stop stackd.service
        begin=${EPOCHREALTIME/[^0-9]/}
        systemctl start stackd.service
        echo $(((${EPOCHREALTIME/[^0-9]/} - begin) / 1000))
}

# mounts VERB N: of as many file systems.
mounts() {
        python3 - "$@" <<'PYTHON'
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
for i in range(int(sys.argv[2])):
    path = f"/run/many/{i}".encode()
    if sys.argv[1] == "up":
        os.makedirs(path, exist_ok=True)
        assert libc.mount(b"none", path, b"tmpfs", 0, b"size=4k") == 0
    else:
        assert libc.umount2(path, 0) == 0
PYTHON
}

fuse_single_marked
server=$(main_pid "$(fuse_unit single)")

step "the unit"
systemd-analyze security --no-pager stackd.service | tail -n 1
# With thousands of mounts a mount namespace of its own takes longer than all that stackd does.
assert_eq "$(readlink "/proc/$(main_pid stackd.service)/ns/mnt")" "$(readlink /proc/1/ns/mnt)"
assert_marked "$(main_pid stackd.service)"

step "a server that AppArmor confines"
[[ $(cat /sys/module/apparmor/parameters/enabled) == Y ]] || fail "this kernel has no AppArmor"
confined() {
        printf 'profile %s flags=(attach_disconnected) {\n  file,\n  mount,\n  umount,\n  signal,\n  unix,\n  capability,\n  %s\n}\n' "$@" |
                apparmor_parser --skip-cache --replace
        FUSE_UNIT_OPTIONS=(--property="AppArmorProfile=$1")
        fuse_up pool
        assert_eq "$(cat "/proc/$(main_pid "$(fuse_unit pool)")/attr/current")" "$1 (enforce)"
}
confined stackd-vm-may ''
stopwatch 'is_marked "$(main_pid "$(fuse_unit pool)")"'
fuse_down pool
confined stackd-vm-may-not 'deny capability sys_resource,'
stackd_settled
wait_for 20 "stackctl --json=short status | jq -e '.actions | any(.kind == \"io-flusher\" and .state == \"failed\" and (.error | contains(\"security module\")))' >/dev/null"
assert_unmarked "$(main_pid "$(fuse_unit pool)")"
fuse_down pool
FUSE_UNIT_OPTIONS=()

step "thousands of mounts"
size "10 layers"
few=$(start_takes)
mounts up 1000
many=$(start_takes)
stackd_settled
size "1,000 layers"
assert_eq "$(stackctl --json=short status | jq '[.layers[].mounts[] | select(startswith("/run/many/"))] | length')" 1000
mounts down 1000
step "start to READY: $few ms with few mounts; with 1,000 $many ms"
systemctl restart stackd.service
assert_marked "$server"

step "no memory"
pid=$(main_pid stackd.service)
kills=$(awk '$1 == "oom_kill" { print $2 }' /proc/vmstat)
# More than there is, again and again, from those whom the kernel takes first.
systemd-run --quiet --unit=hogs --property=OOMScoreAdjust=1000 --property=OOMPolicy=continue --property=MemorySwapMax=0 \
        bash -c 'for i in 1 2 3; do python3 -c "$1" & python3 -c "$1" & wait; done' hogs 'x = [b"x" * (1 << 20) for i in range(1 << 20)]'
wait_for 120 "((\$(awk '\$1 == \"oom_kill\" { print \$2 }' /proc/vmstat) > $kills))"
fuse_up pool
stopwatch 'is_marked "$(main_pid "$(fuse_unit pool)")"'
wait_for 240 '! systemctl --quiet is-active hogs.service'
printf 'killed for want of memory: %d\n' $(($(awk '$1 == "oom_kill" { print $2 }' /proc/vmstat) - kills))
assert_eq "$(main_pid stackd.service)" "$pid" "process of stackd"
assert_marked "$(main_pid "$(fuse_unit pool)")"
assert_marked "$server"
size "after it"
fuse_down pool

step "one that turns no more"
mkdir -p /run/systemd/system/stackd.service.d
cat >/run/systemd/system/stackd.service.d/watchdog.conf <<'UNIT'
[Service]
WatchdogSec=2
UNIT
systemctl daemon-reload
systemctl restart stackd.service
stackd_settled
pid=$(main_pid stackd.service)
kill -STOP "$pid"
wait_for 60 "[[ \$(systemctl show --property=MainPID --value stackd.service) != @(0|$pid) ]] && systemctl --quiet is-active stackd.service"
assert_eq "$(journalctl --quiet --unit=stackd.service --output=cat --grep='Watchdog timeout' | wc -l)" 1
assert_marked "$server"
fuse_up pool
stopwatch 'is_marked "$(main_pid "$(fuse_unit pool)")"'
fuse_down pool
rm -r /run/systemd/system/stackd.service.d
systemctl daemon-reload
systemctl restart stackd.service
fuse_down single
fuse_lower_down
assert_no_stack
