"""How densely a live stream is sampled where the machine cannot keep up."""

from __future__ import annotations

import time
from collections.abc import Callable

PERIOD = 2.0
"""Seconds between two decisions."""

FLOOR = 1 / 8
STEP = 1 / 8
"""Shares of the wanted rate: the least rate, and what one calm period adds."""


class SamplingRate:
    """Frames per second that a stream is sampled at: halved in a period in which frames went stale, raised by a step in
    one in which none did.

    Streams that share a detector come to equal shares of it without knowing of each other: additive increase with
    multiplicative decrease is fair (Chiu & Jain, "Analysis of the Increase and Decrease Algorithms for Congestion
    Avoidance in Computer Networks", Computer Networks and ISDN Systems 17, 1989).

    wanted: frames per second where there is no load. rate: at present.
    """

    def __init__(self, wanted: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.wanted = wanted
        self.rate = wanted
        self._clock = clock
        self._due = clock() + PERIOD
        self._stale = 0

    @property
    def strained(self) -> bool:
        """Whether the stream is sampled at less than half of the wanted rate: time to save on decoding too."""
        return self.rate < self.wanted / 2

    def update(self, stale: int) -> bool:
        """Update with the number of stale frames so far; whether the rate has changed."""
        if self._clock() < self._due:
            return False
        self._due = self._clock() + PERIOD
        fresh, self._stale = stale - self._stale, stale
        before = self.rate
        if fresh > 0:
            self.rate = max(self.wanted * FLOOR, self.rate / 2)
        else:
            self.rate = min(self.wanted, self.rate + self.wanted * STEP)
        return self.rate != before
