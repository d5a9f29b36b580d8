#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What stackctl says where it cannot see everything: no false all-clear.

Usage: test-visibility.py STACKCTL STACKD
Each case is a look at a stack of bindfs and a loop device on this machine's kernel, in a PID namespace of its own: the gap
"pid-namespace" is there in all of them.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading

import playground

CONTAINER = {"pid-namespace"}
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
failures = number = 0


class Skip(Exception):
    """Why a case cannot be tried here."""


def case(f):
    """A test is a function: it fails with its AssertionError."""
    global failures, number
    number += 1
    try:
        f()
        print(f"ok {number} - {f.__doc__.strip().rstrip('.')}")
    except Skip as e:
        print(f"ok {number} - {f.__doc__.strip().rstrip('.')} # SKIP {e}")
    except (AssertionError, subprocess.SubprocessError, OSError) as e:
        failures += 1
        print(f"not ok {number} - {f.__doc__.strip().rstrip('.')}")
        print("\n".join("# " + line for line in f"{type(e).__name__}: {e}"[:4000].splitlines()))
    sys.stdout.flush()


def stackctl(*words, prefix=()):
    return subprocess.run([*prefix, PROGRAMS[0], "--direct", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)


def look(prefix=(), *options):
    """The document, after what every verb must say: (identifiers of gaps, document)."""
    done = stackctl(*options, "--json=short", "status", prefix=prefix)
    assert done.stdout, f"status {done.returncode}: {done.stderr}"
    document = json.loads(done.stdout)
    gaps = {gap["id"] for gap in document["gaps"]}
    assert done.returncode == (1 if gaps else 0), f"status {done.returncode} with {gaps}"
    return gaps, document


def tell(gaps, prefix=()):
    """Every verb says it in words, and its exit status is not 0."""
    for words in (("check",), ("status",), ("plan",), ("explain", "/"), ("list", "hazards"), ("show", "/"), ("graph",)):
        done = stackctl(*words, prefix=prefix)
        said = done.stdout + done.stderr
        assert done.returncode == 1, f"{words}: status {done.returncode}: {said}"
        for gap in gaps:
            assert said.count(gap) == 1, f"{words} does not name {gap} once: {said}"
        for claim in ("No hazards.", "no hazards.", "everything is as policy wants it", "None touches it"):
            assert claim not in said, f"{words} claims: {claim}"
    done = stackctl("metrics", prefix=prefix)
    assert done.returncode == 0 and all(f'stackd_visibility_gap{{gap="{gap}"}} 1' in done.stdout for gap in gaps), done


def mounted(script, *command):
    """Runs the command where /proc, or /sys, is mounted so."""
    return ("unshare", "--mount", "--propagation=private", "sh", "-c", f"{script} && exec \"$@\"", "-", *command)


def remounted(options):
    return f"umount -l /proc; mount -t proc -o {options} proc /proc"


def root():
    """Root sees all that there is in the namespace, and is told that this is not the machine."""
    gaps, document = look()
    assert gaps == CONTAINER, gaps
    assert any(p["comm"] == "bindfs" for p in document["processes"]), document
    tell(gaps)


def nobody():
    """An ordinary user cannot see the server."""
    gaps, document = look(NOBODY)
    assert gaps == CONTAINER | {"no-privilege"}, gaps
    assert not document["processes"], document
    tell(gaps, NOBODY)


def without_capabilities():
    """Nor can root without the capabilities that it takes."""
    gaps, _ = look(("setpriv", "--bounding-set=-sys_ptrace,-dac_read_search,-dac_override", "--inh-caps=-all"))
    assert "no-privilege" in gaps, gaps


def hidden():
    """With each filter on /proc."""
    for options, wanted, of_root in (("hidepid=1", {"no-privilege"}, set()), ("hidepid=invisible", {"hidden-processes"}, set()),
                                     ("hidepid=ptraceable", {"hidden-processes"}, None), ("hidepid=invisible,gid=7", {"no-privilege"}, set()),
                                     ("subset=pid", {"no-privilege", "proc-subset"}, {"proc-subset"})):
        user = (*NOBODY[:2], "--regid=65534", "--groups=7") if "gid=" in options else NOBODY
        gaps, _ = look(mounted(remounted(options), *user))
        assert wanted <= gaps and gaps <= wanted | CONTAINER | {"no-privilege"}, f"{options}: {gaps}"
        tell(gaps, mounted(remounted(options), *user))
        if of_root is not None:
            gaps, document = look(mounted(remounted(options)))
            assert gaps == CONTAINER | of_root, f"root, {options}: {gaps}"
            assert any(p["comm"] == "bindfs" for p in document["processes"]), options


def no_sysfs():
    """Without /sys."""
    gaps, _ = look(mounted("mount -t tmpfs tmpfs /sys"))
    assert gaps == CONTAINER | {"no-sysfs"}, gaps
    tell(gaps, mounted("mount -t tmpfs tmpfs /sys"))


def container():
    """In a container of an ordinary user, with a PID namespace of its own."""
    prefix = (*NOBODY, "unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc")
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode != 0:
        raise Skip("an ordinary user may not make namespaces")
    gaps, _ = look(prefix)
    assert gaps == CONTAINER, gaps
    tell(gaps, prefix)


def capture():
    """A capture has the gaps of whoever made it, and says what to do."""
    for prefix, wanted in (((), CONTAINER), (NOBODY, CONTAINER | {"no-privilege"})):
        directory = pathlib.Path("/run/capture", "nobody" if prefix else "root")
        directory.mkdir(parents=True)
        archive = subprocess.run([*prefix, PROGRAMS[0], "--direct", "capture", "-"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
                                 check=True).stdout
        subprocess.run(["tar", "-x", "-C", directory], input=archive, check=True)
        gaps, document = look((), f"--root={directory}")
        assert gaps == wanted, gaps
        assert all("capture" in gap["cure"] for gap in document["gaps"]), document["gaps"]
        # An earlier version did not write them down; what could not be read is seen all the same.
        (directory / "run/stackd/gaps").unlink()
        gaps, _ = look((), f"--root={directory}")
        assert gaps == wanted - CONTAINER, gaps


def churn():
    """Processes that end while they are read are no gap."""
    stop = threading.Event()

    def fork():
        while not stop.is_set():
            subprocess.run(["sh", "-c", "true & true & true & true & wait"], check=False)

    thread = threading.Thread(target=fork)
    thread.start()
    try:
        for i in range(5 if os.environ.get("STACKD_TEST_QUICK") else 30):
            gaps, _ = look()
            assert gaps == CONTAINER, f"look {i}: {gaps}"
    finally:
        stop.set()
        thread.join()


def reservation():
    """Where the memory controller is not cgroup2's, no reservation is claimed, and that is said of the server."""
    if "memory" in (pathlib.Path("/sys/fs/cgroup/cgroup.controllers").read_text(encoding="ascii").split()
                    if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else ()):
        raise Skip("cgroup2 has it here")
    _, document = look()
    server = next(p for p in document["processes"] if p["comm"] == "bindfs")
    assert not server["protected"] and server["memory_min_effective"] == 0, server
    hazards = [h for h in document["hazards"] if h["process"] == server["id"] and h["id"] == "reservation-missing"]
    assert len(hazards) == 1 and "memory controller is not available" in hazards[0]["message"], document["hazards"]
    done = stackctl("plan")
    assert done.returncode == 1 and "memory controller is not available" in done.stderr, done


def certain():
    """What is certain explains a depth before what is inferred."""
    done = stackctl("explain", playground.LOWER)
    assert "a guess" not in done.stdout.split("What it needs itself")[0], done.stdout


def main():
    if not shutil.which("setpriv"):
        print("1..0 # SKIP no setpriv")
        return 0
    PROGRAMS[:] = playground.enter(True)[:2]
    os.environ["STACKD_BINARY"] = PROGRAMS[1]
    os.chdir("/")
    cases = (root, nobody, without_capabilities, hidden, no_sysfs, container, capture, churn, reservation, certain)
    print(f"1..{len(cases)}")
    with playground.Stack():
        for c in cases:
            case(c)
    return failures > 0


PROGRAMS = []

if __name__ == "__main__":
    sys.exit(main())
