"""Watches streams: one worker each, verdicts stored as they come, workers that die replaced."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import ray
from ray.exceptions import RayTaskError

from streamwatch.config import LiveSettings, Settings
from streamwatch.engine.cluster import LOST, Actor, result_of
from streamwatch.engine.crew import Crew, assemble
from streamwatch.engine.feed import StreamEvent, backoff
from streamwatch.engine.plan import Plan
from streamwatch.errors import DetectorError, StoreError, StreamwatchError
from streamwatch.records import VideoVerdict
from streamwatch.sources import redact
from streamwatch.sources.container import access_for
from streamwatch.store import Store

POLL = 0.25
"""Seconds between two looks at the workers."""

TRACKS_PER_WORKER = 1_000_000
"""Track ids set aside for each worker of a stream: one that takes over must not write over stored tracks."""

PATIENCE = 5.0
"""Seconds that a worker has to answer or, beyond its read timeout, to end."""


@dataclass(eq=False)
class _Stream:
    """A stream and the worker that watches it, if there is one at the moment."""

    url: str
    waits: Iterator[float]
    worker: Actor = None
    watching: Any = None
    taking: Any = None
    retry_at: float = 0.0
    over: bool = False
    workers: int = 0
    items: list[VideoVerdict | StreamEvent] = field(default_factory=list)

    @classmethod
    def of(cls, url: str, settings: LiveSettings) -> _Stream:
        return cls(url, backoff(settings))


def iter_watch(
    urls: Sequence[str], settings: Settings, *, seconds: float | None = None, store: bool = True
) -> Generator[VideoVerdict | StreamEvent, None, None]:
    """Watch streams, each in a process of its own; yields verdicts (after their commit) and events as they
    come.

    A verdict follows every `live.verdict_every` seconds and at the end. Ends after `seconds`, or when every
    source has ended, which only files do; closing the iterator, or an interrupt, ends it too, with a last
    verdict stored. Raises SourceRefused for a scheme that is not allowed, and WeightsError, ConfigError or
    StoreError where nothing can be done at all.
    """
    for url in urls:
        access_for(url)
    plan = Plan.resolve(settings)
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(Store.open(settings.store.url)) if store else None
        watch = _Watch(urls, plan, opened, seconds)
        yield from stack.enter_context(contextlib.closing(watch.run()))


class _Watch:
    """One run of `watch`."""

    def __init__(self, urls: Sequence[str], plan: Plan, store: Store | None, seconds: float | None) -> None:
        self._plan = plan
        self._store = store
        self._seconds = seconds
        self._deadline: float | None = None
        self._streams = [_Stream.of(url, plan.settings.live) for url in urls]
        self._run_id: int | None = None
        self._saving: tuple[Any, list[VideoVerdict]] | None = None
        self._unsaved: list[VideoVerdict] = []

    def run(self) -> Generator[VideoVerdict | StreamEvent, None, None]:
        settings = self._plan.settings
        status = "interrupted"
        try:
            if self._store is not None:
                self._run_id = self._store.begin_run("watch", settings.model_dump_json(), settings.digest())
            with assemble(self._plan, self._run_id) as crew:
                try:
                    for reference in crew.loading:
                        result_of(reference)  # frames that come before the model is loaded would go stale
                    if self._seconds is not None:
                        self._deadline = time.monotonic() + self._seconds
                    yield from self._work(crew)
                    status = "done"
                finally:
                    self._finish()
        except StreamwatchError:
            status = "failed"
            raise
        finally:
            if self._store is not None and self._run_id is not None:
                with contextlib.suppress(StoreError):
                    for verdict in self._unsaved:
                        self._store.save_verdict(self._run_id, verdict)
                    self._store.end_run(self._run_id, status)

    def _work(self, crew: Crew) -> Generator[VideoVerdict | StreamEvent, None, None]:
        while not all(stream.over for stream in self._streams) or self._saving or self._unsaved:
            told: list[VideoVerdict | StreamEvent] = []
            for stream in self._streams:
                if stream.worker is None:
                    self._begin(stream, crew)
                else:
                    self._look(stream, crew)
                told.extend(self._sort(stream))
            told.extend(self._save(crew))
            yield from told
            self._pause()

    def _begin(self, stream: _Stream, crew: Crew) -> None:
        now = time.monotonic()
        left = None if self._deadline is None else self._deadline - now
        if left is not None and left <= 0:
            stream.over = True
        if stream.over or now < stream.retry_at:
            return
        stream.worker = crew.hire()
        first_track = stream.workers * TRACKS_PER_WORKER + 1
        stream.workers += 1
        stream.watching = stream.worker.watch.remote(stream.url, left, first_track)
        stream.taking = stream.worker.take.remote()

    def _look(self, stream: _Stream, crew: Crew) -> None:
        """Take what the worker has to tell; where it has ended, its last verdict too."""
        try:
            if ray.wait([stream.watching], timeout=0)[0]:
                last: VideoVerdict = ray.get(stream.watching)
                stream.items += [*ray.get(stream.taking), *ray.get(stream.worker.take.remote()), last]
                stream.over = True
                self._release(stream, crew)
            elif ray.wait([stream.taking], timeout=0)[0]:
                stream.items += ray.get(stream.taking)
                stream.taking = stream.worker.take.remote()
        except LOST:
            self._lose(stream, crew, "the process that watched it died")
        except RayTaskError as error:
            if isinstance(error.cause, StreamwatchError) and not isinstance(error.cause, DetectorError):
                raise error.cause from None
            self._lose(stream, crew, str(error.cause))

    def _lose(self, stream: _Stream, crew: Crew, message: str) -> None:
        wait = next(stream.waits)
        stream.retry_at = time.monotonic() + wait
        stream.items.append(StreamEvent(datetime.now(timezone.utc), redact(stream.url), "lost", message, wait))
        self._release(stream, crew)

    def _release(self, stream: _Stream, crew: Crew) -> None:
        crew.dismiss(stream.worker)
        stream.worker = stream.watching = stream.taking = None

    def _sort(self, stream: _Stream) -> Iterator[VideoVerdict | StreamEvent]:
        """Events are told at once, verdicts after they were stored."""
        items, stream.items = stream.items, []
        for item in items:
            if isinstance(item, StreamEvent) or self._store is None:
                yield item
            else:
                self._unsaved.append(item)

    def _save(self, crew: Crew) -> list[VideoVerdict]:
        """Send new verdicts to the writer; what it has stored since the last call."""
        saved: list[VideoVerdict] = []
        if self._saving is not None and ray.wait([self._saving[0]], timeout=0)[0]:
            result_of(self._saving[0])
            saved, self._saving = self._saving[1], None
        if self._saving is None and self._unsaved and crew.writer is not None:
            unsaved, self._unsaved = self._unsaved, []
            self._saving = crew.writer.save.remote(unsaved), unsaved
        return saved

    def _pause(self) -> None:
        references = [stream.watching for stream in self._streams if stream.watching is not None]
        references += [self._saving[0]] if self._saving else []
        if references:
            ray.wait(references, timeout=POLL)
        else:
            time.sleep(POLL)

    def _finish(self) -> None:
        """Interrupted: have every worker end its stream, and keep the last verdicts for the store."""
        if self._saving is not None:
            self._unsaved = [*self._saving[1], *self._unsaved]
            self._saving = None
        running = [stream for stream in self._streams if stream.worker is not None]
        for stream in running:
            stream.worker.stop.remote()
        patience = PATIENCE + self._plan.settings.decode.read_timeout
        if running:
            ray.wait([s.watching for s in running], num_returns=len(running), timeout=patience)
        for stream in running:
            with contextlib.suppress(*LOST, RayTaskError, ray.exceptions.GetTimeoutError):
                self._unsaved.append(ray.get(stream.watching, timeout=0))
