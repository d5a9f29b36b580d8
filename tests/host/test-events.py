#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What stackctl monitor tells of a real stackd on a bus of its own, while file systems come and go and stackd is killed.

Usage: test-events.py STACKCTL STACKD
Runs itself again in namespaces of its own, in which stackd sees nothing else.
"""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

STACKCTL, STACKD = (os.path.abspath(p) for p in sys.argv[1:3])
BUS = """<busconfig><type>system</type><listen>unix:path=/run/bus</listen><policy context='default'>
<allow send_destination='*' eavesdrop='true'/><allow eavesdrop='true'/><allow own='*'/></policy></busconfig>"""


class Monitor:
    def __init__(self):
        self.process = subprocess.Popen([STACKCTL, "monitor", "--json=short"], stdout=subprocess.PIPE)
        self.rest = b""
        self.events = []

    def until(self, what, **wanted):
        """Reads on to the first event of that kind whose object has these members."""
        end = time.monotonic() + 30
        while True:
            while b"\n" in self.rest:
                line, _, self.rest = self.rest.partition(b"\n")
                event = json.loads(line)
                self.events.append(event)
                if event["event"] == what and all(event.get("object", {}).get(k) == v for k, v in wanted.items()):
                    return event
            ready = select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))[0]
            assert ready, f"no {what} {wanted} within 30 s, but {self.events}"
            self.rest += os.read(self.process.stdout.fileno(), 65536)


def start_stackd():
    daemon = subprocess.Popen([STACKD], stderr=subprocess.DEVNULL)
    for _ in range(600):
        if subprocess.run(["busctl", "--address=unix:path=/run/bus", "status", "org.stackd1"], capture_output=True, check=False).returncode == 0:
            return daemon
        time.sleep(0.05)
    raise AssertionError("stackd did not come onto the bus")


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def tells_of_namespaces():
    """From Linux 6.15 on the kernel tells of mounts in other namespaces."""
    return tuple(int(n) for n in os.uname().release.split("-")[0].split(".")[:2]) >= (6, 15)


def other_namespace(monitor):
    """A namespace is watched once it has been seen, which an event in our own brings about."""
    other = subprocess.Popen(["unshare", "--mount", "--propagation=private", "sleep", "1000"])
    own = os.readlink("/proc/self/ns/mnt")
    while os.readlink(f"/proc/{other.pid}/ns/mnt") == own:
        time.sleep(0.01)
    run("mount", "-t", "tmpfs", "seen", "/run/seen")
    monitor.until("layer-appeared", type="tmpfs", mounts=["/run/seen"])
    inside = ["nsenter", f"--target={other.pid}", "--mount"]
    if tells_of_namespaces():
        run(*inside, "mount", "-t", "tmpfs", "elsewhere", "/run/elsewhere")
        layer = monitor.until("layer-appeared", type="tmpfs", mounts=["/run/elsewhere"])["object"]["id"]
        run(*inside, "umount", "/run/elsewhere")
        monitor.until("layer-gone", id=layer)
    run(*inside, "mount", "-t", "tmpfs", "elsewhere", "/run/elsewhere")
    run("umount", "/run/seen")
    layer = monitor.until("layer-appeared", type="tmpfs", mounts=["/run/elsewhere"])["object"]["id"]
    # It is not kept alive, and its end is noticed.
    other.kill()
    other.wait()
    monitor.until("layer-gone", id=layer)


def events_on_a_bus():
    os.environ.update(DBUS_SYSTEM_BUS_ADDRESS="unix:path=/run/bus", STACKD_BINARY="/does/not/exist", LC_ALL="C.UTF-8")
    run("mount", "-t", "tmpfs", "run", "/run")
    for folder in ("/run/stackd", "/run/lower", "/run/upper", "/run/seen", "/run/elsewhere"):
        os.mkdir(folder)
    with open("/run/bus.conf", "w", encoding="ascii") as f:
        f.write(BUS)
    bus = subprocess.Popen(["dbus-daemon", "--config-file=/run/bus.conf", "--nofork", "--print-address"], stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL)
    bus.stdout.readline()
    daemon = start_stackd()
    monitor = Monitor()
    monitor.until("ready")

    other_namespace(monitor)
    run("mount", "-t", "tmpfs", "lower", "/run/lower")
    monitor.until("layer-appeared", type="tmpfs", mounts=["/run/lower"], depth=0)
    run("bindfs", "/run/lower", "/run/upper")
    server = monitor.until("process-appeared", comm="bindfs")["object"]
    assert server["depth"] == 1 and server["threads"] >= 1, server
    # Marked where that is permitted, a hazard for ever where it is not.
    hazard = monitor.until("hazard-appeared", process=server["id"])["object"]
    assert hazard["id"].startswith("nofs-"), hazard

    daemon.kill()
    daemon.wait()
    monitor.until("daemon-gone")
    run("umount", "/run/upper")
    daemon = start_stackd()
    monitor.until("daemon-back")
    gone = {e["id"] for e in monitor.events if e["event"] == "hazard-gone"}
    if server["id"] not in gone:
        monitor.until("hazard-gone", process=server["id"])
    monitor.until("process-gone", pid=server["pid"])
    run("umount", "/run/lower")
    monitor.until("layer-gone", mounts=["/run/lower"])

    monitor.process.send_signal(signal.SIGTERM)
    assert monitor.process.wait(timeout=20) == 0, "the monitor's status"
    for process in (daemon, bus):
        process.terminate()
        process.wait()


def main():
    if len(sys.argv) > 3:
        events_on_a_bus()
        return 0
    print("1..1")
    missing = [p for p in ("dbus-daemon", "busctl", "bindfs", "unshare") if not shutil.which(p)]
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if missing or subprocess.run([*command, "true"], capture_output=True, check=False).returncode != 0:
        print("ok 1 - events of a real stackd # SKIP", f"no {', '.join(missing)}" if missing else "no namespaces (root?)")
        return 0
    with tempfile.TemporaryFile() as log:
        status = subprocess.run([*command, sys.executable, *sys.argv, "inside"], stdout=log, stderr=log, timeout=150, check=False).returncode
        log.seek(0)
        print(f"{'ok' if status == 0 else 'not ok'} 1 - events of a real stackd")
        for line in log.read().decode(errors="replace").splitlines() if status else ():
            print("# " + line)
    return status


sys.exit(main())
