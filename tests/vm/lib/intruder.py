# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an ordinary user can have of others' storage: devices opened as a path, a file of such a name, connections of which one end is on
its way to another process, and a socket bound to the path of another's in a mount namespace of his own.

Usage: intruder.py [DEVICE...] [--path SOCKET]
"""

import array
import ctypes
import os
import pathlib
import signal
import socket
import stat
import sys

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
LIBC = ctypes.CDLL(None, use_errno=True)
kept = []


def send_away(end):
    """Nobody takes it."""
    sender, receiver = socket.socketpair()
    sender.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [end.fileno()]))])
    end.close()
    kept.extend([sender, receiver])


def check(result, what):
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


def bind_to(path):
    own = {"uid": os.getuid(), "gid": os.getgid()}
    check(LIBC.unshare(CLONE_NEWUSER | CLONE_NEWNS), "unshare")
    pathlib.Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    for kind, number in own.items():
        pathlib.Path(f"/proc/self/{kind}_map").write_text(f"0 {number} 1", encoding="ascii")
    check(LIBC.mount(b"none", os.path.dirname(path).encode(), b"tmpfs", 0, None), "mount")
    listener, client = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    client.connect(path)
    kept.extend([listener, listener.accept()[0]])
    send_away(client)


def main():
    arguments = sys.argv[1:]
    path = arguments[-1] if "--path" in arguments else None
    devices = arguments[:arguments.index("--path")] if path else arguments
    for device in devices:
        kept.append(os.open(device, os.O_PATH))
        name = f"/dev/shm/{os.getpid()}-{os.path.basename(device)}"
        os.mkdir(name)
        whiteout = f"{name}/{os.path.basename(device)}"
        os.mknod(whiteout, stat.S_IFCHR | 0o600, 0)
        kept.append(os.open(whiteout, os.O_PATH))
        os.unlink(whiteout)
        kept.append(os.open(whiteout, os.O_RDWR | os.O_CREAT))
        os.unlink(whiteout)
        os.rmdir(name)
    near, far = socket.socketpair()
    kept.append(far)
    send_away(near)
    if path:
        bind_to(path)
    pathlib.Path("/dev/shm/intruder-ready").touch()
    signal.pause()


main()
