#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Captures of machines and their replay.

Usage: test-capture.py STACKCTL STACKD
Builds a real stack where root may, captures it, and looks whether the replay says the same. Replays the fixtures
against golden/NAME.json; with UPDATE_GOLDEN=1 it is written there instead: read the difference before you commit
it. Further captures made for lsblk --sysroot are looked for in $LSBLK_CAPTURES, a directory of such directories.
"""

import contextlib
import json
import os
import pathlib
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
STACKCTL, STACKD = (os.path.abspath(p) for p in sys.argv[1:3])
SCRATCH = pathlib.Path(tempfile.mkdtemp(prefix="stackd-capture-"))
ENVIRONMENT = dict(os.environ, STACKD_BINARY=STACKD, LC_ALL="C.UTF-8", DBUS_SYSTEM_BUS_ADDRESS=f"unix:path={SCRATCH}/no-bus")
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
failures = number = 0


class Skip(Exception):
    """Why a case cannot be tried here."""


def case(f):
    """A test is a function: it fails with its AssertionError."""
    global failures, number
    number += 1
    name = f.__doc__.strip().rstrip(".")
    try:
        f()
        print(f"ok {number} - {name}")
    except Skip as e:
        print(f"ok {number} - {name} # SKIP {e}")
    except (AssertionError, subprocess.SubprocessError, OSError) as e:
        failures += 1
        print(f"not ok {number} - {name}")
        line = e.__traceback__.tb_next.tb_lineno if e.__traceback__.tb_next else "?"
        for text in f"{type(e).__name__} at line {line}: {e}"[:4000].splitlines():
            print("# " + text)
    sys.stdout.flush()


def run(*argv, timeout=60, check=True, **options):
    done = subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=ENVIRONMENT, timeout=timeout, check=False, **options)
    assert not check or done.returncode == 0, f"{argv}: status {done.returncode}: {done.stderr.decode(errors='replace')}"
    return done


def stackctl(*arguments, **options):
    return run(STACKCTL, "--no-pager", *arguments, **options)


def status(*arguments, prefix=(), check=True):
    done = run(*prefix, STACKCTL, *arguments, "--json=short", "status", check=False)
    assert not check or done.returncode in (0, 1), done.stderr.decode(errors="replace")
    assert b"ERROR: AddressSanitizer" not in done.stderr and b"runtime error" not in done.stderr, done.stderr.decode()
    return done.stdout.decode() if check else done


def unpack(archive):
    directory = tempfile.mkdtemp(dir=SCRATCH)
    run("tar", "-xf", archive, "-C", directory)
    return directory


def require_root():
    if os.geteuid() != 0:
        raise Skip("needs root")


def write(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# ---- made by hand ----

def make_machine(name, lsblk=False, partitions=True):
    """A disk with two partitions, an LVM volume over one, XFS on it and swap on the other."""
    root = SCRATCH / name
    sys_ = root / "sys"
    devices = {"sda": ("8:0", "devices/pci0/ata1/host0/target0:0:0/0:0:0:0/block/sda", 4096, ()),
               "dm-0": ("253:0", "devices/virtual/block/dm-0", 1024, ("sda2",))}
    if partitions:
        devices["sda1"] = ("8:1", "devices/pci0/ata1/host0/target0:0:0/0:0:0:0/block/sda/sda1", 1024, ())
        devices["sda2"] = ("8:2", "devices/pci0/ata1/host0/target0:0:0/0:0:0:0/block/sda/sda2", 2048, ())
    for kname, (number_, path, size, slaves) in devices.items():
        directory = sys_ / path
        write(directory / "dev", number_ + "\n")
        write(directory / "size", f"{size}\n")
        write(directory / "ro", "0\n")
        write(directory / "removable", "0\n")
        (directory / "slaves").mkdir()
        (directory / "holders").mkdir()
        for slave in slaves:
            (directory / "slaves" / slave).symlink_to(f"../../../../{devices[slave][1].removeprefix('devices/')}")
        for place, up in ((f"dev/block/{number_}", "../../"), (f"{'block' if lsblk else 'class/block'}/{kname}", "../" if lsblk else "../../")):
            if lsblk and "/sda/" in path and place.startswith("block/"):
                continue
            (sys_ / place).parent.mkdir(parents=True, exist_ok=True)
            if lsblk or not place.startswith("dev/"):
                (sys_ / place).symlink_to(up + path)
        if kname[-1:] in "12" and kname.startswith("sda"):
            write(directory / "partition", kname[-1] + "\n")
    (sys_ / devices["sda2"][1] / "holders/dm-0").symlink_to("../../../../../../../../../virtual/block/dm-0") if partitions else None
    write(sys_ / devices["dm-0"][1] / "dm/name", "vg-lv\n")
    write(sys_ / devices["dm-0"][1] / "dm/uuid", "LVM-abc\n")
    write(root / ("proc/self/mountinfo" if lsblk else "proc/1/mountinfo"),
          "21 1 8:0 / / rw shared:1 - ext4 /dev/sda rw\n"
          "22 21 253:0 / /srv rw,relatime shared:2 - xfs /dev/mapper/vg-lv rw\n")
    write(root / "proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/dev/sda1 partition 512 0 -2\n")
    return root


def compare_with_lsblk(root):
    """Each device and each edge of lsblk is in our graph, and the mounts on them."""
    tree = json.loads(run("lsblk", "--json", "--sysroot", root, "-o", "NAME,KNAME,MAJ:MIN,MOUNTPOINT").stdout)
    layers = {layer["id"]: layer for layer in json.loads(status(f"--root={root}"))["layers"]}
    devices = edges = mounts = 0

    def visit(node, parent):
        nonlocal devices, edges, mounts
        id_ = "block:" + node["maj:min"]
        assert id_ in layers, f"{node} is not in the graph of {root}"
        assert layers[id_]["name"] == node["kname"], (layers[id_], node)
        devices += 1
        if parent:
            assert "block:" + parent["maj:min"] in [e["id"] for e in layers[id_]["lower"]], f"{node} is not on {parent}"
            edges += 1
        if node["mountpoint"] and node["mountpoint"].startswith("/"):
            above = [layers[u] for u in layers[id_]["upper"] if u in layers]
            assert any(node["mountpoint"] in (layer.get("mounts") or []) for layer in above), f"{node}: no file system on it"
            mounts += 1
        elif node["mountpoint"] == "[SWAP]":
            assert "swap:" + node["maj:min"] in layers[id_]["upper"], f"{node}: no swap on it"
            mounts += 1
        for child in node.get("children", ()):
            visit(child, node)

    for node in tree["blockdevices"]:
        visit(node, None)
    return devices, edges, mounts


def lsblk_layout():
    """A capture in lsblk's layout holds what lsblk finds in it."""
    if not shutil.which("lsblk"):
        raise Skip("there is no lsblk")
    devices, edges, mounts = compare_with_lsblk(make_machine("lsblk", lsblk=True))
    assert (devices, edges, mounts) == (4, 3, 3), (devices, edges, mounts)


def lsblk_captures():
    """So do captures made for lsblk elsewhere."""
    for root in sorted(pathlib.Path(os.environ["LSBLK_CAPTURES"]).iterdir()):
        print(f"# {root.name}: devices, edges, mounts: {compare_with_lsblk(root)}")


def capture_of_capture():
    """A capture can be captured, and says the same."""
    root = make_machine("again")
    archive = SCRATCH / "again.tar.gz"
    stackctl(f"--root={root}", "--no-scrub", "capture", archive)
    assert status(f"--root={unpack(archive)}") == status(f"--root={root}")


def unreadable():
    """What could not be read when it was captured cannot be in the replay, not even by root."""
    root = make_machine("denied")
    size = root / "sys/devices/virtual/block/dm-0/size"
    size.write_text("")
    size.chmod(0)
    archive = SCRATCH / "denied.tar"
    before = json.loads(status(f"--root={root}"))
    stackctl(f"--root={root}", "--no-scrub", "capture", archive)
    listing = run("tar", "-tvf", archive).stdout.decode()
    assert re.search(r"^---------- .*/dm-0/size$", listing, re.M), listing
    assert json.loads(status(f"--root={unpack(archive)}")) == before
    assert next(l for l in before["layers"] if l["id"] == "block:253:0")["size"] == 0


# ---- hostile ----

def hostile():
    """A hostile capture is read without leaving it, waiting or ending."""
    outside = SCRATCH / "outside"
    write(outside / "secret", "8:77\n")
    for name, change in HOSTILE.items():
        root = make_machine("hostile-" + name.replace(" ", "-"))
        change(root, outside)
        begin = time.monotonic()
        done = status(f"--root={root}", check=False)
        took = time.monotonic() - begin
        text = done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")
        assert done.returncode in (0, 1, 2), f"{name}: {done}"
        assert "signal" not in text and "Sanitizer" not in text, f"{name}: {text}"
        assert "8:77" not in text, f"{name}: what lies outside was read"
        assert took < 20, f"{name}: took {took:.1f} s"
        if done.returncode != 2:
            json.loads(done.stdout)
        print(f"# {name}: status {done.returncode}, {took:.2f} s")


DISK = "sys/devices/pci0/ata1/host0/target0:0:0/0:0:0:0/block/sda"


def replaced(path, make):
    def change(root, outside):
        target = root / path
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
        make(target, outside)
    return change


def device_node(path, _):
    if os.geteuid() == 0:
        os.mknod(path, 0o666 | 0o020000, os.makedev(1, 5))     # /dev/zero: never ends
    else:
        os.mkfifo(path)


def sparse(path, _):
    with open(path, "wb") as f:
        f.truncate(1 << 36)


def appended(path, text):
    def change(root, _):
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "ab") as f:
            f.write(text)
    return change


def process_of(pid, comm=b"x", fds=2000):
    """A process with many descriptors of /dev/fuse, and hostile names."""
    def change(root, _):
        proc = root / f"proc/{pid}"
        write(root / "proc/1/mountinfo", (root / "proc/1/mountinfo").read_text() +
              "23 21 0:50 / /mnt rw - fuse.x x rw,user_id=0\n24 21 0:6 / /dev rw - devtmpfs devtmpfs rw\n")
        for d in ("fd", "fdinfo", f"task/{pid}"):
            (proc / d).mkdir(parents=True)
        stat = b"%d (%s) S 1 1 1 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0\n" % (pid, comm)
        (proc / "stat").write_bytes(stat)
        (proc / f"task/{pid}/stat").write_bytes(stat)
        write(proc / "status", "Uid:\t0\t0\t0\t0\nCapEff:\tffffffffffffffff\n")
        write(proc / "cgroup", "0::/../../../../../etc\n")
        for fd in range(fds):
            (proc / f"fd/{fd}").symlink_to("/dev/fuse")
            write(proc / f"fdinfo/{fd}", "pos:\t0\nflags:\t02\nmnt_id:\t24\nino:\t1\n")
    return change


HOSTILE = {
    "fifo": replaced(f"{DISK}/dev", lambda path, _: os.mkfifo(path)),
    "fifo as mountinfo": replaced("proc/1/mountinfo", lambda path, _: os.mkfifo(path)),
    "device": replaced(f"{DISK}/dev", device_node),
    "absolute link": replaced(f"{DISK}/dev", lambda path, outside: path.symlink_to(outside / "secret")),
    "dotdot link": replaced(f"{DISK}/dev", lambda path, outside: path.symlink_to("../" * 40 + str(outside / "secret").lstrip("/"))),
    "sys is a link": replaced("sys", lambda path, _: path.symlink_to("/sys")),
    "proc is a link": replaced("proc", lambda path, _: path.symlink_to("../../../../../../../../../proc")),
    "block device outside": replaced("sys/class/block/sda", lambda path, outside: path.symlink_to(outside)),
    "loop of links": replaced("sys/class/block", lambda path, _: path.symlink_to("block")),
    "link to itself": replaced("sys/class/block/sda", lambda path, _: path.symlink_to("sda")),
    "directory as a file": replaced("proc/1/mountinfo", lambda path, _: path.mkdir()),
    "file as a directory": replaced("sys/class/block", lambda path, _: path.write_text("x")),
    "slaves is a file": replaced("sys/devices/virtual/block/dm-0/slaves", lambda path, _: path.write_text("x")),
    "huge file": replaced(f"{DISK}/dev", sparse),
    "huge mountinfo": replaced("proc/1/mountinfo", sparse),
    "garbage in mountinfo": appended("proc/1/mountinfo", bytes(range(256)) * 64 + b"\n1 2 3\n" + b"9" * 100000 + b"\n"),
    "parents in a circle": appended("proc/1/mountinfo", b"".join(
        b"%d %d 7:%d / / rw - ext4 /dev/loop%d rw\n" % (100 + i, 100 + (i + 1) % 50, i, i) for i in range(50))),
    "a mount its own parent": appended("proc/1/mountinfo", b"77 77 7:1 / / rw - ext4 /dev/loop1 rw\n"),
    "all ids the same": appended("proc/1/mountinfo", b"21 21 7:1 / / rw - fuse.x /srv rw\n" * 200),
    "many mounts": appended("proc/1/mountinfo", b"".join(
        b"%d 21 0:%d / /m%d rw - fuse.x /srv/%d rw\n" % (i, i, i, i) for i in range(1000, 3000))),
    "devices on each other": replaced("sys/devices/virtual/block/dm-0/slaves", lambda path, _: (
        path.mkdir(), (path / "dm-0").touch(), (path / "..evil").touch())),
    "probes": appended("run/stackd/probes", b"dm 253:0 0=" + b"x" * 100000 + b" 1:2 9999999:1 8:0\nloop\n=\n\xff\xfe=1\ndm 253:0 0=?\n"),
    "many descriptors": process_of(4711),
    "names": process_of(4712, b") R 1 \x1b[2J\xff", fds=3),
    "swaps": replaced("proc/swaps", lambda path, _: path.write_bytes(b"x\n/a\\777\\40 file\n\\\n/dev/ partition 99999999999999999999999\n" * 100)),
    "denied everywhere": lambda root, _: [p.chmod(0) for p in root.rglob("*") if p.is_file() and not p.is_symlink()],
}


def nothing_outside():
    """A replay needs no /proc, /sys, /run or /dev, nor what they hold."""
    root = make_machine("isolated")
    want = status(f"--root={root}")
    mounts = "mount -t tmpfs empty /proc && mount -t tmpfs empty /sys && mount -t tmpfs empty /run && exec \"$@\""
    prefix = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "sh", "-c", mounts, "-"]
    if run(*prefix, "true", check=False).returncode != 0:
        raise Skip("no mount namespaces here")
    # The leak checker wants /proc.
    got = status(f"--root={root}", prefix=[*prefix, "env", "ASAN_OPTIONS=detect_leaks=0"])
    assert got == want, "the replay differs without /proc and /sys"


def traced():
    """A replay opens nothing of the machine's."""
    if not shutil.which("strace"):
        raise Skip("there is no strace")
    root = make_machine("traced")
    log = SCRATCH / "trace"
    done = run("strace", "-f", "-o", log, "-e", "trace=%file", "env", "ASAN_OPTIONS=detect_leaks=0",
               STACKCTL, f"--root={root}", "--json=short", "status", check=False)
    assert done.returncode in (0, 1), done.stderr.decode()
    touched = {m[1] for m in re.finditer(r'"(/(?:proc|sys|run)/[^"]*)"', log.read_text())}
    # What libselinux and sd-event look at when they are loaded says nothing of storage; the sanitizer has its own.
    touched -= {"/proc/filesystems", "/sys/fs/selinux", "/proc/sys/kernel/random/boot_id"}
    touched = {p for p in touched if not p.startswith("/proc/self/") and not p.startswith("/sys/devices/system/cpu")}
    assert not touched, f"opened: {sorted(touched)}"


# ---- the command ----

def command_line():
    """Errors name the thing, and nothing is left of what failed."""
    place = SCRATCH / "command"
    place.mkdir()
    root = make_machine("small")

    def fails(*arguments, **options):
        done = stackctl(*arguments, check=False, **options)
        message = done.stderr.decode()
        assert done.returncode == 2 and not done.stdout, (arguments, done)
        assert message.splitlines()[-1].startswith("stackctl: "), message
        return message

    assert "needs an argument" in fails("capture")
    assert "one argument too many" in fails("capture", "a", "b")
    assert str(place) in fails(f"--root={root}", "capture", place)
    assert "no name" in fails(f"--root={root}", "capture", "")
    assert "/nowhere/" in fails(f"--root={root}", "capture", "/nowhere/x.tar")
    (place / "link").symlink_to("/dev/null")
    assert "regular file" in fails(f"--root={root}", "capture", place / "link")
    (place / "link").unlink()
    assert "not a capture" in fails(f"--root={place}", "capture", place / "x.tar")
    assert "tar -xf" in fails(f"--root={HERE / 'meson.build'}", "status")
    old = ENVIRONMENT["STACKD_BINARY"]
    try:
        ENVIRONMENT["STACKD_BINARY"] = shutil.which("false")
        assert "exited with status 1" in fails("capture", place / "x.tar")
        ENVIRONMENT["STACKD_BINARY"] = "/nowhere/stackd"
        assert "/nowhere/stackd" in fails("capture", place / "x.tar")
        write(place.parent / "half", f"#!/bin/sh\n'{old}' \"$@\" --root='{root}' 3>&1 | head -c 1000 >&3\n")
        (place.parent / "half").chmod(0o755)
        ENVIRONMENT["STACKD_BINARY"] = str(place.parent / "half")
        message = fails("capture", place / "x.tar")
        assert "damaged" in message, message
    finally:
        ENVIRONMENT["STACKD_BINARY"] = old
    assert not list(place.iterdir()), list(place.iterdir())


def terminal():
    """It is not written to a terminal."""
    root = make_machine("terminal")
    master, slave = pty.openpty()
    done = subprocess.run([STACKCTL, f"--root={root}", "capture", "-"], stdin=subprocess.DEVNULL, stdout=slave, stderr=subprocess.PIPE,
                          env=ENVIRONMENT, timeout=60, check=False)
    os.close(slave)
    os.close(master)
    assert done.returncode == 2 and b"terminal" in done.stderr, done


def files():
    """FILE is whole, its owner's alone, and compressed as its name says; - is standard output."""
    root = make_machine("files")
    plain = stackctl(f"--root={root}", "capture", "-").stdout
    assert plain[257:262] == b"ustar"
    for name, magic in (("x.tar", plain[:4]), ("x.tgz", b"\x1f\x8b"), ("x.tar.gz", b"\x1f\x8b"), ("x.tar.xz", b"\xfd7zXZ"),
                        ("x.tar.zst", b"\x28\xb5\x2f\xfd")):
        path = SCRATCH / name
        path.write_text("old")
        path.chmod(0o644)
        done = stackctl(f"--root={root}", "capture", path)
        assert b"mkdir DIR && tar" in done.stdout and str(path).encode() in done.stdout, done
        assert path.read_bytes().startswith(magic), name
        for tool, suffixes in (("gzip", (".gz", ".tgz")), ("xz", (".xz",)), ("zstd", (".zst",))):
            if name.endswith(suffixes) and shutil.which(tool):
                assert not run(tool, "--test", "--quiet", path).stderr, name
        unpack(path)
        assert path.stat().st_mode & 0o777 == 0o600, oct(path.stat().st_mode)
    assert not stackctl("--no-legend", f"--root={root}", "capture", SCRATCH / "x.tar").stdout
    names = run("tar", "-tf", SCRATCH / "x.tar").stdout.decode().splitlines()
    assert names == sorted(names, key=lambda n: n.rstrip("/")), "a directory must come before what is in it"
    assert not [n for n in names if not n.startswith(("proc/", "sys/", "run/"))], names
    with open("/dev/full", "wb") as full:
        done = subprocess.run([STACKCTL, f"--root={root}", "capture", "-"], stdout=full, stderr=subprocess.PIPE, env=ENVIRONMENT,
                              timeout=60, check=False)
    assert done.returncode == 2 and b"No space left" in done.stderr, done


def killed():
    """A signal leaves no part of a file."""
    place = SCRATCH / "killed"
    place.mkdir()
    root = make_machine("big")
    for delay in (0.0, 0.01, 0.03, 0.1):
        p = subprocess.Popen([STACKCTL, f"--root={root}", "capture", str(place / "x.tar.xz")], stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, env=ENVIRONMENT)
        time.sleep(delay)
        p.send_signal(signal.SIGTERM)
        p.wait(timeout=60)
        assert {f.name for f in place.iterdir()} <= {"x.tar.xz"}, list(place.iterdir())
        if p.returncode != 0:
            assert p.returncode == -signal.SIGTERM, p.returncode
    for f in place.iterdir():
        run("tar", "-tf", f)


# ---- fixtures ----

def nested_layers(document):
    """Those of stacks in which a process serves something or a file system or swap area stands on another."""
    layers = {layer["id"]: layer for layer in document["layers"]}
    below = {node["id"]: {e["id"] for e in [*node["lower"], *node.get("processes", ())]} for node in document["layers"] + document["processes"]}
    above = {id_: set() for id_ in below}
    for id_, others in below.items():
        for other in others:
            above.setdefault(other, set()).add(id_)

    def closure(seeds, edges):
        reached, todo = set(seeds), list(seeds)
        while todo:
            new = edges.get(todo.pop(), set()) - reached
            reached |= new
            todo += new
        return reached

    seeds = {p["id"] for p in document["processes"]} | {id_ for id_, layer in layers.items() if layer["depth"] > 0 and layer["kind"] in ("filesystem", "swap")}
    return closure(closure(seeds, above), below) & layers.keys()


def folding():
    """What status leaves out is what is not nested."""
    for archive in sorted((HERE.parent / "fixtures").glob("*.tar.gz")):
        root = unpack(archive)
        document = json.loads(status(f"--root={root}"))
        nested, layers = nested_layers(document), document["layers"]
        text = stackctl(f"--root={root}", "status").stdout.decode()
        assert 0 < len(nested) < len(layers), archive
        left_out = re.search(r"^(\d+) layers? not nested", text, re.MULTILINE)
        assert left_out and int(left_out[1]) == len(layers) - len(nested), (archive.name, len(layers), len(nested), text)


def fixtures():
    """Each fixture gives what is expected of it."""
    archives = sorted((HERE.parent / "fixtures").glob("*.tar.gz"))
    assert archives
    for archive in archives:
        golden = HERE.parent / "golden" / (archive.name.removesuffix(".tar.gz") + ".json")
        got = json.dumps(json.loads(status(f"--root={unpack(archive)}")), indent=1, ensure_ascii=False) + "\n"
        if os.environ.get("UPDATE_GOLDEN"):
            golden.write_text(got)
        assert got == golden.read_text(), f"{archive.name}: not what {golden.name} says (UPDATE_GOLDEN=1 rewrites it)"


# ---- this machine ----

class Stack(contextlib.ExitStack):
    """ext4 on a loop, served by bindfs, an image on that, a loop and XFS on it; a btrfs on two loops; swap."""

    def __init__(self):
        super().__init__()
        self.place = pathlib.Path(tempfile.mkdtemp(prefix="stack-", dir=SCRATCH))

    def image(self, path, mib, *mkfs):
        with open(path, "wb") as f:
            f.truncate(mib << 20)
        if mkfs:
            run(*mkfs, path)
        device = run("losetup", "--find", "--show", path).stdout.decode().strip()
        self.callback(run, "losetup", "--detach", device, check=False)
        return device

    def mount(self, device, name, *options):
        target = self.place / name
        target.mkdir()
        run("mount", *options, device, target)
        self.callback(run, "umount", "--lazy", target, check=False)
        return target

    def serve(self, source, name):
        target = self.place / name
        target.mkdir()
        p = subprocess.Popen(["bindfs", "-f", str(source), str(target)], stdin=subprocess.DEVNULL, env=ENVIRONMENT)
        self.callback(p.wait, timeout=20)
        self.callback(run, "umount", "--lazy", target, check=False)
        for _ in range(200):
            if os.path.ismount(target):
                return target
            time.sleep(0.05)
        raise AssertionError("bindfs did not mount")

    def build(self):
        lower = self.mount(self.image(self.place / "lower.img", 400, "mkfs.ext4", "-qF"), "lower")
        served = self.serve(lower, "served")
        self.mount(self.image(served / "upper.img", 330, "mkfs.xfs", "-qf"), "upper")
        members = [self.image(self.place / f"btrfs{i}.img", 200) for i in (1, 2)]
        run("mkfs.btrfs", "-qf", *members)
        self.mount(members[0], "btrfs", "-o", f"device={members[1]}")
        self.uuid = run("btrfs", "filesystem", "show", members[0]).stdout.decode()
        self.uuid = UUID.search(self.uuid)[0]


def capture_still(archive, *options):
    """Captures while the rest of the machine holds still: what it says directly before and after is the same."""
    for _ in range(20):
        before = status("--direct")
        stackctl(*options, "capture", archive)
        if status("--direct") == before:
            return before
    raise Skip("this machine does not hold still")


def require_stack():
    require_root()
    missing = [p for p in ("bindfs", "mkfs.xfs", "mkfs.btrfs", "losetup") if not shutil.which(p)]
    if missing:
        raise Skip("there is no " + ", ".join(missing))
    if not os.path.exists("/dev/fuse") or not os.path.exists("/dev/loop-control"):
        raise Skip("no loop or fuse devices here")


def without_fixes(text):
    """The document, but for what to do about gaps: that is another thing for a capture."""
    document = json.loads(text)
    for gap in document["gaps"]:
        del gap["cure"]
    return document


def real():
    """A real stack is replayed as it is, and scrubbed of its UUIDs."""
    require_stack()
    with Stack() as stack:
        stack.build()
        archive = SCRATCH / "real.tar.gz"
        live = capture_still(archive, "--no-scrub")
        document = json.loads(live)
        upper = next(l for l in document["layers"] if str(stack.place / "upper") in (l.get("mounts") or ()))
        assert upper["height"] >= 1, upper
        served = next(l for l in document["layers"] if str(stack.place / "served") in (l.get("mounts") or ()))
        assert served["processes"], served
        assert "LOOP_GET_STATUS64" in live, "no probe was answered"
        document = without_fixes(live)
        replayed = without_fixes(status(f"--root={unpack(archive)}"))
        if replayed != document:
            (SCRATCH / "live.json").write_text(json.dumps(document, indent=1))
            (SCRATCH / "replay.json").write_text(json.dumps(replayed, indent=1))
            raise AssertionError(run("diff", "-u", SCRATCH / "live.json", SCRATCH / "replay.json", check=False).stdout.decode())
        assert stack.uuid in "".join(run("tar", "-tf", archive).stdout.decode()), "the test does not see the UUID at all"
        scrubbed = SCRATCH / "scrubbed.tar"
        live = capture_still(scrubbed)
        assert stack.uuid.encode() not in scrubbed.read_bytes(), "a UUID is left"
        root = unpack(scrubbed)
        replay = status(f"--root={root}")
        devices, _, mounts = compare_with_lsblk(root)
        assert devices >= 4 and mounts >= 2, (devices, mounts)
        assert without_fixes(UUID.sub("*", replay)) == without_fixes(UUID.sub("*", live))
        assert "/sys/fs/btrfs/" in replay
        content = scrubbed.read_bytes()
        assert b"cmdline" not in content and b"environ" not in content
        keep = os.environ.get("KEEP_CAPTURE")
        if keep:
            shutil.copy(scrubbed, keep)


def unprivileged():
    """What an ordinary user captures is replayed as he saw it."""
    require_stack()
    prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if run(*prefix, STACKCTL, "--version", check=False).returncode != 0:
        raise Skip("nobody cannot run the build")
    place = SCRATCH / "nobody"
    place.mkdir()
    os.chmod(SCRATCH, 0o755)
    os.chown(place, 65534, 65534)
    with Stack() as stack:
        stack.build()
        for _ in range(20):
            before = status("--direct", prefix=prefix)
            run(*prefix, STACKCTL, "--no-scrub", "capture", place / "x.tar")
            if status("--direct", prefix=prefix) == before:
                break
        else:
            raise Skip("this machine does not hold still")
        assert str(stack.place / "served") in before
        assert without_fixes(status(f"--root={unpack(place / 'x.tar')}")) == without_fixes(before)


def main():
    cases = [lsblk_layout, *([lsblk_captures] if os.environ.get("LSBLK_CAPTURES") else []), capture_of_capture, unreadable, hostile, nothing_outside, traced, command_line, terminal,
             files, killed, fixtures, folding, real, unprivileged]
    print(f"1..{len(cases)}")
    for f in cases:
        case(f)
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    finally:
        if not os.environ.get("KEEP_SCRATCH"):
            shutil.rmtree(SCRATCH, ignore_errors=True)
