#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""stackctl monitor: every event in text and JSON, how it ends, and what it does when the daemon goes and comes.

Usage: test-monitor.py STACKCTL FAKE-STACKD
"""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time

from cli_harness import (FAKE, HERE, SCRATCH, STACKCTL, calls, case, document, environment, equal, finish, harmless, report, run,
                         trouble)

HAZARD = '{"id":"nofs-partial","severity":"error","process":"process:812:4711","layer":"fs:253:0","message":"3 of 5","cure":"c"}'
ACTION = '{"kind":"io-flusher","target":"process:812:4711","from":"none","to":"all","state":"%s","error":%s}'
EVENTS = [
    "added fs:9:9 Kind:s=filesystem,Type:s=ext4,Name:s=loop9,Mounts:as=/mnt/new,Depth:u=0",
    "added process:9:9 PID:u=9,Command:s=bindfs,Depth:u=1,Threads:u=3,ThreadsIOFlusher:u=0,New:s=of a later version",
    "changed fs:253:0 Depth:u=2,DepthCertain:u=2,Mounts:as=/mnt/elsewhere",
    "changed fs:253:0 Depth:u=2",   # again: no event
    "changed process:812:4711 ThreadsIOFlusher:u=5,Depth:u=2,Threads:u=5",
    "HazardAppeared " + HAZARD,
    "HazardAppeared " + HAZARD,     # again: no event
    "ActionDone " + ACTION % ("applied", "null"),
    "ActionDone " + ACTION % ("failed", '"thread 7: a debugger traces it"'),
    "ActionDone " + ACTION % ("reverted", "null"),
    "HazardGone " + HAZARD,
    "HazardGone " + HAZARD,
    "removed process:9:9",
    "removed fs:9:9",
    "removed fs:9:9",
    "Unheard of",
    "HazardAppeared not JSON",
    "added fs:66:6 Kind:s=filesystem,Type:s=e\x1b[2Jvil\u202e,Mounts:as=/\x07,Depth:u=0",
]
NAMES = ["ready", "layer-appeared", "process-appeared", "layer-changed", "process-changed", "hazard-appeared", "action-applied",
         "action-failed", "action-reverted", "hazard-gone", "process-gone", "layer-gone", "layer-appeared"]


def events_file(events):
    path = SCRATCH + "/events"
    with open(path, "w", encoding="utf-8") as f:
        f.write("".join(e + "\n" for e in events))
    return path


class Monitor:
    """One that runs; reads lines as they come."""

    def __init__(self, *arguments, events=(), stderr=subprocess.PIPE, **env):
        self.rest = b""
        self.process = subprocess.Popen([STACKCTL, "monitor", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr,
                                        env=environment(FAKE_EVENTS=events_file(events), **env))

    def line(self, seconds=20):
        end = time.monotonic() + seconds
        while b"\n" not in self.rest:
            ready = select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))[0]
            assert ready, "no line within %d s" % seconds
            piece = os.read(self.process.stdout.fileno(), 65536)
            if not piece:
                return None
            self.rest += piece
        line, _, self.rest = self.rest.partition(b"\n")
        return line.decode()

    def lines(self, n):
        return [self.line() for _ in range(n)]

    def end(self, number=signal.SIGINT):
        """Status, what else came on standard output, and standard error."""
        if number:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, self.rest + out, err


def events_as_text():
    m = Monitor(events=EVENTS)
    lines = m.lines(len(NAMES))
    equal(m.end(), (0, b"", b""), "end")
    assert all(re.match(r"\d\d:\d\d:\d\d\.\d{3}  ", line) for line in lines), lines
    got = "".join(re.sub(r"^\S+", "TIME", line) + "\n" for line in lines)
    assert harmless(got), got
    path = os.path.join(HERE, "golden", "monitor.txt")
    if os.environ.get("UPDATE_GOLDEN"):
        with open(path, "w", encoding="utf-8") as f:
            f.write(got)
    with open(path, encoding="utf-8") as f:
        equal(got, f.read(), "monitor.txt")


def events_as_json_lines():
    m = Monitor("--json=short", events=EVENTS)
    objects = [json.loads(line) for line in m.lines(len(NAMES))]
    equal(m.end()[:2], (0, b""))
    equal([o["event"] for o in objects], NAMES)
    for o in objects:
        equal(o["version"], 1)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", o["time"]), o
    equal(objects[3]["changes"], {"mounts": [["/mnt/xfs"], ["/mnt/elsewhere"]], "depth": [1, 2], "depth_certain": [1, 2]})
    equal(objects[3]["object"]["type"], "xfs", "what the signal does not say is kept")
    equal(objects[4]["changes"], {"threads_io_flusher": [0, 5]})
    equal(objects[5]["object"], json.loads(HAZARD))
    equal(objects[7]["object"]["error"], "thread 7: a debugger traces it")
    equal(objects[1]["label"], "ext4 /mnt/new")
    equal(objects[10]["label"], "bindfs[9]", "still known by its name")


def no_legend_begins_with_the_first_event():
    m = Monitor("--json=short", "--no-legend", events=EVENTS)
    equal(json.loads(m.line())["event"], "layer-appeared")
    m.end()


def ends_with_signals():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        m = Monitor()
        assert m.line().endswith("listening")
        equal(m.end(number), (0, b"", b""), signal.Signals(number).name)
        equal(calls()[-3:], ["Subscribe", "Describe ", "gone"])


def ends_with_its_reader():
    """Also when nothing happens that it could fail to write."""
    m = Monitor()
    m.line()
    m.process.stdout.close()
    m.process.stdout = None
    equal(m.process.wait(timeout=20), 0)
    equal(m.process.stderr.read(), b"")
    m.process.stderr.close()
    r, w = os.pipe()
    os.close(r)
    result = run("monitor", stdout=w, FAKE_EVENTS=events_file(EVENTS))
    os.close(w)
    equal((result.returncode, result.stderr), (0, b""))


def full_disk_is_said():
    with open("/dev/full", "wb") as full:
        r = run("monitor", stdout=full, FAKE_EVENTS=events_file(EVENTS))
    assert r.returncode == 2 and b"No space left" in r.stderr, r


def private_daemon_that_ends():
    m = Monitor(events=EVENTS[:1] + ["exit"])
    lines = m.lines(2)
    assert "ext4 /mnt/new" in lines[1], lines
    status, out, err = m.end(None)
    assert status == 2 and not out and b"The private stackd exited with status 0." in err, (status, out, err)


class Bus:
    def __init__(self):
        conf = SCRATCH + "/monitor-bus.conf"
        with open(conf, "w", encoding="utf-8") as f:
            f.write("<busconfig><type>system</type><listen>unix:path=%s/monitor-bus</listen><policy context='default'>"
                    "<allow send_destination='*' eavesdrop='true'/><allow eavesdrop='true'/><allow own='*'/></policy></busconfig>" % SCRATCH)
        self.address = "unix:path=" + SCRATCH + "/monitor-bus"
        self.daemon = subprocess.Popen(["dbus-daemon", "--config-file=" + conf, "--nofork", "--print-address"], stdout=subprocess.PIPE,
                                       stderr=subprocess.DEVNULL)
        self.daemon.stdout.readline()

    def serve(self, doc, events=()):
        path = events_file(events)
        env = environment(doc=doc, DBUS_SYSTEM_BUS_ADDRESS=self.address, FAKE_LOG=SCRATCH + "/service-log", FAKE_EVENTS=path)
        return subprocess.Popen([FAKE, "--bus"], env=env)

    def wait_for_owner(self):
        for _ in range(200):
            if run("--json=short", DBUS_SYSTEM_BUS_ADDRESS=self.address, STACKD_BINARY="/does/not/exist").returncode == 0:
                return
            time.sleep(0.05)
        raise AssertionError("the daemon did not come onto the bus")

    def end(self):
        self.daemon.terminate()
        self.daemon.wait()
        self.daemon.stdout.close()


def daemon_that_goes_and_comes_back():
    """What happened meanwhile is told as the difference; what somebody else on the bus says is not believed."""
    bus = Bus()
    services = [bus.serve("stack-2019")]
    try:
        bus.wait_for_owner()
        m = Monitor("--json=short", DBUS_SYSTEM_BUS_ADDRESS=bus.address, STACKD_BINARY="/does/not/exist")
        equal(json.loads(m.line())["event"], "ready")
        forge(bus)
        services[0].terminate()
        services[0].wait()
        equal(json.loads(m.line())["event"], "daemon-gone")
        services.append(bus.serve("same-lower", EVENTS[:1]))
        equal(json.loads(m.line())["event"], "daemon-back")
        seen = []
        while not seen or seen[-1]["id"] != "fs:9:9":
            seen.append(json.loads(m.line()))
        with open(document("stack-2019"), encoding="utf-8") as a, open(document("same-lower"), encoding="utf-8") as b:
            before, now = json.load(a), json.load(b)
        ids = [{o["id"] for key in ("layers", "processes") for o in d[key]} for d in (before, now)]
        equal({o["id"] for o in seen if o["event"].endswith(("layer-gone", "process-gone"))}, ids[0] - ids[1])
        equal({o["id"] for o in seen[:-1] if o["event"].endswith(("layer-appeared", "process-appeared"))}, ids[1] - ids[0])
        equal(sum(o["event"] == "hazard-gone" for o in seen), len(before["hazards"]))
        equal(m.end(), (0, b"", b""))
    finally:
        for service in services:
            service.terminate()
            service.wait()
        bus.end()


def forge(bus):
    """Tells everybody on the bus, one by one, of a hazard, without being stackd."""
    for i in range(64):
        subprocess.run(["dbus-send", "--bus=" + bus.address, "--type=signal", "--dest=:1.%d" % i, "/org/stackd1",
                        "org.stackd1.Manager.HazardAppeared", "string:" + HAZARD.replace("nofs-partial", "forged")],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def main():
    trouble("monitor of a capture", "monitor", "--root=" + SCRATCH, says="A captured machine does not change")
    trouble("monitor with an argument", "monitor", "x", says="one argument too many")
    trouble("monitor of an older stackd", "monitor", FAKE_ERROR="Describe org.freedesktop.DBus.Error.UnknownMethod what?", says="Is it older")
    for f in (events_as_text, events_as_json_lines, no_legend_begins_with_the_first_event, ends_with_signals, ends_with_its_reader,
              full_disk_is_said, private_daemon_that_ends):
        case(f)
    if shutil.which("dbus-daemon") and shutil.which("dbus-send"):
        case(daemon_that_goes_and_comes_back)
    else:
        report("daemon that goes and comes back # SKIP no dbus-daemon or no dbus-send", None)
    return finish()


sys.exit(main())
