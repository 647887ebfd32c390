"""How much of the newest stretch of a stream there was nothing to sample from."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from streamwatch.fusion.unseen import Unseen, unseen_time
from streamwatch.records import UnseenCause


class RecentUnseen:
    """horizon: seconds that count. began: seconds of the clock at the beginning. seconds: totals at that time."""

    def __init__(self, horizon: float, began: float, seconds: Mapping[UnseenCause, float]) -> None:
        self._horizon = horizon
        self._totals = deque([(began, dict(seconds))])

    def update(self, now: float, seconds: Mapping[UnseenCause, float]) -> list[Unseen]:
        """What went unseen within the horizon. now: seconds of the clock; seconds: totals so far, by cause."""
        self._totals.append((now, dict(seconds)))
        while len(self._totals) > 2 and self._totals[1][0] <= now - self._horizon:
            self._totals.popleft()
        since, before = self._totals[0]
        recent = {cause: total - before.get(cause, 0.0) for cause, total in seconds.items()}
        return unseen_time(recent, max(now - since, sum(recent.values())))
