#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How long a busy thread stands still while it is marked: by stackd-mark, and by gdb as one would do it by hand.

usage: bench-mark.py HELPER ODD [ROUNDS]
The thread itself looks at the clock all the time. The best of the rounds counts, as other work on the machine only
ever adds.
"""

import os
import shutil
import statistics
import subprocess
import sys

PR_SET_TIMERSLACK = 29


def with_helper(helper, pid, i):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
        start = f.read().rpartition(") ")[2].split()[19]
    fd = os.pidfd_open(pid)
    subprocess.run([helper, "--pid", str(pid), "--start", start, "--pidfd", str(fd), "--clear" if i % 2 else "--set"],
                   pass_fds=[fd], stdout=subprocess.DEVNULL, check=True)
    os.close(fd)


def with_gdb(_, pid, i):
    out = subprocess.run(["gdb", "-nx", "-batch", "-p", str(pid), "-ex", "thread 1", "-ex",
                          f"call (int) prctl({PR_SET_TIMERSLACK}, {50000 + i % 2}, 0, 0, 0)"], stdin=subprocess.DEVNULL,
                         capture_output=True, text=True, check=True).stdout
    assert "$1 = 0" in out, out


def gaps(victim, mark, helper, rounds):
    found = []
    for i in range(rounds):
        for act in (None, mark):
            if act:
                act(helper, victim.pid, i)
            victim.stdin.write(b"x")
            gap = int(victim.stdout.readline())
        found.append(gap)
    return found


def show(name, found):
    print(f"{name}: stopped us least {min(found) / 1000:.0f} median {statistics.median(found) / 1000:.0f} "
          f"most {max(found) / 1000:.0f}, {len(found)} rounds", flush=True)


def main():
    helper, odd, rounds = sys.argv[1], sys.argv[2], int((sys.argv + ["9"])[3])
    if not shutil.which("gdb"):
        print("no gdb")
        sys.exit(77)
    with subprocess.Popen([odd, "gap"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as victim:
        victim.stdout.readline()
        ours = gaps(victim, with_helper, helper, rounds)
        show("stackd-mark", ours)
        try:
            gdb = gaps(victim, with_gdb, helper, max(3, rounds // 3))
        except subprocess.CalledProcessError as error: # it cannot, where a processor has more registers than it knows
            print(f"gdb cannot call a function here: {error.stderr.strip().splitlines()[-1:]}")
            sys.exit(77)
        finally:
            victim.stdin.close()
    show("gdb", gdb)
    print(f"ratio of the least 1/{min(gdb) / min(ours):.0f}, of the medians "
          f"1/{statistics.median(gdb) / statistics.median(ours):.0f}; goal 1/50")


if __name__ == "__main__":
    main()
