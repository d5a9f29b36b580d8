#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the service holds after some events, and after a hundred thousand: nothing may have become more."""

import os
import pathlib
import subprocess

import bench

(EVENTS,) = bench.sizes(100000)
WARM = 2000
PLACES = 20


def held(service):
    process = pathlib.Path(f"/proc/{service.daemon.pid}")
    children = (process / f"task/{service.daemon.pid}/children").read_text(encoding="ascii").split()
    return {"descriptors": len(os.listdir(process / "fd")), "children": len(children), "resident KiB": service.status("VmRSS"),
            "data KiB": service.status("VmData")}


def events(service, n):
    """Each a mount or an unmount; now and then the service is asked, so that it has seen them."""
    for i in range(n // 2):
        place = f"/mnt/place-{i % PLACES}"
        bench.mount(f"event-{i}", place, "tmpfs", 0, "size=16k")
        bench.umount(place)
        if i % 500 == 499:
            refresh()
    refresh()
    return held(service)


def refresh():
    subprocess.run(["busctl", "--address=unix:path=/run/bus", "call", "org.stackd1", "/org/stackd1", "org.stackd1.Manager", "Refresh"],
                   stdout=subprocess.DEVNULL, check=True)


def main():
    bench.enter()
    for i in range(PLACES):
        os.mkdir(f"/mnt/place-{i}")
    service = bench.Service()
    few = events(service, WARM)
    many = events(service, EVENTS)
    service.end()
    for what, n in many.items():
        bench.row(f"{what} after {WARM + EVENTS:,} events", n, (f"after {WARM:,}", few[what]), 1.02, lambda value: f"{value:,}")
    bench.finish()


if __name__ == "__main__":
    main()
