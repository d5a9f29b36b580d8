#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""In a guest: what stackd costs as a service of systemd, beside systemd itself, systemd-oomd and udisksd.

Prints a line of JSON for each row: what, ours, [beside what, theirs], at most, unit.
"""

import ctypes
import json
import os
import select
import subprocess
import time

MOUNTS, LAYERS, STORM, ROUNDS = 5000, 1000, 5000, 5
IO_FLUSHER = 0x180000
MNT_DETACH = 2
SERVICES = ("stackd", "systemd-oomd", "udisks2")
EVERYONE = ("stackd", "pid 1", "udisks2")
TICK = os.sysconf("SC_CLK_TCK")
libc = ctypes.CDLL(None, use_errno=True)


def row(what, ours, beside, goal, unit):
    print(json.dumps({"what": what, "ours": ours, "beside": beside, "goal": goal, "unit": unit}), flush=True)


def call(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def mount(source, target, kind, options=None):
    call(libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(0), options and options.encode()))


def umount(target):
    call(libc.umount2(target.encode(), MNT_DETACH))


def systemctl(*arguments):
    subprocess.run(["systemctl", *arguments], check=True)


def properties(service, *names):
    text = subprocess.run(["systemctl", "show", f"{service}.service", *(f"--property={name}" for name in names)], check=True,
                          stdout=subprocess.PIPE, text=True).stdout
    return dict(line.split("=", 1) for line in text.splitlines())


def start_time(service):
    """Seconds from its process to READY, the least of three."""
    found = []
    for _ in range(3):
        systemctl("restart", f"{service}.service")
        told = properties(service, "ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic")
        found.append((int(told["ActiveEnterTimestampMonotonic"]) - int(told["ExecMainStartTimestampMonotonic"])) / 1e6)
    return min(found)


def resident(service):
    pid = properties(service, "MainPID")["MainPID"]
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024


def processor_time(service):
    if service == "pid 1":
        with open("/proc/1/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / TICK
    with open(f"/sys/fs/cgroup/system.slice/{service}.service/cpu.stat", encoding="ascii") as file:
        return int(next(file).split()[1]) / 1e6


def quiet():
    """None of them has used a processor for a second, but for a tick."""
    used = [1]
    while max(used) > 2 / TICK:
        before = [processor_time(who) for who in EVERYONE]
        time.sleep(1)
        used = [processor_time(who) - then for who, then in zip(EVERYONE, before)]


def make_mounts(count):
    for i in range(count):
        os.makedirs(f"/mnt/m/{i}")
        mount("bench", f"/mnt/m/{i}", "tmpfs")


def drop_mounts():
    umount("/mnt/m")
    mount("bench", "/mnt/m", "tmpfs")


def starts():
    make_mounts(MOUNTS)
    found = {service: start_time(service) for service in SERVICES}
    for peer in SERVICES[1:]:
        row(f"start to READY with {MOUNTS:,} mounts", found["stackd"], (peer, found[peer]), 1, "s")
    drop_mounts()


def memory():
    for service in SERVICES:
        systemctl("restart", f"{service}.service")
    make_mounts(LAYERS)
    quiet()
    row(f"resident with {LAYERS:,} layers", resident("stackd"), ("udisksd", resident("udisks2")), None, "MiB")
    drop_mounts()


def storm():
    quiet()
    os.makedirs("/mnt/storm", exist_ok=True)
    before = {who: processor_time(who) for who in EVERYONE}
    for _ in range(STORM):
        mount("storm", "/mnt/storm", "tmpfs")
        umount("/mnt/storm")
    quiet()
    used = {who: processor_time(who) - before[who] for who in EVERYONE}
    row(f"{2 * STORM:,} mounts and unmounts: processors' time", used["stackd"], ("pid 1", used["pid 1"]), 1 / 4, "s")
    row(f"{2 * STORM:,} mounts and unmounts: processors' time", used["stackd"], ("udisksd", used["udisks2"]), None, "s")


def is_marked():
    with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
        return int(file.read().rpartition(")")[2].split()[6]) & IO_FLUSHER == IO_FLUSHER


def drain(poll):
    while select.select([poll.stdout], [], [], 0.5)[0]:
        os.read(poll.stdout.fileno(), 65536)


def wait_until_it_listens(poll):
    """It has no way to say so."""
    os.makedirs("/mnt/first", exist_ok=True)
    while not select.select([poll.stdout], [], [], 0.5)[0]:
        mount("first", "/mnt/first", "tmpfs")
        umount("/mnt/first")
    drain(poll)


def mark_once(poll):
    """From mount(2) to this process being marked, which serves what was mounted, and to findmnt's line."""
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    os.makedirs("/mnt/fuse", exist_ok=True)
    mount("bench", "/mnt/fuse", "fuse", f"fd={device},rootmode=40000,user_id=0,group_id=0")
    begin, marked, told = time.perf_counter(), None, None
    while marked is None or told is None:
        if marked is None and is_marked():
            marked = time.perf_counter() - begin
        if told is None and select.select([poll.stdout], [], [], 0 if marked is None else 1)[0] and b"/mnt/fuse" in os.read(poll.stdout.fileno(), 65536):
            told = time.perf_counter() - begin
    umount("/mnt/fuse")
    os.close(device)
    while is_marked():
        time.sleep(0.1)
    drain(poll)
    return marked, told


def marks():
    with subprocess.Popen(["findmnt", "--poll", "--noheadings", "--raw"], stdout=subprocess.PIPE) as poll:
        wait_until_it_listens(poll)
        found = [mark_once(poll) for _ in range(ROUNDS)]
        poll.terminate()
    row("mount(2) to every thread marked", min(ours for ours, _ in found), ("mount(2) to findmnt --poll's line", min(theirs for _, theirs in found)), 2, "s")


def main():
    systemctl("start", *(f"{service}.service" for service in SERVICES))
    os.makedirs("/mnt/m")
    mount("bench", "/mnt/m", "tmpfs")
    for part in (marks, memory, storm, starts):
        part()


if __name__ == "__main__":
    main()
