#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""adopt and release, with a systemd that answers from files, and an /etc/systemd/system of their own.

Usage: test-adopt.py STACKCTL FAKE-STACKD FAKE-SYSTEMD
The real ones are in the guest: tests/vm/scenarios/adopt.sh.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

STACKCTL, STACKD, SYSTEMD = (os.path.abspath(p) for p in sys.argv[1:4])
UNITS = pathlib.Path("/etc/systemd/system")
ALL, SYS_RESOURCE, SETPCAP, KILL = 0x1ffffffffff, 1 << 24, 1 << 8, 1 << 5
failures = number = 0

if os.environ.get("ADOPT_INSIDE") != "yes":
    prefix = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "sh", "-ec"]
    if not shutil.which("unshare") or not UNITS.is_dir() or not shutil.which("dbus-daemon") or \
       subprocess.run([*prefix, f"mount -t tmpfs none {UNITS}"], check=False, stderr=subprocess.DEVNULL).returncode != 0:
        print("1..0 # SKIP needs a mount namespace, /etc/systemd/system and dbus-daemon")
        sys.exit(0)
    os.environ["ADOPT_INSIDE"] = "yes"
    os.execvp("unshare", [*prefix, f'mount -t tmpfs none {UNITS}; exec "$@"', "-", sys.executable, *sys.argv])

SCRATCH = pathlib.Path(tempfile.mkdtemp(prefix="stackctl-adopt-"))
BUS = f"unix:path={SCRATCH}/bus"


def node(id_, kind, lower=(), **more):
    return {"id": id_, "kind": kind, "depth": 0, "lower": [{"id": low, "certainty": certainty, "evidence": "test"} for low, certainty in lower],
            "processes": [], **more}


DOCUMENT = {
    "version": 1, "hazards": [], "actions": [],
    "layers": [
        node("fs:7:0", "filesystem", [("block:7:0", "proven")], type="ext4", mounts=["/mnt/in ner", "/mnt/with-dash"]),
        node("block:7:0", "block", [("fs:0:9", "proven")], type="loop"),
        node("swap:/mnt/outer/swap file", "swap", [("fs:0:9", "proven")], type="swap", path="/mnt/outer/swap file"),
        dict(node("fs:0:9", "filesystem", type="fuse", mounts=["/mnt/outer"]), processes=[{"pid": 9, "role": "backing", "certainty": "proven"}]),
        dict(node("fs:0:8", "filesystem", type="fuse", mounts=["/mnt/other"]), processes=[{"pid": 8, "role": "backing", "certainty": "proven"}]),
        dict(node("fs:8:1", "filesystem", type="ext4", mounts=["/"]), processes=[{"pid": 7, "role": "backing", "certainty": "proven"}]),
        dict(node("fs:8:4", "filesystem", type="ext4", mounts=["/usr"]), processes=[{"pid": 6, "role": "backing", "certainty": "proven"}]),
        node("fs:8:2", "filesystem", type="ext4", mounts=["/srv/data"]), node("fs:8:3", "filesystem", type="ext4", mounts=["/srv/hint"])],
    "processes": [
        {"pid": 9, "start": 1, "id": "process:9:1", "comm": "s", "unit": "server.service", "serves": ["fs:0:9"],
         "lower": [{"id": "fs:8:2", "certainty": "proven"}, {"id": "fs:8:3", "certainty": "inferred"}, {"id": "fs:8:1", "certainty": "proven"}]},
        {"pid": 8, "start": 1, "id": "process:8:1", "comm": "o", "unit": "other.service", "serves": ["fs:0:8"], "lower": []},
        {"pid": 7, "start": 1, "id": "process:7:1", "comm": "r", "unit": "root.service", "serves": ["fs:8:1"], "lower": []},
        {"pid": 6, "start": 1, "id": "process:6:1", "comm": "u", "unit": "usr.service", "serves": ["fs:8:4"], "lower": []}]}


def stackctl(*arguments):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG"))}
    env.update(STACKD_BINARY=STACKD, DBUS_SYSTEM_BUS_ADDRESS=BUS, LC_ALL="C.UTF-8", FAKE_DESCRIBE=str(SCRATCH / "document"), FAKE_KNOWN="")
    done = subprocess.run([STACKCTL, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, text=True,
                          timeout=60, check=False)
    assert "Sanitizer" not in done.stderr, done.stderr
    return done


def unit(name, text, **properties):
    fragment = SCRATCH / f"{name}.fragment"
    fragment.write_text(text)
    values = {"FragmentPath": fragment, "ManagedOOMPreference": "none", "CapabilityBoundingSet": ALL, "AmbientCapabilities": 0, "MemoryMin": 0}
    values.update(properties)
    (SCRATCH / "units" / name).write_text("".join(f"{k}={v:x}\n" if isinstance(v, int) and k != "OOMScoreAdjust" else f"{k}={v}\n"
                                                  for k, v in values.items()))


def own(name):
    return UNITS / f"{name}.d/50-stackd.conf"


def snapshot():
    return {str(path): path.read_text() for path in sorted(UNITS.rglob("*")) if path.is_file()}


def adopted(name):
    done = stackctl("adopt", name)
    assert done.returncode == 0, done
    return own(name).read_text()


def assignments(text, key):
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(key + "=")]


def refused(says, name):
    before = snapshot()
    done = stackctl("adopt", name)
    assert done.returncode == 2 and says in done.stderr and not done.stdout, (says, done)
    assert snapshot() == before, "something was written"


def commands():
    """The commands stay as they are written, and begin with stackctl."""
    unit("server.service", "[Unit]\nExecStart=no\n[Service]\nExecStart=/bin/no\nExecStart=\nExecStart=-@/bin/a zero \"b  c\" \\\n  $D %i\n"
         "ExecStart=:/bin/e ; /bin/f\nExecStartPre=/bin/g\n")
    (UNITS / "server.service.d").mkdir()
    (UNITS / "server.service.d/60-more.conf").write_text("[Service]\nExecStart=/bin/h\n")
    text = adopted("server.service")
    wrapper = next(line for line in text.splitlines() if line.endswith("-- /bin/h")).split("=", 1)[1].removesuffix(" -- /bin/h")
    assert wrapper.endswith("/stackctl run --try --keep-capability") and wrapper.startswith("/"), wrapper
    assert assignments(text, "ExecStart") == ["", f'-{wrapper} --argv0 -- /bin/a zero "b  c"    $D %i'.replace("    $D", "  $D"), f":{wrapper} -- /bin/e",
                                              f"{wrapper} -- /bin/f", f"{wrapper} -- /bin/h"], text
    assert "Capabilit" not in text.replace("--keep-capability", ""), text
    assert assignments(text, "OOMScoreAdjust") == ["-900"] and assignments(text, "ManagedOOMPreference") == ["omit"], text
    assert own("server.service").stat().st_mode & 0o777 == 0o644


def orders():
    """Mounts on it are ordered after it, and it after its data; hints and others' mounts are left alone."""
    text = own("server.service").read_text()
    assert assignments(text, "After") == ["srv-data.mount"], text
    files = sorted(path.parent.name for path in UNITS.rglob("50-stackd-server.service.conf"))
    assert files == ["mnt-in\\x20ner.mount.d", "mnt-outer-swap\\x20file.swap.d", "mnt-outer.mount.d", "mnt-with\\x2ddash.mount.d"], files
    for path in UNITS.rglob("50-stackd-server.service.conf"):
        text = path.read_text()
        assert assignments(text, "After") == ["server.service"] and "Requires" not in text and "BindsTo" not in text, text
        assert "DefaultDependencies" not in text, text


def early_mounts():
    """A mount or swap area that is ordered early is taken out of there; one whose own file says so is left."""
    (SCRATCH / "units/mnt-outer-swap\\x20file.swap").write_text("Before=swap.target\n")
    (SCRATCH / "units/mnt-outer.mount").write_text("Before=local-fs.target\n")
    (SCRATCH / "units/mnt-in\\x20ner.mount").write_text("Before=local-fs.target\nFragmentPath=/run/x.mount\n")
    done = stackctl("adopt", "server")
    assert done.returncode == 0 and "'nofail' or '_netdev'" in done.stderr, done
    for name in ("mnt-outer.mount", "mnt-outer-swap\\x20file.swap"):
        text = (UNITS / f"{name}.d/50-stackd-server.service.conf").read_text()
        assert assignments(text, "DefaultDependencies") == ["no"] and assignments(text, "Conflicts") == ["umount.target"] and \
            assignments(text, "Before") == ["umount.target"], text
    assert not (UNITS / "mnt-in\\x20ner.mount.d").exists()


def again_and_back():
    """Adopted again it is the same; released, nothing is left."""
    before = snapshot()
    adopted("server.service")
    assert snapshot() == before
    log = (SCRATCH / "log").read_text().count("reload")
    done = stackctl("release", "server")
    assert done.returncode == 0, done
    assert snapshot() == {str(UNITS / "server.service.d/60-more.conf"): "[Service]\nExecStart=/bin/h\n"}, snapshot()
    assert not list(UNITS.glob("*.mount.d")) and not list(UNITS.glob("*.swap.d")) and (SCRATCH / "log").read_text().count("reload") == log + 1
    done = stackctl("release", "server")
    assert done.returncode == 1 and "was not adopted" in done.stderr, done


def capabilities():
    """A service has what it had, but for its start."""
    cases = [
        ({"User": "u"}, ["AmbientCapabilities=CAP_SYS_RESOURCE"], False),
        ({"DynamicUser": "yes"}, ["AmbientCapabilities=CAP_SYS_RESOURCE"], False),
        ({"User": "u", "CapabilityBoundingSet": KILL}, ["CapabilityBoundingSet=CAP_SYS_RESOURCE", "AmbientCapabilities=CAP_SYS_RESOURCE"], False),
        ({"User": "u", "AmbientCapabilities": SYS_RESOURCE}, [], True),
        ({"User": "root"}, [], True), ({"User": "0"}, [], True),
        ({"CapabilityBoundingSet": KILL | SETPCAP}, ["CapabilityBoundingSet=CAP_SYS_RESOURCE"], False)]
    for properties, lines, keep in cases:
        unit("cap.service", "[Service]\nExecStart=/bin/a\n", **properties)
        text = adopted("cap.service")
        assert [line for line in text.splitlines() if "Capabilit" in line and "=CAP" in line] == lines, (properties, text)
        assert ("--keep-capability" in text) == keep, (properties, text)
    unit("cap.service", "[Service]\nExecStart=/bin/a\n", OOMScoreAdjust="-1000", ManagedOOMPreference="avoid", MemoryMin=64 << 20)
    text = adopted("cap.service")
    assert "OOM" not in text and assignments(text, "MemoryMin") == ["64M"], text
    stackctl("release", "cap")


def refusals():
    """What cannot be adopted is refused, and nothing is written."""
    for name, says in (("", "not the name"), ("../x", "not the name"), ("a b", "not the name"), ("x\x1b[2J", "not the name"), ("t@", "template"),
                       ("nosuch", "There is no unit"), ("x" * 300, "not the name"), (".hidden", "not the name")):
        refused(says, name)
    for properties, text, says in (
            ({"PrivateUsers": "yes"}, "[Service]\nExecStart=/bin/a\n", "PrivateUsers="),
            ({"CapabilityBoundingSet": KILL}, "[Service]\nExecStart=/bin/a\n", "CAP_SETPCAP"),
            ({"LoadState": "masked"}, "", "which is masked"), ({"FragmentPath": ""}, "", "no unit file that lasts"),
            ({"FragmentPath": "/run/systemd/transient/bad.service"}, "", "no unit file that lasts"),
            ({"FragmentPath": "/does/not/exist"}, "", "Cannot read /does/not/exist"), ({}, "[Service]\nType=oneshot\n", "starts no command"),
            ({}, "[Service]\nExecStart=|/bin/a\n", "cannot be rewritten"), ({}, "[Service]\nExecStart=/bin/a \"b\n", "quote is not closed")):
        unit("bad.service", text, **properties)
        refused(says, "bad")
    for name in ("root", "usr"):
        unit(f"{name}.service", "[Service]\nExecStart=/bin/a\n")
        refused("serves the root file system or /usr", name)
    done = stackctl("--direct", "adopt", "root")
    assert done.returncode == 2 and "--direct" in done.stderr, done


def others_files():
    """A file that somebody else wrote is neither replaced nor removed."""
    unit("mine.service", "[Service]\nExecStart=/bin/a\n")
    own("mine.service").parent.mkdir()
    own("mine.service").write_text("# mine\n")
    refused("was not written by stackctl", "mine")
    done = stackctl("release", "mine")
    assert done.returncode == 2 and own("mine.service").read_text() == "# mine\n", done
    own("mine.service").unlink()
    own("mine.service").symlink_to("/etc/passwd")
    refused("Cannot read", "mine")


def case(f):
    global failures, number
    number += 1
    try:
        f()
        print(f"ok {number} - {f.__doc__.strip().rstrip('.')}")
    except (AssertionError, subprocess.SubprocessError, OSError, StopIteration) as e:
        failures += 1
        print(f"not ok {number} - {f.__doc__.strip().rstrip('.')}")
        for line in f"{type(e).__name__} at line {e.__traceback__.tb_next.tb_lineno}: {e}"[:4000].splitlines():
            print("# " + line)
    sys.stdout.flush()


def main():
    cases = [commands, orders, early_mounts, again_and_back, capabilities, refusals, others_files]
    (SCRATCH / "units").mkdir()
    (SCRATCH / "document").write_text(json.dumps(DOCUMENT))
    (SCRATCH / "bus.conf").write_text(
        f"<busconfig><type>system</type><listen>{BUS}</listen><policy context='default'><allow send_destination='*' eavesdrop='true'/>"
        "<allow eavesdrop='true'/><allow own='*'/></policy></busconfig>")
    bus = subprocess.Popen(["dbus-daemon", f"--config-file={SCRATCH}/bus.conf", "--nofork", "--print-address"], stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL)
    systemd = None
    print(f"1..{len(cases)}")
    try:
        bus.stdout.readline()
        systemd = subprocess.Popen([SYSTEMD], stdout=subprocess.PIPE, text=True,
                                   env=dict(os.environ, DBUS_SYSTEM_BUS_ADDRESS=BUS, FAKE_UNITS=str(SCRATCH / "units"), FAKE_LOG=str(SCRATCH / "log")))
        assert systemd.stdout.readline() == "ready\n"
        for f in cases:
            case(f)
    finally:
        for process in (systemd, bus):
            if process:
                process.terminate()
                process.wait()
        shutil.rmtree(SCRATCH, ignore_errors=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
