# SPDX-License-Identifier: LGPL-2.1-or-later
"""Storage that hangs, in several ways, for tests and benchmarks that look at what goes on beside it."""

import ctypes
import os
import pathlib
import re
import signal
import struct
import subprocess
import sys
import uuid

import playground

FUSE_GETATTR, FUSE_INIT, ENOSYS = 3, 26, 38
MNT_DETACH = 2
LIBC = ctypes.CDLL(None, use_errno=True)


def serve(place):
    """A FUSE file system with an empty root; from SIGUSR1 on it answers nothing."""
    deaf = []
    signal.signal(signal.SIGUSR1, lambda *_: deaf.append(True))
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    if LIBC.mount(b"hung", place.encode(), b"fuse", 0, options) != 0:
        raise OSError(ctypes.get_errno(), "mount")
    print("ready", flush=True)
    while True:
        request = os.read(device, 1 << 17)
        _, opcode, unique = struct.unpack_from("<IIQ", request)
        if opcode == FUSE_INIT:
            body = struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, 0, 0, 0, 1 << 16, 1, 1, 0, 0)
        elif deaf:
            continue
        elif opcode == FUSE_GETATTR:
            body = struct.pack("<QII", 0, 0, 0) + struct.pack("<QQQQQQIIIIIIIIII", 1, 0, 0, 0, 0, 0, 0, 0, 0, 0o40755, 2, 0, 0, 0, 4096, 0)
        else:
            os.write(device, struct.pack("<IiQ", 16, -ENOSYS, unique))
            continue
        os.write(device, struct.pack("<IiQ", 16 + len(body), 0, unique) + body)


class Hung:
    """One file system, which is to hang, and somebody who then waits for it. No part of this touches it but that one."""

    def __init__(self, name):
        self.place = f"/run/hung-{name}"
        os.mkdir(self.place)
        self.server = subprocess.Popen([sys.executable, __file__, self.place], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert self.server.stdout.readline() == b"ready\n", "no FUSE"
        self.waits = self.cgroup = None

    def signal(self, number):
        self.server.send_signal(number)
        return self

    def freeze(self):
        """In a cgroup of its own; None where that cannot be."""
        for parent, file, value in (("/sys/fs/cgroup/freezer", "freezer.state", "FROZEN"), ("/sys/fs/cgroup", "cgroup.freeze", "1")):
            self.cgroup = pathlib.Path(parent, f"stackd-hung-{uuid.uuid4().hex}") # in a namespace of its own every test has the same pid
            try:
                self.cgroup.mkdir()
                (self.cgroup / "cgroup.procs").write_text(str(self.server.pid), encoding="ascii")
                (self.cgroup / file).write_text(value, encoding="ascii")
                return self
            except OSError:
                if self.cgroup.is_dir():
                    self.cgroup.rmdir()
                self.cgroup = None
        return None

    def wait(self):
        """Somebody asks it, and waits for ever."""
        self.waits = subprocess.Popen(["stat", "--format=%i", f"{self.place}/x"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        playground.wait_for(lambda: re.match(r"\d+ \(stat\) [SD] ", playground.read(f"/proc/{self.waits.pid}/stat")), "somebody waits for it")
        return self

    def end(self):
        self.server.kill()
        if self.cgroup:
            file = self.cgroup / "freezer.state"
            (file if file.exists() else self.cgroup / "cgroup.freeze").write_text("THAWED" if file.exists() else "0", encoding="ascii")
        self.server.wait()
        if self.waits:
            self.waits.kill()
            self.waits.wait()
        LIBC.umount2(self.place.encode(), MNT_DETACH)
        if self.cgroup:
            playground.wait_for(lambda: not playground.read(self.cgroup / "cgroup.procs"), "the cgroup is empty")
            self.cgroup.rmdir()


def healthy():
    """One for each kind."""
    return [Hung(name) for name in ("stopped", "dead", "deaf", "frozen")]


def hang(stopped, dead, deaf, frozen):
    """From now on they do."""
    stopped.signal(signal.SIGSTOP).wait()
    dead.signal(signal.SIGKILL).server.wait()
    deaf.signal(signal.SIGUSR1).wait()
    if not frozen.freeze():
        print("# no cgroup can be frozen here: one more is stopped instead")
        frozen.signal(signal.SIGSTOP)
    frozen.wait()


if __name__ == "__main__":
    serve(sys.argv[1])
