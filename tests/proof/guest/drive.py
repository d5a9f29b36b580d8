#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Puts the load of a proof on a mounted file system, and watches whether it makes progress.

Usage: drive.py --mount DIRECTORY|--swap --progress block:NAME|nfs:DIRECTORY --server UNIT [--writers N] [--mib N] [--seed N]
                [--limit S] [--stall S] [--join] [--latency N]

Each writer does plain buffered writes of 1 MiB to a file of its own, then fsync(2); then the data is read back from below
the page cache and compared. With --swap it fills memory of its own instead, and compares that. With --latency there are N
writes of 4 KiB afterwards, each synchronised, and a line that tells what all that cost. Meanwhile another process, which is locked in memory, never waits for reclaim's I/O and touches no file system, prints a line of JSON a
second; the last line is the verdict:
    completed   written, synchronised, read back, equal
    failed      a writer got an error, or the data is not what was written
    hang        no request completed for --stall seconds although some are in flight
    starved     fewer than one request a second completed for as long
    unfinished  progressing still after --limit seconds
With all but the first two come the kernel stacks of all threads that wait in the kernel uninterruptibly.
"""

import argparse
import contextlib
import ctypes
import json
import os
import pathlib
import random
import re
import signal
import sys
import time

IO_FLUSHER = 0x180000       # PF_MEMALLOC_NOIO | PF_LOCAL_THROTTLE
PR_SET_IO_FLUSHER = 57
MCL_CURRENT, MCL_FUTURE = 1, 2
MIB = 1 << 20


def say(**line):
    os.write(1, json.dumps(line).encode() + b"\n")


def read(path):
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""


# ---- the writer ----

def blocks(seed, count):
    """The same bytes for the same seed, and no two blocks alike."""
    source = random.Random(seed).randbytes(MIB)
    for number in range(count):
        yield number.to_bytes(8, "little") + source[8:]


def write(path, mib, seed):
    """The exit status tells: 0 fine, 2 an error, 3 other data came back than were written."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for block in blocks(seed, mib):
            view = memoryview(block)
            while view:
                view = view[os.write(fd, view):]
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("1")
        with open(path, "rb") as file:
            return 0 if all(file.read(MIB) == block for block in blocks(seed, mib)) and not file.read(1) else 3
    except OSError as error:
        say(event="error", message=str(error))
        return 2


def fill(mib, seed):
    """As write(), into memory of which some is swapped out meanwhile."""
    try:
        memory = bytearray(mib * MIB)
        for number, block in enumerate(blocks(seed, mib)):
            memory[number * MIB:(number + 1) * MIB] = block
        for number, block in enumerate(blocks(seed, mib)):
            if memory[number * MIB:(number + 1) * MIB] != block:
                return 3
        return 0
    except (OSError, MemoryError) as error:
        say(event="error", message=str(error))
        return 2


def latencies(path, count, seed):
    """Microseconds that writes of 4 KiB take, each synchronised, ascending."""
    source, found = random.Random(seed), []
    block = source.randbytes(4096)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_DSYNC, 0o600)
    os.posix_fallocate(fd, 0, 64 * MIB)
    for _ in range(count):
        place = source.randrange(64 * MIB // 4096) * 4096
        begin = time.perf_counter()
        os.pwrite(fd, block, place)
        found.append((time.perf_counter() - begin) * 1e6)
    os.close(fd)
    return sorted(found)


# ---- the watcher ----

def block_progress(name):
    """Requests completed and in flight: Documentation/block/stat.rst."""
    fields = read(f"/sys/block/{name}/stat").split()
    return (int(fields[0]) + int(fields[4]), int(fields[8])) if len(fields) > 8 else (0, 0)


def nfs_progress(directory):
    """Calls completed and not yet answered, of all operations of a mount."""
    done = sent = 0
    ours = False
    for line in read("/proc/self/mountstats").splitlines():
        if line.startswith("device "):
            ours = f" mounted on {directory} " in line
        elif ours and (match := re.fullmatch(r"\s+[A-Z_]+: (\d+) (\d+) .*", line)):
            done += int(match[1])
        elif ours and line.strip().startswith("xprt:"):
            fields = line.split()       # xprt: tcp port bind connect connect_time idle sends receives ...
            sent = int(fields[8]) - int(fields[9])
    return done, sent


def ended():
    """Children that have ended, each with its exit status."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            yield pid, os.waitstatus_to_exitcode(status)


def threads_of(pids):
    for pid in pids:
        for task in pathlib.Path(f"/proc/{pid}/task").glob("*"):
            yield pid, task


def server_pids(unit):
    return read(f"/sys/fs/cgroup/system.slice/{unit}/cgroup.procs").split()


def marks(unit):
    """How many of the server's threads carry the mark, and how many there are."""
    marked = total = 0
    for _, task in threads_of(server_pids(unit)):
        fields = read(task / "stat").rpartition(")")[2].split()
        if len(fields) > 6:
            total += 1
            marked += int(fields[6]) & IO_FLUSHER == IO_FLUSHER
    return [marked, total]


def waiting(unit):
    """Threads in uninterruptible sleep, with their kernel stacks."""
    serving = set(server_pids(unit))
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for _, task in threads_of([pid]):
            stat = read(task / "stat")
            if stat.rpartition(")")[2].split()[:1] != ["D"]:
                continue
            stack = [line.split("] ")[-1].partition("+")[0] for line in read(task / "stack").splitlines()]
            found.append({"pid": int(pid), "tid": int(task.name), "comm": stat.partition("(")[2].rpartition(")")[0],
                          "server": pid in serving, "stack": stack})
    return found


def pressure():
    wanted = ("MemFree", "Dirty", "Writeback", "SwapFree")
    lines = dict(line.split(":", 1) for line in read("/proc/meminfo").splitlines())
    return {name: int(lines[name].split()[0]) for name in wanted if name in lines}


def waits_for_writeback(memory):
    """More than what lies about on any machine."""
    return memory["Dirty"] + memory["Writeback"] > 4096


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mount")
    parser.add_argument("--swap", action="store_true")
    parser.add_argument("--progress", required=True)
    parser.add_argument("--server", required=True)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--mib", type=int, default=150, help="of each writer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=int, default=240)
    parser.add_argument("--stall", type=int, default=60)
    parser.add_argument("--latency", type=int, metavar="N", default=0)
    parser.add_argument("--join", action="store_true", help="the writers go into the server's cgroup")
    return parser.parse_args()


def watch(arguments, writers, progress):
    """Returns the verdict; the writers run on where they hang."""
    begin = time.monotonic()
    moved, last, history = begin, None, []
    while True:
        signal.sigtimedwait({signal.SIGCHLD}, 1)        # a sample a second
        now = time.monotonic()
        done, flying = progress()
        memory = pressure()
        say(event="sample", t=round(now - begin, 2), done=done, in_flight=flying, marks=marks(arguments.server), memory=memory)
        for pid, status in ended():
            writers.discard(pid)
            if status != 0:
                return "failed", now - begin
        if not writers:
            return "completed", now - begin
        if flying == 0 and not waits_for_writeback(memory): # they are computing
            last, history = None, []
        if done != last:
            moved, last = now, done
        if now - moved >= arguments.stall and flying > 0:
            return "hang", now - begin
        history.append((now, done))
        while history[1:] and now - history[1][0] >= arguments.stall:
            history.pop(0)
        if now - history[0][0] >= arguments.stall > done - history[0][1] and flying > 0:
            return "starved", now - begin
        if now - begin >= arguments.limit:
            return "unfinished", now - begin


def main():
    arguments = parse_arguments()
    kind, _, name = arguments.progress.partition(":")
    progress = (lambda: block_progress(name)) if kind == "block" else (lambda: nfs_progress(name))
    writers = set()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    for number in range(arguments.writers):
        writer = os.fork()
        if writer == 0:
            if arguments.join:
                pathlib.Path(f"/sys/fs/cgroup/system.slice/{arguments.server}/cgroup.procs").write_text(str(os.getpid()))
            seed = f"{arguments.seed}-{number}"
            os._exit(fill(arguments.mib, seed) if arguments.swap else write(f"{arguments.mount}/proof-{number}", arguments.mib, seed))
        writers.add(writer)
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0)
    libc.mlockall(MCL_CURRENT | MCL_FUTURE)
    verdict, seconds = watch(arguments, writers, progress)
    stuck = waiting(arguments.server) if verdict in ("hang", "starved", "unfinished") else []
    for thread in stuck:
        say(event="waiting", **thread)
    if verdict == "completed" and arguments.latency:
        found = latencies(f"{arguments.mount}/latency", arguments.latency, arguments.seed)
        say(event="cost", mib_per_second=round(2 * arguments.writers * arguments.mib / seconds, 2), median_us=round(found[len(found) // 2]),
            p99_us=round(found[len(found) * 99 // 100]))
    say(event="verdict", verdict=verdict, seconds=round(seconds, 2))
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


if __name__ == "__main__":
    sys.exit(main())
