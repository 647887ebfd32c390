"""What a running watch has to store, kept until the store has it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import ray

from streamwatch.cluster.connection import Actor, result_of
from streamwatch.errors import StoreError
from streamwatch.records import Alert, EvidenceClip, VideoVerdict
from streamwatch.sources.clocks import utc_now
from streamwatch.sources.states import Transition

if TYPE_CHECKING:
    from streamwatch.sinks import SinkFailure

Item = VideoVerdict | Transition | EvidenceClip

RETRY = 1.0
"""Seconds before the store is tried again."""

HEARTBEAT = 5.0
"""Seconds after which a run that has nothing to store updates its heartbeat in the store."""


@dataclass(frozen=True, slots=True)
class OperatorNotice:
    """A message for the operators that belongs to no single stream."""

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
        self._asked_at = 0.0
        self._down_since: float | None = None
        self._retry_at = 0.0
        self._beat_at = clock() + HEARTBEAT
        self._revisions: dict[str, int] = {}

    def put(self, item: Item) -> None:
        """Queue an item."""
        self._waiting.append(item)

    @property
    def items(self) -> list[Item]:
        """Those of which it is not known that they are stored."""
        return [*self._sent, *self._waiting]

    @property
    def answer(self) -> Any:
        """A reference that is ready when the present call is over; None without one."""
        return self._answer

    @property
    def unanswered(self) -> float:
        """Seconds since the present call began; 0 without one."""
        return 0.0 if self._answer is None else self._clock() - self._asked_at

    def take(self) -> list[Item]:
        """All items, for who stores them without the writer; they are in the outbox no longer."""
        items, self._sent, self._waiting, self._answer = self.items, [], [], None
        return items

    def exchange(self) -> Iterator[VideoVerdict | Alert | OperatorNotice]:
        """Check the pending call, and begin the next: gives the verdicts stored since, their alerts that are new or
        changed, and what went wrong.
        """
        if self._answer is not None and ray.wait([self._answer], timeout=0)[0]:
            yield from self._settle()
        now = self._clock()
        if self._answer is None and now >= self._retry_at and (self._waiting or now >= self._beat_at):
            self._beat_at = now + HEARTBEAT
            self._sent, self._waiting = self._waiting, []
            self._asked_at = now
            self._answer = self._writer.save.remote(self._sent)

    def _settle(self) -> Iterator[VideoVerdict | Alert | OperatorNotice]:
        answer, self._answer = self._answer, None
        sent, self._sent = self._sent, []
        try:
            trouble: list[str] = result_of(answer)
        except StoreError as error:
            self._waiting = [*sent, *self._waiting]
            yield from self._note_failure(error)
            return
        if self._down_since is not None:
            yield OperatorNotice(utc_now(), f"the store can be written to again; {len(sent)} results were kept for it")
            self._down_since = None
        for line in trouble:
            yield OperatorNotice(utc_now(), line)
        yield from self.stored(sent)

    def stored(self, items: Sequence[Item]) -> Iterator[VideoVerdict | Alert]:
        """The verdicts among items that are stored now, with their alerts that are new or changed."""
        for item in items:
            if isinstance(item, VideoVerdict):
                yield item
                yield from self._new_alerts(item)

    def _new_alerts(self, verdict: VideoVerdict) -> Iterator[Alert]:
        """The alerts of a verdict at revisions that were not yielded before."""
        for alert in verdict.alerts:
            if alert.revision > self._revisions.get(alert.id, 0):
                self._revisions[alert.id] = alert.revision
                yield alert

    def _note_failure(self, error: StoreError) -> Iterator[OperatorNotice]:
        now = self._clock()
        self._retry_at = now + RETRY
        if self._down_since is None:
            self._down_since = now
            yield OperatorNotice(utc_now(), f"{error}; results are kept and retried for {self._patience:g} s")
        elif now - self._down_since > self._patience:
            raise error


class PeriodicDelivery:
    """Has the courier deliver pending alerts every second, one call at a time."""

    def __init__(self, courier: Actor, clock: Callable[[], float] = time.monotonic) -> None:
        self._courier = courier
        self._clock = clock
        self._call: Any = None
        self._due = clock()

    def exchange(self) -> Iterator[OperatorNotice]:
        """Begin a delivery where it is due; gives the notices of the last one."""
        if self._call is not None and ray.wait([self._call], timeout=0)[0]:
            done, self._call = self._call, None
            self._due = self._clock() + RETRY
            yield from self._notes(done)
        if self._call is None and self._clock() >= self._due:
            self._call = self._courier.work.remote(RETRY)

    def last(self, patience: float) -> Iterator[OperatorNotice]:
        """Deliver once more, and give the notices. What a sink has not accepted within `patience` seconds is delivered
        by the next run.
        """
        calls = [*([] if self._call is None else [self._call]), self._courier.work.remote()]
        for done in ray.wait(calls, num_returns=len(calls), timeout=patience)[0]:
            yield from self._notes(done)

    def _notes(self, done: Any) -> Iterator[OperatorNotice]:
        try:
            changes: list[SinkFailure] = result_of(done)
        except StoreError:
            return  # the outbox reports it
        for change in changes:
            if change.message is None:
                yield OperatorNotice(utc_now(), f"sink {change.sink} accepts alerts again")
            else:
                kept = "its alerts are kept and retried"
                yield OperatorNotice(utc_now(), f"sink {change.sink} does not accept alerts: {change.message}; {kept}")
