"""How long no new picture has come from a decoder that may be waiting, or hanging."""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from streamwatch.config import Settings

T = TypeVar("T")

INTERVALS = 5
"""Newest intervals between pictures whose median is the usual one."""

MISSING = 3.0
"""Usual intervals without a picture after which a stream counts as stalled."""


class SilenceMonitor:
    """Judges a connection by the time since its media time last moved, whether its decoder says something or not.

    Only waiting for the decoder counts, not what is done with its pictures.

    seconds: waited on the present connection since media time moved. limit: of them, after which the decoder itself
    gives up.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = 0.0
        self.limit = math.inf
        self._stalled_after = settings.live.stalled_after
        self._intervals: deque[float] = deque(maxlen=INTERVALS)
        self._settings = settings.decode
        self._clock = clock
        self._reached = -math.inf
        self._picture_at: float | None = None

    def connect(self) -> None:
        """Another connection begins, with a media time of its own."""
        self.seconds = 0.0
        self.limit = self._settings.open_timeout + self._settings.read_timeout
        self._reached = -math.inf

    def count(self, wait: Callable[[], T]) -> T:
        """Wait for the decoder, and count the time that it takes."""
        asked = self._clock()
        result = wait()
        self.seconds += self._clock() - asked
        return result

    @property
    def interval(self) -> float:
        """Media seconds that usually pass between two pictures of this stream; 0 before the second one. What comes
        faster than the decoder reports is not told apart.
        """
        return statistics.median(self._intervals) if self._intervals else 0.0

    @property
    def stalled_after(self) -> float:
        """Seconds waited after which the stream counts as stalled: `live.stalled_after`, and more where its pictures
        are further apart.
        """
        return max(self._stalled_after, MISSING * self.interval)

    def wait_on(self) -> None:
        """The decoder says that it waits, and does not hang."""
        self.seconds = 0.0

    def opened(self) -> None:
        """The first picture has been decoded."""
        self.seconds = 0.0
        self.limit = self._settings.read_timeout

    def reach(self, pts: float) -> bool:
        """A picture at media second `pts` has come: whether media time has moved with it."""
        if pts <= self._reached:
            return False
        if self._reached > -math.inf:
            self._intervals.append(pts - self._reached)
        self._reached, self.seconds = pts, 0.0
        self._picture_at = self._clock()
        return True

    def since_picture(self, now: float) -> float:
        """Seconds, at the instant `now` of the clock, since the newest picture of any connection; 0 before the first
        one.
        """
        return 0.0 if self._picture_at is None else max(0.0, now - self._picture_at)
