# SPDX-License-Identifier: LGPL-2.1-or-later
"""Scenarios: shell scripts that are run as root, each in a guest of its own."""

import dataclasses
import re

from . import virtiofs
from .common import HarnessError
from .boot import DATA_DISKS
from .payload import GUEST_DIRECTORY, TESTS

DIRECTORY = TESTS / "scenarios"
SKIPPED = 77


@dataclasses.dataclass
class Scenario:
    """A script and what its header asks for."""
    name: str
    timeout: int = 300
    memory: int = 2048      # MiB
    disks: int = 0
    needs: tuple = ()
    by_hand: str = ""
    virtiofs: bool = False

    @property
    def command(self):
        return ["bash", f"{GUEST_DIRECTORY}/scenarios/{self.name}.sh"]

    def missing(self, destdir):
        """Says why it cannot be run on this payload, or None."""
        if "stackd" in self.needs and not (destdir and (destdir / "usr/bin/stackctl").exists()):
            return "the payload has no stackd"
        if self.virtiofs and not virtiofs.program():
            return "no virtiofsd on this machine"
        return None


def names():
    return sorted(path.stem for path in DIRECTORY.glob("*.sh"))


def regular():
    """Those that run unless others are asked for: not the ones whose header says "# by hand: REASON"."""
    return [name for name in names() if not load(name).by_hand]


def load(name):
    """Reads the header of a script: lines of the form "# key: value"."""
    path = DIRECTORY / f"{name}.sh"
    if not path.exists():
        raise HarnessError(f"no scenario {name}; there are: {', '.join(names())}")
    scenario = Scenario(name)
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        if match := re.fullmatch(r"# (timeout|memory|disks): (\d+)", line):
            setattr(scenario, match[1], int(match[2]))
        elif match := re.fullmatch(r"# needs: (.*)", line):
            scenario.needs = tuple(match[1].split())
        elif match := re.fullmatch(r"# by hand: (.*)", line):
            scenario.by_hand = match[1]
        elif line == "# virtiofs: yes":
            scenario.virtiofs = True
    if scenario.disks > DATA_DISKS:
        raise HarnessError(f"{path}: a guest has {DATA_DISKS} data disks")
    return scenario


def failure(output):
    """The line of a scenario's output that says best what went wrong."""
    lines = [line for line in output.decode(errors="replace").splitlines() if line.strip()]
    marked = [line.removeprefix("FAIL: ") for line in lines if line.startswith("FAIL: ")]
    return (marked or lines[-1:] or ["no output"])[0]
