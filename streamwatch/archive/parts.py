"""The results of the segments of a long file, on disk, so that memory does not grow with the length of files."""

from __future__ import annotations

import contextlib
import os
import tempfile

import numpy as np
from numpy.typing import NDArray

from streamwatch.errors import ConfigError
from streamwatch.sources.segments import Segment


class SegmentParts:
    """The bytes of segments in a temporary file. Raises ConfigError where there is no room for it."""

    def __init__(self) -> None:
        try:
            self._file = tempfile.TemporaryFile(prefix="streamwatch-")  # noqa: SIM115 - `close` ends it
        except OSError as error:
            raise _no_room(error) from None
        self._places: dict[Segment, slice] = {}

    def put(self, segment: Segment, data: bytes) -> None:
        """Keep the bytes of a segment."""
        try:
            start = self._file.seek(0, os.SEEK_END)
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            raise _no_room(error) from None
        self._places[segment] = slice(start, start + len(data))

    def get(self, segment: Segment) -> NDArray[np.uint8]:
        """The bytes as an array, which Ray shares between processes."""
        place = self._places[segment]
        self._file.seek(place.start)
        return np.frombuffer(self._file.read(place.stop - place.start), np.uint8)

    def close(self) -> None:
        """Delete the file."""
        with contextlib.suppress(OSError):  # a full disk, reported before
            self._file.close()


def _no_room(error: OSError) -> ConfigError:
    folder = tempfile.gettempdir()
    return ConfigError(f"{folder}: no room for the parts of long files ({error.strerror})", "make some, or set TMPDIR")
