#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Marks processes of every odd kind, and hostile ones.

usage: test-mark-processes.py HELPER DIRECTORY [--real] [--only CASE]
DIRECTORY holds odd, odd-static, bare, bare32, bare-x32 and mark-deaths. The helper is the test build, whose call is PR_SET_TIMERSLACK;
with --real it is the program itself.
"""

import argparse
import contextlib
import ctypes
import errno
import hashlib
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time

SLACK_SET, SLACK_CLEAR = 50001, 50000
IO_FLUSHER = 0x180000
YAMA = pathlib.Path("/proc/sys/kernel/yama/ptrace_scope")


class Skip(Exception):
    pass


def check(condition, *what):
    if not condition:
        raise AssertionError(" ".join(map(str, what)))


def stat_of(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        text = f.read()
    return text[text.rindex(")") + 2:].split()


def tasks(pid):
    return [int(t) for t in os.listdir(f"/proc/{pid}/task")]


class Machine:
    """The helper, and how what it did shows."""

    deaths, timed = 60, 300     # by mark-deaths, of each real server
    patience = 1    # rounds are divided by it
    deadline, grace = 300, 2    # ms; s beyond it, on a machine with other work

    def __init__(self, helper, directory, real):
        self.helper, self.directory, self.real = helper, pathlib.Path(directory).resolve(), real

    def is_marked(self, pid, tid):
        if self.real:
            return int(stat_of(f"/proc/{pid}/task/{tid}/stat")[6]) & IO_FLUSHER == IO_FLUSHER
        with open(f"/proc/{tid}/timerslack_ns", encoding="utf-8") as f:
            return int(f.read()) == SLACK_SET

    def marked(self, pid):
        """How many of how many threads, as they are now; those that end meanwhile do not count."""
        yes = no = 0
        for tid in tasks(pid):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if stat_of(f"/proc/{pid}/task/{tid}/stat")[0] not in "ZX":
                    if self.is_marked(pid, tid):
                        yes += 1
                    else:
                        no += 1
        return yes, yes + no

    def mark(self, pid, what="--set", deadline=None, preexec_fn=None):
        """State, results by thread, the last line."""
        deadline = max(deadline or 0, self.deadline)
        start = stat_of(f"/proc/{pid}/stat")[19]
        fd = os.pidfd_open(pid)
        began = time.monotonic()
        try:
            p = subprocess.run([self.helper, "--pid", str(pid), "--start", start, "--pidfd", str(fd), what,
                                "--deadline-ms", str(deadline)], pass_fds=[fd], capture_output=True, text=True,
                               timeout=60, check=False, preexec_fn=preexec_fn)
        finally:
            os.close(fd)
        took = time.monotonic() - began
        check(took < deadline / 1000 + self.grace, f"the helper took {took:.2f} s")
        check(p.returncode in (0, 1) and not p.stderr, p)
        last = p.stdout.splitlines()[-1]
        return last.split()[1], re.findall(r"^thread \d+ (\S+) \d+$", p.stdout, re.M), last


class Odd:
    """A process of some mode; .pid is the one to be marked."""

    def __init__(self, *command, **options):
        try:
            self.p = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                      **options)
        except OSError as e:
            if e.errno == errno.ENOEXEC:
                raise Skip(f"{command}: not for this kernel") from e
            raise
        line = self.p.stdout.readline()
        if not line.startswith("ready"):
            self.p.wait()
            raise Skip(f"{command}: {line!r} status {self.p.returncode}")
        self.pid = int(line.split()[1]) if " " in line else self.p.pid

    def finish(self, healthy=True):
        self.p.stdin.close()
        try:
            self.p.wait(timeout=20)
        except subprocess.TimeoutExpired as e:
            self.p.kill()
            self.p.wait()
            raise AssertionError("it does not end") from e
        out = self.p.stdout.read()
        check(not healthy or self.p.returncode == 0, "status", self.p.returncode, out)
        return out


def untraced(pid):
    deadline = time.monotonic() + 1
    while True:
        held = []
        for tid in tasks(pid):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                with open(f"/proc/{pid}/task/{tid}/status", encoding="utf-8", errors="replace") as f:
                    text = f.read()
                if "\nTracerPid:\t0\n" not in text or "\nState:\tt" in text:
                    held.append(tid)
        if not held:
            return
        check(time.monotonic() < deadline, "still traced:", held)
        time.sleep(0.01)


def all_marked(m, *command, **options):
    o = Odd(*command, **options)
    for what in ("--set", "--clear", "--set"):
        state, results, last = m.mark(o.pid, what, 2000)
        check(state == "all" and set(results) == {"done"}, what, state, results, last)
        yes, of = m.marked(o.pid)
        check(yes == (of if what == "--set" else 0) and of > 0, what, yes, "of", of)
        untraced(o.pid)
    o.finish()
    return last


def refused(m, wanted, results_wanted, *command, **options):
    """Nothing marked, for this reason, and it lives on."""
    o = Odd(*command, **options)
    state, results, last = m.mark(o.pid)
    check(state == wanted and set(results) == {results_wanted}, state, results, last)
    check(m.marked(o.pid)[0] == 0, "marked all the same")
    untraced(o.pid)
    o.finish()
    return last


def case_plain(m):
    return all_marked(m, m.directory / "odd", "plain")


def case_static_non_pie(m):
    return all_marked(m, m.directory / "odd-static", "plain")


def case_no_restorer(m):
    if platform.machine() == "aarch64":     # it is the vdso's, and that everybody has
        return all_marked(m, m.directory / "bare")
    return refused(m, "unsupported", "unsupported", m.directory / "bare")


def case_32_bit(m):
    if not (m.directory / "bare32").exists():
        raise Skip("not built")
    return refused(m, "unsupported", "unsupported", m.directory / "bare32")


def case_x32(m):
    if not (m.directory / "bare-x32").exists():
        raise Skip("not built")
    return refused(m, "unsupported", "unsupported", m.directory / "bare-x32")


def case_stack_below_4_gib(m):
    """What tells an x32 thread outside of a system call."""
    o = Odd(m.directory / "odd", "low-stack")
    state, results, last = m.mark(o.pid)
    check(state == "partial" and sorted(results) == ["done", "unsupported"], state, results)
    untraced(o.pid)
    o.finish()
    return last


def real_only(case):
    case.real_only = True
    return case


@real_only
def case_no_capability(m):
    """CAP_SYS_RESOURCE is what the kernel asks of the thread itself."""
    return refused(m, "denied", "denied", "setpriv", "--bounding-set=-sys_resource", m.directory / "odd", "plain")


def landlock():
    """From here on this process may trace none that is not in its domain."""
    libc = ctypes.CDLL(None, use_errno=True)
    access = ctypes.c_uint64(1 << 9)    # making sockets
    fd = libc.syscall(444, ctypes.byref(access), ctypes.c_size_t(8), 0)
    if fd < 0 or libc.prctl(38, 1, 0, 0, 0) or libc.syscall(446, fd, 0):
        os._exit(77)


def case_security_module(m):
    """Forbidden by Landlock, which stands for all of them: said, and nothing happened."""
    if subprocess.run(["true"], preexec_fn=landlock, check=False).returncode != 0:
        raise Skip("no Landlock")
    o = Odd(m.directory / "odd", "rename")
    state, results, last = m.mark(o.pid, preexec_fn=landlock)
    check(state == "denied" and set(results) == {"denied"} and m.marked(o.pid)[0] == 0, state, results)
    state, results, _ = m.mark(o.pid, "--set", 2000)
    check(state == "all", state, results)
    o.finish()
    return last


@real_only
def named_yama(m):
    """No tracing by anybody, until the next boot: so it must be named."""
    if not YAMA.exists():
        raise Skip("no Yama")
    o = Odd(m.directory / "odd", "plain")
    YAMA.write_text("3")
    state, results, last = m.mark(o.pid)
    check(state == "denied" and results == ["denied"] and m.marked(o.pid)[0] == 0, state, results)
    o.finish()
    return last


def case_user_dispatch(m):
    return refused(m, "unsupported", "unsupported", m.directory / "odd", "dispatch")


def case_seccomp_strict(m):
    return refused(m, "denied", "seccomp", m.directory / "odd", "strict")


def case_chroot(m):
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        shutil.copy(m.directory / "odd-static", root)
        return all_marked(m, "/odd-static", "plain", preexec_fn=lambda: (os.chroot(root), os.chdir("/")))


def inner(pid):
    """The only child."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as f:
            if children := f.read().split():
                return int(children[0])
        time.sleep(0.01)
    raise AssertionError("no child")


def case_namespaces(m):
    """Another pid, mount and IPC namespace, in which it is number 1."""
    o = Odd("unshare", "--pid", "--mount", "--ipc", "--fork", "--mount-proc", m.directory / "odd", "plain")
    pid = inner(o.p.pid)
    state, results, last = m.mark(pid, "--set", 2000)
    check(state == "all" and m.marked(pid) == (1, 1), state, results)
    o.finish()
    return last


def case_user_namespace(m):
    o = Odd("unshare", "--user", "--map-root-user", m.directory / "odd", "plain")
    state, results, last = m.mark(o.p.pid)
    if m.real:
        check(state == "denied" and results == ["denied"] and m.marked(o.p.pid)[0] == 0, state, results)
    else:
        check(state == "all", state, results)
    o.finish()
    return last


def case_io_worker(m):
    """It cannot be made to call anything; those that come later inherit."""
    o = Odd(m.directory / "odd", "worker")
    check(len(tasks(o.pid)) > 1, "no worker")
    state, results, last = m.mark(o.pid)
    check(state == "partial" and sorted(results) == ["done", "user-worker"], state, results)
    untraced(o.pid)
    o.finish()
    return last


def case_uninterruptible(m):
    """The parent of a vfork() in state D: not marked, not left with a stop pending, and later it works."""
    o = Odd(m.directory / "odd", "vfork-parent")
    check(stat_of(f"/proc/{o.pid}/stat")[0] == "D", "not in state D")
    child = inner(o.pid)
    state, results, last = m.mark(o.pid)
    check(state == "busy" and set(results) == {"busy"}, state, results)
    untraced(o.pid)
    check(stat_of(f"/proc/{o.pid}/stat")[0] == "D", "no longer in state D")
    check(m.marked(child)[0] == 0, "the child is marked")
    o.finish()
    return last


def case_vfork_child(m):
    """It runs on its parent's stack, below the parent's frame."""
    o = Odd(m.directory / "odd", "vfork-child")
    state, results, last = m.mark(o.pid)
    check(m.marked(o.p.pid)[0] == 0, "the parent is marked")
    check(len(results) == 1 and results[0] in ("done", "unsupported"), state, results)
    untraced(o.pid)
    o.finish()
    return last


def case_clone_shared_memory(m):
    o = Odd(m.directory / "odd", "clone-vm")
    state, results, last = m.mark(o.pid)
    check(state == "unsupported" and m.marked(o.pid)[0] == m.marked(o.p.pid)[0] == 0, state, results)
    untraced(o.pid)
    o.finish()
    return last


def case_clone_thread(m):
    """On a stack from malloc(), where the next block may be somebody's: left alone, the others are marked."""
    o = Odd(m.directory / "odd", "clone-thread")
    state, results, last = m.mark(o.pid)
    check(state == "partial" and sorted(results) == ["done", "foreign-stack"], state, results)
    untraced(o.pid)
    o.finish()
    return last


@contextlib.contextmanager
def frozen_group(pid):
    # Where the old hierarchies are in use the unified one has its place beside them.
    root = next((p for p in map(pathlib.Path, ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")) if (p / "cgroup.controllers").exists()), None)
    if not root:
        raise Skip("no unified cgroup hierarchy here")
    group = root / f"mark-test-{pid}"
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text(str(pid))
        yield group
    finally:
        (group / "cgroup.freeze").write_text("0")
        (root / "cgroup.procs").write_text(str(pid))
        group.rmdir()


def case_frozen(m):
    o = Odd(m.directory / "odd", "plain")
    with frozen_group(o.pid) as group:
        (group / "cgroup.freeze").write_text("1")
        deadline = time.monotonic() + 5
        while "frozen 1" not in (group / "cgroup.events").read_text():
            check(time.monotonic() < deadline, "does not freeze")
            time.sleep(0.01)
        state, results, last = m.mark(o.pid)
        check(state == "busy" and results == ["busy"], state, results)
        check("frozen 1" in (group / "cgroup.events").read_text(), "thawed")
        untraced(o.pid)
    state, results, _ = m.mark(o.pid, "--set", 2000)
    check(state == "all", state, results)
    o.finish()
    return last


def case_churn(m):
    """A thousand threads a second: wholly marked in a few passes, as all flags prove, also of those to come."""
    o = Odd(m.directory / "odd", "churn")
    passes = []
    for what in ("--set", "--clear", "--set"):
        state, _, last = m.mark(o.pid, what, 20000)
        check(state == "all", last)
        for _ in range(50):
            yes, of = m.marked(o.pid)
            check(of >= 2 and yes == (of if what == "--set" else 0), what, yes, "of", of)
        passes.append(int(last.split()[7]))
    born, seconds = re.search(r"born (\d+) in (\S+)", o.finish()).groups()
    check(max(passes) < 200, "passes", passes)
    return f"passes {passes}, {float(born) / max(float(seconds), 0.1):.0f} threads a second"


def hostile(m, mode, rounds=25, healthy=True, deadline=None):
    """Whatever it does, the helper ends in time and a bystander stays as it is."""
    bystander = Odd(m.directory / "odd", "plain")
    states = {}
    o = None
    for i in range(rounds // m.patience):
        if not o or o.p.poll() is not None:
            check(not o or not healthy, "it died, status", o and o.p.returncode)
            o = Odd(m.directory / "odd", mode)
        try:
            state, _, _ = m.mark(o.pid, "--clear" if i % 2 else "--set", deadline)
        except (ProcessLookupError, FileNotFoundError):
            state = "gone"
        states[state] = states.get(state, 0) + 1
        check(m.marked(bystander.pid)[0] == 0 and m.marked(os.getpid())[0] == 0, "somebody else is marked")
    if o.p.poll() is None:
        with contextlib.suppress(FileNotFoundError):
            untraced(o.pid)
    if mode == "stop":      # it may not get to its end for stopping
        o.p.kill()
    o.finish(healthy)
    bystander.finish()
    return str(states)


def case_hostile_scribble(m):
    return hostile(m, "scribble", healthy=False)


def case_hostile_protect(m):
    return hostile(m, "protect", healthy=False)


def case_hostile_unmap(m):
    return hostile(m, "unmap", healthy=False)


def case_hostile_rename(m):
    result = hostile(m, "rename", deadline=5000)
    check(re.fullmatch(r"{'all': \d+}", result), result)
    return result


def case_hostile_stop(m):
    return hostile(m, "stop", 12, healthy=False)


def case_hostile_fork_bomb(m):
    return hostile(m, "fork-bomb")


def case_hostile_exit(m):
    return hostile(m, "exit", 60, healthy=False)


def exec_rounds(m, program, count, **options):
    bystander = Odd(m.directory / "odd", "plain")
    o = Odd(m.directory / "odd", "exec", program, count, **options)
    states = {}
    while o.p.poll() is None:
        try:
            state, _, _ = m.mark(o.pid, "--clear" if len(states) % 2 else "--set")
        except (ProcessLookupError, FileNotFoundError):
            break
        states[state] = states.get(state, 0) + 1
    out = o.finish()
    check("executed" in out, "not to its end:", out)
    check(m.marked(bystander.pid)[0] == 0, "somebody else is marked")
    bystander.finish()
    return f"{count} executions, {states} {out.strip()}"


def case_hostile_exec(m):
    return exec_rounds(m, m.directory / "odd", 300 // m.patience)


def case_hostile_exec_setuid(m):
    """From an ordinary user's program into root's, each time while it is being marked; none may be harmed."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        os.chmod(directory, 0o755)
        program = pathlib.Path(directory) / "odd"
        shutil.copy(m.directory / "odd", program)
        os.chmod(program, 0o4755)
        if os.statvfs(program).f_flag & os.ST_NOSUID:
            raise Skip("no setuid programs in " + directory)
        plain = pathlib.Path(directory) / "plain"
        shutil.copy(m.directory / "odd", plain)
        os.chmod(plain, 0o755)
        results = []
        for _ in range(40 // m.patience):
            o = Odd(plain, "exec", program, "1", user=65534, group=65534)
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                results.append(m.mark(o.pid)[0])
            o.p.wait(timeout=10)
            out = o.finish()
            check("effective user 0" in out, "not to its end as root:", out)
        return str({r: results.count(r) for r in sorted(set(results))})


def server_changes(m, pid, deaths):
    """Processes that mark and unmark it, then those that die doing it."""
    for i in range(10):
        yield [sys.executable, __file__, m.helper, str(m.directory), "--mark", str(pid), "--clear" if i % 2 else "--set",
               *(["--real"] if m.real else [])]
    if deaths == 0:
        return
    for how in (["--deaths", str(deaths)], ["--timed", "--deaths", str(m.timed)]):
        yield [str(m.directory / "mark-deaths"), *how, "--seed", "3", "--deadline-ms", "300", m.helper, str(pid)]


def served(m, name, command, unmount, mountpoint, complete):
    """A real server under I/O that compares, marked and unmarked all the time."""
    p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 10
        while not os.path.ismount(mountpoint):
            check(p.poll() is None and time.monotonic() < deadline, name, "does not mount", p.poll())
            time.sleep(0.02)
        states, rounds, worst, deaths = {}, 0, 0.0, []
        for change in server_changes(m, p.pid, m.deaths if complete or m.deaths > Machine.deaths else 0):
            data = os.urandom(1 << 20)
            began = time.monotonic()
            helper = subprocess.Popen(change, stdout=subprocess.PIPE, text=True)
            while helper.poll() is None:
                path = f"{mountpoint}/file"
                with open(path, "wb") as f:
                    f.write(data)
                    os.fsync(f.fileno())
                    os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                with open(path, "rb") as f:
                    check(hashlib.sha256(f.read()).digest() == hashlib.sha256(data).digest(), "other data")
                rounds += 1
                worst = max(worst, time.monotonic() - began)
                began = time.monotonic()
            state = helper.communicate()[0].strip()
            check(helper.returncode == 0, state)
            if "--deaths" in change:
                deaths.append(state.splitlines()[-1])
            else:
                states[state] = states.get(state, 0) + 1
        check(rounds > 0 and p.poll() is None, "rounds", rounds, "status", p.poll())
        check(not complete or set(states) == {"all"}, states)
        return f"{states}, {deaths}, rounds of I/O {rounds}, slowest {worst * 1000:.0f} ms"
    finally:
        subprocess.run(unmount, check=False)
        try:
            p.wait(timeout=10)
        except subprocess.TimeoutExpired:
            p.kill()


def case_bindfs(m):
    if not shutil.which("bindfs") or not os.path.exists("/dev/fuse"):
        raise Skip("no bindfs")
    with tempfile.TemporaryDirectory() as d:
        for name in ("below", "above"):
            os.mkdir(f"{d}/{name}")
        return served(m, "bindfs", ["bindfs", "-f", "--multithreaded", f"{d}/below", f"{d}/above"],
                      ["umount", "-l", f"{d}/above"], f"{d}/above", True)


def case_go(m):
    """gocryptfs: goroutines' stacks are not threads', so what is on one is left alone. It must not mind."""
    if not shutil.which("gocryptfs") or not os.path.exists("/dev/fuse"):
        raise Skip("no gocryptfs")
    with tempfile.TemporaryDirectory() as d:
        for name in ("below", "above"):
            os.mkdir(f"{d}/{name}")
        subprocess.run(["gocryptfs", "-q", "-init", "-scryptn", "10", "-extpass", "echo x", f"{d}/below"], check=True,
                       stdout=subprocess.DEVNULL)
        return served(m, "gocryptfs", ["gocryptfs", "-q", "-fg", "-extpass", "echo x", f"{d}/below", f"{d}/above"],
                      ["umount", "-l", f"{d}/above"], f"{d}/above", False)


def run(m, cases):
    bad = 0
    print(f"1..{len(cases)}")
    for n, (name, case) in enumerate(cases, 1):
        began = time.monotonic()
        try:
            print(f"ok {n} - {name} # {case(m) or ''} {time.monotonic() - began:.1f} s")
        except Skip as e:
            print(f"ok {n} - {name} # SKIP {e}")
        except Exception as e:
            bad += 1
            print(f"not ok {n} - {name}")
            print("# " + f"{type(e).__name__} {e}".replace("\n", "\n# "))
        sys.stdout.flush()
    return 1 if bad else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("helper")
    parser.add_argument("directory")
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--only")
    parser.add_argument("--deaths", type=int, default=Machine.deaths)
    parser.add_argument("--timed", type=int, default=Machine.timed)
    parser.add_argument("--mark", type=int, help="just mark this process, and say how it went")
    parser.add_argument("--set", action="store_true")
    parser.add_argument("--clear", action="store_true")
    o = parser.parse_args()
    m = Machine(o.helper, o.directory, o.real)
    m.deaths, m.timed = o.deaths, o.timed
    if o.real:      # in an emulated guest
        m.deadline, m.grace, m.patience = 3000, 20, 5
    if o.mark:
        print(m.mark(o.mark, "--clear" if o.clear else "--set", 2000 if o.real else 500)[0])
        return 0
    return run(m, [(name[name.index("_") + 1:].replace("_", " "), f) for name, f in globals().items()
                   if name.startswith(("case_", "named_")) and (o.real or not hasattr(f, "real_only")) and
                   (o.only == name[name.index("_") + 1:] or not o.only and name.startswith("case_"))])


if __name__ == "__main__":
    sys.exit(main())
