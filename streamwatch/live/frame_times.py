"""Timestamps of every n-th frame of a live stream at each stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from streamwatch.records import Frame, FrameTimes
from streamwatch.sources.clocks import utc_now


@dataclass(slots=True)
class _Times:
    """left: faces that are not scored yet."""

    captured: datetime
    taken: datetime
    found: datetime | None = None
    scored: datetime | None = None
    faces: int = 0
    left: int = 0


class FrameTraces:
    """every: the first of so many frames of a live stream is traced; 0: none."""

    def __init__(self, every: int, now: Callable[[], datetime] = utc_now) -> None:
        self._every = every
        self._now = now
        self._count = 0
        self._times: dict[int, _Times] = {}

    def start(self, frame: Frame) -> None:
        """The analysis of a frame begins."""
        if self._every == 0 or frame.wall_time is None:
            return
        if self._count % self._every == 0:
            self._times[frame.index] = _Times(frame.wall_time, self._now())
        self._count += 1

    def record_faces(self, index: int, faces: int) -> None:
        """faces: how many were found in the frame."""
        times = self._times.get(index)
        if times is not None:
            times.found = self._now()
            times.faces = times.left = faces
            if faces == 0:
                times.scored = times.found

    def record_score(self, index: int) -> None:
        """One of the frame's faces was scored."""
        times = self._times.get(index)
        if times is not None:
            times.left -= 1
            if times.left == 0:
                times.scored = self._now()

    def finished(self) -> tuple[FrameTimes, ...]:
        """The frames that have passed all stages, for the verdict that reports them."""
        now = self._now()
        done = []
        for index, times in list(self._times.items()):
            if times.found is not None and times.scored is not None:
                moments = (times.captured, times.taken, times.found, times.scored, now)
                done.append(FrameTimes(index, times.faces, *moments))
                del self._times[index]
        return tuple(done)
