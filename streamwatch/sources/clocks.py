"""The timestamps of sources, made usable: media seconds that never run backwards, UTC instants of capture."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone

MAX_REORDERED = 16
"""Frame intervals that a timestamp may step back without being a jump: some senders stamp pictures in
decoding order, and H.264 and HEVC reorder within 16 pictures at most."""

MAX_STEP_DISCONTINUOUS = 10.0
MAX_STEP_CONTINUOUS = 30 * 3600.0
"""Largest step forward in seconds that is a pause and not a jump: for formats and streams whose timestamps
may restart, and for the others. The values are those of FFmpeg's `-dts_delta_threshold` and
`-dts_error_threshold`."""

DEFAULT_FRAME_RATE = 25.0
"""Assumed only where neither timestamps nor a frame rate are known (raw elementary streams)."""

MAX_LAG = timedelta(seconds=10)
"""How far the estimated capture may lie behind arrival before the sender's clock must have stood still."""


class MediaClock:
    """Turns decoder timestamps, which may be missing or jump, into media seconds that never decrease.

    start: timestamp that counts as second 0; None: the first timestamp does.
    frame_rate: spacing of pictures without a timestamp, and after a jump; None: `DEFAULT_FRAME_RATE`.
    max_step: see `MAX_STEP_DISCONTINUOUS`. interval: seconds between two pictures.
    """

    def __init__(self, *, start: float | None = None, frame_rate: float | None = None, max_step: float) -> None:
        self.interval = 1.0 / (frame_rate or DEFAULT_FRAME_RATE)
        self._max_step = max_step
        self._start = start
        self._offset: float | None = None
        self._time: float | None = None
        self._behind = 0
        self.jumped = False
        """Whether the last `advance` met a jump, so that media time went on by one frame interval instead."""

    def advance(self, timestamp: float | None, *, spoiled: bool = False) -> float:
        """Media time in seconds of the next picture, whose decoder timestamp in seconds may be None.

        spoiled: by damage, after which a decoder may give pictures late: up to `MAX_REORDERED` in a row are no jump,
        however far back they lie.
        """
        self.jumped = False
        if self._time is None:
            self._time = self._first(timestamp)
            return self._time
        expected = self._time + self.interval
        if timestamp is None:
            self._time = expected
        elif self._offset is None:
            self._offset = timestamp - expected
            self._time = expected
        else:
            time = timestamp - self._offset
            self._behind = self._behind + 1 if spoiled and time < self._time else 0
            if 0 < self._behind <= MAX_REORDERED:
                return self._time
            if -MAX_REORDERED * self.interval <= time - self._time <= self._max_step:
                self._time = max(self._time, time)
            else:
                self.jumped = True
                self._offset = timestamp - expected
                self._time = expected
        return self._time

    def _first(self, timestamp: float | None) -> float:
        if timestamp is None:
            return 0.0
        self._offset = self.origin(timestamp)
        return timestamp - self._offset

    def origin(self, first: float) -> float:
        """The timestamp that is media second 0 where the first picture has the timestamp `first`."""
        lead = first - self._start if self._start is not None else 0.0
        return self._start if self._start is not None and 0.0 <= lead <= self._max_step else first


def utc_now() -> datetime:
    """The present instant, timezone-aware."""
    return datetime.now(timezone.utc)


class CaptureClock:
    """Estimates the UTC instant of capture of live pictures: arrival of the first one + media time since.

    A picture cannot have been captured after it arrived, so a burst of buffered pictures at the start pulls
    the estimate back. A picture that was held up on its way keeps its true age; only when the estimate falls
    more than `MAX_LAG` behind arrival does it start afresh.
    """

    def __init__(self, now: Callable[[], datetime] = utc_now) -> None:
        self._now = now
        self._zero: datetime | None = None

    def restart(self) -> None:
        """Forget the relation of media time to UTC: media time has jumped."""
        self._zero = None

    def captured(self, pts: float) -> datetime:
        """UTC instant of capture of the picture at media second `pts`, which has just arrived."""
        arrived = self._now()
        since_zero = timedelta(seconds=pts)
        if self._zero is None or not arrived - MAX_LAG <= self._zero + since_zero <= arrived:
            self._zero = arrived - since_zero
        return self._zero + since_zero
