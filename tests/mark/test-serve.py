#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""stackd-mark as a service: asked as stackd does, asked wrongly, left alone, killed.

usage: test-serve.py HELPER ODD
The helper is the test build: its call is PR_SET_TIMERSLACK. This test listens, as systemd would. Nothing here waits for a time: an
answer, and the end of a connection, are events.
"""

import array
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading

HELPER, ODD = map(os.path.abspath, sys.argv[1:])
PATIENCE = 60  # seconds, after which a test has failed
LONG = "600000"  # ms: as long as a marker may try
SLACK = {"--set": 50001, "--clear": 50000}


def check(condition, *what):
    if not condition:
        raise AssertionError(" ".join(map(str, what)))


def start_time(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
        return f.read().rpartition(") ")[2].split()[19]


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return f.read().split()


class Sleeper:
    """A process to be marked, in a call that may be stopped any number of times; it says when it runs."""

    COMMAND = ["sh", "-c", "echo; exec cat"]

    def __init__(self):
        self.p = subprocess.Popen(self.COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.p.stdout.readline()
        self.pid = self.p.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.p.kill()
        self.p.wait()
        self.p.stdin.close()
        self.p.stdout.close()

    def slack(self):
        with open(f"/proc/{self.pid}/timerslack_ns", encoding="ascii") as f:
            return int(f.read())

    def words(self, what="--set", start=None, deadline="60000"):
        return ["--pid", str(self.pid), "--start", start or start_time(self.pid), "--pidfd", "3", what, "--deadline-ms", deadline]


class Unreachable(Sleeper):
    """The parent of a vfork(), in state D for as long as it lives: its marker tries again and again."""

    COMMAND = [ODD, "vfork-parent"]


class Service:
    """The socket, and whatever serves at it."""

    def __init__(self):
        self.directory = tempfile.TemporaryDirectory()
        os.chmod(self.directory.name, 0o711)
        self.path = os.path.join(self.directory.name, "socket")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(self.path)
        os.chmod(self.path, 0o666)
        self.listener.listen(256)
        self.errors = tempfile.TemporaryFile()
        self.p = None
        self.start()

    def start(self):
        self.p = subprocess.Popen([HELPER, "--serve"], stdin=self.listener, stderr=self.errors)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.p.kill()
        self.p.wait()
        self.listener.close()
        self.errors.close()
        self.directory.cleanup()

    def said(self):
        self.errors.seek(0)
        return self.errors.read().decode()

    def connect(self):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.settimeout(PATIENCE)
        s.connect(self.path)
        return s

    def send(self, data, fds=()):
        s = self.connect()
        s.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])
        return s

    def ask(self, words, pid=None, fds=None):
        """A connection with a request in it."""
        own = [os.pidfd_open(pid)] if fds is None else []
        try:
            return self.send("".join(w + "\0" for w in words).encode(), own if fds is None else fds)
        finally:
            for fd in own:
                os.close(fd)

    def mark(self, sleeper, *arguments, **options):
        return answer(self.ask(sleeper.words(*arguments, **options), sleeper.pid))


def answer(connection):
    """All that comes, up to the end."""
    with connection as s:
        parts = []
        try:
            while part := s.recv(65536):
                parts.append(part)
        except ConnectionResetError:  # it did not even read what was sent
            pass
        return b"".join(parts).decode()


def state(text):
    last = text.splitlines()[-1].split() if text else []
    return last[1] if last and last[0] == "result" else None


def wait_for(condition):
    """Of what there is no event of."""
    for _ in range(PATIENCE * 100):
        if condition():
            return
        select.select([], [], [], 0.01)
    raise AssertionError("waited too long")


def case_marks():
    with Service() as s, Sleeper() as v:
        for what in ("--set", "--clear", "--set"):
            text = s.mark(v, what)
            check(state(text) == "all" and v.slack() == SLACK[what], what, text, s.said())
        text = s.mark(v, "--set", start="1")
        check(state(text) == "gone", text)
        v.p.kill()
        fd, words = os.pidfd_open(v.pid), v.words()
        v.p.wait()
        text = answer(s.ask(words, fds=[fd]))
        os.close(fd)
        check(state(text) == "gone", text)
        check(s.said() == "" and s.p.poll() is None, s.said())


def case_refuses():
    with Service() as s, Sleeper() as v, Sleeper() as other, open("/dev/null", "rb") as null:
        good, pidfd, before = v.words(), os.pidfd_open(v.pid), v.slack()
        packet = "".join(w + "\0" for w in good).encode()
        hostile = {
            "no descriptor": (packet, []),
            "two descriptors": (packet, [pidfd, pidfd]),
            "more than are looked for": (packet, [pidfd] * 200),
            "no pidfd": (packet, [null.fileno()]),
            "nothing but a descriptor": (b"\0", [pidfd]),
            "garbage": (os.urandom(200) + b"\0", [pidfd]),
            "no end": (packet[:-1], [pidfd]),
            "too long": (packet + b"x" * 2000 + b"\0", [pidfd]),
            "too many words": (packet + b"--set\0" * 40, [pidfd]),
            "both": (packet + b"--clear\0", [pidfd]),
            "an operand": (packet + b"x\0", [pidfd]),
            "an unknown option": (packet + b"--exec=x\0", [pidfd]),
            "to serve": (b"--serve\0", [pidfd]),
            "pid 1": ("\0".join(["--pid", "1", *good[2:], ""]).encode(), [pidfd]),
            "its own connection": (packet.replace(b"--pidfd\0003", b"--pidfd\0001"), [pidfd]),
        }
        check(state(answer(s.ask(other.words(), other.pid))) == "all")
        descriptors = os.listdir(f"/proc/{s.p.pid}/fd")
        for name, (data, fds) in hostile.items():
            text = answer(s.send(data, fds))
            check(text == "", name, text)
        s.connect().close()
        os.close(pidfd)
        text = s.mark(other, "--clear")
        check(state(text) == "all" and s.p.poll() is None, text, s.said())
        check(v.slack() == before, "marked by a request that was refused")
        wait_for(lambda: os.listdir(f"/proc/{s.p.pid}/fd") == descriptors)
        check(s.said().count("\n") >= len(hostile) - 1, s.said())


def case_another_user():
    if os.geteuid() != 0:
        return "SKIP not root"
    with Service() as s, Sleeper() as v:
        words, pidfd = v.words(), os.pidfd_open(v.pid)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setresuid(65534, 65534, 65534)
                status = answer(s.ask(words, fds=[pidfd])) != ""
            except BrokenPipeError:  # refused before it could ask
                status = 0
            finally:
                os._exit(status)
        os.close(pidfd)
        check(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0)
        check("another user" in s.said(), s.said())
        check(state(s.mark(v)) == "all")
    return None


def case_silence():
    """More than have a place; each is sent away in time, and who has something to say is heard."""
    with Service() as s, Sleeper() as v:
        silent = [s.connect() for _ in range(40)]
        text = s.mark(v)
        check(state(text) == "all", text, s.said())
        for c in silent:
            check(answer(c) == "")
        check(s.said().count("in time") == len(silent), s.said())


def case_many():
    """At once, ten for each process: all have an answer, be it that another is at it, and nothing is left behind."""
    with Service() as s:
        sleepers = [Sleeper() for _ in range(10)]
        try:
            connections = [s.ask(v.words(), v.pid) for v in sleepers for _ in range(10)]
            texts = []
            readers = [threading.Thread(target=lambda c=c: texts.append(answer(c))) for c in connections]
            for t in readers:
                t.start()
            for t in readers:
                t.join()
            check(len(texts) == 100 and all(state(t) for t in texts), texts)
            check(all(state(s.mark(v)) == "all" for v in sleepers), s.said())
        finally:
            for v in sleepers:
                v.__exit__()


def case_client_leaves():
    """It shuts its side down, or goes: nobody works for it any more."""
    with Service() as s, Unreachable() as u, Sleeper() as v:
        c = s.ask(u.words(deadline=LONG), u.pid)
        wait_for(lambda: children(s.p.pid))
        c.shutdown(socket.SHUT_WR)
        check(state(answer(c)) is None)
        c = s.ask(u.words(deadline=LONG), u.pid)
        wait_for(lambda: children(s.p.pid))
        c.close()
        wait_for(lambda: not children(s.p.pid))
        s.ask(u.words(deadline=LONG), u.pid).close()
        text = s.mark(v)
        check(state(text) == "all", text, s.said())
        wait_for(lambda: not children(s.p.pid))


def case_marker_dies():
    """At each of its steps; the service does not."""
    with Service() as s, Sleeper() as v:
        for step in range(1, 15):
            text = answer(s.ask([*v.words("--clear" if step % 2 else "--set"), "--die-at-step", str(step)], v.pid))
            check(state(text) in (None, "all"), step, text)
            check(s.p.poll() is None, step)
        # What it died at may have been done already.
        check(state(s.mark(v, "--clear")) == "all" and state(s.mark(v, "--set")) == "all")


def case_service_dies():
    """In the middle: the client hears of it, the marker goes too, and the next that listens is asked again."""
    with Service() as s, Unreachable() as u, Sleeper() as v:
        c = s.ask(u.words(deadline=LONG), u.pid)
        wait_for(lambda: children(s.p.pid))
        marker = os.pidfd_open(int(children(s.p.pid)[0]))
        s.p.kill()
        s.p.wait()
        check(state(answer(c)) is None)
        check(select.select([marker], [], [], PATIENCE)[0], "the marker lives on")
        os.close(marker)
        waiting = s.ask(v.words(), v.pid)
        s.start()
        text = answer(waiting)
        check(state(text) == "all", text, s.said())


def case_no_socket():
    p = subprocess.run([HELPER, "--serve"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    check(p.returncode == 2 and p.stderr.startswith("stackd-mark: cannot serve"), p)


def main():
    cases = [(name[5:].replace("_", " "), f) for name, f in globals().items() if name.startswith("case_")]
    print(f"1..{len(cases)}")
    bad = 0
    for n, (name, run) in enumerate(cases, 1):
        try:
            note = run()
            print(f"ok {n} - {name}" + (f" # {note}" if note else ""), flush=True)
        except Exception as e:
            bad += 1
            print(f"not ok {n} - {name}\n# " + f"{type(e).__name__} {e}".replace("\n", "\n# "), flush=True)
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
