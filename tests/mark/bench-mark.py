#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How long a thread stands still while it is marked: by stackd-mark as a service, and by gdb as one would do it by hand.

usage: bench-mark.py HELPER ODD [ROUNDS]
The thread never sleeps and looks at the clock all the time; the longest gap that it saw counts, beside what stackd-mark says
itself. First nothing else is to be done, then each processor has other work. Where gdb cannot call a function (it does not know
all registers of newer processors), it only attaches and detaches.
"""

import importlib
import re
import shutil
import statistics
import subprocess
import sys

calls = importlib.import_module("test-mark-calls")

PR_SET_TIMERSLACK = 29
ROUNDS = 300
GDB_PART = 15  # of the rounds, one: it takes a second each
DEADLINE = 5000  # ms


class ByMarker:
    name = "stackd-mark"

    def __init__(self, marker):
        self.marker, self.told = marker, []

    def mark(self, pid, i):
        text = self.marker.mark(pid, "--clear" if i % 2 else "--set", DEADLINE)
        calls.check("result all" in text, text)
        self.told += [int(n) for n in re.findall(r"^thread \d+ done (\d+)", text, re.M)]


class ByGdb:
    name = "gdb"

    def __init__(self):
        self.can_call = True

    def run(self, pid, *commands):
        return subprocess.run(["gdb", "-nx", "-batch", "-p", str(pid), *(w for c in commands for w in ("-ex", c))],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False).stdout

    def mark(self, pid, i):
        if self.can_call:
            self.can_call = "$1 = 0" in self.run(pid, "thread 1", f"call (int) prctl({PR_SET_TIMERSLACK}, {50000 + i % 2}, 0, 0, 0)")
        if not self.can_call:
            self.name = "gdb, attach and detach only"
            self.run(pid)


def gaps(victim, how, rounds):
    """The longest that the thread saw in each round."""
    found = []
    for i in range(rounds):
        victim.stdin.write(b"x") # begins
        victim.stdout.readline()
        how.mark(victim.pid, i)
        victim.stdin.write(b"x")
        found.append(int(victim.stdout.readline()))
    return found


def show(name, found):
    found = sorted(found)
    print(f"{name}: us least {found[0] / 1000:.0f} median {statistics.median(found) / 1000:.0f} "
          f"p99 {found[int(len(found) * 0.99)] / 1000:.0f} most {found[-1] / 1000:.0f}, {len(found)} rounds", flush=True)


class Nothing:
    """What the thread sees without a mark: the machine's own gaps."""

    name = "no mark"

    def mark(self, *_):
        subprocess.run(["sleep", "0.01"], check=True)


def compare(phase, victim, marker, rounds):
    ours, gdb = ByMarker(marker), ByGdb()
    seen = {}
    for how, n in (Nothing(), rounds), (ours, rounds), (gdb, max(3, rounds // GDB_PART)):
        seen[how] = gaps(victim, how, n)
        show(f"{phase}: {how.name}, gap", seen[how])
        if how is ours:
            show(f"{phase}: {how.name}, as it says", how.told)
    if phase == "busy":  # here the thread mostly waits for a processor
        return
    print(f"ratio of the least 1/{min(seen[gdb]) / min(seen[ours]):.0f}, of the medians "
          f"1/{statistics.median(seen[gdb]) / statistics.median(seen[ours]):.0f}; goal 1/50", flush=True)


def main():
    helper, odd, rounds = sys.argv[1], sys.argv[2], int((sys.argv + [ROUNDS])[3])
    if not shutil.which("gdb"):
        print("no gdb")
        sys.exit(77)
    with calls.Marker(helper) as marker, subprocess.Popen([odd, "gap"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as victim:
        victim.stdout.readline()
        for phase in "idle", "busy":
            with calls.load(phase == "busy"):
                compare(phase, victim, marker, rounds)
        victim.stdin.close()


if __name__ == "__main__":
    main()
