#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an ordinary user may do to a daemon that looks at everything, done by one.

usage: hostile-user.py names | flood | calls NUMBER

Each says "ready" when it is done with it, and stays until its standard input ends.
"""

import ctypes
import os
import pathlib
import socket
import subprocess
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x20000, 0x10000000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
PR_SET_NAME = 15
NAMES = [b"new\nline", b"esc\x1b]0;owned\x07\x1b[2J", b"bad\xff\xfeutf8", b"comma,back\\slash", b"a\" -> \"b", b"$(reboot)`reboot`;reboot",
         "right-to-left \u202e".encode(), b"%s%n%d", b"x" * 255]


def must(result, what):
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def become_root_of_ones_own(flags=0):
    uid, gid = os.getuid(), os.getgid()
    must(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS | flags), "unshare")
    pathlib.Path("/proc/self/setgroups").write_text("deny")
    pathlib.Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    pathlib.Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    must(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "private")


def mount(source, target, kind, flags=0, data=None):
    must(libc.mount(source, target, kind, flags, data), f"mount {target!r}")


def ready():
    print("ready", flush=True)
    sys.stdin.read()


def names():
    """Mounts, servers, sockets and processes that are called what should not be believed, or printed."""
    become_root_of_ones_own()
    base = b"/tmp/hostile"
    os.makedirs(base, exist_ok=True)
    mount(b"tmpfs", base, b"tmpfs")
    children, sockets = [], []
    for i, name in enumerate(NAMES):
        path = base + b"/" + name
        os.mkdir(path)
        mount(name[:200], path, b"tmpfs")
        os.mkdir(path + b"/lower")
        os.mkdir(path + b"/fuse")
        # A file system of his own with something on it: his server is in the middle of a stack.
        children.append(subprocess.Popen([b"bindfs", b"-f", path + b"/lower", path + b"/fuse"], stdin=subprocess.DEVNULL))
        deadline = time.monotonic() + 60
        while not os.path.ismount(path + b"/fuse"):
            if time.monotonic() > deadline or children[-1].poll() is not None:
                raise TimeoutError(f"no bindfs on {path!r}")
            time.sleep(0.05)
        for directory in (b"/fuse/l", b"/u", b"/w", b"/o"):
            os.mkdir(path + directory)
        if b"," not in name and b"\\" not in name and b"\"" not in name:
            mount(name[:200], path + b"/o", b"overlay", 0, b"lowerdir=" + path.replace(b":", b"\\:") + b"/fuse/l,upperdir=" +
                  path.replace(b":", b"\\:") + b"/u,workdir=" + path.replace(b":", b"\\:") + b"/w")
        pair = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        address = b"/tmp/hostile/" + str(i).encode() + b"\n\x1b[31m"
        pair[0].bind(address)
        pair[0].listen()
        pair[1].connect(address)
        sockets.append((pair, pair[0].accept()))
    # What he calls himself.
    for name in (b"tcmu-runner", b"nbd-server", b"ublk-server", b"stackd", b"a\nb) S 1 1 1", b"\x1b[2J"):
        child = os.fork()
        if child == 0:
            libc.prctl(PR_SET_NAME, name, 0, 0, 0)
            held = [os.open("/dev/fuse", os.O_RDWR)]
            sys.stdin.read()
            os.close(held[0])
            os._exit(0)
    ready()
    for child in children:
        child.terminate()


def flood():
    """As many mounts and namespaces as one likes: above what stackd reads of them."""
    become_root_of_ones_own()
    base = "/tmp/flood"
    os.makedirs(base, exist_ok=True)
    mount(b"tmpfs", base.encode(), b"tmpfs")
    deep = base
    for _ in range(8):
        deep += "/" + "d" * 230
    os.makedirs(deep)
    for _ in range(1000):
        mount(deep.encode(), deep.encode(), None, MS_BIND)
    # Each copy has all of them.
    children = []
    for _ in range(12):
        child = subprocess.Popen([sys.executable, "-c", """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x20000) == 0
print("ready", flush=True)
sys.stdin.read()
"""], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert child.stdout.readline() == b"ready\n"
        children.append(child)
    ready()
    for child in children:
        child.stdin.close()
        child.wait()


def calls(count):
    """Calls without end, whose answers nobody reads, on many connections."""
    import dbus
    import dbus.bus
    import dbus.lowlevel

    bus = [dbus.bus.BusConnection(dbus.bus.BUS_SYSTEM) for _ in range(4)]
    sent = 0
    null = os.open("/dev/null", os.O_RDONLY)
    methods = [("Describe", "s", ""), ("LookUp", "s", "/"), ("DescribeNested", None, None), ("Refresh", None, None), ("Plan", "as", []), ("Explain", "as", []),
               ("DumpConfiguration", None, None), ("Revert", "as", [])]
    # Too much, what no method takes, and what would be kept of it. Few of these: what the bus holds for one service has a limit
    # (127 MiB), beyond which it refuses everybody's calls.
    odd = [("Describe", "s", "x" * 100000), ("Plan", "as", ["/"] * 3000), ("Plan", "as", [""] * 30000),
           ("Describe", "ay", dbus.ByteArray(b"x" * (1 << 20))), ("Describe", "ah", [dbus.types.UnixFd(null)] * 16)]
    while sent < count:
        for connection in bus:
            for name, signature, argument in methods + (odd if sent < 200 else []):
                m = dbus.lowlevel.MethodCallMessage("org.stackd1", "/org/stackd1", "org.stackd1.Manager", name)
                if signature:
                    m.append(argument, signature=signature)
                connection.send_message(m)
                sent += 1
            connection.flush()
    print(sent, file=sys.stderr)
    ready()


if __name__ == "__main__":
    {"names": names, "flood": flood, "calls": lambda: calls(int(sys.argv[2]))}[sys.argv[1]]()
