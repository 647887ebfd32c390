"""Which pictures are analysed: a fixed number per second of media time, whatever the frame rate."""

from __future__ import annotations

import math

ROUNDING = 1e-3
"""Seconds by which a picture may come before its due time: containers round timestamps to as much as 1 ms."""


class TimeSampler:
    """Keeps the first picture, then the first one at or after each due time.

    The due times are a grid of 1/fps seconds that starts at the first picture, so that rounding never adds up
    to a drift. A gap in the media skips the due times in it; it causes no burst afterwards.

    limit: most pictures that are kept; None: no limit. kept: how many were so far.
    opening: another rate (1/s) for so many seconds from the first picture on; `restart` with a rate ends it.
    """

    def __init__(self, fps: float, limit: int | None = None, opening: tuple[float, float] | None = None) -> None:
        self._opening = opening
        self._set_rate(fps)
        self.limit = limit
        self.kept = 0
        self._anchor: float | None = None
        self._last_cell = -1

    @property
    def exhausted(self) -> bool:
        """Whether no picture will be kept any more."""
        return self.limit is not None and self.kept >= self.limit

    def restart(self, fps: float | None = None) -> None:
        """Start a new grid, of another rate if one is given, at the next picture, which is kept: media time has jumped,
        or the rate has changed.
        """
        if fps is not None:
            self._set_rate(fps)
            self._opening = None
        self._anchor = None

    def resume(self, first: float, before: float) -> None:
        """Go on as if all pictures from the one at `first` to the one at `before` (media seconds) had been seen."""
        self._anchor = first
        self._last_cell = self._cell(first, before)

    def keep(self, pts: float) -> bool:
        """Whether the picture at media second `pts` is due. `pts` must not decrease between restarts."""
        if self.exhausted:
            return False
        if self._anchor is None:
            self._anchor = pts
            self._last_cell = 0
        else:
            cell = self._cell(self._anchor, pts)
            if cell <= self._last_cell:
                return False
            self._last_cell = cell
        self.kept += 1
        return True

    def _set_rate(self, fps: float) -> None:
        if fps <= 0:
            raise ValueError(f"fps must be positive, not {fps}")
        self._fps = fps

    def _cell(self, anchor: float, pts: float) -> int:
        elapsed = pts - anchor + ROUNDING
        if self._opening is None:
            return math.floor(elapsed * self._fps)
        rate, seconds = self._opening
        if elapsed < seconds:
            return math.floor(elapsed * rate)
        return math.floor(seconds * rate) + math.floor((elapsed - seconds) * self._fps)
