#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""More and more loop devices, real ones: each has a file of its own on a tmpfs. They are the whole machine's (where stackd is
installed its udev rules start it for them), and gone again at the end."""

import contextlib
import errno
import fcntl
import os
import signal
import struct
import sys
import time

import bench

SIZES = bench.sizes(125, 500, 2000)
FIRST = 20000 # far from those that others make
LOOP_CTL_ADD, LOOP_CTL_REMOVE, LOOP_CONFIGURE, LOOP_CLR_FD = 0x4C80, 0x4C81, 0x4C0A, 0x4C01
CONFIG_SIZE = 304 # struct loop_config (linux/loop.h)


class Loops:
    def __init__(self):
        self.control, self.numbers = os.open("/dev/loop-control", os.O_RDWR), []

    def add(self, size):
        for number in range(FIRST + len(self.numbers), FIRST + size):
            self.numbers.append(number)
            with contextlib.suppress(FileExistsError):
                fcntl.ioctl(self.control, LOOP_CTL_ADD, number)
            with open(f"/sys/block/loop{number}/dev", encoding="ascii") as file:
                major, minor = (int(part) for part in file.read().split(":"))
            os.mknod(f"/mnt/loop{number}", 0o600 | 0o060000, os.makedev(major, minor))
            with open(f"/mnt/image{number}", "wb+") as image, open(f"/mnt/loop{number}", "rb+", buffering=0) as device:
                with contextlib.suppress(OSError): # left by one that was killed
                    fcntl.ioctl(device, LOOP_CLR_FD)
                image.truncate(1 << 20)
                fcntl.ioctl(device, LOOP_CONFIGURE, struct.pack("I", image.fileno()).ljust(CONFIG_SIZE, b"\0"))

    def end(self):
        for number in self.numbers:
            with contextlib.suppress(OSError):
                with open(f"/mnt/loop{number}", "rb+", buffering=0) as device:
                    fcntl.ioctl(device, LOOP_CLR_FD)
        deadline = time.monotonic() + 30
        for number in self.numbers:
            while not self.remove(number) and time.monotonic() < deadline:
                time.sleep(0.1)

    def remove(self, number):
        """Whether it is gone: udevd may have it open, to see what is on it."""
        try:
            fcntl.ioctl(self.control, LOOP_CTL_REMOVE, number)
        except OSError as error:
            return error.errno != errno.EBUSY
        return True


def main():
    bench.enter()
    if not os.path.exists("/dev/loop-control"):
        bench.skip("needs loop devices")
    commands = {
        "stackctl": [bench.STACKCTL, "--direct", "--no-pager", "status"],
        "stackctl --json": [bench.STACKCTL, "--direct", "--json=short", "status"],
        "lsblk -J": ["lsblk", "-J"],
    }
    costs = {name: {} for name in commands}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    loops = Loops()
    try:
        for size in SIZES:
            loops.add(size)
            for name, cost in bench.measure(commands, 3).items():
                costs[name][size] = cost
    finally:
        loops.end()
    most, fewer = SIZES[-1], SIZES[-2]
    peer = ("lsblk -J", costs["lsblk -J"][most].wall)
    bench.row(f"{most:,} loop devices, status --json", costs["stackctl --json"][most].wall, peer, 1 / 8)
    bench.row(f"{most:,} loop devices, status", costs["stackctl"][most].wall, peer, 1 / 8)
    bench.row(f"{most:,} loop devices, status --json", costs["stackctl --json"][most].wall, (f"with {fewer:,}", costs["stackctl --json"][fewer].wall), 4.5)
    bench.plot("loops", "Seeing everything with N loop devices", "ms",
               {name: [(size, cost.wall) for size, cost in values.items()] for name, values in costs.items()}, 1000)
    bench.finish()


if __name__ == "__main__":
    main()
