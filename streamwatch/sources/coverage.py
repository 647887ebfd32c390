"""For how many seconds of a source there is no whole picture, and why."""

from __future__ import annotations

from streamwatch.records import UnseenCause

GAP = 2.0
"""Seconds without a picture that are a gap, and no low frame rate."""

GAP_INTERVALS = 4.0
"""The same in frame intervals, where that is longer."""


class UnseenTime:
    """Adds up, picture by picture, the time that spoiled pictures cover, and gaps between pictures.

    interval: seconds between two pictures. start, until: media seconds of a part of a source; None: with its first
    picture, with its last one.
    end: media seconds at which the newest picture ends; None before the first one.
    """

    def __init__(self, interval: float, start: float | None = None, until: float | None = None) -> None:
        self.end: float | None = None
        self._interval = interval
        self._until = until
        self._lasts = 0.0
        self._seconds: dict[UnseenCause, float] = {}
        self._newest = start
        self._spoiled = False

    @property
    def seconds(self) -> dict[UnseenCause, float]:
        """By cause, up to the end of the newest picture."""
        seconds = dict(self._seconds)
        if self._spoiled:
            seconds[UnseenCause.DAMAGED] = seconds.get(UnseenCause.DAMAGED, 0.0) + self._interval
        return seconds

    def add(self, pts: float, *, spoiled: bool, lasts: float) -> None:
        """The next picture. pts: media seconds; lasts: seconds for which it says that it is shown, 0 where it does not
        say.
        """
        self._reach(pts)
        self._spoiled, self._lasts = spoiled, lasts
        self.end = pts + self._interval

    def finish(self) -> None:
        """No more pictures come."""
        if self._until is not None:
            self._reach(self._until)
            self._spoiled = False

    def _reach(self, pts: float) -> None:
        step = 0.0 if self._newest is None else pts - self._newest
        if self._spoiled:
            self._lose(UnseenCause.DAMAGED, step)
        elif step - self._lasts > max(GAP, GAP_INTERVALS * self._interval):
            self._lose(UnseenCause.MISSING, step - max(self._lasts, self._interval))
        self._newest = pts

    def _lose(self, cause: UnseenCause, seconds: float) -> None:
        self._seconds[cause] = self._seconds.get(cause, 0.0) + seconds
