#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The service with more and more file systems: its memory, its start, one change, a storm of changes, and idleness."""

import json
import os
import subprocess
import time

import bench

IDLE = float(os.environ.get("STACKD_BENCH_IDLE", "60"))
CHANGES = 20
STORM, MANY, AT_START = bench.sizes(5000, 20000, 5000)


class Monitor:
    def __init__(self):
        self.process = subprocess.Popen([bench.STACKCTL, "monitor", "--json=short"], stdout=subprocess.PIPE)
        self.until("ready")

    def until(self, *events, target=None):
        for line in self.process.stdout:
            told = json.loads(line)
            if told["event"] in events and (target is None or told["object"].get("mounts") == [target]):
                return
        raise SystemExit("stackctl monitor has ended")

    def end(self):
        self.process.terminate()
        self.process.wait()


def change(kind, size):
    """From mount(2) to the event that stackctl monitor tells."""
    mounts = bench.Mounts(kind).add(size)
    service = bench.Service()
    monitor = Monitor()
    os.mkdir("/mnt/one")
    ours = bench.Cost()
    for _ in range(CHANGES):
        started = time.perf_counter()
        bench.mount("one", "/mnt/one", "tmpfs")
        monitor.until("layer-appeared", target="/mnt/one")
        ours.add(time.perf_counter() - started, 0)
        bench.umount("/mnt/one")
        monitor.until("layer-gone")
    monitor.end()
    service.end()
    mounts.end()
    return ours.wall


def storm():
    """Mounts and unmounts as fast as they go: what they cost the service, and how long it takes to have seen the last."""
    service = bench.Service()
    monitor = Monitor()
    for i in range(10):
        os.mkdir(f"/mnt/storm-{i}")
    os.mkdir("/mnt/last")
    poll = subprocess.Popen(["findmnt", "--poll"], stdout=subprocess.DEVNULL)
    time.sleep(1) # for it has no way to say that it listens
    before, started = service.cpu(), time.perf_counter()
    for i in range(STORM):
        bench.mount("storm", f"/mnt/storm-{i % 10}", "tmpfs")
        bench.umount(f"/mnt/storm-{i % 10}")
    lasted = time.perf_counter() - started
    bench.mount("last", "/mnt/last", "tmpfs")
    ended = time.perf_counter()
    # The kernel gives the number of one that has gone to the next: if nobody looked in between, it has changed.
    monitor.until("layer-appeared", "layer-changed", target="/mnt/last")
    converged = time.perf_counter() - ended
    used = service.cpu() - before
    poll.terminate()
    peer = os.wait4(poll.pid, 0)[2]
    bench.row(f"{2 * STORM:,} mounts and unmounts in {lasted:.1f} s: processors' time", used, ("findmnt --poll", peer.ru_utime + peer.ru_stime))
    bench.row(f"{2 * STORM:,} mounts and unmounts: the last is seen after", converged, None, 1)
    monitor.end()
    service.end()


def memory():
    sizes, figures = {10: 8, 1000: 12, 10000: 40}, []
    for size, goal in sizes.items():
        mounts = bench.Mounts("tmpfs").add(size)
        service = bench.Service()
        figures.append((size, service.status("VmRSS") / 1024))
        bench.row(f"resident with {size:,} layers", figures[-1][1], None, goal, lambda n: f"{n:.1f} MiB")
        bench.once([bench.STACKCTL, "--json=short", "status"])
        bench.row(f"resident with {size:,} layers, after a whole status", service.status("VmRSS") / 1024, None, None, lambda n: f"{n:.1f} MiB")
        service.end()
        mounts.end()
    bench.plot("memory", "Resident size of the service with N layers", "MiB", {"stackd": figures})


def start():
    few = bench.Service()
    few.end()
    mounts = bench.Mounts("bind").add(AT_START)
    many = bench.Service()
    many.end()
    mounts.end()
    bench.row(f"start to READY with {AT_START:,} mounts", many.ready, ("with none", few.ready))


def idle():
    """With a stack up, whose server sleeps: whoever has slept has given the processor up of his own accord."""
    mounts = bench.Mounts("tmpfs").add(1000)
    server = bench.fuse_stack()
    service = bench.Service()
    # All mounts of the machine are in this namespace, but not the processes that serve them: for these it looks eight times.
    time.sleep(30)
    before = service.status("voluntary_ctxt_switches")
    time.sleep(IDLE)
    bench.row(f"wake-ups in {IDLE:.0f} s of idleness", service.status("voluntary_ctxt_switches") - before, None, 0, lambda n: f"{n:.0f}")
    service.end()
    bench.umount("/mnt/fuse")
    server.kill()
    server.wait()
    mounts.end()


def main():
    bench.enter()
    memory()
    start()
    for kind in ("bind", "tmpfs"):
        few, many = change(kind, 20), change(kind, MANY)
        bench.row(f"one change among {MANY:,} {kind} mounts", many, ("among 20", few), 2)
    storm()
    idle()
    bench.finish()


if __name__ == "__main__":
    main()
