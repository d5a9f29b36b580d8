# SPDX-License-Identifier: LGPL-2.1-or-later
"""A nested stack on this machine's own kernel, in namespaces of its own and with a bus of its own, for tests that are rough with it.

    disk (loop) > ext4 "lower" > bindfs "served" > image on a loop device > ext4 "inner"

A policy changes something of each kind that can be changed here: mount options, writeback limits, direct I/O, an OOM score.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

INSIDE = "--inside"
ALONE = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation=private"]
PROGRAMS = ("bindfs", "busctl", "choom", "dbus-daemon", "losetup", "mkfs.ext4", "setarch", "unshare")
BUS = """<busconfig><type>system</type><listen>unix:path=/run/bus</listen><policy context='default'>
<allow send_destination='*' eavesdrop='true'/><allow eavesdrop='true'/><allow own='*'/></policy></busconfig>"""
LOWER, SERVED, INNER, RUN = "/run/lower", "/run/served", "/run/inner", "/run/stackd"


def enter(cases):
    """Runs the test again in namespaces of its own. Returns when inside, with the arguments; skips where that cannot be."""
    if sys.argv[-1] == INSIDE:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))    # and what was made is taken down
        os.environ.update(LC_ALL="C.UTF-8", DBUS_SYSTEM_BUS_ADDRESS="unix:path=/run/bus")
        run("mount", "-t", "tmpfs", "run", "/run")
        prepare()
        return sys.argv[1:-1]
    missing = [p for p in PROGRAMS if not shutil.which(p)]
    reason = f"no {', '.join(missing)}" if missing else "needs root" if os.geteuid() != 0 else \
        "no /dev/fuse" if not os.path.exists("/dev/fuse") else \
        "may not make namespaces" if subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode else \
        "no loop devices" if subprocess.run(["losetup", "--find"], capture_output=True, check=False).returncode else None
    if reason:
        print(f"1..0 # SKIP {reason}" if cases else reason)
        sys.exit(0 if cases else 77)
    arguments = [os.path.abspath(a) if os.path.exists(a) else a for a in sys.argv]
    os.execvp(ALONE[0], [*ALONE, sys.executable, *arguments, INSIDE])


def prepare():
    """In an empty /run."""
    for folder in (LOWER, SERVED, INNER, f"{RUN}/policy"):
        os.makedirs(folder)
    pathlib.Path("/run/bus.conf").write_text(BUS, encoding="ascii")


def run(*command, timeout=60):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: status {done.returncode}: {done.stderr}"
    return done.stdout.strip()


def read(path):
    return pathlib.Path(path).read_text(encoding="utf-8", errors="surrogateescape").strip()


def wait_for(condition, what, seconds=30):
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.01)
    return result


def bdi(mount):
    return f"/sys/class/bdi/{run('mountpoint', '--fs-devno', mount)}"


def options(mount):
    """Of the mount, and of the file system."""
    fields = next(line.split() for line in reversed(read("/proc/self/mountinfo").splitlines()) if line.split()[4] == mount)
    return fields[5], fields[-1]


class Stack:
    """Made with it, and taken down at its end."""

    def __init__(self):
        self.loops = []
        self.server = None

    def __enter__(self):
        try:
            self.disk = self.image("/run/disk", 128)
            run("mount", "-o", "noatime", self.disk, LOWER)
            self.server = subprocess.Popen(["choom", "-n", "500", "--", "bindfs", "-f", LOWER, SERVED], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                           stderr=subprocess.DEVNULL)
            wait_for(lambda: os.path.ismount(SERVED), "bindfs has mounted")
            self.device = self.image(f"{SERVED}/image", 32)
            run("mount", self.device, INNER)
        except BaseException:
            self.__exit__()
            raise
        return self

    def image(self, path, megabytes):
        with open(path, "wb") as file:
            file.truncate(megabytes << 20)
        run("mkfs.ext4", "-qF", path)
        self.loops.append(run("losetup", "--find", "--show", path))
        return self.loops[-1]

    def __exit__(self, *_):
        for mount in (INNER, LOWER):
            if os.path.ismount(mount):      # a loop device keeps the limits for whoever uses it next
                for name, value in (("max_ratio", "100"), ("strict_limit", "0")):
                    try:
                        pathlib.Path(bdi(mount), name).write_text(value, encoding="ascii")
                    except OSError:
                        pass
        for mount in (INNER, SERVED, LOWER):
            subprocess.run(["umount", "--lazy", mount], capture_output=True, check=False)
            if mount == INNER and len(self.loops) > 1:
                subprocess.run(["losetup", "--detach", self.loops.pop()], check=False)
        if self.server:
            self.server.kill()
            self.server.wait()
        for loop in self.loops:
            subprocess.run(["losetup", "--detach", loop], check=False)

    def policies(self):
        """Something of each kind."""
        for name, text in {
            "lower": f"[Match]\nMount={LOWER}\n[Mount]\nOptions=relatime,nodev,commit=17,lazytime\n[Writeback]\nMaxRatio=40\nStrictLimit=yes\n",
            "inner": f"[Match]\nMount={INNER}\n[Mount]\nOptions=commit=60\n[Writeback]\nMaxRatio=30\n",
            "loop": f"[Match]\nDevice={self.device.removeprefix('/dev/')}\n[Block]\nDirectIO=yes\n",
            "others": "[Match]\nProcess=python*\n[Process]\nIOFlusher=no\n",       # of hung.py
            "server": "[Match]\nProcess=bindfs\n[Process]\nIOFlusher=no\n[OOM]\nScoreAdjust=100\n",
        }.items():
            pathlib.Path(f"{RUN}/policy/10-{name}.policy").write_text(text, encoding="ascii")

    def state(self):
        """All that the policies change."""
        return (*options(LOWER), *options(INNER), *(read(f"{bdi(m)}/{name}") for m in (LOWER, INNER) for name in ("max_ratio", "strict_limit")),
                read(f"/sys/block/{self.device.removeprefix('/dev/')}/loop/dio"), read(f"/proc/{self.server.pid}/oom_score_adj"))


def ledger():
    """What is recorded as done."""
    try:
        return [line for line in read(f"{RUN}/ledger").splitlines() if not line.startswith(("boot ", "held "))]
    except FileNotFoundError:
        return []


class Bus:
    def __enter__(self):
        self.process = subprocess.Popen(["dbus-daemon", "--config-file=/run/bus.conf", "--nofork", "--print-address"], stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL)
        self.process.stdout.readline()
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
