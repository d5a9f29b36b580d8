# SPDX-License-Identifier: LGPL-2.1-or-later
"""The image: a Debian suite, unpacked and configured by recipe/."""

import contextlib
import os
import pathlib
import shlex
import shutil
import subprocess

from . import cache
from .common import HarnessError, fingerprint, progress

RECIPE = pathlib.Path(__file__).parent.parent / "recipe"
SIZE = "3G"
TIME_LIMIT = 1800
# Several, for work trees with different recipes share the cache.
KEEP = 3
# More options for mmdebstrap, as a shell would split them: proxies, old snapshots.
MMDEBSTRAP_OPTIONS = shlex.split(os.environ.get("STACKD_VM_MMDEBSTRAP_OPTIONS", ""))
# All that a build has started and mounted goes with its first process.
CONTAINED = ("unshare", "--mount", "--mount-proc", "--pid", "--fork", "--kill-child")
# Nobody reads manuals in a guest.
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/man/*")


@contextlib.contextmanager
def image(suite):
    """Yields a directory with root.img, vmlinuz and initrd.img."""
    key = fingerprint(suite, *packages(suite), RECIPE / "customise", RECIPE / "root", pathlib.Path(__file__))
    with cache.entry(cache.root() / f"{suite}-{key}", lambda directory: _build(suite, directory)) as path:
        cache.prune(cache.root(), f"{suite}-*", KEEP)
        yield path


def packages(suite):
    """The names in the suite's lists; one with a minus before it takes the name away."""
    names = []
    for file in (RECIPE / "packages", RECIPE / f"packages.{suite}"):
        for line in file.read_text().splitlines() if file.exists() else ():
            name = line.partition("#")[0].strip()
            if name.startswith("-"):
                names.remove(name[1:])
            elif name:
                names.append(name)
    return names


def _build(suite, directory):
    root = directory / "root"
    log = cache.root() / f"{suite}-build.log"
    with progress(f"building the image of {suite} (log: {log})"), open(log, "w") as output:
        _run(output, *CONTAINED, "mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory",
             "--include=" + ",".join(packages(suite)),
             "--aptopt=APT::Install-Recommends false",
             *(f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT),
             f"--customize-hook={shlex.quote(str(RECIPE / 'customise'))} \"$1\"",
             *MMDEBSTRAP_OPTIONS, suite, str(root))
        for name in ("vmlinuz", "initrd.img"):
            shutil.copy(root / name, directory / name)
        _run(output, "mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", str(root), str(directory / "root.img"), SIZE)
        shutil.rmtree(root)


def _run(output, *argv):
    try:
        subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=True, timeout=TIME_LIMIT)
    except subprocess.CalledProcessError as error:
        raise HarnessError(f"exit status {error.returncode}, see {output.name}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HarnessError(f"{error}, see {output.name}") from error
