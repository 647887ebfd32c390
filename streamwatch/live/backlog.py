"""Whether the analysis of a stream gets anywhere."""

from __future__ import annotations

import time
from collections.abc import Callable


class BacklogMonitor:
    """Notices that pictures come and none of them is through for more than `patience` seconds."""

    def __init__(self, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience = patience
        self._clock = clock
        self._finished = 0
        self._sampled = 0  # when the last one was through
        self._waiting_since: float | None = None

    def update(self, sampled: int, finished: int) -> bool:
        """Update with how many frames were sampled and how many are done, analysed or left out; whether none has
        been through for too long.
        """
        now = self._clock()
        if finished != self._finished:
            self._finished, self._sampled, self._waiting_since = finished, sampled, None
        if self._waiting_since is None and sampled > self._sampled:
            self._waiting_since = now
        return self._waiting_since is not None and now - self._waiting_since > self._patience
