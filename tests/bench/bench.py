# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the benchmarks share: namespaces of their own, commands that take turns, rows of the table, plots.

A figure is the least of several rounds, in which the commands take turns: what else the machine does can only
add to it. Only ratios within one run mean anything. Nothing here passes or fails.
"""

import ctypes
import math
import os
import pathlib
import signal
import subprocess
import sys
import time

STACKCTL, STACKD = (os.path.abspath(path) for path in sys.argv[1:3])
OUTPUT = pathlib.Path(sys.argv[3]).resolve()
NAME = pathlib.Path(sys.argv[0]).stem.removeprefix("bench-")
BUS = """<busconfig><type>system</type><listen>unix:path=/run/bus</listen><policy context='default'>
<allow send_destination='*' eavesdrop='true'/><allow eavesdrop='true'/><allow own='*'/></policy></busconfig>"""

MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 4096, 16384, 1 << 18, 2
libc = ctypes.CDLL(None, use_errno=True)
rows = []


def sizes(*numbers):
    """Smaller ones on a machine that takes too long: STACKD_BENCH_DIVISOR=10."""
    return tuple(n // int(os.environ.get("STACKD_BENCH_DIVISOR", "1")) for n in numbers)


# ---- a machine of its own ----

def enter():
    """Runs this program again in namespaces that end with it; in them /run and /mnt are empty."""
    if os.geteuid() != 0:
        skip("needs root")
    if os.environ.get("STACKD_BENCH_INSIDE") != "1":
        os.environ["STACKD_BENCH_INSIDE"] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, *sys.argv])
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    mount("run", "/run", "tmpfs")
    mount("mnt", "/mnt", "tmpfs")
    os.environ.update(STACKD_BINARY=STACKD, LC_ALL="C.UTF-8", SYSTEMD_BUS_TIMEOUT="600", DBUS_SYSTEM_BUS_ADDRESS="unix:path=/run/bus",
                      STACKD_MARK_BINARY=os.path.join(os.path.dirname(STACKD), "actuator/mark/stackd-mark"))


def skip(reason):
    print(f"{NAME}: SKIP {reason}")
    sys.exit(77)


def mount(source, target, kind, flags=0, options=None):
    texts = [text.encode() if text else None for text in (source, target, kind, options)]
    if libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3]) < 0:
        raise OSError(ctypes.get_errno(), f"mount {target}")


def fuse_stack():
    """A FUSE file system at /mnt/fuse, and its server, which never answers: nobody may touch it."""
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    os.mkdir("/mnt/fuse")
    mount("bench", "/mnt/fuse", "fuse", 0, f"fd={device},rootmode=40000,user_id=0,group_id=0")
    server = subprocess.Popen(["sleep", "infinity"], pass_fds=[device], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(device)
    return server


def umount(target):
    if libc.umount2(target.encode(), MNT_DETACH) < 0:
        raise OSError(ctypes.get_errno(), f"umount {target}")


class Mounts:
    """Mounts below /mnt: "bind" are many mounts of one file system, "tmpfs" as many file systems."""

    def __init__(self, kind):
        self.kind, self.n = kind, 0
        mount("many", "/mnt", "tmpfs")
        os.mkdir("/mnt/source")

    def add(self, n):
        for i in range(self.n, n):
            target = f"/mnt/volume-{i}"
            os.mkdir(target)
            if self.kind == "bind":
                mount("/mnt/source", target, None, MS_BIND)
            else:
                mount(f"volume-{i}", target, "tmpfs", 0, "size=16k")
        self.n = n
        return self

    def end(self):
        umount("/mnt")


class Service:
    """stackd as it runs on a machine, on a bus of its own."""

    def __init__(self):
        pathlib.Path("/run/bus.conf").write_text(BUS, encoding="ascii")
        self.bus = subprocess.Popen(["dbus-daemon", "--config-file=/run/bus.conf", "--nofork", "--print-address"],
                                    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.bus.stdout.readline()
        os.makedirs("/run/stackd", exist_ok=True)
        # systemd's way to say "ready", turned into the end of a file.
        helper = ("import os, socket, sys; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind('/run/notify'); os.write(1, b'.')\n"
                  "while b'READY=1' not in s.recv(4096): pass\nos.unlink('/run/notify')")
        with subprocess.Popen([sys.executable, "-c", helper], stdout=subprocess.PIPE) as waiter:
            waiter.stdout.read(1)
            started = time.perf_counter()
            self.daemon = subprocess.Popen([STACKD], env=dict(os.environ, NOTIFY_SOCKET="/run/notify"), stderr=subprocess.DEVNULL)
            waiter.wait()
            self.ready = time.perf_counter() - started

    def status(self, key):
        for line in pathlib.Path(f"/proc/{self.daemon.pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1])
        raise KeyError(key)

    def cpu(self):
        fields = pathlib.Path(f"/proc/{self.daemon.pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self):
        for process in (self.daemon, self.bus):
            process.send_signal(signal.SIGTERM)
            process.wait()


# ---- measuring ----

class Cost:
    def __init__(self):
        self.wall = self.cpu = math.inf

    def add(self, wall, cpu):
        self.wall, self.cpu = min(self.wall, wall), min(self.cpu, cpu)


def once(argv):
    """Seconds by the clock and of processors, of a command with all that it starts."""
    started = time.perf_counter()
    child = os.posix_spawn(argv[0] if "/" in argv[0] else f"/usr/bin/{argv[0]}", argv, os.environ, file_actions=[
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0), (os.POSIX_SPAWN_OPEN, 1, "/mnt/.output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)])
    _, status, used = os.wait4(child, 0)
    wall = time.perf_counter() - started
    if os.waitstatus_to_exitcode(status) not in (0, 1):
        sys.exit(f"{' '.join(argv)}: exit status {os.waitstatus_to_exitcode(status)}")
    return wall, used.ru_utime + used.ru_stime


def measure(commands, rounds):
    """{name: argv} -> {name: Cost}."""
    costs = {name: Cost() for name in commands}
    for _ in range(rounds):
        for name, argv in commands.items():
            costs[name].add(*once(argv))
    return costs


# ---- saying ----

def milliseconds(seconds):
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def row(what, ours, peer, goal=None, form=milliseconds):
    """A line of the table; 'peer' (name, value) or None. A goal is what ours / peer, or ours, may be at most."""
    ratio = (ours / peer[1] if peer[1] else ours + 1) if peer else None
    reached = "" if goal is None else "yes" if (ours if ratio is None else ratio) <= goal else "no"
    rows.append((what, form(ours), f"{peer[0]} {form(peer[1])}" if peer else "", "" if ratio is None else f"{ratio:.3g}",
                 "" if goal is None else f"{goal:.3g}", reached))


def finish():
    text = "".join("| " + " | ".join(cells) + " |\n" for cells in rows)
    OUTPUT.mkdir(parents=True, exist_ok=True)
    (OUTPUT / f"{NAME}.txt").write_text(text, encoding="utf-8")
    print(text, end="")


COLOURS = ("#c0392b", "#2471a3", "#229954", "#7d3c98", "#b9770e")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 420, 80, 170, 40, 50


def plot(name, title, unit, series, scale=1.0):
    """Cost against size, both by powers of ten: {name: [(size, cost), ...]}; a line as steep as the dotted one is linear."""
    points = [(x, y * scale) for line in series.values() for x, y in line]
    left, right = (math.log10(f(x for x, _ in points)) for f in (min, max))
    low, high = math.floor(math.log10(min(y for _, y in points))), math.ceil(math.log10(max(y for _, y in points)))

    def at(x, y):
        return (LEFT + (math.log10(x) - left) / ((right - left) or 1) * (WIDTH - LEFT - RIGHT),
                HEIGHT - BOTTOM - (math.log10(y) - low) / ((high - low) or 1) * (HEIGHT - TOP - BOTTOM))

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>', f'<text x="{LEFT}" y="22" font-size="15">{title}</text>']
    for power in range(low, high + 1):
        x, y = at(10 ** left, 10 ** power)
        parts += [f'<line x1="{x:.0f}" x2="{WIDTH - RIGHT}" y1="{y:.0f}" y2="{y:.0f}" stroke="#ddd"/>',
                  f'<text x="{x - 6:.0f}" y="{y + 4:.0f}" text-anchor="end">{10.0 ** power:g} {unit}</text>']
    for size in sorted({x for x, _ in points}):
        parts.append(f'<text x="{at(size, 10 ** low)[0]:.0f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{size:,}</text>')
    for i, (line, values) in enumerate(series.items()):
        colour = COLOURS[i % len(COLOURS)]
        place = [at(x, y * scale) for x, y in values]
        parts += [f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in place)}" fill="none" stroke="{colour}" stroke-width="2"/>',
                  *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in place),
                  f'<text x="{place[-1][0] + 8:.0f}" y="{place[-1][1] + 4:.0f}" fill="{colour}">{line}</text>']
    linear = [(10 ** left, 10 ** low), (min(10 ** right, 10 ** (left + high - low)), 10 ** low * min(10 ** (right - left), 10 ** (high - low)))]
    parts.append('<polyline points="' + " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*p) for p in linear)) +
                 '" fill="none" stroke="#999" stroke-dasharray="3 4"/></svg>')
    OUTPUT.mkdir(parents=True, exist_ok=True)
    (OUTPUT / f"{name}.svg").write_text("\n".join(parts) + "\n", encoding="utf-8")
