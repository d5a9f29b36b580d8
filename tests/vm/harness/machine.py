# SPDX-License-Identifier: LGPL-2.1-or-later
"""One QEMU process: its command line, its monitor, and the agent in the guest."""

import base64
import ctypes
import dataclasses
import json
import os
import re
import secrets
import select
import signal
import socket
import subprocess
import time

from .common import HarnessError

# A kvm that works is much faster, but there is no telling whether it does.
ACCELERATOR = os.environ.get("STACKD_VM_ACCEL", "tcg,thread=multi")
QEMU = "qemu-system-x86_64"
PROCESSORS = 2
# How long the answer to a command that has its own time limit may be late.
GRACE = 20


class GuestDied(Exception):
    """QEMU is gone, or the agent no longer answers."""


class EmulatorFault(GuestDied):
    """The guest's kernel met a breakpoint of its own that was no longer there.

    Linux changes its code while it runs (static keys, kprobes) with int3 as a
    placeholder, and waits until every processor has seen each step. QEMU, with
    a thread for each processor, may translate an instruction that another one
    is just replacing, and does not notice when it misses that: the int3 stays
    in the translated code, and is executed when nobody waits for it any more.
    No program in the guest can cause it, and no processor does it.
    """


@dataclasses.dataclass
class Result:
    """What a command did; status is None when its time was up."""
    status: int | None
    stdout: bytes
    stderr: bytes


def version():
    return subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True, timeout=20).stdout


class Lines:
    """Lines of JSON over a socket, with time limits."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = bytearray()

    def send(self, message, timeout=20):
        self.sock.settimeout(timeout)
        try:
            self.sock.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise GuestDied(f"cannot speak to the guest: {error}") from error

    def receive(self, deadline):
        while (end := self.buffer.find(b"\n")) < 0:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.sock], [], [], left)[0]:
                raise GuestDied("no answer in time")
            try:
                data = self.sock.recv(1 << 16)
            except OSError:
                data = b""
            if not data:
                raise GuestDied("QEMU is gone")
            self.buffer += data
        line = bytes(self.buffer[:end])
        del self.buffer[:end + 1]
        return json.loads(line)


# What is slow to emulate, and no matter here: REP MOVSB and STOSB are a step for each byte, SMAP ends a block of translated code
# at each access to a program's memory, LA57 has one more table to walk.
PROCESSOR = "max,erms=off,fsrm=off,smap=off,la57=off"


class Machine:
    """A guest. Everything that is fixed here is part of a saved boot's identity."""

    def __init__(self, image, memory, disk, payload, data_disks, serial_log, incoming=None, shared=False):
        """shared: its memory can be shared with a server outside. It is slower then, without huge pages."""
        monitor, monitor_far = socket.socketpair()
        agent, agent_far = socket.socketpair()
        argv = [
            QEMU, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-nic", "none",
            "-machine", "q35", "-accel", ACCELERATOR, "-cpu", PROCESSOR, "-smp", str(PROCESSORS), "-m", str(memory),
            "-object", f"memory-backend-{'memfd,share=on' if shared else 'ram'},id=memory,size={memory}M", "-numa", "node,memdev=memory",
            # A slot for what a server outside of the guest provides: see virtiofs.py.
            "-device", "pcie-root-port,id=port1,chassis=1",
            "-kernel", str(image / "vmlinuz"), "-initrd", str(image / "initrd.img"),
            "-append", "root=/dev/vda rootfstype=ext4 rw console=ttyS0 panic=-1 quiet loglevel=4 "
                       "mitigations=off tsc=reliable systemd.show_status=no syscall.x32=y",
            "-chardev", f"file,id=serial,path={serial_log}", "-serial", "chardev:serial",
            "-chardev", f"socket,id=monitor,fd={monitor_far.fileno()}", "-mon", "chardev=monitor,mode=control",
            "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=agent,fd={agent_far.fileno()}",
            "-device", "virtserialport,chardev=agent,name=org.stackd.vm",
            # All guests come from one saved state: the generation id has
            # each of them draw its own random numbers.
            "-device", "virtio-rng-pci", "-device", "vmgenid,guid=auto",
            # A 9p server outside of the guest. QEMU's own tiny tree: nothing of this machine.
            "-fsdev", "synth,id=outside", "-device", "virtio-9p-pci,fsdev=outside,mount_tag=outside",
            *_drive("root", disk, "qcow2"), *_drive("payload", payload, "raw", "read-only=on"),
        ]
        for number, path in enumerate(data_disks, 1):
            argv += _drive(f"data{number}", path, "qcow2")
        if incoming:
            argv += ["-incoming", f"exec:cat '{incoming}'"]
        self.serial_log = serial_log
        with monitor_far, agent_far:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                pass_fds=(monitor_far.fileno(), agent_far.fileno()), start_new_session=True, preexec_fn=_die_with_parent)
        self.monitor = Lines(monitor)
        self.agent = Lines(agent)

    def __enter__(self):
        try:
            self.monitor.receive(time.monotonic() + 20)     # the greeting
            self.qmp("qmp_capabilities")
            return self
        except GuestDied as error:
            self.close()
            raise HarnessError(f"{QEMU}: {error}: {self.process.stderr.read().decode(errors='replace').strip()}") from error
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.process.kill()
        self.process.wait()
        self.monitor.sock.close()
        self.agent.sock.close()

    def qmp(self, command, **arguments):
        self.monitor.send({"execute": command, "arguments": arguments})
        while True:
            answer = self.monitor.receive(time.monotonic() + 60)
            if "error" in answer:
                raise HarnessError(f"QMP {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def save(self, path, timeout=300):
        """Writes the state of the stopped machine to a file."""
        self.qmp("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        self.qmp("stop")
        self.qmp("migrate", uri=f"exec:cat >'{path}'")
        self._wait("query-migrate", "completed", timeout)

    def resume(self, timeout=120):
        """Runs a machine that was started with a state to restore."""
        self._wait("query-status", "paused", timeout)
        self.qmp("cont")

    def _wait(self, query, wanted, timeout):
        deadline = time.monotonic() + timeout
        while (status := self.qmp(query).get("status")) != wanted:
            if status == "failed" or time.monotonic() > deadline:
                raise HarnessError(f"QEMU: {query} says {status}, not {wanted}")
            time.sleep(0.02)

    def synchronise(self, timeout):
        """Waits for the agent, drops what it said to an earlier listener, sets the guest's clock."""
        token = secrets.token_hex(8)
        deadline = time.monotonic() + timeout
        self.agent.send({"sync": token, "time": time.time()})
        while self._answer(deadline).get("sync") != token:
            pass

    def run(self, argv, timeout, output=None):
        """Runs a command in the guest; output(stream, bytes) is called as it speaks."""
        deadline = time.monotonic() + timeout + GRACE
        self.agent.send({"run": [str(word) for word in argv], "timeout": timeout})
        streams = {"stdout": bytearray(), "stderr": bytearray()}
        while True:
            answer = self._answer(deadline)
            if "exit" in answer:
                return Result(answer["exit"], bytes(streams["stdout"]), bytes(streams["stderr"]))
            for name in streams.keys() & answer.keys():
                data = base64.b64decode(answer[name])
                streams[name] += data
                if output:
                    output(name, data)

    def _answer(self, deadline):
        try:
            return self.agent.receive(deadline)
        except GuestDied as error:
            raise last_words(self.serial_log.read_text(errors="replace"), error) from error

    def check(self, argv, timeout):
        """Runs a command that must succeed."""
        result = self.run(argv, timeout)
        if result.status != 0:
            how = "did not end in time" if result.status is None else f"exit status {result.status}"
            raise HarnessError(f"in the guest: {' '.join(argv)[:60]}: {how}: {result.stderr.decode(errors='replace').strip()}")
        return result


def again_after_fault(what, attempt):
    """What attempt() returns, at the second time if the emulator spoils the first."""
    try:
        return attempt()
    except EmulatorFault as fault:
        print(f"once more, for the emulator is at fault: {what}: {fault}", flush=True)
        return attempt()


def last_words(console, error):
    """What is to be said of a guest that is lost, by what its kernel has said."""
    oops = re.search(r"\] (?:Oops: )?(\w[^\n]*: [0-9a-f]{4} \[#1\])", console)
    panic = re.search(r"(Kernel panic - [^\n\r]*)", console)
    if not oops and not panic:
        return error
    where = re.search(r"RIP: 0010:(\S+)", console)
    said = ", ".join(match[1] for match in (oops, where, panic) if match)
    return (EmulatorFault if oops and oops[1].startswith("int3:") else GuestDied)(f"{error}: {said}")


def _drive(name, path, form, *options):
    # The serial gives the disk a name in the guest that does not depend on the
    # order of probing: /dev/disk/by-id/virtio-NAME.
    drive = ["if=none", f"id={name}", f"file={path}", f"format={form}", "cache=unsafe", "discard=unmap", *options]
    return ["-drive", ",".join(drive), "-device", f"virtio-blk-pci,drive={name},serial={name}"]


def _die_with_parent():
    """No guest outlives a harness that was killed."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def create_disk(path, size=None, backing=None):
    """Makes an empty qcow2 disk, or one over another."""
    argv = ["qemu-img", "create", "-q", "-f", "qcow2"]
    if backing:
        argv += ["-b", str(backing.resolve()), "-F", "raw" if backing.suffix == ".img" else "qcow2"]
    argv += [str(path)] + ([size] if size else [])
    try:
        subprocess.run(argv, check=True, timeout=60, capture_output=True, text=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise HarnessError(f"qemu-img: {error}: {getattr(error, 'stderr', '')}") from error
    return path
