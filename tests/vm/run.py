#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs scenarios in virtual machines over a real kernel; see README.md beside this file."""

import argparse
import contextlib
import pathlib
import shutil
import signal
import sys
import tempfile
import time

from harness import boot, cache, image, payload, scenario, virtiofs
from harness.common import HarnessError, say
from harness.machine import GuestDied, again_after_fault

# For commands that ask about a guest whose scenario has failed.
LOOK_TIME_LIMIT = 60
SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


class Runner:
    """One run over one image."""

    def __init__(self, arguments, directory, stack):
        self.arguments = arguments
        self.directory = directory
        self.stack = stack
        self.image = stack.enter_context(image.image(arguments.suite))
        self.payload = payload.pack(directory / "payload", arguments.destdir, arguments.extra)
        self.savings = {}

    def saved(self, memory):
        """What guests with so much memory begin as: booted, with the payload installed."""
        if memory not in self.savings:
            booted = self.stack.enter_context(boot.boot(self.image, memory))
            self.savings[memory] = again_after_fault(f"installing with {memory} MiB", lambda: self.install(booted, memory))
        return self.savings[memory]

    def install(self, booted, memory):
        directory = pathlib.Path(tempfile.mkdtemp(dir=self.directory))
        boot.with_payload(self.image, booted, memory, self.payload, directory)
        return directory

    @contextlib.contextmanager
    def guest(self, memory, with_virtiofs=False):
        """Yields a guest with the payload installed."""
        saved = self.saved(memory)
        with tempfile.TemporaryDirectory(dir=self.directory) as name:
            directory = pathlib.Path(name)
            with boot.restored(self.image, saved, memory, self.payload, directory, shared=with_virtiofs) as guest:
                with virtiofs.attached(guest, directory) if with_virtiofs else contextlib.nullcontext():
                    yield guest

    def execute(self, command):
        """Runs one command and passes on its output and exit status."""
        with self.guest(self.arguments.memory) as guest:
            result = guest.run(["bash", "-c", command], self.arguments.timeout or 600, pass_on)
            if result.status is None:
                say("the command did not end in time")
                return 2
            return result.status

    def shell(self):
        """Runs the lines of standard input as they come."""
        with self.guest(self.arguments.memory) as guest:
            return self.converse(guest)

    def converse(self, guest):
        say("each line is a command of its own, run as root; end with Ctrl-D")
        while True:
            print("guest# ", end="", file=sys.stderr, flush=True)
            line = sys.stdin.readline()
            if not line:
                return 0
            result = guest.run(["bash", "-c", line], self.arguments.timeout or 600, pass_on)
            if result.status != 0:
                say("time is up" if result.status is None else f"exit status {result.status}")

    def scenario(self, wanted):
        """Runs one scenario; returns "passed", "failed" or "skipped" after printing its line."""
        if reason := wanted.missing(self.arguments.destdir):
            return report("skip", wanted.name, reason)
        self.saved(wanted.memory)        # before the clock starts
        start = time.monotonic()
        logs = cache.root() / "logs" / f"{self.arguments.suite}-{wanted.name}"
        shutil.rmtree(logs, ignore_errors=True)
        logs.mkdir(parents=True)
        problem, skipped = self.outcome(wanted, logs)
        if problem:
            return report("not ok", wanted.name, f"{problem} (logs: {logs})")
        shutil.rmtree(logs)
        if skipped:
            return report("skip", wanted.name, skipped)
        print(f"ok {wanted.name} {time.monotonic() - start:.1f}s", flush=True)
        return "passed"

    def outcome(self, wanted, logs):
        """Returns what went wrong and why it was skipped, either of them None."""
        try:
            return again_after_fault(wanted.name, lambda: self.attempt(wanted, logs))
        except GuestDied as error:
            return f"the guest is lost: {error}", None

    def attempt(self, wanted, logs):
        timeout = self.arguments.timeout or wanted.timeout
        with open(logs / "output.log", "wb", buffering=0) as log, self.guest(wanted.memory, wanted.virtiofs) as guest:
            def output(stream, data):
                log.write(data)
                if self.arguments.verbose:
                    pass_on("stderr", data)

            try:
                result = guest.run(wanted.command, timeout, output)
                if result.status == scenario.SKIPPED:
                    return None, scenario.failure(result.stdout)
                if result.status == 0:
                    return None, None
                problem = f"no end after {timeout}s" if result.status is None else scenario.failure(result.stderr)
                try:
                    look(guest, logs)
                except GuestDied as error:
                    problem += f"; then the guest was lost: {error}"
            finally:
                shutil.copy(guest.serial_log, logs / "serial.log")
            if self.arguments.keep:
                say(f"{wanted.name}: {problem}")
                self.converse(guest)
            return problem, None


def look(guest, logs):
    """Keeps what the guest itself knows about a failure."""
    # Blocked tasks and their kernel stacks go to the journal and the console.
    guest.run(["sh", "-c", "echo w >/proc/sysrq-trigger"], LOOK_TIME_LIMIT)
    journal = guest.run(["journalctl", "--boot", "--no-pager", "--output=short-monotonic"], LOOK_TIME_LIMIT)
    (logs / "journal.log").write_bytes(journal.stdout)


def report(verdict, name, why):
    print(f"{verdict} {name}: {why}", flush=True)
    return {"skip": "skipped", "not ok": "failed"}[verdict]


def pass_on(stream, data):
    target = getattr(sys, stream).buffer
    target.write(data)
    target.flush()


def leave(number, _):
    """Ends the run by way of every "with" that is open: the guest, its disks, a build."""
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    sys.exit(128 + number)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", metavar="SCENARIO", nargs="*", help="what to run (default: all)")
    parser.add_argument("--suite", default="trixie", help="Debian suite of the guest (default: %(default)s)")
    parser.add_argument("--destdir", type=pathlib.Path, help="tree made by meson install --destdir")
    parser.add_argument("--extra", type=pathlib.Path, action="append", default=[], metavar="PATH",
                        help="a program, or a directory with some, that scenarios find in /usr/lib/stackd-vm/extra")
    parser.add_argument("--list", action="store_true", help="list the scenarios")
    parser.add_argument("--prepare", action="store_true", help="make the image and the saved boots, and run nothing")
    parser.add_argument("--exec", metavar="COMMAND", help="run one command in a guest instead")
    parser.add_argument("--shell", action="store_true", help="run commands from standard input in a guest instead")
    parser.add_argument("--keep", action="store_true", help="after a failure, offer a shell in the guest")
    parser.add_argument("--timeout", type=int, metavar="S", help="time limit instead of the scenario's own")
    parser.add_argument("--memory", type=int, metavar="MIB", default=2048, help="of the guest for --exec and --shell")
    parser.add_argument("--verbose", "-v", action="store_true", help="show the output of scenarios")
    arguments = parser.parse_args()
    if arguments.destdir and not arguments.destdir.is_dir():
        parser.error(f"{arguments.destdir} is not a directory")
    return arguments


def main():
    for number in SIGNALS:
        signal.signal(number, leave)
    arguments = parse_arguments()
    if arguments.list:
        print("\n".join(scenario.names()))
        return 0
    wanted = [scenario.load(name) for name in arguments.scenarios or scenario.regular()]
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stackd-vm-")))
        runner = Runner(arguments, directory, stack)
        if arguments.exec:
            return runner.execute(arguments.exec)
        if arguments.shell:
            return runner.shell()
        if arguments.prepare:
            for memory in sorted({each.memory for each in wanted}, reverse=True):
                stack.enter_context(boot.boot(runner.image, memory))
            return 0
        outcomes = [runner.scenario(each) for each in wanted]
    print(", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in ("passed", "failed", "skipped")))
    return 1 if "failed" in outcomes else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (HarnessError, GuestDied) as error:
        say(error)
        sys.exit(2)
