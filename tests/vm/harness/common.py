# SPDX-License-Identifier: LGPL-2.1-or-later
"""What every part of the harness needs: errors, progress, fingerprints."""

import contextlib
import hashlib
import os
import sys
import time


class HarnessError(Exception):
    """The harness could not do its work; says nothing about what is tested."""


def say(text):
    print(f"vm: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def progress(what):
    """Says what is being done, and afterwards how long it took."""
    say(f"{what} ...")
    start = time.monotonic()
    yield
    say(f"{what}: {time.monotonic() - start:.1f}s")


def fingerprint(*parts):
    """A short name for the strings and for the files and trees (os.PathLike) given."""
    digest = hashlib.sha256()

    def feed(data):
        digest.update(len(data).to_bytes(8, "big") + data)

    for part in parts:
        if not isinstance(part, os.PathLike):
            feed(str(part).encode())
            continue
        for path in sorted(part.rglob("*")) if part.is_dir() else [part]:
            if path.is_file():
                feed(str(path.relative_to(part)).encode())
                feed(b"x" if os.access(path, os.X_OK) else b"-")
                feed(path.read_bytes())
    return digest.hexdigest()[:12]
