#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Captures this machine, and looks whether the capture says what the machine says, to us and to others.

The replay runs where /proc and /sys are empty, and must give the identical graph. What lsblk (--sysroot), findmnt
(--tab-file) and the captured table of swap areas tell of the capture must be in it, and the other way round. Prints each difference;
exit status 1 if there is one.
"""

import json
import os
import re
import subprocess
import sys
import tempfile

TRIES = 20
# What a capture replaces: UUIDs, LVM's too, and the identities of SCSI disks.
REPLACED = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9A-Za-z]{6}(?:-[0-9A-Za-z]{4}){5}-[0-9A-Za-z]{6}"
                      r"|\bnaa\.[0-9a-f]{16,32}")
# A machine without any of its own.
EMPTY = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /sys && mount -t tmpfs none /proc && exec "$@"', "sh")
differences = []


def differ(text):
    differences.append(text)
    print("difference:", text)


def output(*argv):
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          errors="surrogateescape", check=False)
    if done.returncode not in (0, 1) or not done.stdout:
        sys.exit(f"{argv}: status {done.returncode}: {done.stderr}")
    return done.stdout


def graph(*options):
    """Layers and processes, and nothing of what changes all the time or was replaced in the capture."""
    document = json.loads(REPLACED.sub("*", output("stackctl", "--json=short", *options, "status")))
    return {entry["id"]: entry for entry in document["layers"] + document["processes"]}


def capture(archive):
    """Returns the machine's own graph, which was the same before and after."""
    for _ in range(TRIES):
        before = graph("--direct")
        subprocess.run(["stackctl", "capture", archive], check=True, stdout=subprocess.DEVNULL)
        if graph("--direct") == before:
            return before
    sys.exit(f"this machine does not hold still, {TRIES} times")


def compare(live, replay):
    for identity in sorted(live.keys() | replay.keys()):
        here, there = live.get(identity), replay.get(identity)
        if not here or not there:
            differ(f"{identity} is {'only on the machine' if here else 'only in the capture'}")
            continue
        for key in sorted(here.keys() | there.keys()):
            if here.get(key) != there.get(key):
                differ(f"{identity}: {key} is {here.get(key)}, in the capture {there.get(key)}")


def walk(rows, parent=None):
    for row in rows:
        yield row, parent
        yield from walk(row.get("children", ()), row)


def lsblk(root, layers):
    rows = json.loads(output("lsblk", "--json", "--tree", "--sysroot", root, "--output=KNAME,MAJ:MIN"))["blockdevices"]
    blocks = {layer["device"]: layer for layer in layers.values() if layer.get("kind") == "block"}
    known = set()
    for row, parent in walk(rows):
        device = row["maj:min"].strip()
        known.add(device)
        layer = blocks.get(device)
        if not layer:
            # It lists an nbd that was connected once.
            if not row["kname"].startswith("nbd"):
                differ(f"lsblk: {row['kname']} ({device}) is not in the replay")
        elif layer["name"] != row["kname"]:
            differ(f"lsblk: {device} is {row['kname']}, in the replay {layer['name']}")
        elif parent and f"block:{parent['maj:min'].strip()}" not in {edge["id"] for edge in layer["lower"]}:
            differ(f"lsblk: {row['kname']} stands on {parent['kname']}, in the replay on {layer['lower']}")
    for device, layer in blocks.items():
        if device not in known:
            differ(f"lsblk: does not find {layer['name']} ({device}) in the capture")


def findmnt(root, layers):
    rows = json.loads(output("findmnt", "--json", "--list", "--tab-file", f"{root}/proc/1/mountinfo", "--output=TARGET,FSTYPE,MAJ:MIN"))
    for row in rows["filesystems"]:
        layer = layers.get(f"fs:{row['maj:min']}")
        if not layer or row["target"] not in layer["mounts"] or row["fstype"] != layer["type"]:
            differ(f"findmnt: {row}, in the replay {layer and layer['mounts']}")


def swaps(root, layers):
    with open(f"{root}/proc/swaps", encoding="utf-8", errors="surrogateescape") as file:
        paths = {re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), line.split()[0]) for line in list(file)[1:]}
    ours = {layer["path"] for layer in layers.values() if layer.get("kind") == "swap"}
    if paths != ours:
        differ(f"proc/swaps: {paths}, in the replay {ours}")


def main():
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        archive, root = f"{directory}/capture.tar", f"{directory}/root"
        os.mkdir(root)
        live = capture(archive)
        subprocess.run(["tar", "-xf", archive, "-C", root], check=True)
        replay = json.loads(REPLACED.sub("*", output(*EMPTY, "stackctl", "--json=short", f"--root={root}", "status")))
        replay = {entry["id"]: entry for entry in replay["layers"] + replay["processes"]}
        compare(live, replay)
        for oracle in lsblk, findmnt, swaps:
            oracle(root, replay)
        print(f"capture: {len(replay)} layers and processes, {os.path.getsize(archive)} bytes, {len(differences)} differences")
    sys.exit(bool(differences))


if __name__ == "__main__":
    main()
