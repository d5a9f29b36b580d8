#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Odd servers and mounts on this machine's own kernel, and whether stackd sees them.

Usage: test-discovery.py STACKCTL STACKD
Where it may it runs itself again in namespaces of its own, so that nobody else keeps what it has unmounted.
"""

import ctypes
import json
import os
import pathlib
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time

STACKCTL, STACKD = (os.path.abspath(p) for p in sys.argv[1:3])
ENVIRONMENT = dict(os.environ, STACKD_BINARY=STACKD, LC_ALL="C.UTF-8")
LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, MS_PRIVATE, MS_REC, MNT_DETACH = 0x20000, 1 << 18, 1 << 14, 2
FUSE_INIT, ENOSYS = 26, 38
PR_SET_PDEATHSIG = 1
failures = number = 0


class Skip(Exception):
    """Why a case cannot be tried here."""


def case(f):
    """A test is a function: it fails with its AssertionError."""
    global failures, number
    number += 1
    name = f.__doc__.strip().rstrip(".")
    try:
        f()
        print(f"ok {number} - {name}")
    except Skip as e:
        print(f"ok {number} - {name} # SKIP {e}")
    except (AssertionError, subprocess.SubprocessError, OSError) as e:
        failures += 1
        print(f"not ok {number} - {name}")
        for text in f"{type(e).__name__}: {e}"[:4000].splitlines():
            print("# " + text)
    sys.stdout.flush()


def check(result, what):
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


def status():
    done = subprocess.run([STACKCTL, "--direct", "--json=short", "status"], stdin=subprocess.DEVNULL, capture_output=True,
                          env=ENVIRONMENT, timeout=60, check=False)
    assert done.returncode in (0, 1), done.stderr.decode(errors="replace")
    return json.loads(done.stdout)


def serve(device):
    """Answers what a mount needs, and nothing else."""
    while True:
        try:
            request = os.read(device, 1 << 17)
        except OSError:
            return
        _, opcode, unique = struct.unpack_from("<IIQ", request)
        if opcode == FUSE_INIT:
            body = struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, 0, 0, 0, 1 << 16, 1, 1, 0, 0)
            os.write(device, struct.pack("<IiQ", 16 + len(body), 0, unique) + body)
        else:
            os.write(device, struct.pack("<IiQ", 16, -ENOSYS, unique))


class Child:
    """A forked child that says "ready" once it stands, and is killed at the end."""

    def __init__(self, run):
        told, tells = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(told)
            try:
                run(lambda: os.write(tells, b"ready"))
            except BaseException as e:       # pylint: disable=broad-exception-caught
                os.write(tells, str(e).encode())
            os._exit(1)
        os.close(tells)
        try:
            answer = os.read(told, 4096)
        finally:
            os.close(told)
        if answer != b"ready":
            self.__exit__()
            raise OSError(answer.decode() or "the child has died")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def require_root():
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        raise Skip("needs root and /dev/fuse")


def exited_main_thread():
    """A server whose main thread has exited is found by the files of another."""
    require_root()
    with tempfile.TemporaryDirectory() as place:
        def run(ready):
            device = os.open("/dev/fuse", os.O_RDWR)
            check(LIBC.mount(b"odd", place.encode(), b"fuse", 0,
                             f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()), "mount")
            leader = os.getpid()

            def go():
                while not pathlib.Path(f"/proc/{leader}/stat").read_text().rpartition(")")[2].startswith(" Z"):
                    os.sched_yield()
                ready()
                serve(device)

            threading.Thread(target=go).start()
            LIBC.pthread_exit(None)

        with Child(run) as child:
            try:
                assert not os.listdir(f"/proc/{child.pid}/fd")
                seen = status()
            finally:
                LIBC.umount2(place.encode(), MNT_DETACH)
        layer = next(layer for layer in seen["layers"] if place in layer["mounts"])
        assert [p["pid"] for p in layer["processes"]] == [child.pid], layer
        process = next(p for p in seen["processes"] if p["pid"] == child.pid)
        assert process["depth"] == 1 and process["threads"] == 1, process


def changed_root():
    """A mount namespace is seen whole although its first process has changed its root."""
    require_root()
    with tempfile.TemporaryDirectory() as place:
        for name in ("jail", "outside"):
            os.mkdir(f"{place}/{name}")

        def leave(ready, jailed):
            check(LIBC.unshare(CLONE_NEWNS), "unshare")
            check(LIBC.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "make private")
            check(LIBC.mount(b"hidden", f"{place}/outside".encode(), b"tmpfs", 0, None), "mount")
            told, tells = os.pipe()
            free = os.fork()                                # the second of the namespace sees all of it
            if free == 0:
                LIBC.prctl(1, signal.SIGKILL)
                os.write(tells, b".")
                signal.pause()
            os.read(told, 1)
            if jailed:
                os.chroot(f"{place}/jail")
            ready()
            signal.pause()

        def devices(jailed):
            with Child(lambda ready: leave(ready, jailed)):
                return [layer for layer in status()["layers"] if layer["type"] == "tmpfs" and layer["name"] == "hidden"]

        assert len(devices(False)) == 1, "not even without a changed root"
        assert len(devices(True)) == 1


def run(*command):
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


class Image:
    """A file system in an image on a loop device, which is mounted, and at the end is not even that."""

    def __init__(self, place, kind, size):
        require_root()
        if not shutil.which(f"mkfs.{kind}"):
            raise Skip(f"no mkfs.{kind}")
        self.file, self.directory = f"{place}/{kind}.img", f"{place}/{kind}"
        with open(self.file, "wb") as file:
            file.truncate(size)
        run(f"mkfs.{kind}", "-q", "-F" if kind == "ext4" else "-f", self.file)
        os.mkdir(self.directory)
        try:
            self.device = run("losetup", "--find", "--show", self.file)
        except subprocess.SubprocessError as e:
            raise Skip("no loop devices") from e

    def __enter__(self):
        run("mount", self.device, self.directory)
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "--lazy", self.directory], stderr=subprocess.DEVNULL, check=False)
        run("losetup", "--detach", self.device)

    def layers(self):
        """All on the device, as they are seen."""
        name = self.device.removeprefix("/dev/")
        seen = status()["layers"]
        block = next(layer["id"] for layer in seen if layer["name"] == name and layer["kind"] == "block")
        return [layer for layer in seen if block in (edge["id"] for edge in layer["lower"])]


def unmounted(kind, size):
    with tempfile.TemporaryDirectory() as place, Image(place, kind, size) as image:
        (mounted,) = image.layers()
        assert mounted["mounts"] == [image.directory] and not mounted["incomplete"], mounted
        with open(f"{image.directory}/file", "wb"):
            run("umount", "--lazy", image.directory)
            (layer,) = image.layers()
            assert layer["type"] == kind and layer["mounts"] == [] and "mounted nowhere" in layer["incomplete"], layer
            assert [edge["certainty"] for edge in layer["lower"]] == ["proven"], layer
        assert not image.layers(), "it is gone"


def unmounted_ext4():
    """An ext4 that is mounted nowhere is seen for as long as a file of it is open."""
    unmounted("ext4", 16 << 20)


def unmounted_xfs():
    """An XFS that is mounted nowhere is seen for as long as a file of it is open."""
    unmounted("xfs", 320 << 20)


def unmounted_btrfs():
    """A btrfs that is mounted nowhere is seen for as long as a file of it is open."""
    unmounted("btrfs", 128 << 20)


def unmounted_fuse():
    """A FUSE file system that is mounted nowhere is seen for as long as it is used, and its server."""
    require_root()
    with tempfile.TemporaryDirectory() as place:
        def serve_it(ready):
            device = os.open("/dev/fuse", os.O_RDWR)
            check(LIBC.mount(b"odd", place.encode(), b"fuse", 0,
                             f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()), "mount")
            ready()
            serve(device)

        with Child(serve_it) as child:
            mounts = pathlib.Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
            identity = next(f"fs:{line.split()[2]}" for line in mounts if line.split()[4] == place)
            held = os.open(place, os.O_PATH)
            LIBC.umount2(place.encode(), MNT_DETACH)
            seen = status()
            os.close(held)
            afterwards = status()
        layer = next(layer for layer in seen["layers"] if layer["id"] == identity)
        assert layer["mounts"] == [] and "mounted nowhere" in layer["incomplete"], layer
        # What it is tells the FUSE control file system, where that is mounted.
        if os.path.ismount("/sys/fs/fuse/connections"):
            assert layer["type"] == "fuse" and [p["pid"] for p in layer["processes"]] == [child.pid], layer
        assert identity not in (layer["id"] for layer in afterwards["layers"])


def mount_fuse(device, place):
    check(LIBC.mount(b"odd", place.encode(), b"fuse", 0, f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()), "mount")


def layer_at(document, place):
    return next(layer for layer in document["layers"] if place in layer["mounts"])


def tells_connections():
    return tuple(int(n) for n in os.uname().release.split("-")[0].split(".")[:2]) >= (6, 16)


def holders_without_a_right():
    """Who has the device open as a path, or a file of that name, is no server, and the server is as certain as before."""
    require_root()
    with tempfile.TemporaryDirectory() as place:
        def serve_it(ready):
            device = os.open("/dev/fuse", os.O_RDWR)
            mount_fuse(device, place)
            ready()
            serve(device)

        def hold_it(ready):
            os.setresuid(65534, 65534, 65534)
            held = [os.open("/dev/fuse", os.O_PATH)]
            name = f"/dev/shm/stackd-test-{os.getpid()}"
            os.mkdir(name)
            try:
                os.mknod(f"{name}/fuse", stat.S_IFCHR | 0o600, 0)       # a whiteout, which anybody makes
                held.append(os.open(f"{name}/fuse", os.O_PATH))
                os.unlink(f"{name}/fuse")
                held.append(os.open(f"{name}/fuse", os.O_RDWR | os.O_CREAT))
                os.unlink(f"{name}/fuse")
            finally:
                os.rmdir(name)
            ready()
            signal.pause()

        with Child(serve_it) as server:
            with Child(hold_it):
                layer = layer_at(status(), place)
            LIBC.umount2(place.encode(), MNT_DETACH)
        assert [(p["pid"], p["certainty"]) for p in layer["processes"]] == [(server.pid, "proven")], layer


def nobody_serves():
    """A process that merely has /dev/fuse open is not taken for the server of a dead one, and it is said that nobody serves."""
    require_root()
    if not tells_connections():
        raise Skip("this kernel does not tell connections")
    with tempfile.TemporaryDirectory() as place:
        def serve_it(ready):
            device = os.open("/dev/fuse", os.O_RDWR)
            mount_fuse(device, place)
            ready()
            serve(device)

        def hold_it(ready):
            os.open("/dev/fuse", os.O_RDWR)
            ready()
            signal.pause()

        with Child(serve_it):
            pass
        with Child(hold_it):
            layer = layer_at(status(), place)
        LIBC.umount2(place.encode(), MNT_DETACH)
        assert layer["processes"] == [] and layer["incomplete"] == "nobody that can be seen serves it", layer


def inherited():
    """Of two processes that have the connection open only the one that reads it is certain."""
    require_root()
    if not tells_connections():
        raise Skip("this kernel does not tell connections")
    with tempfile.TemporaryDirectory() as place:
        def serve_it(ready):
            device = os.open("/dev/fuse", os.O_RDWR)
            mount_fuse(device, place)
            if os.fork() == 0:
                LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                ready()
                signal.pause()
            serve(device)

        with Child(serve_it) as server:
            deadline = time.monotonic() + 30
            while "fuse_dev" not in pathlib.Path(f"/proc/{server.pid}/wchan").read_text(encoding="ascii"):
                if time.monotonic() > deadline:
                    raise Skip("this kernel does not tell where a process sleeps")
                os.sched_yield()
            layer = layer_at(status(), place)
            LIBC.umount2(place.encode(), MNT_DETACH)
        assert sorted(p["certainty"] for p in layer["processes"]) == ["inferred", "proven"], layer
        assert next(p for p in layer["processes"] if p["certainty"] == "proven")["pid"] == server.pid, layer


def main():
    alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if len(sys.argv) == 3 and shutil.which("unshare") and subprocess.run([*alone, "true"], capture_output=True, check=False).returncode == 0:
        return subprocess.run([*alone, sys.executable, *sys.argv, "inside"], check=False).returncode
    if len(sys.argv) > 3:
        subprocess.run(["mount", "-t", "fusectl", "fusectl", "/sys/fs/fuse/connections"], capture_output=True, check=False)
    cases = [exited_main_thread, changed_root, unmounted_ext4, unmounted_xfs, unmounted_btrfs, unmounted_fuse, holders_without_a_right,
             nobody_serves, inherited]
    print(f"1..{len(cases)}")
    for f in cases:
        case(f)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
