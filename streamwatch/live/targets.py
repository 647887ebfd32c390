"""Which streams a watch is to watch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from streamwatch.sources.container import check_watchable
from streamwatch.sources.location import Location

FOLLOW_EVERY = 1.0
"""Seconds between two looks at which streams are to be watched."""


class Targets:
    """The sources that are to be watched: the given ones, or with `ask` those that it names from time to time.

    ask: gives all URLs, None where they are the same as before.
    followed: whether they may change.

    Raises as `check_watchable` does.
    """

    def __init__(
        self,
        urls: Sequence[str],
        ask: Callable[[], Sequence[str] | None] | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sources = _watchable(urls)
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
        if urls is not None:
            self.sources = _watchable(urls)

    def clear(self) -> None:
        """Nothing is to be watched any more."""
        self.sources = ()


def _watchable(urls: Sequence[str]) -> tuple[Location, ...]:
    sources = tuple(map(Location, urls))
    for source in sources:
        check_watchable(source)
    return sources
