# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of stackctl share: running it against a daemon that answers from files, golden outputs, TAP.

The arguments of the test are STACKCTL FAKE-STACKD.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
STACKCTL, FAKE = (os.path.abspath(p) for p in sys.argv[1:3])
SCRATCH = tempfile.mkdtemp(prefix="stackctl-test-")
KNOWN = "812=process:812:4711 /mnt/xfs=fs:253:0 tcmu-runner.service=process:812:4711 both=process:812:4711,fs:7:0 " \
        "fs:7:0=fs:7:0 66=process:66:6 /image=fs:7:3 vanished=fs:6:6 sshfs=process:3100:500,fs:0:46 nothing= 529=process:529:9254 /mnt/inner=fs:7:0 /=fs:8:1"
failures = 0
number = 0


def document(name):
    return os.path.join(HERE, "documents", name + ".json")


def environment(doc="stack-2019", **more):
    env = {k: v for k, v in os.environ.items()
           if not k.startswith(("FAKE_", "LC_", "LANG", "SYSTEMD_", "STACKCTL_")) and
           k not in ("PAGER", "COLUMNS", "LINES", "NO_COLOR", "STACKD_BINARY")}
    env.update(STACKD_BINARY=FAKE, DBUS_SYSTEM_BUS_ADDRESS="unix:path=" + SCRATCH + "/no-bus", LC_ALL="C.UTF-8",
               FAKE_DESCRIBE=doc if "/" in doc else document(doc), FAKE_PLAN=document("plan"), FAKE_EXPLAIN=document("explain"), TZ="UTC", FAKE_APPLY=document("apply"),
               FAKE_REVERT=document("revert"), FAKE_KNOWN=KNOWN, FAKE_CONFIGURATION=document("configuration"), FAKE_LOG=SCRATCH + "/log")
    env.update(more)
    return env


def run(*arguments, stdout=subprocess.PIPE, cwd="/", prefix=(), **env):
    try:
        os.unlink(SCRATCH + "/log")
    except FileNotFoundError:
        pass
    return subprocess.run([*prefix, STACKCTL, *arguments], stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, cwd=cwd,
                          env=environment(**env), timeout=60)


def calls():
    try:
        with open(SCRATCH + "/log", encoding="utf-8") as f:
            return f.read().splitlines()
    except FileNotFoundError:
        return []


def report(name, problem):
    global failures, number
    number += 1
    failures += bool(problem)
    print("%s %d - %s" % ("not ok" if problem else "ok", number, name))
    if problem:
        print("\n".join("# " + line for line in str(problem).splitlines()))
    sys.stdout.flush()


def case(f):
    """A test is a function: it fails with its AssertionError."""
    try:
        f()
        problem = None
    except AssertionError as e:
        problem = str(e) or "line %d" % e.__traceback__.tb_next.tb_lineno
    except subprocess.TimeoutExpired as e:
        problem = str(e)
    report(f.__name__.replace("_", " "), problem)


def equal(got, wanted, what=""):
    assert got == wanted, "%s: got %r, wanted %r" % (what, got, wanted)


def harmless(text):
    """No byte that a terminal obeys, and no invisible or turning character."""
    return not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f]", text)


def golden(name, *arguments, harmless_output=True, **env):
    r = run(*arguments, **env)
    got = "$ stackctl %s\nstatus %d\n----- stdout\n%s----- stderr\n%s" % (
        " ".join(arguments), r.returncode, r.stdout.decode(), r.stderr.decode())
    got = got.replace(FAKE, "FAKE").replace(SCRATCH, "SCRATCH")
    path = os.path.join(HERE, "golden", name + ".txt")
    if os.environ.get("UPDATE_GOLDEN"):
        with open(path, "w", encoding="utf-8") as f:
            f.write(got)
    try:
        with open(path, encoding="utf-8") as f:
            wanted = f.read()
    except FileNotFoundError:
        wanted = ""
    problem = None
    if got != wanted:
        problem = "differs from %s.txt; got:\n%s" % (name, got)
    elif not harmless(got):
        problem = "a terminal would obey what is in this output"
    report("golden " + name, problem)


def trouble(name, *arguments, says, **env):
    """Cannot be done: status 2, nothing on standard output, and a message that says so."""
    r = run(*arguments, **env)
    message = r.stderr.decode()
    problem = None
    if r.returncode != 2:
        problem = "status %d, wanted 2; stderr: %s" % (r.returncode, message)
    elif r.stdout:
        problem = "something on standard output: %r" % r.stdout
    elif says not in message:
        problem = "wanted %r in %r" % (says, message)
    elif not harmless(message):
        problem = "a terminal would obey this: %r" % message
    report("trouble: " + name, problem)


def finish():
    """The plan, and whether something failed."""
    print("1..%d" % number)
    shutil.rmtree(SCRATCH)
    return failures > 0
