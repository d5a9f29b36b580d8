#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the compiler does not check: the direction of includes, who opens what by an absolute path, licences, names.

usage: test-lint.py [SOURCE-DIRECTORY]
The tables are explained in HACKING.md; change both together, and with a reason.
"""

import os
import pathlib
import re
import sys

SOURCE = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__).resolve()
SOURCE = SOURCE if SOURCE.is_dir() else SOURCE.parents[2]

# Folder or file -> layer; the longest match holds.
LAYERS = {
    "common": "common",
    "cli": "cli",
    "daemon": "manager",
    "daemon/analysis": "analysis",
    "daemon/actuator": "actuator",
    "daemon/actuator/mark": "mark",
    "daemon/bus": "bus",
    "daemon/capture": "capture",
    "daemon/child": "child",
    "daemon/configuration": "configuration",
    "daemon/configuration/reload": "reload",
    "daemon/executor": "executor",
    "daemon/graph": "graph",
    "daemon/pace": "pace",
    "daemon/policy": "policy",
    "daemon/reader": "reader",
    "daemon/source": "source",
    "daemon/sysroot": "sysroot",
    "daemon/watch": "watch",
    "daemon/world": "world",
}
# Layer -> what it may include beside itself.
MAY_INCLUDE = {
    "common": set(),
    "cli": {"common"},
    "graph": {"common"},
    "analysis": {"graph", "common"},
    "policy": {"analysis", "graph", "common"},
    "configuration": {"policy", "analysis", "graph", "common"},
    # What was read, whoever read it.
    "capture": {"common"},
    "sysroot": {"capture", "common"},
    "source": {"graph", "sysroot", "common"},
    "actuator": {"policy", "analysis", "graph", "sysroot", "common"},
    # A program of its own, which touches foreign processes: as little as possible.
    "mark": {"common"},
    "bus": {"policy", "analysis", "graph", "common"},
    "child": {"common"},
    "pace": {"source", "common"},
    "reload": {"configuration", "child", "common"},
    "reader": {"source", "child", "common"},
    "watch": {"source", "policy", "sysroot", "common"},
    "world": {"actuator", "capture", "source", "policy", "analysis", "graph", "sysroot", "common"},
    "executor": {"actuator", "mark", "source", "policy", "graph", "sysroot", "child", "common"},
    "manager": {"bus", "configuration", "reload", "pace", "executor", "reader", "watch", "world", "actuator", "source", "policy", "analysis", "graph",
                "sysroot", "capture", "common"},
}
# What others may include of a layer that has an inside.
FACES = {"mark": {"daemon/actuator/mark/mark-protocol.h"}}
# Layers that compute: nothing of the world reaches them but through their arguments.
PURE = {"graph", "analysis", "policy", "pace"}
IMPURE_HEADERS = re.compile(r"fcntl|unistd|dirent|time|sys/(?!sysmacros|types)\w+|systemd/.*|libdevmapper.*")

# Functions that go to the path they are given.
OPENERS = re.compile(r"\b(?:open|openat|fopen|freopen|opendir|l?stat|fstatat|statx|f?access|faccessat|readlink|readlinkat|mount|"
                     r"umount2?|unlink(?:at)?|rename(?:at)?|mkdir(?:at)?|chdir|chroot|execv?pe?|truncate|file_\w+)\s*\(")
PLACE = re.compile(r'"/(?:sys|proc|run|dev)(?=["/])(?!/null")')
# Who may open by an absolute path.
OPENS = {
    "common/log.c": "journald's socket",
    "daemon/sysroot/sysroot.c": "the one place",
    "daemon/main.c": "its own flags, as the running kernel has them, before there is a root",
    "daemon/source/fuse-iterator.c": "the namespaces of its own process: whether the kernel's numbers are ours",
    "daemon/source/probe.c": "a device node, in a child that is given up when it hangs",
    "daemon/actuator/mark/target.c": "a program of its own, which acts on the running machine only",
    "cli/adopt-plan.c": "whether SELinux is on, on the running machine only",
    "cli/client.c": "names of devices that the caller wrote; never with --root",
}
# Who may spell them, as text that is shown or taken apart.
SPELLS = {
    r"daemon/source/source-\w+\.c": "evidence, for people",
    r"daemon/source/process-table\.c": "evidence, for people",
    r"daemon/source/block-table\.c": "names of devices",
    r"daemon/source/scan\.c": "names of sockets",
    r"daemon/actuator/mark/interruption\.c": "how the kernel names what a descriptor is open on",
    r"daemon/capture/scrub\.c": "which names are made of serial numbers",
    r"daemon/policy/match\.c": "names of devices that administrators wrote",
    r"daemon/bus/bus\.c": "what an error says",
    r"daemon/bus/lookup\.c": "names of devices that a client wrote",
    r"cli/operand\.c": "names of devices that the caller wrote",
}

ORIGINS = ("common", "daemon", "cli")
LICENSE = "SPDX-License-Identifier: LGPL-2.1-or-later"
# What cannot hold a comment, or is compared byte by byte.
UNLICENSED = re.compile(r"LICENSES/|tests/cli/(documents|golden)/|tests/fixtures/|debian/(changelog|copyright|source/|.*\.docs)|tests/fuzz/corpus/|\.gitignore$|.*\.(json|jsonl|svg)$|.*/py\.typed$")


def tree():
    """The files of the project, without those of builds and of git."""
    for directory, folders, files in os.walk(SOURCE):
        relative = pathlib.Path(directory).relative_to(SOURCE)
        folders[:] = sorted(f for f in folders if f not in (".git", "__pycache__", ".issues", "dist") and
                            not (relative == pathlib.Path(".") and f.startswith("build")) and
                            not (pathlib.Path(directory) / f / "build.ninja").exists())
        for file in sorted(files):
            path = relative / file
            if not file.endswith((".swp", ".pyc", "~")) and not (SOURCE / path).is_symlink() and file != ".git":
                yield path.as_posix()


def text(path):
    return (SOURCE / path).read_text(encoding="utf-8", errors="replace")


def layer_of(path):
    stem = path.rpartition("/")[0] + "/" + path.rpartition("/")[2].partition(".")[0]
    best = max((key for key in LAYERS if stem == key or stem.startswith(key + "/")), key=len, default=None)
    return LAYERS.get(best)


def includes(path):
    for number, line in enumerate(text(path).splitlines(), 1):
        if match := re.match(r'\s*#\s*include\s+"([^"]+)"', line):
            yield number, match[1]


def c_files():
    return [path for path in tree() if path.endswith((".c", ".h")) and path.startswith(tuple(f"{o}/" for o in ORIGINS))]


def check_directions():
    for path in c_files():
        own = layer_of(path)
        for number, other in includes(path):
            if other.endswith(".inc"):      # made by the build
                continue
            if not (SOURCE / other).exists():
                yield f'{path}:{number}: "{other}" is not named from the top of the tree'
                continue
            target = layer_of(other)
            if target not in MAY_INCLUDE[own] | {own}:
                yield f"{path}:{number}: {own} may not include {other} of {target}"
            elif target != own and other not in FACES.get(target, {other}):
                yield f"{path}:{number}: {other} is internal to {target}"


def check_cycles():
    graph = {path: [other for _, other in includes(path)] for path in c_files()}
    done = set()

    def visit(path, trail):
        if path in trail:
            yield "cycle: " + " -> ".join([*trail[trail.index(path):], path])
        elif path not in done:
            for other in graph.get(path, ()):
                yield from visit(other, [*trail, path])
            done.add(path)

    for path in graph:
        yield from visit(path, [])
    # The same among folders.
    edges = {}
    for path, others in graph.items():
        for other in others:
            if layer_of(path) != layer_of(other):
                edges.setdefault(layer_of(path), {}).setdefault(layer_of(other), f"{path} includes {other}")

    def climb(layer, trail):
        if layer in trail:
            yield "cycle of layers: " + " -> ".join([*trail[trail.index(layer):], layer])
        else:
            for other in edges.get(layer, ()):
                yield from climb(other, [*trail, layer])

    yield from dict.fromkeys(line for layer in edges for line in climb(layer, []))


def check_purity():
    for path in c_files():
        if layer_of(path) not in PURE:
            continue
        for number, line in enumerate(text(path).splitlines(), 1):
            if (match := re.match(r"\s*#\s*include\s+<(.+)\.h>", line)) and IMPURE_HEADERS.fullmatch(match[1]):
                yield f"{path}:{number}: {layer_of(path)} is pure: no <{match[1]}.h>"


def without_comments(path):
    return re.sub(r"/\*.*?\*/", lambda match: "\n" * match[0].count("\n"), text(path), flags=re.DOTALL)


def check_paths():
    unused = set(OPENS)
    for path in c_files():
        for number, line in enumerate(without_comments(path).splitlines(), 1):
            if not PLACE.search(line):
                continue
            if path in OPENS:
                unused.discard(path)
            elif not any(re.fullmatch(pattern, path) for pattern in SPELLS):
                yield f"{path}:{number}: an absolute path; what is to be opened goes through daemon/sysroot.h: {line.strip()}"
            elif OPENERS.search(line):
                yield f"{path}:{number}: opens an absolute path that it may only show: {line.strip()}"
    for path in sorted(unused):
        yield f"{path}: is excused for absolute paths, and has none"


def check_licences():
    for path in tree():
        if not UNLICENSED.match(path) and LICENSE not in "".join(text(path).splitlines(keepends=True)[:4]):
            yield f"{path}: no '{LICENSE}' in its first lines"


def check_names():
    seen = {}
    for path in tree():
        if path.endswith((".c", ".h")):
            seen.setdefault(path.rpartition("/")[2], []).append(path)
    for paths in seen.values():
        if len(paths) > 1:
            yield "the same base name: " + ", ".join(paths)


def check_spaces():
    for path in c_files():
        for number, line in enumerate(text(path).splitlines(), 1):
            if "\t" in line or line != line.rstrip():
                yield f"{path}:{number}: a tab, or white space at the end"


CHECKS = {
    "includes go down the table of layers": check_directions,
    "no cycles of includes": check_cycles,
    "pure layers include nothing that reaches out": check_purity,
    "absolute paths are opened in one place": check_paths,
    "every file names its licence": check_licences,
    "base names are unique": check_names,
    "no tabs, nothing behind the end of a line": check_spaces,
}


def main():
    print(f"1..{len(CHECKS)}")
    failures = 0
    for number, (name, check) in enumerate(CHECKS.items(), 1):
        problems = list(check())
        failures += bool(problems)
        print(f"{'not ok' if problems else 'ok'} {number} - {name}")
        for problem in problems:
            print(f"# {problem}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
