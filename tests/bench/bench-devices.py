#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""More and more block devices, in a root that is made up: in ten of them three disks with a partition each, two
device-mapper devices on these, and two loop devices."""

import os
import pathlib
import re
import shutil
import subprocess

import bench

SIZES = bench.sizes(625, 2500, 10000)
ROOT = pathlib.Path("/mnt/root")


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="ascii")


def device(name, number, path, size, partition=False, slave=None):
    directory = ROOT / "sys" / path
    write(directory / "dev", number)
    write(directory / "size", str(size))
    write(directory / "diskseq", number.replace(":", ""))
    write(directory / "uevent", f"MAJOR={number.split(':')[0]}\nMINOR={number.split(':')[1]}\nDEVNAME={name}\nDEVTYPE={'partition' if partition else 'disk'}")
    if partition:
        write(directory / "partition", "1")
    else:
        for folder in ("slaves", "holders", "queue"):
            (directory / folder).mkdir()
    if slave:
        (directory / "slaves" / slave[0]).symlink_to("../../../../../" + slave[1])
        (ROOT / "sys" / slave[1] / "holders").mkdir(exist_ok=True)
        (ROOT / "sys" / slave[1] / "holders" / name).symlink_to("../../../../../../../" + path)
    for place, up in ((f"dev/block/{number}", "../../"), (f"class/block/{name}", "../../"), *(() if partition else ((f"block/{name}", "../"),))):
        (ROOT / "sys" / place).symlink_to(up + path)


def add(first, last):
    for folder in ("dev/block", "class/block", "block"):
        (ROOT / "sys" / folder).mkdir(parents=True, exist_ok=True)
    for i in range(first, last):
        group, kind = divmod(i, 10)
        if kind < 3:
            disk = group * 3 + kind
            device(f"sd{disk}", f"{8 + disk // 4096}:{disk % 4096 * 16}", f"devices/pci0/host{disk}/block/sd{disk}", 1 << 21)
        elif kind < 6:
            disk = group * 3 + kind - 3
            device(f"sd{disk}p1", f"{8 + disk // 4096}:{disk % 4096 * 16 + 1}", f"devices/pci0/host{disk}/block/sd{disk}/sd{disk}p1", 1 << 20, True)
        elif kind < 8:
            dm, disk = group * 2 + kind - 6, group * 3 + kind - 6
            device(f"dm-{dm}", f"253:{dm}", f"devices/virtual/block/dm-{dm}", 1 << 20, slave=(f"sd{disk}p1", f"devices/pci0/host{disk}/block/sd{disk}/sd{disk}p1"))
            write(ROOT / f"sys/devices/virtual/block/dm-{dm}/dm/name", f"vg-lv{dm}")
            write(ROOT / f"sys/devices/virtual/block/dm-{dm}/dm/uuid", f"LVM-{dm}")
        else:
            loop = group * 2 + kind - 8
            device(f"loop{loop}", f"7:{loop}", f"devices/virtual/block/loop{loop}", 1 << 11)
            write(ROOT / f"sys/devices/virtual/block/loop{loop}/loop/backing_file", f"/srv/image-{loop}")


def system_calls(argv):
    log = "/mnt/calls"
    subprocess.run(["strace", "-f", "-c", "-o", log, *argv], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
    return int(re.search(r"^\s*100\.00\s+\S+\s+\S*\s+(\d+)", pathlib.Path(log).read_text(encoding="ascii"), re.MULTILINE).group(1))


def main():
    bench.enter()
    os.makedirs(ROOT / "proc/1")
    line = "21 1 8:0 / / rw shared:1 - ext4 /dev/sd0 rw\n"
    for process in ("1", "self"):
        write(ROOT / "proc" / process / "mountinfo", line.strip())
    write(ROOT / "proc/swaps", "Filename\tType\tSize\tUsed\tPriority")
    commands = {
        "stackctl": [bench.STACKCTL, f"--root={ROOT}", "--no-pager", "status"],
        "stackctl --json": [bench.STACKCTL, f"--root={ROOT}", "--json=short", "status"],
        "lsblk -J": ["lsblk", "-J", "--sysroot", str(ROOT)],
    }
    costs, calls = {name: {} for name in commands}, {}
    done = 0
    for size in SIZES:
        add(done, size)
        done = size
        for name, cost in bench.measure(commands, 3).items():
            costs[name][size] = cost
        if size < SIZES[-1] and shutil.which("strace"):
            calls[size] = {name: system_calls(argv) for name, argv in commands.items()}
    most, fewer = SIZES[-1], SIZES[-2]
    peer = ("lsblk -J --sysroot", costs["lsblk -J"][most].wall)
    bench.row(f"{most:,} block devices, status --json", costs["stackctl --json"][most].wall, peer, 1 / 8)
    bench.row(f"{most:,} block devices, status --json, processors' time", costs["stackctl --json"][most].cpu,
              ("lsblk -J --sysroot", costs["lsblk -J"][most].cpu), 1 / 8)
    bench.row(f"{most:,} block devices, status", costs["stackctl"][most].wall, peer, 1 / 8)
    bench.row(f"{most:,} block devices, status --json", costs["stackctl --json"][most].wall,
              (f"with {fewer:,}", costs["stackctl --json"][fewer].wall), 4.5)
    if calls:
        ours, theirs = ((calls[fewer][name] - calls[SIZES[0]][name]) / (fewer - SIZES[0]) for name in ("stackctl --json", "lsblk -J"))
        bench.row("system calls a block device", ours, None, 10, lambda n: f"{n:.1f}")
        bench.row("system calls a block device", ours, ("lsblk -J --sysroot", theirs), None, lambda n: f"{n:.1f}")
    bench.plot("devices", "Seeing everything with N block devices", "ms",
               {name: [(size, cost.wall) for size, cost in values.items()] for name, values in costs.items()}, 1000)
    bench.finish()


if __name__ == "__main__":
    main()
