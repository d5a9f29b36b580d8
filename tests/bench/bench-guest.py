#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The service in a guest, with systemd as pid 1, beside what else looks at storage there. The guest is emulated: of these rows
only ratios mean anything."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import bench

TESTS = pathlib.Path(__file__).resolve().parent.parent
BUILD = bench.OUTPUT.parent.parent


def main():
    if os.geteuid() != 0 or not shutil.which("qemu-system-x86_64"):
        bench.skip("needs root and QEMU: tools/install-deps guest")
    with tempfile.TemporaryDirectory() as destdir:
        subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", destdir], check=True)
        said = subprocess.run([TESTS / "vm/run.py", "--destdir", destdir, "--extra", TESTS / "bench/guest.py", "--timeout", "1500", "--exec",
                               "/usr/lib/stackd-vm/extra/guest.py"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True, text=True).stdout
    for line in said.splitlines():
        if line.startswith("{"):
            row = json.loads(line)
            form = bench.milliseconds if row["unit"] == "s" else lambda n: f"{n:.1f} MiB"
            bench.row(row["what"] + ", in a guest", row["ours"], row["beside"], row["goal"], form)
    bench.finish()


if __name__ == "__main__":
    main()
