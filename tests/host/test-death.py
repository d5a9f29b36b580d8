#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""stackd is killed at random instants: while it starts, looks, applies, undoes, and reads its configuration again.

Usage: test-death.py STACKCTL STACKD [DEATHS [SEED]]

Each time its client gets an answer or an error, the next stackd comes to what the policy asks for, and what was there before is
restored exactly when that is asked for.
"""

import collections
import os
import pathlib
import random
import subprocess
import sys
import time

import playground

ANSWER = 60     # seconds


class Daemon:
    """Started again for a while, as a service manager does: a child of its predecessor's may hold the lock until it is killed, too."""

    def __init__(self, stackd):
        self.stackd = stackd
        self.process = None
        self.log = "/run/log"

    def start(self):
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([self.stackd], stdin=subprocess.DEVNULL, stderr=log)

    def come_up(self):
        end = time.monotonic() + ANSWER
        while True:
            if self.process is None:
                self.start()
            if self.process.poll() is not None:
                assert "Device or resource busy" in playground.read(self.log), f"it ended with {self.process.returncode}: {playground.read(self.log)}"
                self.process = None
            elif subprocess.run(["busctl", "--address=unix:path=/run/bus", "status", "org.stackd1"], capture_output=True, check=False).returncode == 0:
                return
            assert time.monotonic() < end, "it did not come onto the bus"
            time.sleep(0.01)

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        self.process = None


class Trial:
    def __init__(self, stackctl, stackd, stack, chance):
        self.stackctl, self.stack, self.chance = stackctl, stack, chance
        self.daemon = Daemon(stackd)
        self.before = stack.state()
        self.variant = 0
        self.longest = collections.defaultdict(float)
        self.seen = collections.Counter()
        self.after = []
        for self.variant in (1, 0):
            self.write_policy()
            self.daemon.kill()
            self.daemon.come_up()
            self.settle("apply")
            self.after.insert(0, stack.state())
            self.settle("revert")
            assert stack.state() == self.before and not playground.ledger(), "not even without a death"
        assert len({self.before, *self.after}) == 3

    def write_policy(self):
        self.stack.policies()
        if self.variant:
            path = pathlib.Path(f"{playground.RUN}/policy/10-inner.policy")
            path.write_text(path.read_text(encoding="ascii").replace("commit=60", "commit=61").replace("MaxRatio=30", "MaxRatio=31"), encoding="ascii")

    def settle(self, verb):
        begin = time.monotonic()
        done = subprocess.run([self.stackctl, verb], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=ANSWER, check=False)
        assert done.returncode == 0, f"{verb} afterwards: status {done.returncode}: {done.stdout} {done.stderr} {playground.read(self.daemon.log)}"
        self.longest[verb] = max(self.longest[verb], min(time.monotonic() - begin, 1))

    def die(self, verb):
        """At some instant of it."""
        client = None
        if verb == "start":
            self.daemon.kill()
            self.daemon.start()
        else:
            if verb == "reload":
                self.variant = 1 - self.variant
                self.write_policy()
            client = subprocess.Popen([self.stackctl, verb], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(self.chance.uniform(0, self.longest[verb] or 0.3))   # any moment
        self.daemon.kill()
        if client:
            output, trouble = client.communicate(timeout=ANSWER)
            assert client.returncode in (0, 1, 2), f"{verb}: status {client.returncode}: {trouble}"
            assert client.returncode != 2 or trouble.strip(), f"{verb} failed without a word"
            self.seen[f"{verb} {'answered' if client.returncode < 2 else 'refused'}"] += 1
            if verb == "apply" and client.returncode == 0 and "changed" in output:
                assert self.stack.state() == self.after[self.variant], f"it said that it is done: {self.stack.state()}"
        else:
            self.seen[verb] += 1

    def check(self, death):
        self.daemon.come_up()
        for verb, wanted in (("apply", self.after[self.variant]), ("revert", self.before)):
            if verb == "revert" and death % 2:
                continue        # the next death finds it as it is
            self.settle(verb)
            assert self.stack.state() == wanted, f"{verb} comes to {self.stack.state()} instead of {wanted}"
            assert verb == "apply" or not playground.ledger(), playground.ledger()


def main():
    stackctl, stackd, *rest = playground.enter(False)
    deaths = int(rest[0]) if rest else 6 if os.environ.get("STACKD_TEST_QUICK") else 30
    seed = int(rest[1]) if len(rest) > 1 else random.randrange(1 << 32)
    os.environ["STACKD_BINARY"] = "/does/not/exist"
    print(f"{deaths} deaths, seed {seed}", flush=True)
    chance = random.Random(seed)
    with playground.Stack() as stack, playground.Bus():
        trial = Trial(stackctl, stackd, stack, chance)
        verbs = ("start", "status", "apply", "revert", "reload")
        for death in range(deaths):
            verb = verbs[death % len(verbs)]
            try:
                trial.die(verb)
                trial.check(death)
            except (AssertionError, subprocess.TimeoutExpired) as e:
                print(f"FAIL: death {death}, at {verb}: {e}")
                return 1
            if death % 100 == 99:
                print(f"{death + 1}: {dict(trial.seen)}", flush=True)
        trial.settle("revert")
        assert stack.state() == trial.before and not playground.ledger()
        trial.daemon.kill()
    print(f"{deaths} deaths: {dict(trial.seen)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
