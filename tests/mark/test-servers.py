#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Marks and unmarks real servers while fio writes through them and compares what it reads: nothing may go wrong.

usage: test-servers.py HELPER [--marks N] [--only NAME,...] [--seconds N] [--phases idle,busy] [--keep DIRECTORY]
       test-servers.py HELPER [--marks N] ... --running PID,... --directory DIRECTORY
By hand, as root. The helper is the test build: its call is PR_SET_TIMERSLACK. Everything runs in namespaces of its own.
Each server gets so many marks and unmarks in each phase; while "busy", all processors have other work, too.
Packages: tools/install-deps servers. In the second form servers are marked that are there already: tests/vm/scenarios/mark-servers.sh.
"""

import argparse
import collections
import contextlib
import importlib
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

calls = importlib.import_module("test-mark-calls")
check, Marker, load, untraced = calls.check, calls.Marker, calls.load, calls.untraced

PATIENCE = 60  # seconds, after which a test has failed
SIZE = 64 << 20  # of an image
DEADLINE = 5000  # ms of a mark, as stackd gives it
TROUBLE = re.compile(r"error|fail|interrupt|short|reconnect|EINTR|broken|timed? ?out|reset|abort|refused|corrupt|mismatch|panic|crit", re.I)
JAVA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "NbdServer.java")

# Without serialize_overlap it verifies a block that it is still writing (https://github.com/axboe/fio/issues/792).
FIO_COMMON = """[global]
thread
time_based
runtime=86400
rw=randrw
rwmixwrite=70
verify=crc32c
verify_fatal=1
verify_dump=1
serialize_overlap=1
verify_backlog=32
"""
FIO_FILE = 4 << 20
FIO_DIRECTORY = FIO_COMMON + f"""directory={{where}}
size={FIO_FILE}
[direct]
direct=1
bs=16k
[buffered]
bs=64k
fsync=8
[large]
direct=1
bs=256k
[again]
direct=1
bs=4k
fdatasync=16
"""
FIO_NBD = FIO_COMMON + """ioengine=nbd
uri={where}
size=8m
iodepth=8
[small]
bs=4k
fsync=64
[large]
offset=16m
bs=256k
fsync=16
"""
FIO_NBD_ONE = FIO_NBD.replace("[large]", "[none]\nstonewall\n[large]")  # for what takes one connection only


def wait_for(what, condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        check(time.monotonic() < end, "not in time:", what)
        time.sleep(0.02)


def descendants(pids):
    """The processes, and all that they started."""
    found = []
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.append(pid)
            for tid in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{tid}/children", encoding="ascii") as f:
                    found += descendants([int(p) for p in f.read().split()])
    return found


def name_of(pid):
    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as f:
        return f.read().strip()


class Setup:
    """A directory for one server, what was started in it, and how it is used."""

    def __init__(self, directory):
        self.directory = directory
        self.source, self.mount = f"{directory}/source", f"{directory}/mount"
        self.image, self.socket = f"{directory}/image", f"{directory}/socket"
        self.log = f"{directory}/log"
        self.processes, self.daemons = [], []
        self.job, self.allowed, self.names = None, None, True
        for d in (self.source, self.mount):
            os.mkdir(d)
        with open(self.image, "wb") as f:
            f.truncate(SIZE)

    def spawn(self, *command, **more):
        with open(self.log, "ab") as log:
            self.processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **more))
        return self.processes[-1]

    def pids(self):
        return descendants([p.pid for p in self.processes] + self.daemons)

    def run(self, *command):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
        check(done.returncode == 0, command, done.stdout, done.stderr)

    def file(self, name, text):
        path = f"{self.directory}/{name}"
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def mounted(self):
        wait_for("the mount", lambda: os.path.ismount(self.mount))
        self.job = FIO_DIRECTORY.format(where=self.mount)
        for name in re.findall(r"^\[(?!global)(\w+)", self.job, re.M):
            with open(f"{self.mount}/{name}.0.0", "wb") as f:
                f.truncate(FIO_FILE)

    def nbd(self, uri=None, job=FIO_NBD):
        uri = uri or f"nbd+unix:///?socket={self.socket}"
        wait_for("the export", lambda: subprocess.run(["nbdinfo", "--size", uri], capture_output=True).returncode == 0)
        self.job = job.format(where=uri)

    def log_size(self):
        return os.path.getsize(self.log) if os.path.exists(self.log) else 0

    def trouble(self, offset):
        if not os.path.exists(self.log):
            return []
        with open(self.log, encoding="utf-8", errors="replace") as f:
            f.seek(offset)
            return [line.strip() for line in f if TROUBLE.search(line) and not (self.allowed and re.search(self.allowed, line))]

    def close(self):
        if os.path.ismount(self.mount):
            subprocess.run(["umount", self.mount], capture_output=True, timeout=PATIENCE)
        for pid in reversed(self.pids()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for p in self.processes:
            p.wait()


# ---- servers ----

SERVERS = {}


def server(name, *programs):
    def add(function):
        SERVERS[name] = (function, programs)
        return function
    return add


@server("bindfs", "bindfs")
def bindfs(s):
    s.spawn("bindfs", "-f", s.source, s.mount)
    s.mounted()


@server("bindfs-mt", "bindfs")
def bindfs_mt(s):
    s.spawn("bindfs", "-f", "--multithreaded", s.source, s.mount)
    s.mounted()


@server("sshfs", "sshfs", "sshd")
def sshfs(s):
    """With ssh, the sshd of that connection, and its sftp-server."""
    os.makedirs("/run/sshd", exist_ok=True)
    for key in "host", "user":
        s.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{s.directory}/{key}")
    config = s.file("sshd.conf", f"HostKey {s.directory}/host\nAuthorizedKeysFile {s.directory}/user.pub\nStrictModes no\nUsePAM no\n"
                    "PermitRootLogin yes\nListenAddress 127.0.0.1:2222\nPidFile none\nSubsystem sftp /usr/lib/openssh/sftp-server\n")
    s.spawn("/usr/sbin/sshd", "-D", "-e", "-f", config)
    s.spawn("sshfs", "-f", "-p", "2222", "-o", f"IdentityFile={s.directory}/user,StrictHostKeyChecking=no,UserKnownHostsFile=/dev/null,ConnectionAttempts=20",
            f"127.0.0.1:{s.source}", s.mount)
    s.mounted()


@server("rclone", "rclone")
def rclone(s):
    """It takes it for an error that a file is renamed or removed while it uploads what was written."""
    s.names = False
    s.spawn("rclone", "mount", "--config", "/dev/null", "--cache-dir", f"{s.directory}/cache", "--vfs-cache-mode", "full", "--vfs-write-back", "0", s.source, s.mount)
    s.mounted()


@server("gocryptfs", "gocryptfs")
def gocryptfs(s):
    s.run("gocryptfs", "-init", "-q", "-extpass", "echo x", "-scryptn", "10", s.source)
    s.spawn("gocryptfs", "-fg", "-q", "-extpass", "echo x", s.source, s.mount)
    s.mounted()


@server("fuse2fs", "fuse2fs", "mke2fs")
def fuse2fs(s):
    s.run("mke2fs", "-q", "-F", "-t", "ext4", s.image)
    s.allowed = r"filesystem errors|Writing to the journal"
    s.spawn("fuse2fs", "-f", "-o", "fakeroot", s.image, s.mount)
    s.mounted()


@server("ntfs-3g", "ntfs-3g", "mkntfs")
def ntfs(s):
    s.run("mkntfs", "-q", "-F", "-f", "-s", "512", "-p", "0", "-H", "0", "-S", "0", s.image)
    s.spawn("ntfs-3g", "-o", "no_detach", s.image, s.mount)
    s.mounted()


@server("nbd-server", "nbd-server")
def nbd_server(s):
    config = s.file("nbd.conf", f"[generic]\nunixsock = {s.socket}\nport = 10810\n[image]\nexportname = {s.image}\nflush = true\n")
    s.run("nbd-server", "-C", config, "-p", f"{s.directory}/pid")
    wait_for("its pid", lambda: os.path.exists(f"{s.directory}/pid") and os.path.getsize(f"{s.directory}/pid"))
    with open(f"{s.directory}/pid", encoding="ascii") as f:
        s.daemons.append(int(f.read()))
    s.nbd(f"nbd+unix:///image?socket={s.socket}")


@server("nbdkit", "nbdkit")
def nbdkit(s):
    s.spawn("nbdkit", "-f", "-U", s.socket, "file", s.image)
    s.nbd()


@server("nbdkit-tcp", "nbdkit")
def nbdkit_tcp(s):
    s.spawn("nbdkit", "-f", "-p", "10809", "--filter=cow", "file", s.image)
    s.nbd("nbd://127.0.0.1")


@server("qemu-nbd", "qemu-nbd")
def qemu_nbd(s):
    s.spawn("qemu-nbd", "-t", "-e", "4", "-f", "raw", "-k", s.socket, s.image)
    s.nbd()


@server("qemu-storage-daemon", "qemu-storage-daemon")
def qemu_storage_daemon(s):
    s.spawn("qemu-storage-daemon", "--blockdev", f"file,node-name=f,filename={s.image}", "--blockdev", "raw,node-name=r,file=f",
            "--nbd-server", f"addr.type=unix,addr.path={s.socket},max-connections=0", "--export", "nbd,id=e,node-name=r,name=,writable=on")
    s.nbd()


@server("qemu-io_uring", "qemu-storage-daemon")
def qemu_io_uring(s):
    s.spawn("qemu-storage-daemon", "--blockdev", f"file,node-name=f,filename={s.image},aio=io_uring", "--blockdev", "raw,node-name=r,file=f",
            "--nbd-server", f"addr.type=unix,addr.path={s.socket},max-connections=0", "--export", "nbd,id=e,node-name=r,name=,writable=on")
    s.nbd()


@server("tgtd", "tgtd", "qemu-nbd")
def tgtd(s):
    """With qemu-nbd, which makes of what it gets by iSCSI something that fio can use."""
    os.makedirs("/run/tgtd", exist_ok=True)
    s.spawn("tgtd", "-f", "--iscsi", "portal=127.0.0.1:3260")
    admin = ["tgtadm", "--lld", "iscsi"]
    wait_for("tgtd", lambda: subprocess.run([*admin, "--op", "show", "--mode", "target"], capture_output=True).returncode == 0)
    s.run(*admin, "--op", "new", "--mode", "target", "--tid", "1", "-T", "iqn.2026-01.test:image")
    s.run(*admin, "--op", "new", "--mode", "logicalunit", "--tid", "1", "--lun", "1", "-b", s.image)
    s.run(*admin, "--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL")
    s.spawn("qemu-nbd", "-t", "-e", "4", "-f", "raw", "-k", s.socket, "iscsi://127.0.0.1/iqn.2026-01.test:image/1")
    s.nbd()


@server("nfs-ganesha", "ganesha.nfsd", "rpcbind", "qemu-nbd")
def ganesha(s):
    """With qemu-nbd, as above."""
    os.makedirs("/run/ganesha", exist_ok=True)
    os.rename(s.image, f"{s.source}/image")
    config = s.file("ganesha.conf", f"NFS_CORE_PARAM {{ Protocols = 3; NFS_Port = 2049; Enable_NLM = false; Enable_RQUOTA = false; }}\n"
                    f"EXPORT {{ Export_Id = 1; Path = {s.source}; Pseudo = /x; Access_Type = RW; Squash = No_Root_Squash; SecType = sys; Protocols = 3; FSAL {{ Name = VFS; }} }}\n")
    s.spawn("rpcbind", "-f", "-w")
    wait_for("rpcbind", lambda: subprocess.run(["rpcinfo", "-p", "127.0.0.1"], capture_output=True).returncode == 0)
    s.spawn("ganesha.nfsd", "-F", "-L", "/dev/stdout", "-N", "NIV_EVENT", "-f", config, "-p", f"{s.directory}/pid")
    wait_for("ganesha", lambda: " 100005 " in subprocess.run(["rpcinfo", "-p", "127.0.0.1"], capture_output=True, text=True).stdout)
    s.spawn("qemu-nbd", "-t", "-e", "4", "-f", "raw", "-k", s.socket, f"nfs://127.0.0.1{s.source}/image")
    s.nbd()


@server("java", "java")
def java(s):
    s.spawn("java", "-Xmx128m", JAVA, s.image, "10809")
    s.nbd("nbd://127.0.0.1:10809")


# ---- the load ----

class Files:
    """Files that come and go in a directory; they are read from its server, not from the page cache."""

    def __init__(self, directory, size_most):
        self.directory, self.size_most = directory, size_most
        self.effects, self.rounds = [], 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        os.makedirs(self.directory, exist_ok=True)
        while not self.over.is_set():
            try:
                self.round(f"{self.directory}/a", f"{self.directory}/b", os.urandom(random.randrange(1, self.size_most)))
            except OSError as e:
                self.effects.append(repr(e))
            self.rounds += 1

    def round(self, a, b, data):
        with open(a, "wb", buffering=0) as f:
            written = f.write(data)
            os.fsync(f.fileno())
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if written != len(data) or os.stat(a).st_size != len(data):
            self.effects.append(f"short write of {written}")
        os.rename(a, b)
        with open(b, "rb", buffering=0) as f:
            if f.read(len(data) + 1) != data:
                self.effects.append("other contents")
        listed = [name for name in os.listdir(self.directory) if not name.startswith(".fuse_hidden")] # libfuse's, still open
        if listed != ["b"]:
            self.effects.append(f"listed: {listed}")
        os.unlink(b)

    def stop(self):
        self.over.set()
        self.thread.join()


class Load:
    """fio, and for a file system what else is done with files."""

    def __init__(self, setup):
        self.setup, self.files = setup, []
        self.output = f"{setup.directory}/fio.json"
        with open(f"{setup.directory}/fio.log", "wb") as log:
            self.p = subprocess.Popen(["fio", "--output-format=json", f"--output={self.output}", f"--aux-path={setup.directory}",
                                       setup.file("job.fio", setup.job)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
        if setup.names and os.path.ismount(setup.mount):
            self.files = [Files(f"{setup.mount}/names", 70000)]

    def alive(self):
        return self.p.poll() is None

    def stop(self):
        """What went wrong, and what was transferred."""
        for files in self.files:
            files.stop()
        self.p.send_signal(signal.SIGINT)
        self.p.wait(timeout=PATIENCE)
        with open(self.output, encoding="utf-8", errors="replace") as f:
            text = f.read()
        with open(f"{self.setup.directory}/fio.log", encoding="utf-8", errors="replace") as f:
            wrong = [line.strip() for line in f if TROUBLE.search(line)]
        if self.p.returncode not in (0, 128):
            wrong.append(f"fio ended with {self.p.returncode}")
        jobs = json.loads(text[text.index("{"):])["jobs"] if "{" in text else []
        wrong += [f"fio's {j['jobname']}: error {j['error']}" for j in jobs if j["error"]]
        idle = [j["jobname"] for j in jobs if j["read"]["io_bytes"] == 0 or j["write"]["io_bytes"] == 0]
        if idle or not jobs:
            wrong.append(f"fio did nothing: {idle}")
        moved = sum(j["read"]["io_bytes"] + j["write"]["io_bytes"] for j in jobs)
        return [e for files in self.files for e in files.effects] + wrong, f"{moved >> 20} MiB by fio, {sum(f.rounds for f in self.files)} files"


class OwnLoad:
    """Where there is no fio: files only, small and large."""

    def __init__(self, directory):
        self.files = [Files(f"{directory}/{size}", size) for size in (4096, 70000, 2 << 20)]

    def alive(self):
        return True

    def stop(self):
        for files in self.files:
            files.stop()
        wrong = [e for files in self.files for e in files.effects]
        return wrong + ["no round"] * any(f.rounds == 0 for f in self.files), f"{sum(f.rounds for f in self.files)} files"


# ---- marks ----

class Tally:
    """What the marker said of all marks of one name."""

    def __init__(self):
        self.states, self.results = collections.Counter(), collections.Counter()
        self.stopped, self.cut, self.took, self.stops = [], 0, [], collections.Counter()

    def add(self, text, took):
        m = re.search(r"^result (\S+) total \d+ marked \d+ passes \d+ cut (\d+)", text, re.M)
        check(m, "no result:", text)
        self.states[m[1]] += 1
        self.cut += int(m[2])
        self.took.append(took)
        for result, stopped in re.findall(r"^thread \d+ (\S+) (\d+)", text, re.M):
            self.results[result] += 1
            if int(stopped):
                self.stopped.append(int(stopped) / 1000)
                self.stops[result] += 1

    def __str__(self):
        s = sorted(self.stopped)
        times = f"{statistics.median(s):.0f}/{s[int(len(s) * 0.99)]:.0f}/{s[-1]:.0f}" if s else "-"
        return (f"marks {dict(self.states)}, threads {dict(self.results)}, cut {self.cut}, stopped us median/p99/max {times} ({len(s)}), "
                f"a mark took ms median {statistics.median(self.took) * 1000:.0f} most {max(self.took) * 1000:.0f}")


def marks_apply(o, marker, find, running, tallies):
    """Each of the processes that 'find' finds in turn; all of them have so many marks."""
    pids = [p for p in find() if not o.processes or name_of(p) in o.processes]
    names = {pid: name_of(pid) for pid in pids}
    end = time.monotonic() + o.seconds
    if o.marks == 0:
        time.sleep(o.unmarked)
    for i in range(2 * o.marks):
        if i % 2 == 0 and time.monotonic() > end:
            break
        for pid in pids:
            began = time.monotonic()
            text = marker.mark(pid, "--clear" if i % 2 else "--set", o.deadline)
            tallies[names[pid]].add(text, time.monotonic() - began)
        time.sleep(random.random() * 0.01)
        check(running.alive(), "fio has ended")
    for pid in pids:
        untraced(pid)
    check(set(pids) <= set(find()), "a process has ended:", names)


def phase_run(o, marker, find, start, trouble, phase):
    """A load, and the marks beside it: what went wrong."""
    tallies, wrong = collections.defaultdict(Tally), []
    with load(phase == "busy"):
        running = start()
        time.sleep(1)
        try:
            marks_apply(o, marker, find, running, tallies)
        except (AssertionError, OSError) as e:
            wrong.append(f"{type(e).__name__}: {e}")
        effects, note = running.stop()
    wrong += effects + trouble()
    wrong += [f"{name}: the marker cut {t.cut}" for name, t in tallies.items() if t.cut]
    print(f"# {phase}: {note}, effects {len(wrong)}")
    for name, tally in tallies.items():
        print(f"#   {name}: {tally}", flush=True)
    return [f"{phase}: {w}" for w in wrong]


def server_run(o, marker, name, base):
    function, programs = SERVERS[name]
    missing = [p for p in (*programs, "fio", "nbdinfo") if not shutil.which(p)]
    if missing:
        return f"ok - {name} # SKIP no {' '.join(missing)}", []
    os.mkdir(f"{base}/{name}")
    setup, wrong = Setup(f"{base}/{name}"), []
    try:
        function(setup)
        for phase in o.phases:
            offset = setup.log_size()
            wrong += phase_run(o, marker, setup.pids, lambda: Load(setup), lambda o=offset: setup.trouble(o), phase)
    except (AssertionError, OSError, subprocess.SubprocessError) as e:
        wrong.append(f"{type(e).__name__}: {e}")
    finally:
        setup.close()
    return f"{'not ok' if wrong else 'ok'} - {name}", wrong


def running_run(o, marker):
    """Servers that are there, and what they serve."""
    wrong = []
    for phase in o.phases:
        wrong += phase_run(o, marker, lambda: [p for p in o.running if os.path.exists(f"/proc/{p}")], lambda: OwnLoad(o.directory), list, phase)
    return f"{'not ok' if wrong else 'ok'} - {o.directory}", wrong


def namespaces_enter():
    """Mounts, ports, /run and processes of our own: what is left behind ends with us."""
    if os.environ.get("STACKD_TEST_SERVERS") != "inside":
        os.environ["STACKD_TEST_SERVERS"] = "inside"
        os.execvp("unshare", ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private",
                              sys.executable, *sys.argv])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for directory in "/run", "/tmp":
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", directory], check=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("helper")
    parser.add_argument("--marks", type=int, default=500, help="of each process in each phase, and as many unmarks")
    parser.add_argument("--processes", type=lambda s: s.split(","), help="only those of this name are marked")
    parser.add_argument("--seconds", type=int, default=86400, help="of a phase, after which it has to do with fewer")
    parser.add_argument("--only", type=lambda s: s.split(","), default=list(SERVERS))
    parser.add_argument("--phases", type=lambda s: s.split(","), default=["idle", "busy"])
    parser.add_argument("--keep", type=os.path.abspath, help="where logs and files are left")
    parser.add_argument("--unmarked", type=int, default=10, help="seconds without a mark, with --marks 0: what servers do by themselves")
    parser.add_argument("--deadline", type=int, default=DEADLINE, help="ms that a mark may take")
    parser.add_argument("--running", type=lambda s: [int(p) for p in s.split(",")], metavar="PID,...", help="these, which serve what is in")
    parser.add_argument("--directory")
    o = parser.parse_args()
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    if not o.running:
        namespaces_enter()
    bad = 0
    with tempfile.TemporaryDirectory(dir="/var/tmp") as base, Marker(o.helper) as marker:
        for name in ["running"] if o.running else o.only:
            line, wrong = running_run(o, marker) if o.running else server_run(o, marker, name, o.keep or base)
            bad += bool(wrong)
            print(line, *(f"# {w}" for w in wrong[:20]), sep="\n", flush=True)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
