#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Marks processes whose threads make calls that an interruption shows in (see calls.c): not one effect may be seen.

usage: test-mark-calls.py HELPER CALLS [--marks N | --campaign N] [--kills] [--load] [--only KIND,...] [--go SOURCE]
                          [--driver MARK-DEATHS]
The helper is the test build: its call is PR_SET_TIMERSLACK. It serves, as one process a mark would take longer.
"""

import argparse
import array
import concurrent.futures
import contextlib
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

PATIENCE = 60  # seconds, after which a test has failed
UNMARKED = 3  # seconds of a process without a mark, with --marks 0
STEPS = range(1, 15)
# Seen asleep for a second, these have transferred nothing: a mark of theirs takes that long.
SLOW = {"waitall-idle", "waitall-idle-unix"}
PATIENT_DEADLINE = 4000  # ms, of a mark that has to succeed
ALONE_DEADLINE = 1000  # ms, of a mark that waits for a thread of a process of its own
RESTS_MAX = 4  # how often a thread that cannot be marked may be stopped in one try; each shows as up to two switches


class Skip(Exception):
    pass


def check(condition, *what):
    if not condition:
        raise AssertionError(" ".join(map(str, what)))


def start_time(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
        return f.read().rpartition(") ")[2].split()[19]


def status_of(pid, tid):
    with open(f"/proc/{pid}/task/{tid}/status", encoding="utf-8", errors="replace") as f:
        return f.read()


def tasks(pid):
    return os.listdir(f"/proc/{pid}/task")


def untraced(pid):
    """Whoever has died has left no thread traced or stopped."""
    end = time.monotonic() + PATIENCE
    while True:
        held = []
        for tid in tasks(pid):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                text = status_of(pid, tid)
                if "TracerPid:\t0" not in text or re.search(r"^State:\s+[Tt]", text, re.M):
                    held.append(tid)
        if not held:
            return
        check(time.monotonic() < end, "left traced or stopped:", held)
        time.sleep(0.001)


class Marker:
    """The helper as a service."""

    def __init__(self, helper):
        self.directory = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.directory.name, "socket")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(self.path)
        self.listener.listen(64)
        self.p = subprocess.Popen([helper, "--serve"], stdin=self.listener)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.p.kill()
        self.p.wait()
        self.listener.close()
        self.directory.cleanup()

    def mark(self, pid, what, deadline, *more):
        """All that it says; nothing if it died."""
        words = ["--pid", str(pid), "--start", start_time(pid), "--pidfd", "3", what, "--deadline-ms", str(deadline), *more]
        fd = os.pidfd_open(pid)
        parts = []
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
                s.settimeout(PATIENCE)
                s.connect(self.path)
                s.sendmsg(["".join(w + "\0" for w in words).encode()],
                          [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
                while part := s.recv(65536):
                    parts.append(part)
        finally:
            os.close(fd)
        return b"".join(parts).decode()


class Victim:
    """A process of some kinds."""

    def __init__(self, command):
        self.p = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.p.pid
        self.skipped = {}
        for line in self.p.stdout:
            words = line.split(maxsplit=2)
            if words[0] != "skip":
                break
            self.skipped[words[1]] = words[2].strip()
        check(line == "ready\n", "it did not start:", line)

    def finish(self):
        self.p.stdin.close()
        try:
            self.p.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired as e:
            where = {t: [open(f"/proc/{self.pid}/task/{t}/{f}").read().strip() for f in ("comm", "syscall", "wchan")]
                     for t in tasks(self.pid)}
            self.p.kill()
            self.p.wait()
            raise AssertionError(f"the victim hangs: {where}") from e
        out = self.p.stdout.read()
        self.p.stdout.close()
        check(self.p.returncode == 0, "status", self.p.returncode, out)
        return {m[1]: (int(m[2]), int(m[3]), int(m[4]), m[5].strip())
                for m in re.finditer(r"^case (\S+) rounds (\d+) effects (\d+) eintr (\d+)(.*)$", out, re.M)}


def switches(pid):
    """Of each thread."""
    found = {}
    for tid in tasks(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found[tid] = sum(int(n) for n in re.findall(r"^\w*voluntary_ctxt_switches:\s(\d+)", status_of(pid, tid), re.M))
    return found


class Outcome:
    """What the marker said of one process."""

    def __init__(self):
        self.states, self.results, self.deaths, self.cut = {}, {}, 0, 0

    def add(self, text):
        m = re.search(r"^result (\S+) ", text, re.M)
        state = m.group(1) if m else "dead"
        self.deaths += m is None
        self.states[state] = self.states.get(state, 0) + 1
        self.cut += int(n[1]) if (n := re.search(r" cut (\d+) ", text)) else 0
        for result in re.findall(r"^thread \d+ (\S+)", text, re.M):
            self.results[result] = self.results.get(result, 0) + 1


def deadline_of(o, needs):
    return PATIENT_DEADLINE if "mark" in needs else ALONE_DEADLINE if "alone" in needs else o.deadline


def marks_apply(o, marker, victim, kinds, kills, deadline):
    """Marks and unmarks it so often. Pauses let what has a time-out come to its end."""
    rng = random.Random(" ".join(kinds))
    outcome = Outcome()
    slow = bool(SLOW & set(kinds))
    marks = min(o.marks, 4 + o.marks // 100) if slow else o.marks
    if marks == 0:
        time.sleep(UNMARKED)
    for i in range(marks):
        die = ["--die-at-step", str(rng.choice(STEPS))] if kills and rng.random() < 0.5 else []
        outcome.add(marker.mark(victim.pid, "--clear" if i % 2 else "--set", deadline, *die))
        if die:
            untraced(victim.pid)
        time.sleep(0.15 if i % 10 == 5 or i == marks - 1 else rng.random() * 0.01)
    untraced(victim.pid)
    if kills and o.driver:
        outcome.deaths += driven(o, victim.pid)
        untraced(victim.pid)
    return outcome


def driven(o, pid):
    """Deaths at each system call of the marker and at random instants, see mark-deaths.c; says how many."""
    deaths = 0
    for how in ([], ["--timed"]):
        p = subprocess.run([o.driver, *how, "--deaths", str(max(o.marks // 10, 10)), "--seconds", str(PATIENCE), "--deadline-ms",
                            str(o.deadline), o.helper, str(pid)], capture_output=True, text=True, check=False)
        m = re.search(r"^deaths (\d+) ", p.stdout, re.M)
        check(m and p.returncode in (0, 1), p.stdout, p.stderr)
        deaths += int(m.group(1))
    return deaths


def judge(kind, needs, total, outcome, kills):
    rounds, effects, eintr, first = total
    if kills and "may-eintr" in needs:  # one for each that died between request and stop
        effects -= min(eintr, outcome.deaths)
    check(effects == 0, effects, "effects in", sum(outcome.states.values()), "marks; the first,", first)
    check(rounds > 0 or "rounds" not in needs, "no rounds of", kind)
    check("denied" not in outcome.results or "not-denied" not in needs, outcome.results)
    check(set(outcome.states) <= {"all", "dead"} or "mark" not in needs, outcome.states, outcome.results)


def test_kinds(o, marker, kinds, needs, kills):
    """One process of these; a line for each."""
    kills = kills or "deaths" in needs[kinds[0]]
    # Of several threads one is met at the instant that matters more often.
    victim = Victim([o.calls, *kinds * (8 if "not-denied" in needs[kinds[0]] else 1)])
    outcome = marks_apply(o, marker, victim, kinds, kills, deadline_of(o, needs[kinds[0]]))
    totals = victim.finish()
    lines = []
    for kind in kinds:
        if kind in victim.skipped:
            lines.append(f"ok %d - {kind} # SKIP {victim.skipped[kind]}")
            continue
        note = f"{'with deaths, ' if kills else ''}rounds {totals[kind][0]}, marks {outcome.states}, threads {outcome.results}, cut {outcome.cut}, effects {totals[kind][1]}"
        try:
            judge(kind, needs[kind], totals[kind], outcome, kills)
            lines.append(f"ok %d - {kind} # {note}")
        except AssertionError as e:
            lines.append(f"not ok %d - {kind}\n# {e}\n# {note}")
    return lines


def test_rest(o, marker, name, command):
    """What cannot be marked is not stopped again and again within a try."""
    victim = Victim(command)
    if name in victim.skipped:
        victim.finish()
        return [f"ok %d - {name} # SKIP {victim.skipped[name]}"]
    time.sleep(0.1)  # until all sleep
    worst, outcome = [], Outcome()
    for what in ("--set", "--clear"):
        before = switches(victim.pid)
        outcome.add(marker.mark(victim.pid, what, 2000))
        after = switches(victim.pid)
        found = sorted((after[t] - before[t] for t in before if t in after), reverse=True)
        worst.append(found[len(found) // 4])  # a runtime has a few threads that wake by themselves
    victim.finish()
    note = f"switches of a thread in each try {worst}, threads {outcome.results}"
    if max(worst) > 2 * RESTS_MAX:
        return [f"not ok %d - {name}\n# stopped again and again: {note}"]
    return [f"ok %d - {name} # {note}"]


def test_go(o, marker):
    """A program in Go: its threads are on stacks of goroutines."""
    if not o.go or not shutil.which("go"):
        return ["ok %d - go # SKIP no go"]
    with tempfile.TemporaryDirectory() as d:
        subprocess.run(["go", "build", "-o", f"{d}/go", o.go], check=True, env={**os.environ, "GOCACHE": f"{d}/cache", "GO111MODULE": "off"})
        return test_rest(o, marker, "go", [f"{d}/go"])


def apart(o, chosen, needs):
    """Which kinds make a process together."""
    alone = [k for k in chosen if needs[k] & {"mark", "not-denied", "deaths", "alone"}]
    rest = [k for k in chosen if k not in alone and "rest" not in needs[k]]
    return [[k] for k in alone] + [rest[i:i + o.together] for i in range(0, len(rest), o.together)]


def tasks_of(o, marker):
    """What is to be run: so many lines each."""
    listed = subprocess.run([o.calls, "--list"], capture_output=True, text=True, check=True).stdout
    needs = {words[0]: set(words[1:]) for words in map(str.split, listed.splitlines())}
    chosen = [k for k in needs if not o.only or k in o.only]
    for kills in ([False, True] if o.campaign else [o.kills]):
        for kinds in apart(o, chosen, needs):
            yield len(kinds), lambda k=kinds, kills=kills: test_kinds(o, marker, k, needs, kills)
    for kind in chosen:
        if "rest" in needs[kind]:
            yield 1, lambda k=kind: test_rest(o, marker, k, [o.calls, k])
    if not o.only or "go" in o.only:
        yield 1, lambda: test_go(o, marker)


def run_task(task):
    n, run = task
    try:
        return run()
    except Exception as e:
        return [f"not ok %d - {type(e).__name__}\n# " + str(e).replace("%", "%%").replace("\n", "\n# ")] * n


@contextlib.contextmanager
def load(wanted):
    """Work for every processor."""
    running = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(os.cpu_count() if wanted else 0)]
    try:
        yield
    finally:
        for p in running:
            p.kill()
            p.wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("helper")
    parser.add_argument("calls")
    parser.add_argument("--marks", type=int, help="of each process")
    parser.add_argument("--campaign", type=int, metavar="N", help="so many marks beside load, and as many of which half are deaths")
    parser.add_argument("--kills", action="store_true", help="the marker dies in half of the marks")
    parser.add_argument("--load", action="store_true")
    parser.add_argument("--only", type=lambda s: s.split(","))
    parser.add_argument("--go", help="the source of a program in Go")
    parser.add_argument("--driver", help="mark-deaths, for kills of another kind")
    parser.add_argument("--together", type=int, default=5, help="kinds in a process")
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--deadline", type=int, default=150, help="ms that a mark may take")
    o = parser.parse_args()
    if o.campaign:
        o.marks, o.load = o.campaign, True
    if o.marks is None:
        o.marks = 12 if os.environ.get("STACKD_TEST_QUICK") else 25
    bad = n = 0
    with Marker(o.helper) as marker, load(o.load), concurrent.futures.ThreadPoolExecutor(o.jobs) as pool:
        planned = list(tasks_of(o, marker))
        print(f"1..{sum(t[0] for t in planned)}")
        for lines in pool.map(run_task, planned):
            for line in lines:
                n += 1
                bad += line.startswith("not")
                print(line % n, flush=True)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
