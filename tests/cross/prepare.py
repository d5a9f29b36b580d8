#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Prepares a build for another architecture, with all libraries, whose programs an emulator of processes runs.

usage: prepare.py i386|armhf

The libraries of this machine's Debian are unpacked into a directory of their own, beside the images of the guests: no
foreign architecture is added to this machine's packages. Prints the name of meson's cross file. Needs root.
"""

import os
import pathlib
import platform
import shutil
import subprocess
import sys

SOURCE = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "tests/vm"))

from harness import cache, image     # pylint: disable=wrong-import-position
from harness.common import HarnessError, fingerprint, progress      # pylint: disable=wrong-import-position

SHIM = SOURCE / "tests/unit/openat2-shim.c"
PACKAGES = ("libarchive-dev", "libbpf-dev", "libc6-dev", "libdevmapper-dev", "libjson-c-dev", "libsystemd-dev")
# Debian's name: GNU's, that of the libraries' directory, meson's for the processor, the emulator.
ARCHITECTURES = {
    "armhf": ("arm-linux-gnueabihf", "arm-linux-gnueabihf", "arm", "qemu-arm"),
    "i386": ("i686-linux-gnu", "i386-linux-gnu", "x86", "qemu-i386"),
}
# An older meson reads the second spelling of pkg-config only.
CROSS_FILE = """\
[binaries]
c = ['{gnu}-gcc', '--sysroot={root}']
ar = '{gnu}-ar'
strip = '{gnu}-strip'
pkg-config = 'pkg-config'
pkgconfig = 'pkg-config'
exe_wrapper = ['{emulator}', '-L', '{root}', '-E', 'LD_PRELOAD={shim}']

[properties]
needs_exe_wrapper = true
sys_root = '{root}'
pkg_config_libdir = '{root}/usr/lib/{libraries}/pkgconfig:{root}/usr/share/pkgconfig'

[host_machine]
system = 'linux'
cpu_family = '{processor}'
cpu = '{processor}'
endian = 'little'
"""


def main():
    if len(sys.argv) != 2 or sys.argv[1] not in ARCHITECTURES:
        sys.exit(__doc__)
    name = sys.argv[1]
    suite = platform.freedesktop_os_release().get("VERSION_CODENAME", "trixie")
    key = fingerprint(suite, *PACKAGES, pathlib.Path(__file__), SHIM)
    try:
        with cache.entry(cache.root() / f"cross-{name}-{key}", lambda directory: build(name, suite, directory)) as path:
            cache.prune(cache.root(), f"cross-{name}-*", image.KEEP)
            print(path / "cross.ini")
    except (HarnessError, OSError, subprocess.SubprocessError) as error:
        sys.exit(f"{name}: {error}")


def archives(suite):
    """Where this machine's own packages of that suite come from: updates of other archives may lack an architecture."""
    listed = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)", "Created-By: Packages"],
                            capture_output=True, text=True, check=False).stdout
    return [words[0] for words in map(str.split, listed.splitlines()) if words[1:] == [suite, "main"]]


def build(name, suite, directory):
    gnu, libraries, processor, emulator = ARCHITECTURES[name]
    root = directory / "root"
    final = directory.with_suffix("")       # its place when it is complete
    with progress(f"unpacking libraries of {suite} for {name}"):
        output = subprocess.run(
            [*image.CONTAINED, "mmdebstrap", "--quiet", "--mode=root", "--variant=extract", f"--architectures={name}",
             "--format=directory", "--include=" + ",".join(PACKAGES), "--aptopt=APT::Install-Recommends false",
             *(f"--dpkgopt=path-exclude={path}" for path in image.LEFT_OUT), *image.MMDEBSTRAP_OPTIONS,
             suite, str(root), *(f"deb {uri} {suite} main" for uri in archives(suite)[:1])],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=image.TIME_LIMIT,
            check=False)
    if output.returncode != 0:
        raise HarnessError(f"mmdebstrap: {output.stdout.strip()}")
    if not (root / "lib").exists():
        (root / "lib").symlink_to("usr/lib")
    leave_libraries(root)
    make_links_relative(root)
    subprocess.run([f"{gnu}-gcc", f"--sysroot={root}", "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64", "-Wall", "-Wextra", "-Werror", "-O1",
                    "-shared", "-fPIC", "-o", str(directory / SHIM.stem), str(SHIM)], check=True)
    (directory / "cross.ini").write_text(CROSS_FILE.format(
        gnu=gnu, libraries=libraries, processor=processor, emulator=emulator, root=final / "root", shim=final / SHIM.stem))


def leave_libraries(root):
    """A path that is below the root hides this machine's from the emulated program: /dev/null would be another file."""
    for path in root.iterdir():
        if path.is_dir() and not path.is_symlink() and path.name not in ("usr", "lib", "lib64"):
            shutil.rmtree(path)


def make_links_relative(root):
    """What "/lib/libm.so.6" names is below the root, and not this machine's."""
    for directory, folders, files in os.walk(root):
        for path in (pathlib.Path(directory, name) for name in folders + files):
            if path.is_symlink() and (target := os.readlink(path)).startswith("/"):
                path.unlink()
                path.symlink_to(os.path.relpath(f"{root}{target}", directory))


if __name__ == "__main__":
    main()
