#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Finding who serves a FUSE file system among more and more processes with 50 descriptors each."""

import os
import signal

import bench

SIZES = bench.sizes(320, 1250, 5000)
DESCRIPTORS = 50
COMMANDS = {
    "stackctl": [bench.STACKCTL, "--direct", "--no-pager", "status"],
    "lsfd": ["lsfd"],
    # Left to itself it asks each file system, and this one never answers.
    "lsof": ["lsof", "-n", "-P", "-w", "-e", "/mnt/fuse"],
}


def main():
    bench.enter()
    server = bench.fuse_stack()
    with open("/mnt/file", "w", encoding="ascii") as file:
        for _ in range(DESCRIPTORS - 3):
            os.set_inheritable(os.dup(file.fileno()), True)
    for fd in range(3, DESCRIPTORS + 8):
        try:
            os.set_inheritable(fd, True)
        except OSError:
            pass
    commands = {name: argv for name, argv in COMMANDS.items() if os.path.exists(argv[0]) or os.path.exists(f"/usr/bin/{argv[0]}")}
    costs, pids = {name: {} for name in commands}, []
    for size in SIZES:
        while len(pids) < size:
            pids.append(os.posix_spawn("/bin/sleep", ["sleep", "infinity"], {}))
        for name, argv in commands.items():
            cost = bench.Cost()
            for _ in range(3 if name == "stackctl" else 1):
                # Without the descriptors of its own.
                cost.add(*bench.once(["env", "-i", f"STACKD_BINARY={bench.STACKD}", *argv]))
            costs[name][size] = cost
    most, fewer = SIZES[-1], SIZES[-2]
    for name in commands:
        if name != "stackctl":
            label = f"{most:,} processes with {DESCRIPTORS} descriptors, status"
            bench.row(label, costs["stackctl"][most].wall, (name, costs[name][most].wall), 1 / 5)
            bench.row(label + ", processors' time", costs["stackctl"][most].cpu, (name, costs[name][most].cpu), 1 / 5)
    bench.row(f"{most:,} processes with {DESCRIPTORS} descriptors, status", costs["stackctl"][most].wall,
              (f"with {fewer:,}", costs["stackctl"][fewer].wall), 4.5)
    bench.plot("processes", f"Finding a server among N processes with {DESCRIPTORS} descriptors", "ms",
               {name: [(size, cost.wall) for size, cost in values.items()] for name, values in costs.items()}, 1000)
    for pid in [*pids, server.pid]:
        os.kill(pid, signal.SIGKILL)
    bench.umount("/mnt/fuse")
    bench.finish()


if __name__ == "__main__":
    main()
