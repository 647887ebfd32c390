"""Files that FFmpeg reads through this program: objects in stores, and what other distributions open."""

from __future__ import annotations

from typing import Protocol

from streamwatch.config import DecodeSettings
from streamwatch.errors import SourceRefused, StreamwatchError
from streamwatch.extensions import SOURCES
from streamwatch.sources.location import Location


class MediaFile(Protocol):
    """The bytes of a video in a container format that FFmpeg knows.

    With `seek(offset, whence)` and `tell()`, as files have them, it is a file with an end, and without them a stream.
    It keeps to the time limits of the `DecodeSettings` itself.
    """

    def read(self, size: int) -> bytes:
        """At most `size` bytes, none at the end. Raises a SourceError."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


class OpenedFile:
    """A `MediaFile` as FFmpeg gets it.

    Reading never raises: FFmpeg would take no notice, or report another failure. It ends instead, and `check` raises
    what happened.
    """

    def __init__(self, location: Location, file: MediaFile) -> None:
        self._location = location
        self._file = file
        self._failure: StreamwatchError | None = None
        self._seekable = hasattr(file, "seek") and hasattr(file, "tell")
        if self._seekable:  # PyAV looks whether it has these methods
            self.seek = file.seek  # type: ignore[attr-defined]
            self.tell = file.tell  # type: ignore[attr-defined]

    def seekable(self) -> bool:
        """Whether it has an end, and is no stream."""
        return self._seekable

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; none at the end, or after a failure."""
        if self._failure is not None:
            return b""
        try:
            return self._file.read(size)
        except StreamwatchError as error:
            self._failure = error
        except Exception as error:  # noqa: BLE001 - a file of another distribution may raise anything
            self._failure = _failed(self._location, "read", error)
        return b""

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def check(self) -> None:
        """Raise what kept it from being read."""
        if self._failure is not None:
            raise self._failure


def open_file(location: Location, settings: DecodeSettings) -> OpenedFile:
    """Open a URL whose scheme is one of `SOURCES`. Raises a SourceError, LibraryMissing where the client of an object
    store is not installed, and ConfigError for a broken extension.
    """
    opener = SOURCES.load(location.scheme)
    try:
        return OpenedFile(location, opener(location.text, settings))
    except StreamwatchError:
        raise
    except Exception as error:
        raise _failed(location, "opened", error) from error


def _failed(location: Location, what: str, error: Exception) -> SourceRefused:
    return SourceRefused(
        f"{location}: cannot be {what} ({type(error).__name__})",
        f"check its name, and what opens {location.scheme}://",
    )
