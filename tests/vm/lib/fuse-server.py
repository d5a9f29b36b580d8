#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Serves an empty FUSE file system by hand, so that who opens, who mounts and who serves can be chosen.

    fuse-server.py serve TARGET [TYPE SOURCE]   opens, mounts and serves
    fuse-server.py clones TARGET N              ... with N descriptors more, cloned, one of them in a child that serves too
    fuse-server.py keep TARGET                  ... and has the service manager keep a copy of the descriptor
    fuse-server.py give TARGET SOCKET           opens, mounts and hands the descriptor over; stays without it
    fuse-server.py take SOCKET                  is handed it, and serves

With a TYPE of "fuseblk..." SOURCE is a block device, which is held open too.
"""

import ctypes
import fcntl
import os
import signal
import socket
import struct
import sys
import threading
import time

FUSE_GETATTR, FUSE_INIT, FUSE_DESTROY = 3, 26, 38
SILENT = {2, 42}        # FORGET, BATCH_FORGET
FUSE_DEV_IOC_CLONE = 0x8004E500
ENOSYS = 38


def reply_init(body):
    major, minor, readahead, _flags = struct.unpack_from("<IIII", body)
    return struct.pack("<IIIIHHIIHHI28x", major, min(minor, 31), readahead, 0, 12, 9, 4096, 1, 0, 0, 0)


def reply_attributes():
    now = int(time.time())
    attributes = struct.pack("<QQQQQQIIIIIIIIII", 1, 0, 0, now, now, now, 0, 0, 0, 0o40755, 2, 0, 0, 0, 4096, 0)
    return struct.pack("<QII", 1, 0, 0) + attributes


def serve(device):
    """Until the file system is unmounted."""
    while True:
        try:
            request = os.read(device, 1 << 20)
        except OSError:
            return
        _length, opcode, unique, node = struct.unpack_from("<IIQQ", request)
        if opcode in SILENT:
            continue
        error, answer = 0, b""
        if opcode == FUSE_INIT:
            answer = reply_init(request[40:])
        elif opcode == FUSE_GETATTR and node == 1:
            answer = reply_attributes()
        elif opcode != FUSE_DESTROY:
            error = -ENOSYS
        try:
            os.write(device, struct.pack("<IiQ", 16 + len(answer), error, unique) + answer)
        except OSError:
            continue        # the request was interrupted


def mount(target, kind="fuse", source="by-hand"):
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0" + (",blksize=512" if kind.startswith("fuseblk") else "")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), target.encode(), kind.encode(), 0, options.encode()) != 0:
        raise OSError(ctypes.get_errno(), "mount", target)
    return device


def clone(first):
    device = os.open("/dev/fuse", os.O_RDWR)
    fcntl.ioctl(device, FUSE_DEV_IOC_CLONE, struct.pack("I", first))
    return device


def serve_clones(first, number):
    clones = [clone(first) for _ in range(number)]
    if os.fork() == 0:
        for device in clones[1:]:
            os.close(device)
        os.close(first)
        serve(clones[0])
        os._exit(0)
    os.close(clones[0])
    for device in clones[1:]:
        threading.Thread(target=serve, args=(device,), daemon=True).start()
    serve(first)


def keep(device):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.connect(os.environ["NOTIFY_SOCKET"])
        socket.send_fds(notify, [b"FDSTORE=1\nFDNAME=fuse\nREADY=1"], [device])


def give(device, path):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        socket.send_fds(connection, [b"x"], [device])
    os.close(device)
    signal.pause()


def take(path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        connection, _ = listener.accept()
    with connection:
        return socket.recv_fds(connection, 1, 1)[1][0]


def main():
    action, where, *rest = sys.argv[1:]
    if action == "serve":
        disk = os.open(rest[1], os.O_RDWR) if rest else -1
        serve(mount(where, *rest))
        if disk >= 0:
            os.close(disk)
    elif action == "clones":
        serve_clones(mount(where), int(rest[0]))
    elif action == "keep":
        device = mount(where)
        keep(device)
        serve(device)
    elif action == "give":
        give(mount(where), rest[0])
    elif action == "take":
        serve(take(where))


if __name__ == "__main__":
    main()
