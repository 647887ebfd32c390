"""Which streams a watch is to watch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from streamwatch.sources.container import check_watchable

FOLLOW_EVERY = 1.0
"""Seconds between two looks at which streams are to be watched."""


class Targets:
    """The URLs that are to be watched: the given ones, or with `ask` those that it names from time to time.

    ask: gives all URLs, None where they are the same as before.
    followed: whether they may change.
    """

    def __init__(
        self,
        urls: Sequence[str],
        ask: Callable[[], Sequence[str] | None] | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.urls = urls
        self.followed = ask is not None
        self._ask = ask
        self._clock = clock
        self._due = clock() + FOLLOW_EVERY

    def follow(self) -> None:
        """Ask where it is time to. Raises what asking raises, and SourceRefused for a scheme that is not allowed; then
        they stay as they are.
        """
        if self._ask is None or self._clock() < self._due:
            return
        self._due = self._clock() + FOLLOW_EVERY
        urls = self._ask()
        for url in urls or ():
            check_watchable(url)
        if urls is not None:
            self.urls = urls

    def clear(self) -> None:
        """Nothing is to be watched any more."""
        self.urls = ()
