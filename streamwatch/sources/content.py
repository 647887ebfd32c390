"""What a source holds, for those that have a content of their own: files, and objects in a store."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path

from streamwatch.errors import SourceRefused
from streamwatch.sources.location import Location
from streamwatch.sources.objects import object_sha256, object_stamp
from streamwatch.sources.regular_files import open_regular_file

SETTLED_NS = 2_000_000_000
"""A file that changed less than this before it was read may change again without a new modification time."""

_HASH_BLOCK = 1 << 20

Stamp = tuple[int, int]
"""Size in bytes, and what changes with each change: nanoseconds since 1970, for an object a negative digest."""


def content_stamp(source: Location) -> Stamp | None:
    """None for a file that cannot be read. Raises as `object_stamp` does for an object."""
    if source.is_object:
        return object_stamp(source)
    try:
        status = source.path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def settled(stamp: Stamp) -> bool:
    """Whether a change from now on would give another stamp."""
    return time.time_ns() - stamp[1] > SETTLED_NS


def content_sha256(source: str | Path | Location, cancelled: Callable[[], bool] = lambda: False) -> str:
    """SHA-256 of the bytes in hexadecimal, read in blocks. Raises SourceNotFound, SourceRefused or SourceUnreadable,
    for an object any SourceError, LibraryMissing where its client is not installed, and CancelledError between two
    blocks of a file once it is `cancelled`.
    """
    location = Location.of(source)
    if location.is_object:
        return object_sha256(location)
    digest = hashlib.sha256()
    try:
        with open_regular_file(str(location.path)) as file:
            while block := file.read(_HASH_BLOCK):
                digest.update(block)
                if cancelled():
                    raise CancelledError
    except OSError as error:
        raise SourceRefused(f"{source}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()
