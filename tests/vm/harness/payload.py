# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is brought into a restored guest: the installed tree and the scenarios.

It travels as a plain tar on a drive of fixed size, which needs neither a file
system nor a tool to make one, and can be there, empty, when the boot is saved.
"""

import os
import pathlib
import tarfile

from .common import HarnessError

PAYLOAD_SIZE = 512 << 20
TESTS = pathlib.Path(__file__).parent.parent
GUEST_DIRECTORY = "/usr/lib/stackd-vm"
INSTALL_TIME_LIMIT = 120


def pack(path, destdir=None, extra=()):
    """Writes the drive; files and the programs in directories of 'extra' get into a directory of their own."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        if destdir:
            for child in sorted(destdir.iterdir()):
                tar.add(child, child.name, filter=_as_root)
        for name in ("lib", "scenarios"):
            tar.add(TESTS / name, f"{GUEST_DIRECTORY[1:]}/{name}", filter=_as_root)
        for program in extra_files(extra):
            tar.add(program, f"{GUEST_DIRECTORY[1:]}/extra/{program.name}", filter=_as_root)
    with open(path, "r+b") as file:
        if path.stat().st_size > PAYLOAD_SIZE:
            raise HarnessError(f"{destdir} is larger than the drive that carries it ({PAYLOAD_SIZE} bytes)")
        file.truncate(PAYLOAD_SIZE)
    return path


def extra_files(extra):
    for path in extra:
        if not path.is_dir():
            yield path
            continue
        yield from (child for child in sorted(path.iterdir()) if child.is_file() and os.access(child, os.X_OK))


def install(guest):
    """Unpacks the drive in a guest, as a package manager would."""
    script = (pathlib.Path(__file__).parent / "install.sh").read_text()
    guest.check(["sh", "-c", script], INSTALL_TIME_LIMIT)


def _as_root(member):
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
