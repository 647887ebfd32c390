"""What a source holds, for those that have a content of their own: files, and objects in a store."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from streamwatch.errors import SourceNotFound, SourceRefused
from streamwatch.sources.objects import is_object, object_sha256, object_stamp
from streamwatch.sources.redact import is_url

SETTLED_NS = 2_000_000_000
"""A file that changed less than this before it was read may change again without a new modification time."""

_HASH_BLOCK = 1 << 20

Stamp = tuple[int, int]
"""Size in bytes, and what changes with each change: nanoseconds since 1970, for an object a negative digest."""


def has_content(source: str) -> bool:
    """Whether it is a file or an object, and not some other URL."""
    return is_object(source) or not is_url(source)


def content_key(source: str) -> str:
    """What a content is known by: the absolute path of a file, the URL of an object."""
    return source if is_object(source) else str(Path(source).absolute())


def content_stamp(source: str) -> Stamp | None:
    """None for a file that cannot be read. Raises as `object_stamp` does for an object."""
    if is_object(source):
        return object_stamp(source)
    try:
        status = Path(source).stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def settled(stamp: Stamp) -> bool:
    """Whether a change from now on would give another stamp."""
    return time.time_ns() - stamp[1] > SETTLED_NS


def content_sha256(source: str | Path) -> str:
    """SHA-256 of the bytes in hexadecimal, read in blocks. Raises SourceNotFound or SourceRefused, for an object any
    SourceError, and LibraryMissing where its client is not installed.
    """
    if is_object(str(source)):
        return object_sha256(str(source))
    digest = hashlib.sha256()
    try:
        with Path(source).open("rb") as file:
            while block := file.read(_HASH_BLOCK):
                digest.update(block)
    except FileNotFoundError as error:
        raise SourceNotFound(f"{source}: no such file") from error
    except OSError as error:
        raise SourceRefused(f"{source}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()
