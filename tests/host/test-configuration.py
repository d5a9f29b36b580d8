#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Directories of configuration, and what a stackd of our own makes of them: by --root=, and by D-Bus methods.

Usage: test-configuration.py STACKCTL STACKD SOURCE-DIRECTORY
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

STACKCTL, STACKD, SOURCE = (pathlib.Path(p).resolve() for p in sys.argv[1:4])
SCRATCH = pathlib.Path(tempfile.mkdtemp(prefix="stackd-configuration-"))
ENVIRONMENT = dict(os.environ, STACKD_BINARY=str(STACKD), LC_ALL="C.UTF-8", DBUS_SYSTEM_BUS_ADDRESS=f"unix:path={SCRATCH}/no-bus")
failures = number = 0


def case(f):
    """A test is a function: it fails with its AssertionError."""
    global failures, number
    number += 1
    name = f.__doc__.strip().rstrip(".")
    try:
        f()
        print(f"ok {number} - {name}")
    except (AssertionError, subprocess.SubprocessError, OSError, KeyError, StopIteration) as e:
        failures += 1
        print(f"not ok {number} - {name}")
        line = e.__traceback__.tb_next.tb_lineno if e.__traceback__.tb_next else "?"
        for text in f"{type(e).__name__} at line {line}: {e}"[:4000].splitlines():
            print("# " + text)
    sys.stdout.flush()


def stackctl(*arguments, check=True, timeout=60):
    done = subprocess.run([STACKCTL, "--no-pager", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=ENVIRONMENT, timeout=timeout, check=False, text=True, errors="replace")
    assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
    assert not check or done.returncode == 0, f"{arguments}: status {done.returncode}: {done.stderr}"
    return done


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)


def shipped(root):
    """What 'meson install' puts there."""
    shutil.copytree(SOURCE / "conf/policy", root / "usr/lib/stackd/policy")
    shutil.copy(SOURCE / "conf/stackd.conf", root / "usr/lib/stackd/stackd.conf")


def machine(name, fixture=None):
    root = SCRATCH / name
    root.mkdir()
    if fixture:
        # Python's own refuses absolute links, or not, by its version.
        subprocess.run(["tar", "-xf", SOURCE / "tests/fixtures" / fixture, "-C", root], check=True)
    shipped(root)
    return root


def rules(root):
    """comm -> the rules of what was done to it."""
    result = {}
    for action in json.loads(stackctl(f"--root={root}", "--json=short", "status").stdout)["actions"]:
        result.setdefault((action["comm"], action["kind"]), set()).add(action["rule"])
    return result


def line_of(path, beginning):
    return next(n for n, line in enumerate(path.read_text().splitlines(), 1) if line.startswith(beginning))


def shipped_is_right():
    """The shipped files have nothing wrong with them, and each matches what it is for."""
    for fixture, comm, expected in (("tcmu.tar.gz", "tcmu-runner", {"50-tcmu"}), ("fuse.tar.gz", "bindfs", {"50-fuse", "90-default"})):
        root = machine("shipped-" + comm, fixture)
        done = stackctl(f"--root={root}", "cat-config")
        assert not done.stderr, done.stderr
        wanted = set()
        for name in expected:
            line = line_of(root / f"usr/lib/stackd/policy/{name}.policy", "IOFlusher=")
            wanted.add(f"/usr/lib/stackd/policy/{name}.policy:{line}")
        assert rules(root)[comm, "io-flusher"] == wanted, rules(root)


def shipped_default_is_built_in():
    """Without any file the same holds as with the shipped default alone."""
    root = machine("built-in", "tcmu.tar.gz")
    for path in (root / "usr/lib/stackd/policy").glob("50-*"):
        path.unlink()
    installed = rules(root)
    shutil.rmtree(root / "usr/lib/stackd")
    built_in = {key: {rule.replace("built-in/", "/usr/lib/stackd/policy/") for rule in value} for key, value in rules(root).items()}
    assert built_in == installed and built_in, (built_in, installed)


def shown_in_order():
    """cat-config shows what holds, in the order in which it does, line by line."""
    root = machine("order")
    shutil.rmtree(root / "usr/lib/stackd")
    write(root / "usr/lib/stackd/policy/20-b.policy", "[Match]\nProcess=b\n")
    write(root / "run/stackd/policy/20-b.policy", "[Match]\nProcess=b2\n")
    write(root / "etc/stackd/policy/10-a.policy", "[Match]\nProcess=a\n")
    write(root / "usr/local/lib/stackd/policy/10-a.policy.d/z.conf", "[Process]\nIOFlusher=no\n")
    write(root / "etc/stackd/policy/10-a.policy.d/m.conf", "# m\n")
    write(root / "etc/stackd/policy/30-none.policy.d/x.conf", "# nobody's\n")
    (root / "etc/stackd/policy/90-default.policy").symlink_to("/dev/null")
    write(root / "run/stackd/stackd.conf.d/x.conf", "[Stackd]\nApply=no")
    document = json.loads(stackctl(f"--root={root}", "--json=short", "cat-config").stdout)
    assert [file["path"] for file in document["files"]] == [
        "/run/stackd/stackd.conf.d/x.conf", "/etc/stackd/policy/10-a.policy", "/etc/stackd/policy/10-a.policy.d/m.conf",
        "/usr/local/lib/stackd/policy/10-a.policy.d/z.conf", "/run/stackd/policy/20-b.policy"], document
    assert document["files"][1]["lines"] == [{"line": 1, "text": "[Match]"}, {"line": 2, "text": "Process=a"}], document
    assert document["warnings"] == [], document
    text = stackctl(f"--root={root}", "cat-config").stdout
    assert text.startswith("# /run/stackd/stackd.conf.d/x.conf\n[Stackd]\nApply=no\n\n# /etc/stackd/policy/10-a.policy\n[Match]\n"), text


def every_fault():
    return {
        "binary": lambda path: write(path, b"[Match]\nProcess=*\n\0\n"),
        "ten megabytes": lambda path: write(path, b"x" * (10 << 20)),
        "endless": lambda path: write(path, b"") or os.truncate(path, 1 << 40),
        "loop of links": lambda path: path.symlink_to(path.name),
        "far loop of links": lambda path: ((path.parent / "x").symlink_to("y"), (path.parent / "y").symlink_to("x"), path.symlink_to("x/z")),
        "link to nothing": lambda path: path.symlink_to("nowhere"),
        "link out of the root": lambda path: path.symlink_to("../" * 30 + "etc/passwd"),
        "fifo": os.mkfifo,
        "socket": lambda path: __import__("socket").socket(__import__("socket").AF_UNIX).bind(str(path)),
        "directory": lambda path: path.mkdir(),
        "unreadable": lambda path: (write(path, "[Match]\n"), path.chmod(0)),
        "no section": lambda path: write(path, "IOFlusher=no\n"),
        "half a section": lambda path: write(path, "[Match\nProcess=*\n"),
        "not UTF-8": lambda path: write(path, b"[Match]\nProcess=\xff\n"),
        "unknown condition": lambda path: write(path, "[Match]\nProces=*\n[Process]\nIOFlusher=no\n"),
        "bad size": lambda path: write(path, "[Match]\nProcess=x\n[Memory]\nMin=many\n"),
        "bad quote": lambda path: write(path, "[Match]\nProcess=\"tcmu-runner\n[Process]\nIOFlusher=no\n"),
    }


def faults():
    """Whatever is wrong with a file is said with its name, and what the others say holds."""
    root = machine("faults", "tcmu.tar.gz")
    wanted = rules(root)
    directory = root / "etc/stackd/policy"
    for name, make in every_fault().items():
        shutil.rmtree(root / "etc/stackd", ignore_errors=True)
        directory.mkdir(parents=True)
        os.chdir(directory)     # names of sockets are short
        make(pathlib.Path("10-x.policy") if name == "socket" else directory / "10-x.policy")
        os.chdir("/")
        begin = time.monotonic()
        done = stackctl(f"--root={root}", "cat-config")
        took = time.monotonic() - begin
        assert re.search(r"^stackd: /etc/stackd/policy/10-x\.policy(:\d+)?: ", done.stderr), f"{name}: {done.stderr!r}"
        assert rules(root) == wanted, f"{name}: {rules(root)}"
        assert took < 10, f"{name}: took {took:.1f} s"
        print(f"# {name}: {took:.2f} s: {done.stderr.splitlines()[0]}")


def many_files():
    """Thousands of files are read, and too many are said to be so."""
    root = machine("many")
    directory = root / "etc/stackd/policy"
    directory.mkdir(parents=True)
    for i in range(3000):
        (directory / f"{i:05}.policy").write_text(f"[Match]\nProcess=p{i}\n[Process]\nIOFlusher=no\n")
    begin = time.monotonic()
    document = json.loads(stackctl(f"--root={root}", "--json=short", "cat-config").stdout)
    print(f"# 3000 files: {time.monotonic() - begin:.2f} s")
    assert len([f for f in document["files"] if f["path"].startswith("/etc/")]) == 3000 and not document["warnings"], document["warnings"]
    for i in range(3000, 5000):
        (directory / f"{i:05}.policy").write_text("")
    document = json.loads(stackctl(f"--root={root}", "--json=short", "cat-config").stdout)
    assert document["warnings"] == ["/etc/stackd/policy: more than 4096 names"], document["warnings"]


def this_machine():
    """On this machine it is read too, by whoever asks."""
    document = json.loads(stackctl("--direct", "--json=short", "cat-config").stdout)
    assert any(f["path"].endswith("/90-default.policy") for f in document["files"]) or (pathlib.Path("/etc/stackd")).exists(), document


def main():
    cases = [shipped_is_right, shipped_default_is_built_in, shown_in_order, faults, many_files, this_machine]
    print(f"1..{len(cases)}")
    try:
        for f in cases:
            case(f)
    finally:
        for path in SCRATCH.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
        shutil.rmtree(SCRATCH, ignore_errors=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
