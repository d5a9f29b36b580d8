#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Seeing the whole machine from nothing, with more and more mounts, beside who reads the same file."""

import bench

SIZES = bench.sizes(1250, 5000, 20000)
COMMANDS = {
    "stackctl": [bench.STACKCTL, "--direct", "--no-pager", "status"],
    "stackctl --json": [bench.STACKCTL, "--direct", "--json=short", "status"],
    "cat": ["cat", "/proc/self/mountinfo"],
    "findmnt -rn": ["findmnt", "-rn"],
}
TREE = {"findmnt": ["findmnt"]} # minutes at the end, hence one round


def one(kind):
    costs = {name: {} for name in [*COMMANDS, *TREE]}
    mounts = bench.Mounts(kind)
    for size in SIZES:
        mounts.add(size)
        for name, cost in {**bench.measure(COMMANDS, 5), **bench.measure(TREE, 1)}.items():
            costs[name][size] = cost
    mounts.end()
    most, fewer = SIZES[-1], SIZES[-2]
    ours, tree, cat = (costs[name][most].wall for name in ("stackctl", "findmnt", "cat"))
    label = f"{most:,} {kind} mounts, status"
    bench.row(label, ours, ("findmnt (tree)", tree), 1 / 50)
    bench.row(label + ", processors' time", costs["stackctl"][most].cpu, ("findmnt (tree)", costs["findmnt"][most].cpu), 1 / 50)
    bench.row(label, ours, ("cat mountinfo", cat), 3)
    bench.row(label + ", processors' time", costs["stackctl"][most].cpu, ("cat mountinfo", costs["cat"][most].cpu), 3)
    bench.row(label, ours, (f"with {fewer:,}", costs["stackctl"][fewer].wall), 4.5)
    bench.row(label + " --json", costs["stackctl --json"][most].wall, ("cat mountinfo", cat))
    bench.plot(f"mounts-{kind}", f"Seeing everything with N {kind} mounts", "ms",
               {name: [(size, cost.wall) for size, cost in values.items()] for name, values in costs.items()}, 1000)


def main():
    bench.enter()
    for kind in ("bind", "tmpfs"):
        one(kind)
    bench.finish()


if __name__ == "__main__":
    main()
