#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Shows that stacks hang without stackd, and complete with it: same guest, load, seed and limits, nothing else changed.

See README.md beside this file. Exit status: 0 everything as claimed, 1 not (also when something that should hang
without stackd does not), 2 it could not be tried.
"""

import argparse
import contextlib
import dataclasses
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "vm"))

# pylint: disable=wrong-import-position
from harness import boot, image, payload
from harness.common import HarnessError
from harness.machine import EmulatorFault, GuestDied, again_after_fault

import report

ARMS = ("without", "with")
# One part of stackd switched off, by a policy before those that come with it.
PARTS = {
    "no-mark": "[Match]\nProcess=*\n[Process]\nIOFlusher=no\n[Memory]\nMin=auto\nSwapMax=auto\n[OOM]\nScoreAdjust=-900\nManagedPreference=omit\n",
    "no-reservation": "[Match]\nProcess=*\n[Process]\nIOFlusher=yes\n[Memory]\nMin=no\nSwapMax=auto\n[OOM]\nScoreAdjust=-900\nManagedPreference=omit\n",
    "no-swap-limit": "[Match]\nProcess=*\n[Process]\nIOFlusher=yes\n[Memory]\nMin=auto\nSwapMax=no\n[OOM]\nScoreAdjust=-900\nManagedPreference=omit\n",
    "no-writeback-limit": "[Match]\nLayer=*\n[Writeback]\nMaxRatio=no\nStrictLimit=keep\n",
}
# What hangs by chance may be lucky once: so often is the quick one's control tried until it hangs.
QUICK_TRIES = 3
# The stack is made, then comes the load, whose own limit is shorter.
TIME_LIMIT = 600
BLOCKED = re.compile(r"task (\S+):\d+ blocked for more than")


@dataclasses.dataclass
class Proof:
    """A stack and what its header says of it."""
    name: str
    title: str = ""
    memory: int = 512
    expect: tuple = ("hang",)       # any of these without stackd; with it always "completed"
    suites: tuple = ()
    quick: bool = False             # part of "make test"
    by_hand: str = ""               # why it runs only when it is named


def load(name):
    path = HERE / "guest" / f"{name}.sh"
    proof = Proof(name)
    lines = path.read_text().splitlines()
    proof.title = lines[3].removeprefix("# ")
    for line in lines[4:]:
        if not line.startswith("#"):
            break
        if match := re.fullmatch(r"# memory: (\d+)", line):
            proof.memory = int(match[1])
        elif match := re.fullmatch(r"# (expect|suites): (.*)", line):
            setattr(proof, match[1], tuple(match[2].split()))
        elif match := re.fullmatch(r"# by hand: (.*)", line):
            proof.by_hand = match[1]
        elif line == "# quick: yes":
            proof.quick = True
    return proof


def names():
    """Scripts that are run; those that are sourced are not called one."""
    return sorted(path.stem for path in (HERE / "guest").glob("*.sh") if "# expect:" in path.read_text())


class Laboratory:
    """Guests of one suite, with stackd or a part of it, and without."""

    def __init__(self, suite, arguments, directory, stack):
        self.suite, self.before, self.directory, self.stack = suite, arguments.before, directory, stack
        self.image = stack.enter_context(image.image(suite))
        extra = directory / "extra"
        extra.mkdir()
        for file in (HERE / "guest").iterdir():
            (extra / file.name).write_bytes(file.read_bytes())
            (extra / file.name).chmod(0o755)
        subprocess.run(["cc", "-O2", "-Wall", "-shared", "-fPIC", "-o", extra / "no-self-mark.so", HERE / "no-self-mark.c"], check=True)
        self.payloads = {stackd: payload.pack(directory / str(stackd), arguments.destdir if stackd else None, [extra]) for stackd in (False, True)}
        self.boots = {}

    def run(self, proof, arm, seed):
        """One run; returns what came of it."""
        if proof.memory not in self.boots:
            self.boots[proof.memory] = self.stack.enter_context(boot.boot(self.image, proof.memory))
        result = {"proof": proof.name, "title": proof.title, "suite": self.suite, "arm": arm, "seed": seed, "verdict": "lost",
                  "before": self.before,
                  "kernel": None, "seconds": None, "samples": [], "waiting": [], "errors": [], "cost": None}
        buffer = bytearray()

        def output(stream, data):
            if stream != "stdout":
                return
            buffer.extend(data)
            *lines, rest = bytes(buffer).split(b"\n")
            buffer[:] = rest
            for line in lines:
                with contextlib.suppress(ValueError):
                    take(result, json.loads(line))

        with tempfile.TemporaryDirectory(dir=self.directory) as name:
            place = pathlib.Path(name)
            try:
                with boot.restored(self.image, self.boots[proof.memory], proof.memory, self.payloads[arm != "without"], place) as guest:
                    payload.install(guest)
                    done = guest.run(["env", f"PROOF_SEED={seed}", f"PROOF_POLICY={PARTS.get(arm, '')}", f"PROOF_BEFORE={self.before}", "bash", f"/usr/lib/stackd-vm/extra/{proof.name}.sh"], TIME_LIMIT, output)
                    if done.status != 0:
                        result["errors"].append(done.stderr.decode(errors="replace")[-2000:])
            except EmulatorFault:
                raise
            except GuestDied as error:
                result["errors"].append(str(error))
            result["serial"] = (place / "serial.log").read_text(errors="replace")[-4000:] if (place / "serial.log").exists() else ""
        if result["verdict"] == "lost" and (blocked := BLOCKED.findall(result["serial"])):
            # Nobody there could say more, not even who is locked in memory.
            result.update(verdict="hang", seconds=result["samples"][-1]["t"] if result["samples"] else None)
            result["errors"].append("the whole guest: " + ", ".join(sorted(set(blocked))))
        return result


def take(result, line):
    match line.pop("event", None):
        case "kernel":
            result["kernel"] = line["release"]
        case "sample":
            result["samples"].append(line)
        case "waiting":
            result["waiting"].append(line)
        case "error":
            result["errors"].append(line["message"])
        case "cost":
            result["cost"] = line
        case "verdict":
            result.update(line)


def as_claimed(proof, result):
    """Of a part that is missing nothing is claimed."""
    return result["arm"] in PARTS or result["verdict"] in (proof.expect if result["arm"] == "without" else ("completed",))


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("proofs", metavar="PROOF", nargs="*", help=f"what to try (default: all): {', '.join(names())}")
    parser.add_argument("--suite", action="append", help="Debian suite of the guest, more than once for several (default: trixie)")
    parser.add_argument("--runs", type=int, default=3, help="of each arm (default: %(default)s)")
    parser.add_argument("--first-seed", type=int, default=1, help="of the first run; each other has the next")
    parser.add_argument("--arm", choices=(*ARMS, *PARTS), action="append", help="only this one; no-...: with stackd but for one part of it")
    parser.add_argument("--quick", action="store_true", help=f"the firmest only: without stackd until it hangs, at most {QUICK_TRIES} times, and once with it")
    parser.add_argument("--destdir", type=pathlib.Path, required=True, help="tree made by meson install --destdir")
    parser.add_argument("--before", default="", metavar="COMMAND", help="an experiment: run in the guest before the load starts")
    parser.add_argument("--output", type=pathlib.Path, help="directory of results, to which this run's are added")
    return parser.parse_args()


def attempt(laboratory, proof, arm, seed, arguments, results):
    """One run, kept; returns whether it went as claimed, and a line that says so."""
    start = time.monotonic()
    result = again_after_fault(proof.name, lambda: laboratory.run(proof, arm, seed))
    if arguments.output:
        report.keep(arguments.output, result)
    result = report.condense(result)
    results.append(result)
    line = f"{proof.name}-{arm}-stackd-{laboratory.suite}-{seed}: {report.describe(result)} [{time.monotonic() - start:.0f} s]"
    return as_claimed(proof, result), line


def runs_of(arguments):
    """Yields arm, seed, and the seeds that may be tried instead if that one goes otherwise."""
    if arguments.quick:
        yield "without", 1, range(2, 1 + QUICK_TRIES)
        yield "with", 1, ()
        return
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.runs):
        for arm in arguments.arm or ARMS:
            yield arm, seed, ()


def main():
    arguments = parse_arguments()
    proofs = [load(name) for name in arguments.proofs or names() if arguments.proofs or not load(name).by_hand]
    if arguments.quick:
        proofs = [proof for proof in proofs if proof.quick]
    passed, failed, results = 0, 0, []
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stackd-proof-")))
        for suite in arguments.suite or ["trixie"]:
            place = directory / suite
            place.mkdir()
            laboratory = Laboratory(suite, arguments, place, stack)
            for proof in proofs:
                if proof.suites and suite not in proof.suites:
                    continue
                print(f"{proof.name} ({suite}): {proof.title}", flush=True)
                for arm, seed, instead in runs_of(arguments):
                    fine, line = attempt(laboratory, proof, arm, seed, arguments, results)
                    for other in instead:
                        if fine:
                            break
                        print(f"once more, for chance decides: {line}", flush=True)
                        fine, line = attempt(laboratory, proof, arm, other, arguments, results)
                    passed += fine
                    failed += not fine
                    print(f"{'ok' if fine else 'not ok'} {line}", flush=True)
    if not arguments.quick:
        print("\n" + report.table(results))
    if failed:
        print("What did not go as claimed: either stackd did not help, or what should hang without it does not any more.")
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (HarnessError, GuestDied, OSError, subprocess.SubprocessError) as trouble:
        print(f"proof: {trouble}", file=sys.stderr)
        sys.exit(2)
