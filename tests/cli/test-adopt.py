#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""adopt and release, with a systemd that answers from files, and an /etc/systemd/system of their own.

Usage: test-adopt.py STACKCTL FAKE-STACKD FAKE-SYSTEMD STACKD-RUN
The real ones are in the guest: tests/vm/scenarios/adopt.sh.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

STACKCTL, STACKD, SYSTEMD, RUN = (os.path.abspath(p) for p in sys.argv[1:5])
MARKER = "# Written by 'stackctl adopt'; 'stackctl release' removes it."
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


def stackctl(*arguments, prefix=(), **more):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG"))}
    env.update(STACKD_BINARY=STACKD, DBUS_SYSTEM_BUS_ADDRESS=BUS, LC_ALL="C.UTF-8", FAKE_DESCRIBE=str(SCRATCH / "document"), FAKE_KNOWN="", **more)
    done = subprocess.run([*prefix, STACKCTL, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, text=True,
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
    return UNITS / f"{name}.d/zz-stackd.conf"


def old(name):
    """Where it was before."""
    return UNITS / f"{name}.d/50-stackd.conf"


def drop_in(name, file, text):
    (UNITS / f"{name}.d").mkdir(exist_ok=True)
    (UNITS / f"{name}.d" / file).write_text(text)


def log():
    return (SCRATCH / "log").read_text().splitlines() if (SCRATCH / "log").exists() else []


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
    """The commands stay as they are written, and begin with stackd-run."""
    unit("server.service", "[Unit]\nExecStart=no\n[Service]\nExecStart=/bin/no\nExecStart=\nExecStart=-@/bin/a zero \"b  c\" \\\n  $D %i\n"
         "ExecStart=:/bin/e ; /bin/f\nExecStartPre=/bin/g\n")
    drop_in("server.service", "60-more.conf", "[Service]\nExecStart=/bin/h\n")
    text = adopted("server.service")
    wrapper = next(line for line in text.splitlines() if line.endswith("-- /bin/h")).split("=", 1)[1].removesuffix(" -- /bin/h")
    assert wrapper.endswith("/stackd/stackd-run --try --keep-capability") and wrapper.startswith("/"), wrapper
    assert assignments(text, "ExecStart") == ["", f'-{wrapper} --argv0 -- /bin/a zero "b  c"    $D %i'.replace("    $D", "  $D"), f":{wrapper} -- /bin/e",
                                              f"{wrapper} -- /bin/f", f"{wrapper} -- /bin/h"], text
    assert "Capabilit" not in text.replace("--keep-capability", "") and "ExecStartPre" not in text, text
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
    reloads = log().count("reload")
    done = stackctl("release", "server")
    assert done.returncode == 0, done
    assert snapshot() == {str(UNITS / "server.service.d/60-more.conf"): "[Service]\nExecStart=/bin/h\n"}, snapshot()
    assert not list(UNITS.glob("*.mount.d")) and not list(UNITS.glob("*.swap.d")) and log().count("reload") == reloads + 1
    done = stackctl("release", "server")
    assert done.returncode == 1 and "was not adopted" in done.stderr, done
    (UNITS / "server.service.d/60-more.conf").unlink()


def capabilities():
    """A service has what it had, but for its start."""
    drop = "--drop=CAP_SYS_RESOURCE"
    both = "--drop=CAP_SYS_RESOURCE,CAP_SETPCAP --drop-bounding=CAP_SYS_RESOURCE"
    cases = [
        ({"User": "u"}, ["AmbientCapabilities=CAP_SYS_RESOURCE"], drop),
        ({"DynamicUser": "yes"}, ["AmbientCapabilities=CAP_SYS_RESOURCE"], drop),
        ({"User": "u", "CapabilityBoundingSet": KILL}, ["CapabilityBoundingSet=CAP_SYS_RESOURCE CAP_SETPCAP",
                                                        "AmbientCapabilities=CAP_SYS_RESOURCE CAP_SETPCAP"], both + ",CAP_SETPCAP"),
        ({"User": "u", "CapabilityBoundingSet": SETPCAP, "AmbientCapabilities": SETPCAP},
         ["CapabilityBoundingSet=CAP_SYS_RESOURCE", "AmbientCapabilities=CAP_SYS_RESOURCE"], drop + " --drop-bounding=CAP_SYS_RESOURCE"),
        ({"User": "u", "AmbientCapabilities": SYS_RESOURCE}, [], "--keep-capability"),
        ({"User": "root"}, [], "--keep-capability"), ({"User": "0"}, [], "--keep-capability"),
        ({"SecureBits": 1}, ["AmbientCapabilities=CAP_SYS_RESOURCE"], drop),
        ({"CapabilityBoundingSet": KILL}, ["CapabilityBoundingSet=CAP_SYS_RESOURCE CAP_SETPCAP"], both + ",CAP_SETPCAP"),
        ({"CapabilityBoundingSet": KILL | SETPCAP}, ["CapabilityBoundingSet=CAP_SYS_RESOURCE"], drop + " --drop-bounding=CAP_SYS_RESOURCE")]
    for properties, lines, options in cases:
        unit("cap.service", "[Service]\nExecStart=/bin/a\n", **properties)
        text = adopted("cap.service")
        assert [line for line in text.splitlines() if "Capabilit" in line and "=CAP" in line] == lines, (properties, text)
        assert assignments(text, "ExecStart")[1].partition(" --try ")[2] == options + " -- /bin/a", (properties, text)
    unit("cap.service", "[Service]\nExecStart=/bin/a\n", OOMScoreAdjust="-1000", ManagedOOMPreference="avoid", MemoryMin=64 << 20)
    text = adopted("cap.service")
    assert "OOM" not in text and assignments(text, "MemoryMin") == ["64M"], text
    stackctl("release", "cap")


def helpers():
    """What is added for the start is taken from every other command of the unit; those with all privileges keep theirs."""
    kinds = ("ExecCondition", "ExecStartPre", "ExecStartPost", "ExecReload", "ExecStop", "ExecStopPost")
    text = "[Service]\nExecStart=+/bin/a 1 ; !/bin/b\n" + "".join(f"{kind}=-/bin/x {kind}\n{kind}=+/bin/y $Z\n" for kind in kinds)
    unit("helped.service", text, User="u")
    text = adopted("helped.service")
    program = assignments(text, "ExecStart")[1].removeprefix("+").partition(" ")[0]
    assert assignments(text, "ExecStart") == ["", f"+{program} --try --keep-capability -- /bin/a 1",
                                              f"!{program} --try --drop=CAP_SYS_RESOURCE -- /bin/b"], text
    for kind in kinds:
        assert assignments(text, kind) == ["", f"-{program} --unmarked --try --drop=CAP_SYS_RESOURCE -- /bin/x {kind}", "+/bin/y $Z"], text
    stackctl("release", "helped")


def last_to_speak():
    """Beside an override.conf that replaces or adds commands, ours is read last, and each command starts once."""
    for more, wanted in (("ExecStart=\nExecStart=/bin/b\n", ["/bin/b"]), ("ExecStart=/bin/b\n", ["/bin/a", "/bin/b"])):
        unit("edited.service", "[Service]\nType=oneshot\nExecStart=/bin/a\n", User="u")
        drop_in("edited.service", "override.conf", "[Service]\n" + more)
        text = adopted("edited.service")
        assert [line.rpartition(" ")[2] for line in assignments(text, "ExecStart")] == ["", *wanted], text
        files = sorted(path.name for path in (UNITS / "edited.service.d").iterdir())
        assert files == ["override.conf", own("edited.service").name], files
        assert stackctl("release", "edited").returncode == 0
    (UNITS / "edited.service.d/override.conf").unlink()


def taken_back():
    """Where systemd makes something else of it, everything is as before."""
    for text, says in (("ExecStart=\nExecStart=/bin/b\n", "is read after"), ("ExecStart=/bin/b\n", "is read after"),
                       ("AmbientCapabilities=\n", "other capabilities")):
        unit("late.service", "[Service]\nType=oneshot\nExecStart=/bin/a\n", User="u")
        drop_in("late.service", "zzz.conf", "[Service]\n" + text)
        before, reloads = snapshot(), log().count("reload")
        done = stackctl("adopt", "late")
        assert done.returncode == 2 and says in done.stderr and "zzz.conf" in done.stderr and "removed again" in done.stderr, done
        assert snapshot() == before and log().count("reload") == reloads + 2, done
    (UNITS / "late.service.d/zzz.conf").unlink()


def hardened():
    """What a filter or list of paths forbids stackd-run is let through, and nothing else."""
    for value, user, lines in (
            ("allow read write", "u", ["prctl capget capset"]), ("allow prctl capget capset", "u", []), ("allow read", "", ["prctl"]),
            ("deny capset:EPERM reboot", "u", ["capset"]), ("deny capset", "", []), ("deny reboot", "u", []), ("", "u", [])):
        unit("hard.service", "[Service]\nExecStart=/bin/a\n", SystemCallFilter=value, User=user)
        text = adopted("hard.service")
        assert assignments(text, "SystemCallFilter") == lines, (value, text)
        assert not assignments(text, "ExecPaths"), text
    unit("hard.service", "[Service]\nExecStart=/bin/a\n", NoExecPaths="/", User="u")
    text = adopted("hard.service")
    assert assignments(text, "ExecPaths") == [assignments(text, "ExecStart")[1].partition(" ")[0]], text
    stackctl("release", "hard")


def tried_first():
    """stackd-run is started once with the service's settings; if it does not start, nothing is written."""
    unit("try.service", "[Service]\nExecStart=-/bin/a\nExecStop=!/bin/b\n", User="u", SystemCallFilter="deny capset", RootDirectory="/srv/root")
    (SCRATCH / "log").unlink()
    text = adopted("try.service")
    program = assignments(text, "ExecStart")[1].removeprefix("-").partition(" ")[0]
    trial = [line.removeprefix("trial ") for line in log() if line.startswith("trial ")]
    for line in (f"{program} --drop=CAP_SYS_RESOURCE -- {program} --self-test", f"{program} --unmarked --drop=CAP_SYS_RESOURCE -- {program} --self-test",
                 "User=u", "RootDirectory=/srv/root", "AmbientCapabilities=1000000", "Type=oneshot"):
        assert line in trial, (line, trial)
    assert "NoExecPaths" not in trial, "an empty list was set, which resets others"
    assert trial.count("SystemCallFilter") == 2 and "PIDFile" not in str(trial) and "StateDirectory" not in str(trial), trial
    assert log().index("trial Type=oneshot") < log().index("reload")
    stackctl("release", "try")
    for end, says in (("2 31", "SystemCallFilter= forbids"), ("1 203", "within RootDirectory=/srv/root"), ("1 226", "226/NAMESPACE"), ("1 2", "exit status 2")):
        (SCRATCH / "units/trial").write_text(end)
        refused(says, "try")
        assert not list((SCRATCH / "units").glob("stackctl-adopt-*")), "the unit that failed is still there"
    (SCRATCH / "units/trial").unlink()


def names():
    """An alias is followed, and of a template the instances are adopted."""
    unit("server-alias.service", "", Id="server.service")
    unit("server.service", "[Service]\nExecStart=/bin/a\n")
    done = stackctl("adopt", "server-alias")
    assert done.returncode == 0 and "server-alias.service is an alias of server.service" in done.stdout, done
    assert own("server.service").exists() and not own("server-alias.service").exists()
    assert (UNITS / "mnt-outer.mount.d/50-stackd-server.service.conf").exists(), "no order was written"
    assert stackctl("release", "server-alias").returncode == 0 and not own("server.service").exists()
    # An older version has adopted the alias.
    drop_in("server-alias.service", "50-stackd.conf", MARKER + "\n[Service]\n")
    assert stackctl("release", "server-alias").returncode == 0 and not snapshot().get(str(old("server-alias.service")))
    for name in ("t@a.service", "t@b\\x2dc.service"):
        unit(name, "[Service]\nExecStart=/bin/a %i\n")
    refused("'t@.service' is a template", "t@")
    assert "t@a.service, t@b\\x2dc.service" in stackctl("adopt", "t@").stderr.replace("\\\\", "\\"), stackctl("adopt", "t@")
    done = stackctl("adopt", "t@b\\x2dc")
    assert done.returncode == 0 and "other instances" in done.stdout and own("t@b\\x2dc.service").exists(), done
    assert stackctl("release", "t@b\\x2dc").returncode == 0 and not own("t@b\\x2dc.service").exists()


def refusals():
    """What cannot be adopted is refused, and nothing is written."""
    for name, says in (("", "not the name"), ("../x", "not the name"), ("a b", "not the name"), ("x\x1b[2J", "not the name"), ("none@", "template"),
                       ("nosuch", "There is no unit"), ("x" * 300, "not the name"), (".hidden", "not the name")):
        refused(says, name)
    for properties, text, says in (
            ({"PrivateUsers": "yes"}, "[Service]\nExecStart=/bin/a\n", "PrivateUsers="),
            ({"AppArmorProfile": "x"}, "[Service]\nExecStart=/bin/a\n", "AppArmorProfile=x"),
            ({"SELinuxContext": "x"}, "[Service]\nExecStart=/bin/a\n", "SELinux"),
            ({"LoadState": "masked"}, "", "which is masked"), ({"FragmentPath": ""}, "", "no unit file that lasts"),
            ({"FragmentPath": "/run/systemd/transient/bad.service"}, "", "no unit file that lasts"),
            ({"FragmentPath": "/does/not/exist"}, "", "Cannot read /does/not/exist"), ({}, "[Service]\nType=oneshot\n", "starts no command"),
            ({"User": "u"}, "[Service]\nExecStart=/bin/a\nExecReload=$X\n", "ExecReload=$X of 'bad.service' cannot be rewritten"),
            ({}, "[Service]\nExecStart=|/bin/a\n", "cannot be rewritten"), ({}, "[Service]\nExecStart=/bin/a \"b\n", "quote is not closed")):
        unit("bad.service", text, **properties)
        refused(says, "bad")
    for name in ("root", "usr"):
        unit(f"{name}.service", "[Service]\nExecStart=/bin/a\n")
        refused("serves the root file system or /usr", name)
    done = stackctl("--direct", "adopt", "root")
    assert done.returncode == 2 and "--direct" in done.stderr, done


def failed_again():
    """A unit that cannot be adopted again stays as it was adopted."""
    unit("again.service", "[Service]\nExecStart=/bin/a\n")
    adopted("again.service")
    unit("again.service", "[Service]\nExecStart=/bin/a\n", PrivateUsers="yes")
    refused("stays adopted", "again")
    assert stackctl("release", "again").returncode == 0


def others_files():
    """A file that somebody else wrote is neither replaced nor removed."""
    unit("mine.service", "[Service]\nExecStart=/bin/a\n")
    drop_in("mine.service", "50-stackd.conf", "[X-Stackd]\n")
    done = stackctl("release", "mine")
    assert done.returncode == 1 and "was not adopted by stackctl; nothing to release" in done.stderr and "50-stackd.conf" in done.stderr, done
    adopted("mine.service")
    assert stackctl("release", "mine").returncode == 0 and old("mine.service").read_text() == "[X-Stackd]\n"
    own("mine.service").write_text("# mine\n")
    refused("was not written by stackctl", "mine")
    done = stackctl("release", "mine")
    assert done.returncode == 1 and own("mine.service").read_text() == "# mine\n", done
    assert stackctl("release", "--all").returncode == 0 and own("mine.service").read_text() == "# mine\n"
    own("mine.service").unlink()
    own("mine.service").symlink_to("/etc/passwd")
    refused("was not written by stackctl", "mine")
    own("mine.service").unlink()
    old("mine.service").unlink()


def former_name():
    """What an older version has written goes, also what a power failure has left of it."""
    unit("server.service", "[Service]\nExecStart=/bin/a\n")
    for text in (MARKER + "\n[Service]\nExecStart=\n", MARKER[:20], MARKER, "", "\0\0\0"):
        drop_in("server.service", "50-stackd.conf", text)
        adopted("server.service")
        assert not old("server.service").exists()
        assert stackctl("release", "server").returncode == 0 and not snapshot(), text
        drop_in("server.service", "zz-stackd.conf", text)
        drop_in("server.service", "zz-stackd.conf.new", "half")
        assert stackctl("release", "server").returncode == 0 and not (UNITS / "server.service.d").exists(), text


def all_of_them():
    """release --all takes everything back, and skips what is not ours."""
    unit("server.service", "[Service]\nExecStart=/bin/a\n")
    unit("one.service", "[Service]\nExecStart=/bin/a\n")
    adopted("server.service")
    adopted("one.service")
    drop_in("two.service", "50-stackd.conf", MARKER + "\n[Service]\n")
    drop_in("three.service", "50-stackd.conf", "# mine\n")
    drop_in("x.mount", "50-stackd-y.service.conf", "# mine\n")
    done = stackctl("release", "--all")
    assert done.returncode == 0 and not done.stderr, done
    assert sorted(snapshot()) == [str(UNITS / "three.service.d/50-stackd.conf"), str(UNITS / "x.mount.d/50-stackd-y.service.conf")], snapshot()
    assert stackctl("release", "--all").returncode == 0
    for arguments in (("release",), ("release", "--all", "one")):
        done = stackctl(*arguments)
        assert done.returncode == 2 and "either a unit or --all" in done.stderr, done
    shutil.rmtree(UNITS / "three.service.d")
    shutil.rmtree(UNITS / "x.mount.d")


def without_systemd():
    """Where there is no bus, units are released all the same."""
    global BUS
    unit("one.service", "[Service]\nExecStart=/bin/a\n")
    for arguments in (("one",), ("--all",)):
        adopted("one.service")
        bus, BUS = BUS, f"unix:path={SCRATCH}/no-bus"
        try:
            done = stackctl("release", *arguments)
            assert done.returncode == 0 and "not reloaded" in done.stderr and not snapshot(), done
            done = stackctl("adopt", "one")
            assert done.returncode == 2 and "Cannot ask systemd" in done.stderr, done
        finally:
            BUS = bus


def on_the_disk():
    """Drop-ins are on the disk before anything says so, and so is their removal."""
    if not shutil.which("strace"):
        return "needs strace"
    unit("one.service", "[Service]\nExecStart=/bin/a\n")
    for verb, wanted in (("adopt", ["mkdir", "fsync", "fsync", "rename", "fsync"]), ("release", ["unlink", "fsync"])):
        trace = SCRATCH / "trace"
        done = stackctl(verb, "one", prefix=["strace", "-f", "-y", "-o", str(trace), "-e", "trace=mkdir,mkdirat,fsync,rename,renameat,unlink,unlinkat"],
                        ASAN_OPTIONS="detect_leaks=0")     # which needs ptrace itself
        if done.returncode != 0 and "ptrace" in done.stderr.lower():
            return "strace may not trace"
        assert done.returncode == 0, done
        calls = [line.split(maxsplit=1)[1] for line in trace.read_text().splitlines() if str(UNITS) in line and "= 0" in line]
        assert [c.partition("(")[0].removesuffix("at") for c in calls] == wanted, calls
        assert calls[-1].startswith("fsync(") and "one.service.d>" in calls[-1], calls
    return None


def libraries():
    """The program that starts a server links the C library only."""
    if b"__ubsan" in pathlib.Path(RUN).read_bytes():
        return "built with sanitizers"
    text = subprocess.run(["readelf", "--dynamic", RUN], stdout=subprocess.PIPE, text=True, check=True).stdout
    needed = [line.rpartition("[")[2].rstrip("]") for line in text.splitlines() if "(NEEDED)" in line]
    assert needed == ["libc.so.6"], needed
    return None


def the_program():
    """stackd-run gives a command its arguments, and says what it cannot do."""
    def run(*arguments):
        return subprocess.run([RUN, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    done = run("--try", "--argv0", "--", "/bin/sh", "zero", "-c", 'echo "$0|$1"', "a", "b c")
    assert done.returncode == 0 and done.stdout == "a|b c\n", done
    done = run("--unmarked", "--keep-capability", "--", "/bin/sh", "-c", "exit 7")
    assert done.returncode == 7 and not done.stderr, done
    for arguments, status, says in (((), 2, "'stackd-run' needs a command"), (("--fast", "x"), 2, "'stackd-run' has no option '--fast'"),
                                    (("--drop=CAP_KILL", "x"), 2, "has no option"), (("--unmarked", "--keep-capability", "/does/not/exist"), 203, "No such file"),
                                    (("--self-test",), 0, "")):
        done = run(*arguments)
        assert done.returncode == status and says in done.stderr, done
    # What is dropped is not there, and nothing else is missing.
    if os.geteuid() == 0:
        def sets(*arguments, prefix=()):
            lines = subprocess.run([*prefix, RUN, *arguments, "--", "cat", "/proc/self/status"], stdout=subprocess.PIPE, text=True, timeout=60,
                                   check=False).stdout.splitlines()
            return {line[:6]: int(line.split()[1], 16) for line in lines if line.startswith("Cap")}
        before = sets("--unmarked", "--keep-capability")
        after = sets("--unmarked", "--drop=CAP_SYS_RESOURCE", "--drop-bounding=CAP_SYS_RESOURCE")
        if before["CapBnd"] & SETPCAP and before["CapEff"] & SETPCAP:
            assert after == {k: v & ~SYS_RESOURCE for k, v in before.items()}, (before, after)
            after = sets("--unmarked", "--drop=CAP_SYS_RESOURCE,CAP_SETPCAP", "--drop-bounding=CAP_SYS_RESOURCE,CAP_SETPCAP")
            assert after == {k: v & ~SYS_RESOURCE & ~SETPCAP for k, v in before.items()}, (before, after)
            # systemd leaves more inheritable than it was told, where there is an ambient set.
            if shutil.which("setpriv"):
                after = sets("--unmarked", "--drop=CAP_SYS_RESOURCE", prefix=["setpriv", "--inh-caps=+kill,+setpcap,+sys_admin", "--ambient-caps=+kill"])
                assert after["CapInh"] == after["CapAmb"] == KILL, after


def case(f):
    global failures, number
    number += 1
    try:
        skipped = f()
        print(f"ok {number} - {f.__doc__.strip().rstrip('.')}{' # SKIP ' + skipped if skipped else ''}")
    except (AssertionError, subprocess.SubprocessError, OSError, StopIteration) as e:
        failures += 1
        print(f"not ok {number} - {f.__doc__.strip().rstrip('.')}")
        for line in f"{type(e).__name__} at line {e.__traceback__.tb_next.tb_lineno}: {e}"[:4000].splitlines():
            print("# " + line)
    sys.stdout.flush()


def main():
    cases = [commands, orders, early_mounts, again_and_back, capabilities, helpers, last_to_speak, taken_back, hardened, tried_first, names,
             refusals, failed_again, others_files, former_name, all_of_them, without_systemd, on_the_disk, libraries, the_program]
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
