"""Files that are written whole or not at all, and those that are for their owner's eyes only."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

PRIVATE = 0o600
"""Permissions of what shows people: stores, clips, pictures, reports."""
SHARED = 0o666
"""Permissions, before the umask, of what shows nobody, such as weights."""


def make_private_folder(path: Path) -> None:
    """Make a folder that only its owner can enter; one that is there stays as it is. Raises OSError."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def open_private(path: Path) -> BinaryIO:
    """Open a file for writing from its beginning; one that is made is its owner's only. Raises OSError."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE), "wb")


@contextlib.contextmanager
def replacing(path: Path, *, mode: int = PRIVATE, durable: bool = True) -> Iterator[Path]:
    """An empty file beside `path` that takes its place when the block ends; one that fails leaves `path` as it was.

    mode: permissions of the file before the umask. durable: on disk before it is in place, so that a loss of power
    leaves the old content or the new; a cache does without. Raises OSError.
    """
    name = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]  # `path`'s own may be as long as names can be
    draft = path.with_name(f".{name}.{os.getpid()}.part")
    draft.unlink(missing_ok=True)  # of a process that was killed, or a link that somebody has laid
    try:
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
        yield draft
        if durable:
            _flush(draft)
        draft.replace(path)
        if durable:
            _flush(path.parent)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


LONGEST_STEM = 200
"""Bytes of a name that further words and a suffix may follow: file systems take 255."""


def shortened(stem: str) -> str:
    """The stem of a name that leaves room for a number and a suffix; a long one loses its end."""
    data = os.fsencode(stem)
    return stem if len(data) <= LONGEST_STEM else data[:LONGEST_STEM].decode(errors="ignore")
