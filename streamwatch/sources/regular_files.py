"""Only regular files are read: a pipe or a device may block for ever, or never end."""

from __future__ import annotations

import os
import stat
from typing import BinaryIO

from streamwatch.errors import SourceNotFound, SourceRefused, SourceUnreadable

SPARSE_BYTES = 1 << 30
"""Size from which on a file must have a tenth of its bytes on disk: one that claims terabytes may be read for days."""


def check_regular_file(path: str) -> None:
    """Raise SourceNotFound, SourceRefused or SourceUnreadable for what is no regular file with bytes in it."""
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path would change what the user typed
    except OSError as error:
        raise _refused(path, error) from error
    except ValueError as error:
        raise SourceNotFound(f"{path}: no such file") from error
    _check(path, status)


def open_regular_file(path: str) -> BinaryIO:
    """Open a file for reading, unbuffered. Raises as `check_regular_file` does, but for an empty file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _refused(path, error) from error
    except ValueError as error:
        raise SourceNotFound(f"{path}: no such file") from error
    file = open(descriptor, "rb", buffering=0)  # noqa: SIM115, PTH123 - the caller closes it
    try:
        status = os.fstat(descriptor)
        if status.st_size or not stat.S_ISREG(status.st_mode):
            _check(path, status)
    except BaseException:
        file.close()
        raise
    return file


def _refused(path: str, error: OSError) -> SourceNotFound | SourceRefused:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return SourceNotFound(f"{path}: no such file")
    return SourceRefused(f"{path}: cannot be read ({error.strerror})")


def _check(path: str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise SourceUnreadable(f"{path}: is a directory, not a video")
    if not stat.S_ISREG(status.st_mode):
        raise SourceRefused(f"{path}: is not a regular file; pipes and devices could block forever")
    if status.st_size == 0:
        raise SourceUnreadable(f"{path}: is empty (zero bytes)")
    on_disk = getattr(status, "st_blocks", status.st_size // 512 + 1) * 512
    if status.st_size >= SPARSE_BYTES and on_disk < status.st_size // 10:
        raise SourceRefused(
            f"{path}: of its {status.st_size:,} bytes only {on_disk:,} are on disk", "complete the copy or download"
        )
