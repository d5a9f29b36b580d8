#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""stackd beside storage that hangs: what concerns other stacks goes on as ever.

Usage: test-hung.py STACKCTL STACKD
A FUSE daemon stopped dead, one that was killed, one whose file system blocks whoever looks at its root, one in a frozen cgroup; for
each somebody waits. How long it takes is for the benchmark of the same name.
"""

import json
import os
import pathlib
import subprocess
import sys

import hung
import playground

ROUNDS = 3 if os.environ.get("STACKD_TEST_QUICK") else 10


class Beside:
    def __init__(self, stackctl, stackd, stack):
        self.stackctl, self.stack = stackctl, stack
        self.log = open("/run/log", "wb")   # pylint: disable=consider-using-with
        self.daemon = subprocess.Popen([stackd], stdin=subprocess.DEVNULL, stderr=self.log)
        playground.wait_for(lambda: subprocess.run(["busctl", "--address=unix:path=/run/bus", "status", "org.stackd1"],
                                                   capture_output=True, check=False).returncode == 0, "stackd is on the bus")

    def ask(self, *words):
        done = subprocess.run([self.stackctl, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode in (0, 1), f"{words}: status {done.returncode}: {done.stderr}"
        return done.stdout

    def layers(self, *words):
        """Those of the stack that is well."""
        document = json.loads(self.ask(*words, "--json=short", "status", self.stack.device))
        return {layer["id"]: (layer["depth"], layer["incomplete"]) for layer in document["layers"]}

    def children(self):
        return pathlib.Path(f"/proc/{self.daemon.pid}/task/{self.daemon.pid}/children").read_text(encoding="ascii").split()

    def refresh(self):
        playground.run("busctl", "--address=unix:path=/run/bus", "call", "org.stackd1", "/org/stackd1", "org.stackd1.Manager", "Refresh")

    def end(self):
        self.daemon.terminate()
        assert self.daemon.wait(30) == 0, f"it ended with {self.daemon.returncode}"


def main():
    stackctl, stackd = playground.enter(False)
    os.environ["STACKD_BINARY"] = stackd
    with playground.Stack() as stack, playground.Bus():
        stack.policies()
        before = stack.state()
        beside = Beside(stackctl, stackd, stack)
        beside.ask("apply")
        after, well = stack.state(), beside.layers()
        assert after != before and well
        kinds = hung.healthy()
        try:
            hung.hang(*kinds)
            for words in ((), ("--direct",)):
                assert beside.layers(*words) == well, f"{beside.layers(*words)} instead of {well}"
            seen = {mount for layer in json.loads(beside.ask("--json=short", "status", ))["layers"] for mount in layer["mounts"]}
            assert {kind.place for kind in kinds} <= seen, f"{seen} has not all that hang"
            for _ in range(ROUNDS):
                beside.refresh()
                beside.ask("revert")
                assert stack.state() == before, stack.state()
                beside.ask("apply")
                assert stack.state() == after, stack.state()
                beside.ask("plan")
            # None that asks is left, or adds to those that cannot be killed.
            playground.wait_for(lambda: not beside.children(), f"no child is left of {beside.children()}")
            beside.end()
            # One that begins beside it.
            late = Beside(stackctl, stackd, stack)
            assert late.layers() == well
            late.ask("revert")
            assert stack.state() == before and not playground.ledger()
            late.end()
        finally:
            for kind in kinds:
                kind.end()
    print(f"{len(kinds)} that hang, {ROUNDS} rounds beside them")
    return 0


if __name__ == "__main__":
    sys.exit(main())
