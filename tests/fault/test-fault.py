#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Each allocation, and each system call that may fail, fails once: in stackd and its children, and in stackctl.

Usage: test-fault.py STACKCTL STACKD STACKD-MARK FAIL-ONCE-LIBRARY FIXTURES [--all] [--only ACTIVITY] [--site HASH]

A site is a function of the C library and its callers (fail-once.c). An activity is carried out once to learn its sites, and then
again for each of them (for some of them, the same ones each time, without --all), with a failure there. Nothing may crash, hang,
or be left behind; an answer is the right one, or says that something is not known, or is an error that is told. What is changed
is done afterwards, without a failure: it comes out as ever, and is undone exactly.

Not tried is json-c in stackctl, which drops members, elements and parts of texts that it has no memory for and says nothing, or
crashes. stackd has it nowhere; stackctl changes nothing by what it read.
"""

import argparse
import collections
import json
import mmap
import os
import pathlib
import random
import re
import signal
import struct
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "host"))
import playground  # pylint: disable=wrong-import-position

SHARED, SITE = struct.Struct("QII"), struct.Struct("Q24s")
SITES = 32768
PLACE = "/run/fail-once-place"
HUNG = 40       # seconds; what has a deadline of its own ends before
SANITIZED = ("AddressSanitizer", "LeakSanitizer", "runtime error", "UndefinedBehaviorSanitizer")


class Fault:
    """What the processes of a run share with us."""

    def __init__(self, path):
        with open(path, "w+b") as file:
            file.truncate(SHARED.size + SITES * SITE.size)
            self.memory = mmap.mmap(file.fileno(), 0)

    def arm(self, target):
        self.memory[:SHARED.size] = SHARED.pack(target, 0, 0)
        if not target:
            self.memory[SHARED.size:] = bytes(SITES * SITE.size)

    def sites(self):
        """Hash -> function."""
        found = (SITE.unpack_from(self.memory, SHARED.size + i * SITE.size) for i in range(SITES))
        return {number: name.rstrip(b"\0").decode() for number, name in found if number}

    def has_failed(self):
        return SHARED.unpack_from(self.memory)[1] > 0

    def crashes(self):
        return SHARED.unpack_from(self.memory)[2]


class Machine:
    """The programs, with the library before the one that is to fail."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.fault = Fault("/run/fail-once")
        preload = f"LD_PRELOAD={arguments.library} FAIL_ONCE=/run/fail-once FAIL_ONCE_PLACE={PLACE}"
        self.faulty = self.script("/run/faulty-stackd", f'exec setarch -R env {preload} {arguments.stackd} "$@"')
        self.sound = self.script("/run/sound-stackd", f'exec env -u LD_PRELOAD -u FAIL_ONCE {arguments.stackd} "$@"')
        self.client = self.script("/run/faulty-stackctl", f'exec setarch -R env {preload} FAIL_ONCE_SPARES=libjson-c {arguments.stackctl} "$@"')
        os.environ["STACKD_MARK_BINARY"] = arguments.mark

    @staticmethod
    def script(path, line):
        pathlib.Path(path).write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        os.chmod(path, 0o755)
        return path

    def stackctl(self, *words, stackd=None, program=None):
        done = subprocess.run([program or self.arguments.stackctl, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env=dict(os.environ, STACKD_BINARY=stackd or self.sound), timeout=HUNG,
                              text=True, check=False)
        assert not any(word in done.stderr for word in SANITIZED), done.stderr
        return done


def alive():
    """Processes of stackd's that there are; those that have ended are reaped."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit() or entry.name == "1":
            continue
        try:
            comm, _, rest = (entry / "stat").read_text().partition("(")[2].rpartition(")")
            if comm.startswith("stackd"):
                if rest.split()[0] == "Z" and rest.split()[1] == "1":
                    os.waitpid(int(entry.name), 0)
                elif rest.split()[0] != "Z":
                    found.append(entry.name)
        except (OSError, ChildProcessError):
            pass
    return found


def same(answer, right):
    try:
        return json.loads(answer) == json.loads(right)
    except ValueError:
        return False


def flat(value, path=""):
    if isinstance(value, (dict, list)):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from flat(each, f"{path}.{each.get('id', key) if isinstance(each, dict) else key}")
    else:
        yield f"{path}={value}"


def difference(answer, right):
    """Where two documents differ, for people."""
    try:
        answer, right = (set(flat(json.loads(text))) for text in (answer, right))
    except ValueError as e:
        return f"not a document: {e}"
    return f"there is {sorted(answer - right)} instead of {sorted(right - answer)}"


def says_so(answer):
    """An answer, that it does not know all."""
    try:
        return '"incomplete":"' in answer.replace(" ", "") and bool(json.loads(answer))
    except ValueError:
        return False


class Question:
    """Something is asked of a private stackd."""

    def __init__(self, machine, name, *words, client=False):
        self.machine, self.name, self.words, self.client = machine, name, words, client
        self.right = machine.stackctl(*words)
        assert self.right.returncode in (0, 1) and self.right.stdout and not self.right.stderr and not says_so(self.right.stdout), self.right

    def once(self):
        m = self.machine
        return m.stackctl(*self.words, program=m.client) if self.client else m.stackctl(*self.words, stackd=m.faulty)

    def judge(self, done):
        if done.returncode not in (0, 1):
            assert done.returncode == 2, f"status {done.returncode}: {done.stderr}"
            assert done.stderr.strip(), "it failed without a word"
            return "error told"
        if same(done.stdout, self.right.stdout) and done.returncode == self.right.returncode:
            return "right"
        assert done.stderr.strip() or says_so(done.stdout), \
            f"wrong without a word: {difference(done.stdout, self.right.stdout)}"
        return "incomplete, told"


class Deed:
    """Something is changed by a private stackd, or undone."""

    def __init__(self, machine, stack, name):
        self.machine, self.stack, self.name = machine, stack, name
        self.before = stack.state()
        self.settle("apply")
        self.after = stack.state()
        self.lines = len(playground.ledger())
        self.settle("revert")
        assert stack.state() == self.before != self.after and not playground.ledger(), "not even without a failure"

    def settle(self, verb):
        done = self.machine.stackctl("--direct", verb)
        assert done.returncode == 0, f"{verb} afterwards: status {done.returncode}: {done.stdout} {done.stderr}"

    def once(self):
        if self.name == "revert":
            self.settle("apply")
        return self.machine.stackctl("--direct", self.name, stackd=self.machine.faulty)

    def judge(self, done):
        wanted = self.after if self.name == "apply" else self.before
        whole = self.stack.state() == wanted
        # A file of the configuration that cannot be opened is left out, with a warning, as one that cannot be read.
        told = done.returncode != 0 or "it is not used" in done.stderr
        assert done.returncode in (0, 1, 2) and (done.returncode == 0 or done.stderr.strip() or done.stdout.strip()), done
        assert whole or told, f"it says that it is done, and {self.stack.state()} is not {wanted}: {done.stdout} {done.stderr}"
        # What was changed is known: each value is the original, or is in the record.
        changed = sum(a != b for a, b in zip(self.stack.state(), self.before))
        assert len(playground.ledger()) >= changed or not changed, f"{changed} changed, but the record has {playground.ledger()}"
        self.settle("apply")
        assert self.stack.state() == self.after, f"applied afterwards: {self.stack.state()}"
        assert len(playground.ledger()) == self.lines, playground.ledger()
        self.settle("revert")
        assert self.stack.state() == self.before, f"undone afterwards: {self.stack.state()}"
        assert not playground.ledger(), playground.ledger()
        return "done" if whole else "refused, told"


class Service(Deed):
    """stackd on a bus, which acts by itself, is asked, and reads its configuration again."""

    def __init__(self, machine, stack):
        super().__init__(machine, stack, "service")
        self.log = "/run/service-log"

    def once(self):
        trouble = []
        with open(self.log, "w+b") as log:
            for program in (self.machine.faulty, self.machine.sound):
                daemon = subprocess.Popen([program], stdin=subprocess.DEVNULL, stderr=log)
                up = playground.wait_for(lambda: daemon.poll() is not None or self.is_up() or None, "stackd is on the bus, or has ended", HUNG)
                if up and daemon.poll() is None:
                    break
                assert daemon.returncode == 1, f"it ended with {daemon.returncode}: {playground.read(self.log)}"
                assert playground.read(self.log), "it ended without a word"
                trouble.append("start")
            for words in (("apply",), ("reload",), ("revert",)):
                done = self.machine.stackctl(*words)
                if done.returncode != 0:
                    assert done.stderr.strip() or done.stdout.strip(), f"{words} failed without a word"
                    trouble.append(words[0])
            if daemon.poll() is not None:
                assert playground.read(self.log), "it ended without a word"
                trouble.append("end")
            else:
                daemon.terminate()
                status = daemon.wait(HUNG)
                assert status == 0 or status == 1 and "Cannot go on" in playground.read(self.log), status
                if status == 1:
                    trouble.append("end")
        assert not any(word in playground.read(self.log) for word in SANITIZED), playground.read(self.log)
        return trouble

    @staticmethod
    def is_up():
        return subprocess.run(["busctl", "--address=unix:path=/run/bus", "status", "org.stackd1"], capture_output=True, check=False).returncode == 0

    def judge(self, done):
        self.settle("apply")
        assert self.stack.state() == self.after, f"applied afterwards: {self.stack.state()}"
        self.settle("revert")
        assert self.stack.state() == self.before and not playground.ledger(), f"undone afterwards: {self.stack.state()} {playground.ledger()}"
        return "fails at " + ", ".join(done) if done else "done"


def place():
    """Who called what failed, for people."""
    callers = []
    for line in pathlib.Path(PLACE).read_text(encoding="utf-8").splitlines() if os.path.exists(PLACE) else ():
        if match := re.fullmatch(r"(.*/(?:stackd|stackctl|stackd-mark))\((.*)\)\[.*\]", line):
            found = subprocess.run(["addr2line", "-sfe", match[1], match[2].lstrip("+")], capture_output=True, text=True, check=False).stdout.split()
            callers.append(" ".join(found[:2]) or match[2])
    return ", ".join(callers[:8])


def try_site(machine, activity, site):
    machine.fault.arm(site)
    begin = time.monotonic()
    try:
        done = activity.once()
    except subprocess.TimeoutExpired as e:
        raise AssertionError(f"it hangs: {e.stderr}") from e
    failed = machine.fault.has_failed()
    assert machine.fault.crashes() == 0, f"it crashed: {done}"
    machine.fault.arm(1)        # no site
    result = activity.judge(done)
    playground.wait_for(lambda: not alive(), f"{alive()} have ended", HUNG)
    took = time.monotonic() - begin
    return (result if failed else "not met again"), took


def try_all(machine, activity, known, arguments):
    """Prints a line of TAP's comment for each failure; returns how many there were."""
    machine.fault.arm(0)
    activity.judge(activity.once())
    met = machine.fault.sites()
    sites = {hash: name for hash, name in met.items() if hash not in known}
    assert met, f"{activity.name} comes through no site: the library is not there"
    known.update(sites)
    chosen = sorted(sites)
    if arguments.start and arguments.start != activity.name:
        return 0
    arguments.start = None
    if arguments.site:
        chosen = [site for site in chosen if site in {int(text, 16) for text in arguments.site.split(",")}]
    elif not arguments.all:
        chosen = random.Random(activity.name).sample(chosen, min(len(chosen), 1 if os.environ.get("STACKD_TEST_QUICK") else 5))
    outcomes, failures, slowest = collections.Counter(), 0, (0, None)
    for number, site in enumerate(chosen):
        try:
            result, took = try_site(machine, activity, site)
            slowest = max(slowest, (took, f"{sites[site]} at site {site:x}: {place()}"))
            outcomes[result] += 1
        except AssertionError as e:
            failures += 1
            print(f"# {activity.name}: {sites[site]} at site {site:x} ({place()}): {str(e)[:2000]}".replace("\n", "\n# "), flush=True)
            for pid in alive():
                os.kill(int(pid), signal.SIGKILL)
        if arguments.all and number % 200 == 199:
            print(f"# {activity.name}: {number + 1} of {len(chosen)}: {dict(outcomes)}", flush=True)
    arguments.tried += len(chosen)
    arguments.missed += outcomes["not met again"]
    print(f"# {activity.name}: {len(chosen)} of {len(sites)} sites: {failures} failed, {dict(outcomes)}, slowest {slowest[0]:.1f} s ({slowest[1]})",
          flush=True)
    return failures


def activities(machine, stack, arguments):
    """What is done, in this order; a site is tried in the first that meets it."""
    for fixture in ("tcmu", "fuse"):
        root = f"/run/{fixture}"
        os.mkdir(root)
        playground.run("tar", "-xf", f"{arguments.fixtures}/{fixture}.tar.gz", "-C", root)
        processes = json.loads(machine.stackctl(f"--root={root}", "--json=short", "status").stdout)["processes"]
        for words in (("status",), ("check",), ("plan",), ("explain", processes[0]["id"]), ("cat-config",)):
            yield lambda root=root, words=words, fixture=fixture: Question(machine, f"{fixture}-{words[0]}", f"--root={root}", "--json=short", *words)
    device = stack.device
    for verb in ("status", "explain", "plan"):
        words = (verb,) if verb == "plan" else (verb, device)
        yield lambda words=words: Question(machine, f"machine-{words[0]}", "--direct", "--json=short", *words)
    for verb in ("status", "plan"):
        yield lambda verb=verb: Question(machine, f"client-{verb}", "--root=/run/tcmu", "--json=short", verb, client=True)
    yield lambda: Deed(machine, stack, "apply")
    yield lambda: Deed(machine, stack, "revert")
    yield lambda: Service(machine, stack)


def main():
    words = playground.enter(True)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("stackctl", "stackd", "mark", "library", "fixtures"):
        parser.add_argument(name)
    parser.add_argument("--all", action="store_true", help="every site")
    parser.add_argument("--only", help="this activity")
    parser.add_argument("--start", help="with this activity; those before it only tell which sites they meet")
    parser.add_argument("--site", help="these sites alone, separated by commas")
    arguments = parser.parse_args(words)
    arguments.tried = arguments.missed = 0
    failures, number, known = 0, 0, set()
    with playground.Stack() as stack, playground.Bus():
        stack.policies()
        machine = Machine(arguments)
        machine.fault.arm(1)
        for make in activities(machine, stack, arguments):
            activity = make()
            if arguments.only and activity.name != arguments.only:
                continue
            number += 1
            failed = try_all(machine, activity, known, arguments)
            failures += failed
            print(f"{'not ok' if failed else 'ok'} {number} - {activity.name}", flush=True)
    # Some depend on what happens first; were they all others in each run, nothing would be tried.
    number += 1
    print(f"{'ok' if arguments.missed <= arguments.tried / 4 else 'not ok'} {number} - {arguments.missed} of {arguments.tried} sites were not met again")
    failures += arguments.missed > arguments.tried / 4
    print(f"1..{number}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
