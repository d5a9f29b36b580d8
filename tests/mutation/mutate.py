#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether the tests notice a mistake in the code that decides: graph, analysis and policy.

usage: mutate.py [--runs N] [--seed N] [--only PATH...] BUILD-DIRECTORY

Copies the tree into BUILD-DIRECTORY, and there makes one small mistake at a time: another comparison, another constant, a
condition or a statement less. What does not compile is not counted. A mistake is noticed when a unit test fails, dies or does not
end. The last line is "N mistakes, N noticed (N %)"; those that were not stand above it, to be read: some change nothing.
"""

import argparse
import pathlib
import random
import re
import resource
import shutil
import subprocess
import sys

SOURCE = pathlib.Path(__file__).resolve().parents[2]
DECIDING = ["daemon/graph/graph.c", "daemon/analysis/depth.c", "daemon/analysis/hazard.c", "daemon/analysis/hazard-memory.c",
            "daemon/analysis/hazard-service.c", "daemon/policy/plan.c", "daemon/policy/want.c", "daemon/policy/want-layer.c",
            "daemon/policy/want-unit.c", "daemon/policy/policy.c", "daemon/policy/match.c", "daemon/policy/cure.c",
            "daemon/policy/reservation.c", "daemon/policy/mount-option.c", "daemon/policy/setting.c"]
TESTS = ["plan", "cure", "ground", "reservation", "want-layer", "policy", "configuration", "mount-option", "hazard", "depth", "fuzz-graph", "fuzz-policy"]
# These take long, and are about these files.
LONG = {"depth": ("daemon/graph/", "daemon/analysis/depth.c"), "fuzz-graph": ("daemon/graph/", "daemon/analysis/"),
        "fuzz-policy": ("daemon/policy/policy.c", "daemon/policy/match.c", "daemon/policy/setting.c")}
# What is looked for, and what is written instead.
CHANGES = [
    (r" <= ", [" < ", " > "]), (r" >= ", [" > ", " < "]), (r" < ", [" <= ", " >= "]), (r" > ", [" >= ", " <= "]),
    (r" == ", [" != "]), (r" != ", [" == "]), (r" && ", [" || "]), (r" \|\| ", [" && "]),
    (r" \+ ", [" - "]), (r" - ", [" + "]), (r" \* (?=\w+[,;)\s])", [" / "]), (r"\+\+", ["--"]),
    (r"\btrue\b", ["false"]), (r"\bfalse\b", ["true"]), (r"(?<=[(\s])!(?=\w|\()", [""]),
    (r"\bMIN\(", ["MAX("]), (r"\bMAX\(", ["MIN("]), (r"\bcontinue;", ["break;"]), (r"\bbreak;", ["continue;"]),
    (r"(?<=[ (\[])0(?=[;),\] ])", ["1"]), (r"(?<=[ (\[])1(?=[;),\] ])", ["0", "2"]), (r" \|= ", [" = "]), (r" \? ([^:;?]+) : ([^:;?]+)(?=[;),])", ["SWAP"]),
]
STATEMENT = re.compile(r"^(\s+)(?!return|break|continue|case|default|static|const|_cleanup|goto)([\w>.\[\]*()-]+(?: [-+|&]?= .*|\(.*\)|\+\+|--));$")


def places(path):
    """(line number, old, new) of everything that can be changed in a file."""
    lines = (SOURCE / path).read_text(encoding="utf-8").split("\n")
    comment = False
    for number, line in enumerate(lines):
        begins = line.lstrip().startswith("/*")
        if comment or begins or line.startswith(("#", "static const", "}")) or '"' in line and "MUST" in line:
            comment = (comment or begins) and "*/" not in line
            continue
        code = re.sub(r'/\*.*?\*/', lambda m: " " * len(m[0]), line)
        code = re.sub(r"\b[cm]alloc\(.*?\)", lambda m: "_" * len(m[0]), code)
        code = re.sub(r'"(?:\\.|[^"\\])*"', lambda m: '"' + "_" * (len(m[0]) - 2) + '"', code)
        for pattern, replacements in CHANGES:
            for m in re.finditer(pattern, code):
                for new in replacements:
                    if new == "SWAP":
                        new = f" ? {line[m.start(2):m.end(2)]} : {line[m.start(1):m.end(1)]}"
                    yield number, line, line[:m.start()] + new + line[m.end():]
        m = STATEMENT.match(code)
        if m and not re.match(r"\s+\w[\w ]*\*?\w+ = ", code.replace("->", "")):
            yield number, line, m[1] + ";"


def run(argv, seconds):
    """Of processor time: how busy the machine is, is not the mistake's."""
    try:
        return subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, timeout=60 * seconds,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))).returncode
    except subprocess.TimeoutExpired:
        return None


def test_programs(build):
    for name in TESTS:
        yield (name, [build / f"tests/fuzz/{name}", SOURCE / "tests/fuzz/corpus" / name.removeprefix("fuzz-")] if name.startswith("fuzz-")
               else [build / f"tests/unit/test-{name}"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", default=DECIDING)
    parser.add_argument("directory", type=pathlib.Path)
    arguments = parser.parse_args()
    tree, build = arguments.directory.resolve() / "tree", arguments.directory.resolve() / "build"
    shutil.rmtree(tree, ignore_errors=True)
    # With new times: a run that was ended has left an object of a mistake behind.
    shutil.copytree(SOURCE, tree, ignore=shutil.ignore_patterns(".git", "build*"), copy_function=shutil.copy)
    if not (build / "build.ninja").exists():
        subprocess.run(["meson", "setup", "--buildtype=plain", "-Dwerror=false", "-Db_sanitize=address,undefined", "-Dc_args=-O1", build, tree], check=True, stdout=subprocess.DEVNULL)
    programs = dict(test_programs(build))
    targets = [str(p[0].relative_to(build)) for p in programs.values()]
    ninja = ["ninja", "-C", str(build), *targets]
    subprocess.run(ninja, check=True, stdout=subprocess.DEVNULL)
    for name, argv in programs.items():
        if run(argv, 120) != 0:
            sys.exit(f"{name} fails without any mistake")

    chosen = [(path, *place) for path in arguments.only for place in places(path)]
    print(f"{len(chosen)} places for mistakes in {len(arguments.only)} files", flush=True)
    random.Random(arguments.seed).shuffle(chosen)
    made = noticed = 0
    for path, number, old, new in chosen:
        if made >= arguments.runs:
            break
        file = tree / path
        original = file.read_text(encoding="utf-8")
        lines = original.split("\n")
        assert lines[number] == old
        lines[number] = new
        file.write_text("\n".join(lines), encoding="utf-8")
        if run(ninja, 600) == 0:
            made += 1
            by = next((name for name, argv in programs.items() if path.startswith(LONG.get(name, "")) and run(argv, 120) != 0), None)
            noticed += by is not None
            print(f"{'noticed' if by else 'NOT NOTICED'} {path}:{number + 1}: {old.strip()}  ->  {new.strip()}{'  [' + by + ']' if by else ''}", flush=True)
        file.write_text(original, encoding="utf-8")
    print(f"{made} mistakes, {noticed} noticed ({100 * noticed // max(made, 1)} %)")


main()
