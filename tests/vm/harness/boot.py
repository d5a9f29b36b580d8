# SPDX-License-Identifier: LGPL-2.1-or-later
"""A saved boot of an image, and guests restored from it.

Booting under emulation takes half a minute, restoring two seconds; and all
guests start out the same. What is saved is a directory with the disk
(disk.qcow2) and the rest of the machine (state).
"""

import contextlib
import pathlib

from . import cache, machine
from .common import fingerprint, progress, say
from .payload import PAYLOAD_SIZE, install

DATA_DISKS = 2
DATA_DISK_SIZE = "8G"
BOOT_TIME_LIMIT = 600
# One for each size of memory that scenarios ask for.
KEEP = 4


@contextlib.contextmanager
def boot(image, memory):
    """Yields what is saved of a machine that has come up."""
    key = fingerprint(machine.version(), machine.ACCELERATOR, memory, PAYLOAD_SIZE, DATA_DISKS, DATA_DISK_SIZE,
                      pathlib.Path(machine.__file__), pathlib.Path(__file__))
    # Inside the image's own directory, for its disk means nothing without it.
    with cache.entry(image / f"boot-{memory}-{key}", lambda directory: _build(image, memory, directory)) as path:
        cache.prune(image, "boot-*", KEEP)
        yield path


@contextlib.contextmanager
def restored(image, saved, memory, payload, directory, shared=False):
    """Yields a running guest whose files lie in directory."""
    disk = machine.create_disk(directory / "disk.qcow2", backing=saved / "disk.qcow2")
    with machine.Machine(image, memory, disk, payload, _data_disks(directory), directory / "serial.log",
                         incoming=saved / "state", shared=shared) as guest:
        guest.resume()
        guest.synchronise(timeout=60)
        yield guest


def with_payload(image, saved, memory, payload, directory):
    """Saves in directory a guest that has the payload installed."""
    with restored(image, saved, memory, payload, directory) as guest:
        install(guest)
        guest.save(directory / "state")


def _build(image, memory, directory):
    disk = machine.create_disk(directory / "disk.qcow2", backing=image / "root.img")
    payload = directory / "payload"
    with open(payload, "wb") as file:
        file.truncate(PAYLOAD_SIZE)
    data_disks = _data_disks(directory)
    serial_log = image.with_suffix(".boot.log")
    with progress(f"booting with {memory} MiB (log: {serial_log})"), \
            machine.Machine(image, memory, disk, payload, data_disks, serial_log) as guest:
        guest.synchronise(BOOT_TIME_LIMIT)
        state = guest.run(["systemctl", "is-system-running", "--wait"], BOOT_TIME_LIMIT).stdout.decode().strip()
        if state != "running":
            failed = guest.run(["systemctl", "list-units", "--failed", "--plain", "--no-legend"], 60).stdout.decode()
            say(f"the guest is {state}:\n{failed}")
        # What only boot needed, and what is still to be written, would be
        # restored into every guest.
        guest.check(["sh", "-c", "udevadm settle; sync"], 120)
        guest.save(directory / "state")
    for path in (payload, *data_disks):
        path.unlink()


def _data_disks(directory):
    return [machine.create_disk(directory / f"data{number}.qcow2", DATA_DISK_SIZE) for number in range(1, DATA_DISKS + 1)]
