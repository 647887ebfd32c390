"""Clocks that stand still until a test sets them."""

from __future__ import annotations

from datetime import datetime, timedelta

from tests.support.builders import NOON


class Clock:
    """Seconds, as of `time.monotonic`."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class UtcClock:
    """Instants, from noon on."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **duration: float) -> None:
        """By this `timedelta`."""
        self.now += timedelta(**duration)
