# SPDX-License-Identifier: LGPL-2.1-or-later
"""Directories that are dear to build, kept by name between runs.

An entry appears complete or not at all: it is built beside its place and
renamed. Its lock file is held shared by those who use it and exclusively by
the one who builds or removes it, so runs from several work trees may share a
cache.
"""

import contextlib
import fcntl
import os
import pathlib
import shutil

from .common import say


def root():
    return pathlib.Path(os.environ.get("STACKD_VM_CACHE", "/var/cache/stackd-vm"))


@contextlib.contextmanager
def entry(path, build):
    """Yields path, a directory that build(directory) has filled now or in an earlier run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        if not path.exists():
            _lock_exclusively(lock, path)
            if not path.exists():
                _fill(path, build)
            fcntl.flock(lock, fcntl.LOCK_SH)
        os.utime(path)
        yield path


def prune(parent, pattern, keep):
    """Removes all but the most recently used entries; those in use stay."""
    entries = [path for path in parent.glob(pattern) if path.is_dir() and not path.suffix]
    for path in sorted(entries, key=lambda path: path.stat().st_mtime, reverse=True)[keep:]:
        with open(f"{path}.lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            # The lock file stays: were it removed, someone could be waiting
            # for a lock that nobody else sees.
            shutil.rmtree(path, ignore_errors=True)


def _lock_exclusively(lock, path):
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"waiting for another run that builds {path.name}")
        fcntl.flock(lock, fcntl.LOCK_EX)


def _fill(path, build):
    partial = path.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)      # of a builder that was killed
    partial.mkdir()
    try:
        build(partial)
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
