"""Delivers what is pending in the store to its sinks, and retries what they did not accept."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta

from streamwatch.backoff import full_jitter
from streamwatch.config import SinkSettings
from streamwatch.sinks.opening import open_sink
from streamwatch.sinks.sink import DeliveryFailed, Sink
from streamwatch.sources.clocks import utc_now
from streamwatch.store import Store
from streamwatch.store.deliveries import Delivery

logger = logging.getLogger(__name__)

BACKOFF_FIRST, BACKOFF_MAX = 1.0, 300.0
"""Longest waits, in seconds, before the second try and before any later one."""


@dataclass(frozen=True, slots=True)
class SinkFailure:
    """A sink that has just begun to fail, or works again (no message)."""

    sink: str
    message: str | None


class Courier:
    """Delivers to all sinks in parallel, to each in order. Retries without end: a row leaves the queue once accepted.

    A sink that fails is not tried until its backoff is over, so that an unreachable receiver costs one try at a time.
    """

    def __init__(
        self,
        store: Store,
        settings: Sequence[SinkSettings],
        *,
        open_sink: Callable[[SinkSettings], Sink] = open_sink,
        now: Callable[[], datetime] = utc_now,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._now = now
        self._chance = chance
        self._sinks = {each.name: open_sink(each) for each in settings}
        self._failing: set[str] = set()
        self._running: dict[str, Future[SinkFailure | None]] = {}
        self._threads = ThreadPoolExecutor(max_workers=max(1, len(settings)), thread_name_prefix="sink")

    def work(self, patience: float | None = None) -> list[SinkFailure]:
        """Deliver to every sink all that is due. Raises StoreError.

        patience: most seconds to wait for sinks, so that a slow one delays no other: it goes on, and what became of it
        is reported by a later call. None: until all are done.
        """
        changes = self._collect(0.0 if patience is not None else None)
        for name in self._sinks:
            if name not in self._running:
                self._running[name] = self._threads.submit(self._serve, name)
        return changes + self._collect(patience)

    def _collect(self, patience: float | None) -> list[SinkFailure]:
        wait(self._running.values(), patience)
        done = [name for name, serving in self._running.items() if serving.done()]
        changes = [self._running.pop(name).result() for name in done]
        return [change for change in changes if change is not None]

    def close(self) -> None:
        """End all connections."""
        self._threads.shutdown()
        for sink in self._sinks.values():
            sink.close()

    def _serve(self, name: str) -> SinkFailure | None:
        while due := self._store.deliveries.due(name):
            for delivery in due:
                try:
                    self._sinks[name].deliver(delivery)
                except DeliveryFailed as error:
                    return self._put_off(name, delivery, str(error))
                except Exception as error:
                    logger.exception("sink %s failed", name)
                    return self._put_off(name, delivery, f"it failed ({type(error).__name__})")
                self._store.deliveries.delivered(delivery)
                if name in self._failing:
                    self._failing.discard(name)
                    return SinkFailure(name, None)
        return None

    def _put_off(self, name: str, delivery: Delivery, message: str) -> SinkFailure | None:
        wait = full_jitter(delivery.attempts, BACKOFF_FIRST, BACKOFF_MAX, self._chance)
        self._store.deliveries.failed(delivery, message, self._now() + timedelta(seconds=wait))
        if name in self._failing:
            return None
        self._failing.add(name)
        return SinkFailure(name, message)
