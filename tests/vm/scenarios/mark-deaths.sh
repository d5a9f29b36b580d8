# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# The helper that marks threads dies at each of its system calls, and then at
# random instants, with the real flag, on servers with data going through them:
# tcmu-runner, and bindfs with threads that come and go. Nothing of it may be
# noticed. On victims that check their registers too, see tests/mark.
#
# In the environment, where --exec can say more: MARK_SECONDS, at each call, and
# MARK_TIMED, how often at random in up to MARK_TIMED_SECONDS, of each server;
# MARK_SERVERS, which of them; MARK_SEED. Some minutes of it:
#   run.py ... --timeout 500 --exec 'MARK_SERVERS=tcmu MARK_TIMED=5000 MARK_SEED=12 \
#     bash /usr/lib/stackd-vm/scenarios/mark-deaths.sh'
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
seconds=${MARK_SECONDS:-15} timed=${MARK_TIMED:-50} servers=${MARK_SERVERS:-bindfs tcmu} seed=${MARK_SEED:-11}
timed_seconds=${MARK_TIMED_SECONDS:-300}
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

# die NAME PID OPTION...
die() {
        local name=$1 pid=$2
        shift 2
        "$driver" --seed "$seed" --deadline-ms 3000 "$@" "$helper" "$pid" >"/run/$name.deaths" ||
                fail "$name: $(tail -3 "/run/$name.deaths" | tr '\n' ' ')"
        echo "$name: $(tail -1 "/run/$name.deaths")"
}

# deaths_of NAME PID
deaths_of() {
        local start
        start=$(start_of "$2")
        step "$1: deaths at each call, for $seconds s"
        die "$1" "$2" --deaths 10000 --seconds "$seconds"
        step "$1: $timed deaths at random"
        die "$1" "$2" --timed --deaths "$timed" --seconds "$timed_seconds"
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

if [[ $servers == *bindfs* ]]; then
        fuse_lower_up
        fuse_up pool
        fuse_inner_up pool
        load_up bindfs "$(fuse_inner pool)"
        deaths_of bindfs "$(main_pid "$(fuse_unit pool)")"
        load_down bindfs
        fuse_inner_down pool
        fuse_down pool
        fuse_lower_down
fi

if [[ $servers == *tcmu* ]]; then
        tcmu_zoned_stack_up
        load_up tcmu "$TCMU_INNER"
        deaths_of tcmu "$(main_pid "$TCMU_UNIT")"
        load_down tcmu
        tcmu_zoned_stack_down
fi
if dmesg | grep -E 'I/O error|EXT4-fs error|XFS .*(error|corrupt)|blocked for more than'; then
        fail "the kernel has something to say"
fi
assert_no_stack
