"""A file that is worked on in pieces: which of them still have to be done, and what came of the others."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from streamwatch.archive.input_queue import QueuedInput
from streamwatch.drawing.annotate import Drawing
from streamwatch.drawing.muxing import Part
from streamwatch.errors import ConfigError
from streamwatch.pipeline.analyser import Analysis, SegmentPlan
from streamwatch.sources.segments import Segment

T = TypeVar("T")
W = TypeVar("W", bound="SegmentedWork[Any]")


class _Parts:
    """Bytes in a temporary file."""

    def __init__(self) -> None:
        try:
            self._file = tempfile.TemporaryFile(prefix="streamwatch-")  # noqa: SIM115 - `close` ends it
        except OSError as error:
            raise _no_room(error) from None

    def put(self, data: bytes) -> slice:
        try:
            start = self._file.seek(0, os.SEEK_END)
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            raise _no_room(error) from None
        return slice(start, start + len(data))

    def get(self, place: slice) -> NDArray[np.uint8]:
        self._file.seek(place.start)
        return np.frombuffer(self._file.read(place.stop - place.start), np.uint8)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # a full disk, told before
            self._file.close()


def _no_room(error: OSError) -> ConfigError:
    folder = tempfile.gettempdir()
    return ConfigError(f"{folder}: no room for the parts of long files ({error.strerror})", "make some, or set TMPDIR")


@dataclass(frozen=True, slots=True)
class WorkItem(Generic[W]):
    """A part of the work on a file: a segment, or (None) what is made of all of them."""

    file: W
    segment: Segment | None


class SegmentedWork(Generic[T]):
    """The segments of one file, each with what came of it. known: what came of some of them earlier."""

    def __init__(self, job: QueuedInput, segments: Sequence[Segment], known: Mapping[Segment, T]) -> None:
        self.job = job
        self.segments = tuple(segments)
        self.over = False
        """Whether nothing more is to be done."""
        self._done = dict(known)
        self._waiting: deque[Segment | None] = deque(each for each in segments if each not in self._done)
        self._attempts: Counter[Segment | None] = Counter()
        self._end_if_complete()

    @property
    def share(self) -> float:
        """How much of the work is done, 0..1."""
        return len(self._done) / max(1, len(self.segments))

    @property
    def weight(self) -> float:
        """The share of one segment."""
        return 1 / max(1, len(self.segments))

    def next(self: W) -> WorkItem[W] | None:
        """The next piece to be worked on; None where there is none at the moment."""
        if self.over or not self._waiting:
            return None
        segment = self._waiting.popleft()
        self._attempts[segment] += 1
        return WorkItem(self, segment)

    def done(self, segment: Segment, result: T) -> None:
        """Take in what came of a segment."""
        self._done[segment] = result
        self._end_if_complete()

    def lost(self, segment: Segment | None, attempts: int) -> bool:
        """The process that worked on a piece died: whether it may be tried again, up to so many times."""
        if self._attempts[segment] >= attempts:
            return False
        self._waiting.appendleft(segment)
        return True

    def results(self) -> list[T]:
        """What came of all segments, in their order."""
        return [self._done[segment] for segment in self.segments]

    def _end_if_complete(self) -> None:
        if len(self._done) == len(self.segments):
            self._waiting.append(None)


class SegmentedFile(SegmentedWork[slice]):
    """A long file that is analysed in segments. stored: what the store has of them, by `Segment.place`.

    What comes of them waits in a temporary file, so that memory does not grow with the length of files; `end` lets go
    of it. Raises ConfigError where that file cannot be written.
    """

    def __init__(self, job: QueuedInput, cut: SegmentPlan, stored: Mapping[str, bytes]) -> None:
        self.cut = cut
        self._parts = _Parts()
        known = {each: self._parts.put(stored[each.place]) for each in cut.segments if each.place in stored}
        super().__init__(job, cut.segments, known)

    def take(self, segment: Segment, part: bytes) -> None:
        """Take in what came of a segment."""
        self.done(segment, self._parts.put(part))

    def parts(self) -> list[NDArray[np.uint8]]:
        """What came of all segments, in their order; arrays, because Ray shares those between processes."""
        return [self._parts.get(place) for place in self.results()]

    def end(self) -> None:
        """Nothing more is to be done."""
        self.over = True
        self._parts.close()


class AnnotatedFile(SegmentedWork[Part | None]):
    """A file whose annotated clip is drawn, in the segments in which it was analysed. shared: the drawing, as Ray's
    object.
    """

    def __init__(self, job: QueuedInput, analysis: Analysis, drawing: Drawing, shared: Any) -> None:
        super().__init__(job, analysis.segments, {})
        self.analysis = analysis
        self.drawing = drawing
        self.shared = shared
