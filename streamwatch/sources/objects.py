"""Videos in object stores, through fsspec: listing, stamping and reading them.

Endpoint, region and credentials are those of the store's own client: its environment variables and configuration files
(`AWS_ENDPOINT_URL`, `AWS_PROFILE`, …). They are never settings of this program, nor parts of a URL.
"""

from __future__ import annotations

import hashlib
import io
import logging
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

from streamwatch.config import DecodeSettings
from streamwatch.distribution import install_extra
from streamwatch.errors import (
    LibraryMissing,
    SourceError,
    SourceNotFound,
    SourceRefused,
    SourceTimeout,
    SourceUnauthorized,
    SourceUnreadable,
)
from streamwatch.sources.location import OBJECT_STORES, Location
from streamwatch.sources.redact import redact_text

BLOCK = 4 << 20
"""Bytes of one request while a video is read."""

BLOCKS = 4
"""Blocks of a video that are kept: the next one is fetched while the present one is decoded."""

_ATTEMPTS = 2
_CREDENTIALS = re.compile(r"Credential|TokenRetrieval|Profile|Unauthorized|LoginRefresh|Token.*Expired")

logger = logging.getLogger(__name__)

T = TypeVar("T")


def object_stamp(url: Location, settings: DecodeSettings | None = None) -> tuple[int, int]:
    """Size in bytes, and a negative number that changes with the object: a digest of its ETag and its time of change.
    Raises a SourceError, and LibraryMissing where its client is not installed.
    """
    about = _about(url, settings)
    marks = [str(value) for name, value in sorted(about.items()) if re.fullmatch(_MARKS, name)]
    digest = hashlib.sha256("\n".join(marks).encode()).digest()
    return about["size"], -1 - (int.from_bytes(digest[:8], "big") >> 1)


_MARKS = re.compile(r"e_?tag|last_?modified|updated|version_?id|generation|md5hash|content_md5", re.IGNORECASE)
"""Names of an object's fields that have another value after each change."""


def objects_below(url: Location) -> list[Location]:
    """URLs of all objects below a prefix, sorted. Raises as `object_stamp` does."""
    store = _store(url, None)
    names: list[str] = _asked(url, None, lambda: store.find(_strip(url).rstrip("/")))
    return [_sibling(url, name) for name in sorted(names) if not name.endswith("/")]


def matching(url: Location) -> tuple[list[Location], list[Location]]:
    """URLs of the objects and of the prefixes that a pattern (`*`, `?`, `[`, `**`) matches, sorted. Raises as
    `object_stamp` does.
    """
    store = _store(url, None)
    matches: dict[str, dict[str, Any]] = _asked(url, None, lambda: store.glob(_strip(url), detail=True))
    found: dict[str, list[Location]] = {"file": [], "directory": []}
    for name, about in sorted(matches.items()):
        found[about["type"]].append(_sibling(url, name))
    return found["file"], found["directory"]


def exists(url: Location) -> bool:
    """Whether there is an object of exactly this name. Raises as `object_stamp` does, but not SourceNotFound."""
    try:
        _about(url, None)
    except SourceNotFound:
        return False
    return True


def read_object(url: Location) -> io.BytesIO:
    """All of a small object. Raises as `object_stamp` does."""
    store = _store(url, None)
    return io.BytesIO(_asked(url, None, lambda: store.cat_file(_strip(url))))


class ObjectFile:
    """An object as a `MediaFile`: a few blocks in memory, the next one fetched ahead.

    Raises as `object_stamp` does, SourceUnreadable where it is empty.
    """

    def __init__(self, url: str, settings: DecodeSettings | None = None) -> None:
        location = Location(url)
        self._location = location
        self._settings = settings
        store = _store(location, settings)
        self._file: Any = _asked(
            location,
            settings,
            lambda: store.open(
                _strip(location), "rb", block_size=BLOCK, cache_type="background", cache_options={"maxblocks": BLOCKS}
            ),
        )
        if self._file.size == 0:
            raise SourceUnreadable(f"{location}: is empty (zero bytes)")

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; none at the end. Raises as `object_stamp` does."""
        data: bytes = _asked(self._location, self._settings, lambda: self._file.read(size))
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; the new one in bytes from the start."""
        position: int = self._file.seek(offset, whence)
        return position

    def tell(self) -> int:
        """The place in bytes from the start."""
        position: int = self._file.tell()
        return position

    def close(self) -> None:
        """Drop the blocks and close the connection."""
        self._file.close()


def object_sha256(url: Location) -> str:
    """SHA-256 of an object's bytes in hexadecimal, fetched block by block. Raises as `object_stamp` does."""
    digest = hashlib.sha256()
    store = _store(url, None)
    size = _about(url, None)["size"]

    def read() -> None:
        with store.open(_strip(url), "rb", block_size=BLOCK, cache_type="readahead") as file:
            while block := file.read(BLOCK):
                digest.update(block)
            if file.tell() != size:
                raise OSError("it changed while it was read")

    _asked(url, None, read)
    return digest.hexdigest()


def _about(url: Location, settings: DecodeSettings | None) -> dict[str, Any]:
    store = _store(url, settings)
    about: dict[str, Any] = _asked(url, settings, lambda: store.info(_strip(url)))
    if about["type"] != "file":
        raise SourceNotFound(f"{url}: no such object, only names that begin so", "end it with / for all of them")
    return about


def _strip(url: Location) -> str:
    """`bucket/key`."""
    return url.text.partition("://")[2]


def _sibling(url: Location, name: str) -> Location:
    """Another object of the same store. name: `bucket/key`."""
    return Location(f"{url.scheme}://{name}")


def _store(url: Location, settings: DecodeSettings | None) -> Any:
    """The file system of a URL. Raises LibraryMissing, and SourceRefused for a URL with credentials."""
    if "@" in _strip(url).partition("/")[0] and url.scheme == "s3":
        raise SourceRefused(
            f"{url}: credentials do not belong in the URL of an object",
            "put them into the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or a profile (AWS_PROFILE)",
        )
    limits = settings or DecodeSettings()
    return _open_store(url.scheme, limits.open_timeout, limits.read_timeout)


@lru_cache(maxsize=8)
def _open_store(scheme: str, open_timeout: float, read_timeout: float) -> Any:
    try:
        import fsspec

        kind = fsspec.get_filesystem_class(scheme)
    except ImportError:
        package = OBJECT_STORES[scheme]
        fix = install_extra("s3") if scheme == "s3" else f"pip install fsspec {package}"
        raise LibraryMissing(f"{scheme}:// needs the package {package}", fix) from None
    if scheme != "s3":
        return kind(use_listings_cache=False, skip_instance_cache=True)
    limits = {"connect_timeout": open_timeout, "read_timeout": read_timeout}
    retries = {"total_max_attempts": _ATTEMPTS, "mode": "standard"}
    store = kind(use_listings_cache=False, skip_instance_cache=True, config_kwargs={**limits, "retries": retries})
    store.retries = _ATTEMPTS
    return store


def _asked(url: Location, settings: DecodeSettings | None, ask: Callable[[], T]) -> T:
    """What the store answers; what its client raises, as a SourceError."""
    try:
        return ask()
    except Exception as error:
        logger.debug("%s: the client of the store failed", url, exc_info=True)
        raise _source_error(error, url, settings or DecodeSettings()) from None


def _source_error(error: Exception, url: Location, settings: DecodeSettings) -> SourceError:
    kind = type(error).__name__
    if isinstance(error, FileNotFoundError):
        return SourceNotFound(f"{url}: no such object or bucket", "check its name, and the endpoint")
    if isinstance(error, PermissionError) or _CREDENTIALS.search(kind):
        return SourceUnauthorized(
            f"{url}: the store wants other credentials ({kind})",
            "give them as its client reads them, for s3 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
        )
    if isinstance(error, TimeoutError) or "Timeout" in kind:
        return SourceTimeout(
            f"{url}: nothing came within {settings.open_timeout:g} s to connect, or {settings.read_timeout:g} s to "
            "read",
            "check the endpoint (AWS_ENDPOINT_URL), or raise decode.open_timeout or decode.read_timeout",
        )
    detail = redact_text(" ".join(str(error).split())) or kind
    return SourceRefused(f"{url}: the store cannot be reached, or does not give it ({detail})", "check the endpoint")
