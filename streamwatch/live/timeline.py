"""The media time of a stream over all its connections."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from streamwatch.records import Frame


class Timeline:
    """Places the frames of one connection after another on one line: media time and index go on, with the pauses in
    between.

    fps: of the sampling. started_at: UTC instant of media second 0, where a predecessor had read the stream; else that
    of the first frame that has one.
    """

    def __init__(
        self, fps: float, started_at: datetime | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.started_at = started_at
        self._interval = 1.0 / fps
        self._clock = clock
        self._zero: float | None = None  # media second 0 by the clock
        self._last_pts = 0.0
        self._next_index = 0
        self._first_index = 0
        self._offset: float | None = None

    def connect(self) -> None:
        """Another connection begins, whose frames count from 0 again."""
        self._first_index = self._next_index
        self._offset = None

    def place(self, frame: Frame) -> Frame:
        """The next frame of the present connection, with its place on the line."""
        if self._offset is None:
            self._offset = self._join(frame)
        self._last_pts = frame.pts + self._offset
        index = self._first_index + frame.index
        self._next_index = index + 1
        return replace(frame, pts=self._last_pts, index=index)

    def _join(self, first: Frame) -> float:
        """What is to be added to the media time of a connection that begins with this frame."""
        if self._zero is not None:
            return max(self._clock() - self._zero, self._last_pts + self._interval) - first.pts
        offset = 0.0
        if first.wall_time is not None:
            if self.started_at is None:
                self.started_at = first.wall_time - timedelta(seconds=first.pts)
            offset = max(0.0, (first.wall_time - self.started_at).total_seconds() - first.pts)
        self._zero = self._clock() - first.pts - offset
        return offset
