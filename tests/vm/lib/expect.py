#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Compares stackd's graph with a table that was written by hand, both ways.

    expect.py base FILE             keeps what is there before anything is built
    expect.py check FILE TABLE      compares the rest with the table

A row: NAME TYPE DEPTH STANDS-ON PROCESSES, the last two being lists with commas
and without blanks, or "-". "%20" is a blank, "%2C" a comma and so on, and '#' begins a comment. Names:

    /mnt/x           the file system that is mounted there
    /dev/x           that device; fs:/dev/x the file system on it, wherever it is mounted
    unmounted:TYPE   the file system of that type that is mounted nowhere
    loop:FILE        the loop device over that file; loop:FILE#1 its first partition
    file:FILE        that file, known by its inode; path:FILE where it is known by its path only
    swap:X           the swap area in that file, or on that device
    process:COMM     all processes of that name (the same is true of each)

After a name in STANDS-ON and PROCESSES: "=" the edge is unique, "?" inferred, nothing: proven. A "!"
before a process: it is needed for recovery only. A "~" after a TYPE: it is said to be incomplete.
"""

import json
import os
import re
import subprocess
import sys
from urllib.parse import unquote

CERTAINTY = {"": "proven", "=": "unique", "?": "inferred"}
MARK = {certainty: mark for mark, certainty in CERTAINTY.items()}
# Without an edge these come and go with services and their sandboxes.
UNRELATED = {"tmpfs", "ramfs", "proc", "sysfs", "devtmpfs", "devpts", "mqueue", "configfs", "fusectl", "binfmt_misc",
             "rpc_pipefs", "nfsd", "tracefs", "debugfs", "autofs", "hugetlbfs"}


def graph():
    text = subprocess.run(["stackctl", "--json=short", "status"], stdout=subprocess.PIPE, check=True).stdout
    return json.loads(text)


class Names:
    """Finds out what in the graph a person's name means, and a person's name for what is in the graph."""

    def __init__(self, document):
        self.layers = {layer["id"]: layer for layer in document["layers"]}
        self.processes = {process["id"]: process for process in document["processes"]}
        self.device_names = {layer["name"]: layer["id"] for layer in self.layers.values() if layer["kind"] == "block"}

    def mine(self, condition):
        return [layer["id"] for layer in self.layers.values() if condition(layer)]

    def find(self, name):
        """All ids of that name."""
        kind, colon, rest = name.partition(":")
        if name.startswith("/dev/"):
            return [i for i in [self.device_names.get(os.path.basename(os.path.realpath(name)))] if i]
        if name.startswith("/"):
            return self.mine(lambda layer: layer["kind"] == "filesystem" and name in layer["mounts"])
        if colon and kind == "fs":
            blocks = {self.layers[i]["device"] for i in self.find(rest)}
            return self.mine(lambda layer: layer["kind"] == "filesystem" and layer["device"] in blocks)
        if colon and kind == "unmounted":
            return self.mine(lambda layer: layer["kind"] == "filesystem" and layer["type"] == rest and not layer["mounts"])
        if colon and kind == "loop":
            path, _, partition = rest.partition("#")
            files = set(self.find(f"file:{path}"))
            loops = self.mine(lambda layer: layer["type"] == "loop" and any(edge["id"] in files for edge in layer["lower"]))
            return loops if not partition else [self.device_names[i] for i in
                                                (f"{self.layers[loop]['name']}p{partition}" for loop in loops) if i in self.device_names]
        if colon and kind in ("file", "path"):
            by_inode = kind == "file"
            return self.mine(lambda layer: layer["kind"] == "file" and layer["path"] == rest and
                             layer["id"].split(":", 3)[-1].isdigit() == by_inode)
        if colon and kind == "swap":
            device = os.path.basename(os.path.realpath(rest))
            return self.mine(lambda layer: layer["kind"] == "swap" and (layer["path"] == rest or layer["name"] == device))
        if colon and kind == "process":
            return [process["id"] for process in self.processes.values() if process["comm"] == rest]
        return []

    def describe(self, identity):
        if identity in self.processes:
            return f"process:{self.processes[identity]['comm']}"
        layer = self.layers.get(identity)
        if not layer:
            return identity
        return (layer["mounts"] or [None])[0] or layer["path"] or f"{layer['name']} {layer['label'] or ''}".strip()


class Check:
    def __init__(self, document, base):
        self.names = Names(document)
        self.base = base
        self.seen = set()
        self.differences = 0
        self.rows = 0

    def differ(self, text):
        self.differences += 1
        print("difference:", text)

    def wanted(self, words):
        """What a list in the table says, as {id: (role, certainty)}."""
        edges = {}
        for word in [] if words == "-" else words.split(","):
            role = "error-path" if word.startswith("!") else "backing"
            word = word.removeprefix("!")
            mark = word[-1] if word[-1] in "=?" else ""
            found = self.names.find(unquote(word.removesuffix(mark) if mark else word))
            if not found:
                self.differ(f"there is no {word}")
            for identity in found:
                edges[identity] = (role, CERTAINTY[mark])
        return edges

    def compare(self, name, what, have, want):
        for identity in have.keys() | want.keys():
            if have.get(identity) != want.get(identity):
                self.differ(f"{name}: {what} {self.names.describe(identity)}: the graph says {have.get(identity, 'no')}, "
                            f"the table {want.get(identity, 'no')}")

    def row(self, line):
        name, kind, depth, lower, processes = line.split()
        name = unquote(name)
        self.rows += 1
        incomplete = kind.endswith("~")
        found = self.names.find(name)
        if not found:
            self.differ(f"{name} is not in the graph")
        if len(found) > 1 and not name.startswith("process:"):
            self.differ(f"{name} is in the graph {len(found)} times: {found}")
        want = self.wanted(lower)
        servers = self.wanted(",".join(f"!process:{word[1:]}" if word.startswith("!") else f"process:{word}"
                                       for word in processes.split(",")) if processes != "-" else "-")
        for identity in found:
            self.seen.add(identity)
            node = self.names.layers.get(identity) or self.names.processes[identity]
            if node.get("type", "process") != kind.removesuffix("~"):
                self.differ(f"{name}: the graph says {node['type']}, the table {kind}")
            if node["depth"] != int(depth):
                self.differ(f"{name}: depth {node['depth']}, the table says {depth}")
            if bool(node["incomplete"]) != incomplete:
                self.differ(f"{name}: incomplete: {node['incomplete']}")
            self.compare(name, "on", {edge["id"]: ("backing", edge["certainty"]) for edge in node["lower"]}, want)
            self.compare(name, "served by", {edge["id"]: (edge["role"], edge["certainty"]) for edge in node.get("processes", [])}, servers)

    def rest(self):
        """Nothing is in the graph that is not in the table."""
        for identity, node in (self.names.layers | self.names.processes).items():
            if identity in self.seen:
                continue
            edges = sorted(edge["id"] for edge in node["lower"])
            if identity in self.base:
                if edges != self.base[identity]:
                    self.differ(f"{self.names.describe(identity)}: was there before, and stands on {edges} now")
            elif not (node.get("type") in UNRELATED and not edges and not node["upper"]):
                self.differ(f"{self.names.describe(identity)} ({identity}) is in the graph, and not in the table: "
                            f"{node.get('type', 'process')} {node['depth']} {[self.names.describe(i) for i in edges]}")


def main():
    action, path, *table = sys.argv[1:]
    document = graph()
    if action == "base":
        with open(path, "w", encoding="utf-8") as file:
            json.dump({node["id"]: sorted(edge["id"] for edge in node["lower"])
                       for node in document["layers"] + document["processes"]}, file)
        return 0
    with open(path, encoding="utf-8") as file:
        check = Check(document, json.load(file))
    with open(*table, encoding="utf-8") as file:
        for line in file:
            if line := re.sub(r"(^|\s)#.*", "", line).strip():
                check.row(line)
    check.rest()
    print(f"table: {check.rows} rows, {check.differences} differences")
    return 1 if check.differences else 0


if __name__ == "__main__":
    sys.exit(main())
