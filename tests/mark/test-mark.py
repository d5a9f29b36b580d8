#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Marks self-checking victims: undisturbed, with the helper dying at each step, killed at random instants, and killed
at each of its system calls (see mark-deaths.c).

usage: test-mark.py HELPER VICTIM DRIVER [--deaths N] [--kills N] [--campaign N] [--only MODE]
With STACKD_TEST_QUICK in the environment each mode meets fewer deaths.
The helper is the test build: its call is PR_SET_TIMERSLACK, and it knows --die-at-step.
"""

import argparse
import concurrent.futures
import ctypes
import os
import platform
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import time

MODES = """tight nanosleep clock-nanosleep clock-nanosleep-absolute poll poll-timeout select futex futex-timeout read
epoll epoll-timeout accept sigtimedwait sigtimedwait-timeout ppoll-mask sigsuspend epoll-pwait-mask read-interrupted
semop msgrcv io-uring alternate vfork pool""".split()
# Calls that the kernel ends with EINTR whenever their thread is asked to stop. The helper makes them carry on, but
# between the request and the stop it may have died.
SPURIOUS = """epoll epoll-timeout epoll-pwait-mask sigtimedwait sigtimedwait-timeout semop io-uring""".split()
# driven through each call every time; a campaign does so with all
DRIVEN = "tight poll futex read epoll alternate pool".split()
# deaths further apart than their time-outs
PAUSED = """nanosleep clock-nanosleep poll-timeout futex-timeout epoll-timeout sigtimedwait-timeout io-uring""".split()
# their threads come and go while they are marked
WORKING = "alternate pool".split()
STEPS = range(1, 15)
STEP_DIVERTED = 8  # from here on the thread gets through by itself
SLACK = {"--set": 50001, "--clear": 50000}
AARCH64 = platform.machine() == "aarch64"
NR_PRCTL, NR_SIGRETURN, NR_RESTART, NR_POLL = (167, 139, 128, 73) if AARCH64 else (157, 15, 219, 7)


def stat_fields(pid):
    """From the state on."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
        text = f.read()
    return text[text.rindex(")") + 2:].split()


def start_time(pid):
    return stat_fields(pid)[19]


def spawn_helper(helper, pid, *arguments, start=None):
    fd = os.pidfd_open(pid)
    try:
        return subprocess.Popen([helper, "--pid", str(pid), "--start", start or start_time(pid), "--pidfd", str(fd),
                                 *arguments], pass_fds=[fd], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(fd)


def mark(helper, pid, *arguments, start=None):
    p = spawn_helper(helper, pid, *arguments, start=start)
    out, err = p.communicate(timeout=30)
    return p.returncode, out, err


def state_of(out):
    m = re.search(r"^result (\S+) total (\d+) marked (\d+) passes (\d+) cut (\d+) max-stopped-ns (\d+)$", out, re.M)
    return m.group(1) if m else None


def mark_until(done, *arguments):
    """Tries again, as stackd does: on a busy machine a thread that works may not be met in time. The last try's result."""
    for _ in range(10):
        result = mark(*arguments, "--deadline-ms", "3000")
        if done(result[0]):
            break
    return result


class Victim:
    def __init__(self, program, mode, preexec_fn=None):
        self.p = subprocess.Popen([program, mode], preexec_fn=preexec_fn, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True)
        self.pid = self.p.pid
        line = self.p.stdout.readline()
        if line != "ready\n":
            self.p.wait()
            raise Skip(f"victim {mode}: {line!r} status {self.p.returncode}")

    def finish(self):
        """Rounds and deviations; raises when it died, hangs or complains."""
        self.p.stdin.close()
        try:
            self.p.wait(timeout=10)
        except subprocess.TimeoutExpired as e:
            where = {t: [open(f"/proc/{self.pid}/task/{t}/{f}").read().strip() for f in ("syscall", "wchan")]
                     for t in os.listdir(f"/proc/{self.pid}/task")}
            self.p.kill()
            raise AssertionError(f"victim hangs: {where}") from e
        out = self.p.stdout.read()
        m = re.search(r"^ok (\d+) deviations (\d+)$", out, re.M)
        if self.p.returncode != 0 or not m:
            raise AssertionError(f"victim: status {self.p.returncode}: {out}")
        return int(m.group(1)), int(m.group(2)), out


def slack(tid):
    with open(f"/proc/{tid}/timerslack_ns", encoding="utf-8") as f:
        return int(f.read())


def slack_write(tid, value):
    with open(f"/proc/{tid}/timerslack_ns", "w", encoding="utf-8") as f:
        f.write(str(value))


def subject_of(pid):
    """The second thread; all others are put in the given state from outside, so that it is the only one to mark."""
    return sorted(int(t) for t in os.listdir(f"/proc/{pid}/task"))[1]


class Skip(Exception):
    pass


def check(condition, *what):
    if not condition:
        raise AssertionError(" ".join(map(str, what)))


def untraced(pid):
    """No thread traced or stopped: the helper's end was a clean detach."""
    for _ in range(100):
        bad = []
        for t in os.listdir(f"/proc/{pid}/task"):
            try:
                with open(f"/proc/{pid}/task/{t}/status", encoding="utf-8") as f:
                    s = f.read()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if "TracerPid:\t0" not in s or re.search(r"^State:\s+[Tt]", s, re.M):
                bad.append((t, s))
        if not bad:
            return
        time.sleep(0.01)
    raise AssertionError(f"left traced or stopped: {bad}")


def test_undisturbed(o, mode):
    v = Victim(o.victim, mode)
    settles, stops = mode not in WORKING, []
    for i in range(4):
        r, out, err = mark_until(lambda r: r == 0 or not settles, o.helper, v.pid, "--clear" if i % 2 else "--set")
        if settles:
            check(r == 0 and state_of(out) == "all", mode, r, out, err)
        stops += [int(x) for x in re.findall(r"^thread \d+ done (\d+)$", out, re.M)]
        untraced(v.pid)
        time.sleep(0.05)
    rounds, deviations, out = v.finish()
    check(rounds > 0, "no rounds")
    check(deviations == 0, mode, "deviations:", deviations, out)
    stops.sort()
    return f"rounds {rounds}, stopped ns median {stops[len(stops) // 2]} max {stops[-1]}"


def test_death(o, mode):
    """Only the subject needs work, so that it is where the helper dies; and whether it has made the call afterwards
    tells whether it went on by itself."""
    v = Victim(o.victim, mode)
    alone = other = 0
    settles = mode not in WORKING
    # In a quick run the modes share the steps among them.
    steps = STEPS[MODES.index(mode) % 3::3] if o.quick else STEPS
    for i in range(o.rounds * len(steps)):
        step, what = steps[i % len(steps)], "--clear" if i % 2 else "--set"
        subject = subject_of(v.pid)
        for t in os.listdir(f"/proc/{v.pid}/task"):
            try:
                slack_write(t, SLACK[what])
            except (FileNotFoundError, ProcessLookupError):
                pass
        try:
            slack_write(subject, 60000)
        except (FileNotFoundError, ProcessLookupError):
            check(not settles, "the subject is gone")
        r, out, err = mark_until(lambda r: r == -signal.SIGKILL or not settles,
                                 o.helper, v.pid, what, "--die-at-step", str(step))
        untraced(v.pid)
        if not settles:
            continue
        check(r == -signal.SIGKILL, mode, step, r, out, err)
        # There a short time-out begins anew each time, not only when the helper dies.
        time.sleep(0.2 if AARCH64 and mode in PAUSED else 0.005)
        done = slack(subject) == SLACK[what]
        if done == (step >= STEP_DIVERTED):
            alone += 1
        else:
            other += 1
            check(step >= STEP_DIVERTED or not done, "marked at step", step)
    rounds, deviations, text = v.finish()
    check(rounds > 0, "no rounds")
    check(deviations == 0 or mode in SPURIOUS, "deviations:", text)
    check(other <= alone, "the path is not completed:", other, "of", other + alone)
    return f"rounds {rounds}, deaths {alone + other}, as foreseen {alone}, deviations {deviations}"


def test_random(o, mode):
    v = Victim(o.victim, mode)
    rng = random.Random(f"{o.seed}-{mode}")
    for i in range(o.kills):
        p = spawn_helper(o.helper, v.pid, "--clear" if i % 2 else "--set")
        time.sleep(rng.random() * 0.006)
        p.kill()
        p.communicate()
    untraced(v.pid)
    rounds, deviations, text = v.finish()
    check(deviations == 0 or mode in SPURIOUS, "deviations:", text)
    return f"rounds {rounds}, kills {o.kills}, deviations {deviations}"


def test_driven(o, mode):
    v = Victim(o.victim, mode)
    p = subprocess.run([o.driver, "--deaths", str(o.deaths), "--seed", o.seed, "--deadline-ms", "1000",
                        "--pause-ms", "200" if mode in PAUSED else "0", o.helper, str(v.pid)], capture_output=True, text=True, check=False)
    rounds, deviations, text = v.finish()
    check(p.returncode == 0, p.stdout, p.stderr)
    check(deviations == 0 or mode in SPURIOUS, "deviations:", text)
    late = re.findall(r"^late: (\d+) ms$", text, re.M)
    check(not late, "late:", late)
    return f"rounds {rounds}, {p.stdout.splitlines()[-1]}, deviations {deviations}"


def thread_results(out):
    return re.findall(r"^thread \d+ (\S+) \d+$", out, re.M)


def case_stopped(o):
    v = Victim(o.victim, "read")
    os.kill(v.pid, signal.SIGSTOP)
    time.sleep(0.05)
    r, out, err = mark(o.helper, v.pid, "--set", "--deadline-ms", o.brief)
    check(r == 1 and state_of(out) == "busy" and set(thread_results(out)) == {"busy"}, r, out, err)
    for t in os.listdir(f"/proc/{v.pid}/task"):
        with open(f"/proc/{v.pid}/task/{t}/stat", encoding="utf-8") as f:
            check(f.read().split()[2] == "T", "no longer stopped")
    os.kill(v.pid, signal.SIGCONT)
    r, out, err = mark(o.helper, v.pid, "--set")
    check(r == 0, r, out, err)
    v.finish()


def case_stop_storm(o):
    """Stopped and continued all the time: nothing is lost, and it is left as its sender wanted it."""
    v = Victim(o.victim, "read")
    r = {}
    for i in range(60):
        p = spawn_helper(o.helper, v.pid, "--clear" if i % 2 else "--set", "--deadline-ms", "300")
        for _ in range(20):
            os.kill(v.pid, signal.SIGSTOP)
            os.kill(v.pid, signal.SIGCONT)
        out, _ = p.communicate()
        r[state_of(out)] = r.get(state_of(out), 0) + 1
    untraced(v.pid)
    return f"{r} {v.finish()[:2]}"


def case_signal_storm(o):
    v = Victim(o.victim, "read-interrupted")
    r = {}
    for i in range(40):
        p = spawn_helper(o.helper, v.pid, "--clear" if i % 2 else "--set", "--deadline-ms", "500")
        for _ in range(200):
            os.kill(v.pid, signal.SIGWINCH)
        out, _ = p.communicate()
        r[state_of(out)] = r.get(state_of(out), 0) + 1
    untraced(v.pid)
    _, deviations, text = v.finish()
    check(deviations == 0, text)
    return str(r)


def case_traced(o):
    if not shutil.which("strace"):
        raise Skip("no strace")
    v = Victim(o.victim, "read")
    s = subprocess.Popen(["strace", "-f", "-o", "/dev/null", "-p", str(v.pid)], stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    try:
        r, out, err = mark(o.helper, v.pid, "--set", "--deadline-ms", o.brief)
        check(r == 1 and set(thread_results(out)) == {"traced"} and state_of(out) == "busy", r, out, err)
    finally:
        s.terminate()
        s.wait()
    r, out, err = mark(o.helper, v.pid, "--set")
    check(r == 0 and state_of(out) == "all", "afterwards", r, out, err)
    v.finish()


def case_identity(o):
    v = Victim(o.victim, "read")
    r, out, err = mark(o.helper, v.pid, "--set", start="1")
    check(r == 1 and state_of(out) == "gone", r, out, err)
    fd, start = os.pidfd_open(v.pid), start_time(v.pid)
    other = subprocess.run([o.helper, "--pid", str(os.getpid()), "--start", start_time(os.getpid()), "--pidfd", str(fd),
                            "--set"], pass_fds=[fd], capture_output=True, text=True, check=False)
    check(other.returncode == 1 and state_of(other.stdout) == "gone", other)
    v.finish()
    late = subprocess.run([o.helper, "--pid", str(v.pid), "--start", start, "--pidfd", str(fd), "--set"],
                          pass_fds=[fd], capture_output=True, text=True, check=False)
    os.close(fd)
    check(late.returncode == 1 and state_of(late.stdout) == "gone", late)


def case_arguments(o):
    for a in ([], ["--pid", "1"], ["--pid", "x"], ["--set", "--clear"], ["--pid", "-3", "--set"]):
        p = subprocess.run([o.helper, *a], capture_output=True, text=True, check=False)
        check(p.returncode == 2 and not p.stdout, a, p)


def case_leader_exited(o):
    v = Victim(o.victim, "leader-exit")
    r, out, err = mark(o.helper, v.pid, "--set")
    check(r == 0 and state_of(out) == "all" and " total 3 " in out, r, out, err)
    v.finish()


def case_foreign_stack(o):
    """Below the stack pointer may be anybody's data: the victim looks after it. Between two rounds it is on its own
    stack, and may be marked."""
    v = Victim(o.victim, "foreign-stack")
    seen = []
    for i in range(20):
        time.sleep(0.03)
        _, out, _ = mark(o.helper, v.pid, "--clear" if i % 2 else "--set", "--deadline-ms", "100")
        seen += thread_results(out)
    v.finish()
    refused = sum(result in ("foreign-stack", "busy") for result in seen)
    check(refused > 0, seen)
    return f"refused {refused} of {len(seen)}"


def case_long_timeout(o):
    """Its rest is kept however often the thread is stopped, also in the restarted call."""
    v = Victim(o.victim, "nanosleep-long")
    results = []
    for i in range(7):
        time.sleep(0.2)
        _, out, _ = mark(o.helper, v.pid, "--clear" if i % 2 else "--set", "--deadline-ms", str(2 * int(o.brief)))
        results += thread_results(out)
    _, out, _ = mark(o.helper, v.pid, "--set")
    check(state_of(out) == "all", out)
    rounds, deviations, text = v.finish()
    check(rounds > 0 and deviations == 0, rounds, text)
    check(set(results) <= {"done", "busy"} and results.count("done") > len(results) / 2, results)
    return f"rounds {rounds}, {results.count('done')} of {len(results)} done"


def call_of(pid):
    """The number of the call that a process sleeps in, or None."""
    with open(f"/proc/{pid}/syscall", encoding="ascii") as f:
        number = f.read().split()[0]
    return int(number) if number.isdigit() else None


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        check(time.monotonic() < end, "waited too long")
        time.sleep(0.002)


def case_restarted(o):
    """A call that was stopped before goes on with what is left of its time, and one that has to find its way back alone
    begins again with all of it."""
    for death in ((), ("--die-at-step", str(STEP_DIVERTED))):
        with subprocess.Popen(["sleep", "600"]) as p:
            try:
                wait_for(lambda: call_of(p.pid) is not None)
                plain = call_of(p.pid)
                p.send_signal(signal.SIGSTOP)
                wait_for(lambda: stat_fields(p.pid)[0] == "T")
                p.send_signal(signal.SIGCONT)
                wait_for(lambda: call_of(p.pid) not in (None, plain))
                check(call_of(p.pid) == NR_RESTART, call_of(p.pid))
                _, out, _ = mark(o.helper, p.pid, "--set", "--deadline-ms", "3000", *death)
                check(thread_results(out) == ([] if death else ["done"]), death, out)
                untraced(p.pid)
                wait_for(lambda: call_of(p.pid) == (plain if death else NR_RESTART))
                check(p.poll() is None and slack(p.pid) == SLACK["--set"], death)
            finally:
                p.kill()


def case_idle(o):
    """A poll() for ever begins again when its thread was stopped, and so can be stopped again."""
    with subprocess.Popen([sys.executable, "-c", "import select; select.poll().poll()"]) as p:
        try:
            wait_for(lambda: call_of(p.pid) == NR_POLL)
            for i in range(6):
                r, out, err = mark(o.helper, p.pid, "--clear" if i % 2 else "--set", "--deadline-ms", "2000")
                check(r == 0 and thread_results(out) == ["done"], i, out, err)
                wait_for(lambda: call_of(p.pid) == NR_POLL)
        finally:
            p.kill()


def case_pool(o):
    v = Victim(o.victim, "pool")
    passes = []
    for i in range(10):
        r, out, err = mark(o.helper, v.pid, "--clear" if i % 2 else "--set")
        check(r == 0 and state_of(out) == "all", r, out, err)
        passes.append(int(re.search(r"passes (\d+)", out).group(1)))
    v.finish()
    return f"passes {passes}"


def bpf(nr, action):
    """A filter that answers 'action' to one call and allows the rest."""
    i = [(0x20, 0, 0, 0), (0x15, 0, 1, nr), (0x06, 0, 0, action), (0x06, 0, 0, 0x7fff0000)]
    return b"".join(struct.pack("HBBI", *x) for x in i)


def confine(program):
    def run():
        libc = ctypes.CDLL(None, use_errno=True)
        code = ctypes.create_string_buffer(program)
        prog = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(code)))
        if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, prog, 0, 0):
            os._exit(1)
    return run


KILL, TRAP, ERRNO, ALLOW = 0x80000000, 0x00030000, 0x00050001, 0x7fff0000


def case_seccomp(o):
    for nr, action, wanted in ((NR_PRCTL, ALLOW, "done"), (NR_PRCTL, ERRNO, "done"), (NR_PRCTL, KILL, "seccomp"),
                               (NR_PRCTL, TRAP, "seccomp"), (NR_SIGRETURN, KILL, "seccomp"),
                               (NR_SIGRETURN, ERRNO, "seccomp")):
        v = Victim(o.victim, "read", confine(bpf(nr, action)))
        r, out, err = mark(o.helper, v.pid, "--set", "--deadline-ms", "3000")
        check(set(thread_results(out)) == {wanted}, nr, hex(action), r, out, err)
        check(state_of(out) == ("all" if wanted == "done" else "denied"), r, out, err)
        v.finish()


def case_seccomp_restart(o):
    """A filter that kills for restart_syscall() is met before the kernel makes the thread call it. On aarch64 it is
    not where the thread cannot be sent on the path at once, see filter_look()."""
    for mode, times in (("nanosleep", 20), ("naps", 0 if AARCH64 else 20 if o.quick else 100)):
        v = Victim(o.victim, mode, confine(bpf(NR_RESTART, KILL)))
        for i in range(times):
            r, out, err = mark(o.helper, v.pid, "--clear" if i % 2 else "--set", "--deadline-ms", "3000")
            check(r == 0, mode, i, r, out, err)
        v.finish()


def case_seccomp_death(o):
    for action in (ALLOW, ERRNO, KILL):
        v = Victim(o.victim, "read", confine(bpf(NR_PRCTL, action)))
        for i in range(2):
            for step in STEPS:
                mark(o.helper, v.pid, "--clear" if i else "--set", "--die-at-step", str(step), "--deadline-ms", "300")
                untraced(v.pid)
        v.finish()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("helper")
    parser.add_argument("victim")
    parser.add_argument("driver")
    parser.add_argument("--deaths", type=int, default=40, help="by the driver, at least, per mode")
    parser.add_argument("--campaign", type=int, metavar="N", help="nothing but deaths by the driver, N over all modes")
    parser.add_argument("--kills", type=int, default=10, help="at random instants, per mode")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=6)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--only")
    parser.add_argument("--brief", default="200", help="ms in which a helper that finds nothing to do gets to its end")
    o = parser.parse_args()
    o.quick = bool(os.environ.get("STACKD_TEST_QUICK"))
    if o.quick:
        o.kills, o.rounds = 5, 1
    cases = [(f"{name} {mode}", lambda f=f, m=mode: f(o, m))
             for mode in MODES if not o.only or mode == o.only
             for name, f in (("undisturbed", test_undisturbed), ("death at each step", test_death),
                             ("death at random", test_random), ("death at each call", test_driven))
             if f != test_driven or o.only or mode in DRIVEN]
    cases += [(name[5:].replace("_", " "), lambda f=f: f(o)) for name, f in globals().items()
              if name.startswith("case_") and (not o.only or o.only == name[5:])]
    if o.campaign:
        o.deaths = -(-o.campaign // len(MODES))
        cases = [(f"death at each call {mode}", lambda m=mode: test_driven(o, m)) for mode in MODES]
    print(f"1..{len(cases)}")
    bad = 0
    with concurrent.futures.ThreadPoolExecutor(o.jobs) as pool:
        for n, lines in enumerate(pool.map(run_case, cases), 1):
            bad += lines.startswith("not")
            print(lines % n, flush=True)
    sys.exit(1 if bad else 0)


def run_case(case):
    name, run = case
    began = time.monotonic()
    try:
        note = run() or ""
        return f"ok %d - {name} # {note} {time.monotonic() - began:.1f} s".replace("\n", " ")
    except Skip as e:
        return f"ok %d - {name} # SKIP {e}"
    except Exception as e:
        return f"not ok %d - {name}\n# " + f"{type(e).__name__} {e}".replace("%", "%%").replace("\n", "\n# ")


if __name__ == "__main__":
    main()
