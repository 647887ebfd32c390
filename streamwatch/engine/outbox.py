"""What a running watch has to store, kept until the store has it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import ray

from streamwatch.engine.cluster import Actor, result_of
from streamwatch.errors import StoreError
from streamwatch.records import VideoVerdict
from streamwatch.sources.clocks import utc_now
from streamwatch.sources.states import Transition

Item = VideoVerdict | Transition

RETRY = 1.0
"""Seconds before the store is tried again."""

HEARTBEAT = 5.0
"""Seconds after which the store hears of a run that has nothing to store."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that the people at the desk should know and that is of no single stream."""

    at: datetime
    message: str


class Outbox:
    """Hands items to the writer in order, one call at a time. What the store refuses is handed over again.

    A store that cannot be written to for `patience` seconds is a StoreError.
    """

    def __init__(self, writer: Actor, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._writer = writer
        self._patience = patience
        self._clock = clock
        self._waiting: list[Item] = []
        self._sent: list[Item] = []
        self._answer: Any = None
        self._down_since: float | None = None
        self._retry_at = 0.0
        self._beat_at = clock() + HEARTBEAT

    def put(self, item: Item) -> None:
        """Take an item."""
        self._waiting.append(item)

    @property
    def items(self) -> list[Item]:
        """Those of which it is not known that they are stored."""
        return [*self._sent, *self._waiting]

    @property
    def answer(self) -> Any:
        """A reference that is ready when the present call is over; None without one."""
        return self._answer

    def exchange(self) -> Iterator[VideoVerdict | Notice]:
        """See what has become of the last call, and make the next: the verdicts stored since, and what went wrong."""
        if self._answer is not None and ray.wait([self._answer], timeout=0)[0]:
            yield from self._settle()
        now = self._clock()
        if self._answer is None and now >= self._retry_at and (self._waiting or now >= self._beat_at):
            self._beat_at = now + HEARTBEAT
            self._sent, self._waiting = self._waiting, []
            self._answer = self._writer.save.remote(self._sent)

    def _settle(self) -> Iterator[VideoVerdict | Notice]:
        answer, self._answer = self._answer, None
        sent, self._sent = self._sent, []
        try:
            result_of(answer)
        except StoreError as error:
            self._waiting = [*sent, *self._waiting]
            yield from self._note_failure(error)
            return
        if self._down_since is not None:
            yield Notice(utc_now(), f"the store can be written to again; {len(sent)} results were kept for it")
            self._down_since = None
        for item in sent:
            if isinstance(item, VideoVerdict):
                yield item

    def _note_failure(self, error: StoreError) -> Iterator[Notice]:
        now = self._clock()
        self._retry_at = now + RETRY
        if self._down_since is None:
            self._down_since = now
            yield Notice(utc_now(), f"{error}; results are kept and tried again for {self._patience:g} s")
        elif now - self._down_since > self._patience:
            raise error
