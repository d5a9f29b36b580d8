# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# The helper that marks threads dies at each of its system calls, with the real
# flag, on servers with data going through them: tcmu-runner, and bindfs with
# threads that come and go. Nothing of it may be noticed. On victims that check
# their registers too, see tests/mark.
#
# Here for a minute each; MARK_SECONDS=0 MARK_DEATHS=10000 in the environment
# makes it that many, in hours.
#
# timeout: 600
# disks: 2
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/fuse.sh
. /usr/lib/stackd-vm/lib/tcmu.sh
require dmzadm tcmu-runner bindfs
helper=/usr/libexec/stackd/stackd-mark
driver=/usr/lib/stackd-vm/extra/mark-deaths
[[ -x $driver ]] || skip "no mark-deaths in the payload: run.py --extra"
deaths=${MARK_DEATHS:-1000} seconds=${MARK_SECONDS:-60}
# Only we mark.
systemctl mask --quiet --runtime stackd.service

# load_up NAME DIRECTORY: writes, reads back from below the cache, and compares, until the file /run/NAME.stop is
# there. Each round is a line of /run/NAME.rounds with its milliseconds.
cat >/run/load.sh <<'SCRIPT'
. /usr/lib/stackd-vm/lib/lib.sh
until [[ -e /run/$1.stop ]]; do
        began=${EPOCHREALTIME/./}
        verify_io "$2" 1
        echo $(((${EPOCHREALTIME/./} - began) / 1000)) >>"/run/$1.rounds"
done
echo done >"/run/$1.done"
SCRIPT
load_up() {
        systemd-run --quiet --unit="load-$1" bash /run/load.sh "$1" "$2"
        wait_for 60 "[[ -s /run/$1.rounds ]]"
}

load_down() {
        touch "/run/$1.stop"
        wait_for 100 "! systemctl --quiet is-active 'load-$1'"
        [[ -e /run/$1.done ]] || fail "the load of $1 failed: $(journalctl -qu "load-$1" -n 5 -o cat)"
        sort -n "/run/$1.rounds" | awk -v name="$1" '{ t[NR] = $1 }
                END { print name ": rounds of I/O " NR ", ms median " t[int((NR + 1) / 2)] " most " t[NR] }'
}

start_of() {
        local stat fields
        stat=$(<"/proc/$1/stat")
        read -ra fields <<<"${stat##*)}"
        echo "${fields[19]}"
}

# deaths_of NAME PID
deaths_of() {
        local start
        step "$1: up to $deaths deaths in $seconds s"
        start=$(start_of "$2")
        "$driver" --deaths "$deaths" --seed "${MARK_SEED:-11}" --seconds "$seconds" --deadline-ms 3000 "$helper" "$2" >"/run/$1.deaths" ||
                fail "$1: $(tail -3 "/run/$1.deaths" | tr '\n' ' ')"
        tail -1 "/run/$1.deaths"
        assert_eq "$(start_of "$2")" "$start" "start of $1"
        # and a last one that lives
        python3 - "$helper" "$2" <<'PYTHON'
import os, subprocess, sys
helper, pid = sys.argv[1], int(sys.argv[2])
with open(f"/proc/{pid}/stat") as f:
    start = f.read().rpartition(") ")[2].split()[19]
fd = os.pidfd_open(pid)
for what in "--clear", "--set":
    done = subprocess.run([helper, "--pid", str(pid), "--start", start, "--pidfd", str(fd), what,
                           "--deadline-ms", "20000"], pass_fds=[fd], capture_output=True, text=True)
    print(done.stdout.strip().splitlines()[-1])
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
PYTHON
        assert_marked "$2"
}

fuse_lower_up
fuse_up pool
fuse_inner_up pool
load_up bindfs "$(fuse_inner pool)"
deaths_of bindfs "$(main_pid "$(fuse_unit pool)")"
load_down bindfs
fuse_inner_down pool
fuse_down pool
fuse_lower_down

tcmu_zoned_stack_up
load_up tcmu "$TCMU_INNER"
deaths_of tcmu "$(main_pid "$TCMU_UNIT")"
load_down tcmu
tcmu_zoned_stack_down
if dmesg | grep -E 'I/O error|EXT4-fs error|XFS .*(error|corrupt)|blocked for more than'; then
        fail "the kernel has something to say"
fi
assert_no_stack
