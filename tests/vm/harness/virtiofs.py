# SPDX-License-Identifier: LGPL-2.1-or-later
"""A file system from outside of the guest: virtiofs, over an empty directory of ours.

It is plugged in when the guest runs: a saved boot cannot hold a device whose
state is another process's.
"""

import contextlib
import os
import socket
import subprocess

from .common import HarnessError

TAG = "shared"
# The package virtiofsd, and Debian 12's qemu-system-common.
PROGRAMS = ("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd")


def program():
    """The server's program, or None."""
    return next((path for path in PROGRAMS if os.access(path, os.X_OK)), None)


@contextlib.contextmanager
def attached(guest, directory):
    """The guest has a virtiofs with that tag; files of the server lie in directory."""
    shared = directory / "shared"
    shared.mkdir()
    path = directory / "virtiofs.sock"
    with socket.socket(socket.AF_UNIX) as listener, open(directory / "virtiofs.log", "wb") as log:
        listener.bind(str(path))
        listener.listen()
        with subprocess.Popen(_command(shared, listener.fileno()), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                              pass_fds=[listener.fileno()]) as server:
            try:
                _plug_in(guest, path)
                yield
            except HarnessError as error:
                raise HarnessError(f"{error}; {program()} says: {(directory / 'virtiofs.log').read_text(errors='replace')}") from error
            finally:
                server.kill()


def _command(shared, descriptor):
    # Raising the limit of open files may not be allowed here, and nobody opens many.
    if program() == PROGRAMS[0]:
        return [program(), f"--fd={descriptor}", f"--shared-dir={shared}", "--sandbox=none", "--rlimit-nofile=0"]
    return [program(), f"--fd={descriptor}", "-o", f"source={shared}", "--rlimit-nofile=0"]


def _plug_in(guest, path):
    guest.qmp("chardev-add", id="virtiofs",
              backend={"type": "socket", "data": {"addr": {"type": "unix", "data": {"path": str(path)}}, "server": False}})
    guest.qmp("device_add", driver="vhost-user-fs-pci", id="virtiofs", chardev="virtiofs", tag=TAG, bus="port1")
