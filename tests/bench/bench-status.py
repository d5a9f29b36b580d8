#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How long it takes to see the whole machine from nothing, beside the tools that see parts of it.

usage: bench-status.py STACKCTL STACKD [ROUNDS]
The commands take turns, so that what else the machine does is shared among them; only ratios mean anything.
"""

import os
import statistics
import subprocess
import sys
import time

STACKCTL, STACKD = (os.path.abspath(path) for path in sys.argv[1:3])
ROUNDS = int(sys.argv[3]) if len(sys.argv) > 3 else 101
COMMANDS = {
    "stackctl --direct --json=short status": [STACKCTL, "--direct", "--json=short", "status"],
    "lsblk --json": ["lsblk", "--json"],
    "findmnt --json": ["findmnt", "--json"],
}


def once(argv):
    start = time.perf_counter()
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=dict(os.environ, STACKD_BINARY=STACKD), check=False)
    elapsed = time.perf_counter() - start
    if done.returncode != 0:
        sys.exit(f"{argv[0]}: exit status {done.returncode}: {done.stderr.decode(errors='replace')}")
    return elapsed


def main():
    times = {name: [] for name in COMMANDS}
    for argv in COMMANDS.values():
        once(argv)      # not counted: fills the page cache
    for _ in range(ROUNDS):
        for name, argv in COMMANDS.items():
            times[name].append(once(argv))
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        mounts = len(file.readlines())
    print(f"{mounts} mounts, {len(os.listdir('/sys/class/block'))} block devices, "
          f"{sum(name.isdigit() for name in os.listdir('/proc'))} processes; medians of {ROUNDS} rounds")
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, median in medians.items():
        low, _, high = statistics.quantiles(times[name], n=4)
        print(f"{name:40} {median * 1000:7.2f} ms   quartiles {low * 1000:.2f} to {high * 1000:.2f}")
    ours, *others = medians.values()
    print(f"stackctl / (lsblk + findmnt) = {ours / sum(others):.2f}")


if __name__ == "__main__":
    main()
