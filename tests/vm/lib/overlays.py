#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Mounts overlays as no mount(8) does it: with every awkward character in names, by mount(2) and by fsconfig(2).

    overlays.py names BASE TARGET   tmpfs under awkward names in BASE, and an overlay of them, given as one text
    overlays.py plain BASE TARGET   the same directories, read-only, given one by one (Linux 6.8)
    overlays.py many TARGET N DIR...   N lower directories, by turns in each DIR
"""

import ctypes
import os
import sys

LOWER = ["a,1", "b:2", "c\\3", "d 4", "e\n5", "é"]
UPPER = "u,:\\ \n6"
FSOPEN, FSCONFIG, FSMOUNT, MOVE_MOUNT = 430, 431, 432, 429
SET_STRING, CREATE = 1, 6
AT_FDCWD, MOVE_MOUNT_F_EMPTY_PATH = -100, 4

libc = ctypes.CDLL(None, use_errno=True)


def check(result, *what):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), *what)
    return result


def mount(source, target, kind, options):
    check(libc.mount(source.encode(), target.encode(), kind.encode(), 0, options.encode()), target)


def escape(path, special):
    return "".join("\\" + c if c in special else c for c in path)


def names(base, target):
    for name in [*LOWER, UPPER]:
        os.makedirs(f"{base}/{name}")
        mount("awkward", f"{base}/{name}", "tmpfs", "size=1m")
    for name in ("upper", "work"):
        os.mkdir(f"{base}/{UPPER}/{name}")
    lower = ":".join(escape(f"{base}/{name}", ",:\\") for name in LOWER)
    upper = escape(f"{base}/{UPPER}", ",\\")
    mount("awkward", target, "overlay", f"lowerdir={lower},upperdir={upper}/upper,workdir={upper}/work")


def plain(base, target):
    context = check(libc.syscall(FSOPEN, b"overlay", 0), "fsopen")
    for name in LOWER:
        check(libc.syscall(FSCONFIG, context, SET_STRING, b"lowerdir+", f"{base}/{name}".encode(), 0), name)
    check(libc.syscall(FSCONFIG, context, CREATE, None, None, 0), "create")
    made = check(libc.syscall(FSMOUNT, context, 0, 0), "fsmount")
    check(libc.syscall(MOVE_MOUNT, made, b"", AT_FDCWD, target.encode(), MOVE_MOUNT_F_EMPTY_PATH), target)


def many(target, number, *directories):
    layers = [f"{directories[i % len(directories)]}/{i}" for i in range(int(number))]
    for layer in layers:
        os.mkdir(layer)
    mount("many", target, "overlay", "lowerdir=" + ":".join(layers))


if __name__ == "__main__":
    {"names": names, "plain": plain, "many": many}[sys.argv[1]](*sys.argv[2:])
