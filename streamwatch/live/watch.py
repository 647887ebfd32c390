"""Watches streams: one worker each, verdicts stored as they come, workers that die replaced."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayTaskError

from streamwatch.cluster.connection import LOST, Actor, result_of
from streamwatch.cluster.placing import RunActors, start_actors
from streamwatch.cluster.statistics import DetectorLoad, LoadPoller
from streamwatch.config import LiveSettings, Settings
from streamwatch.errors import ConfigError, DetectorError, SourceRefused, StoreError, StreamwatchError, WorkerLost
from streamwatch.fusion import SourceAlerts, error_verdict
from streamwatch.live.outbox import Item, OperatorNotice, Outbox, PeriodicDelivery
from streamwatch.live.stream import ResumeState
from streamwatch.live.targets import Targets
from streamwatch.live.worker import StreamWorker
from streamwatch.pipeline.plan import Plan
from streamwatch.records import Alert, AlertKind, EvidenceClip, VideoVerdict
from streamwatch.sources import Location
from streamwatch.sources.clocks import utc_now
from streamwatch.sources.redact import redact_text
from streamwatch.sources.states import Cause, RetryPolicy, StreamState, Transition
from streamwatch.store import Store

logger = logging.getLogger(__name__)

WatchEvent = VideoVerdict | Alert | Transition | OperatorNotice
"""What a watch reports to its user."""

WatchOutput = WatchEvent | DetectorLoad
"""Everything that a watch yields."""

POLL = 0.25
"""Seconds between two polls of the workers."""

TRACKS_PER_WORKER = 1_000_000
"""Track ids set aside for each worker of a stream: one that takes over must not write over stored tracks."""

PATIENCE = 5.0
"""Seconds that a worker has to answer or, beyond its read timeout, to end; and sinks to accept the last alerts."""


@dataclass(eq=False)
class _Assignment:
    """A worker that watches a stream. watching: ready with its last verdict. taking: ready with its pending items."""

    worker: Actor
    watching: Any
    taking: Any
    began: float

    @classmethod
    def begin(cls, worker: Actor, source: Location, seconds: float | None, resume: ResumeState) -> _Assignment:
        return cls(worker, worker.watch.remote(source, seconds, resume), worker.take.remote(), time.monotonic())

    @property
    def references(self) -> tuple[Any, Any]:
        """Ready when the worker has pending items, or has ended."""
        return self.watching, self.taking

    @property
    def over(self) -> bool:
        """Whether the worker has come to the end of the stream, or has failed."""
        return bool(ray.wait([self.watching], timeout=0)[0])

    def events(self) -> list[Item]:
        """The worker's items since the last call. Raises the error of its death, or of its failure."""
        if not ray.wait([self.taking], timeout=0)[0]:
            return []
        items: list[Item] = ray.get(self.taking)
        self.taking = self.worker.take.remote()
        return items

    def last(self, patience: float | None = None) -> list[Item]:
        """All pending items once it is over, the last verdict too. Raises as `events` does, and GetTimeoutError
        where it is not over within `patience` seconds.
        """
        verdict: VideoVerdict = ray.get(self.watching, timeout=patience)
        return [*ray.get(self.taking), *ray.get(self.worker.take.remote()), verdict]


@dataclass(eq=False)
class _Stream:
    """A stream and the worker that watches it, if there is one at the moment."""

    source: Location
    retries: RetryPolicy
    state: StreamState = StreamState.CONNECTING
    assignment: _Assignment | None = None
    retry_at: float = 0.0
    over: bool = False
    leaving: bool = False
    leave_by: float = math.inf
    workers: int = 0
    latest: VideoVerdict | None = None
    items: list[Item] = field(default_factory=list)

    @classmethod
    def of(cls, source: Location, settings: LiveSettings) -> _Stream:
        return cls(source, RetryPolicy(settings))

    def transition(self, state: StreamState, message: str = "", retry_in: float | None = None) -> None:
        """Record a change of state while no worker is there to report it."""
        cause = None if state is StreamState.STOPPED else Cause.CRASHED
        self.items.append(Transition(utc_now(), self.source.name, self.state, state, cause, message, retry_in))


def iter_watch(
    urls: Sequence[str],
    settings: Settings,
    *,
    follow: Callable[[], Sequence[str] | None] | None = None,
    stop: threading.Event | None = None,
    seconds: float | None = None,
    store: bool = True,
) -> Generator[WatchOutput, None, None]:
    """Watch streams, each in a process of its own; yields verdicts and new revisions of alerts (after their commit),
    changes of state, notices and the detectors' load as they come.

    A verdict follows every `live.verdict_every` seconds and at the end. Ends after `seconds`, once `stop` is set, or
    when every source has ended, which only files do: with the last verdicts stored and yielded, and the ends of alerts
    delivered to the sinks. Closing the iterator, or an interrupt, ends it too, and stores the last verdicts.

    follow: called every second for the URLs to watch from now on, None where they are the same; a ConfigError or
    SourceRefused that it raises is reported as an `OperatorNotice`. With it, a watch of no streams waits for some.

    Raises SourceRefused for a scheme that is not allowed, and WeightsError, ConfigError or StoreError where nothing can
    be done at all.
    """
    targets = Targets(urls, follow)
    plan = Plan.resolve(settings)
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(Store.open(settings.store.url)) if store else None
        watch = _Watch(targets, plan, opened, seconds, stop or threading.Event())
        yield from stack.enter_context(contextlib.closing(watch.run()))


class _Watch:
    """One run of `watch`."""

    def __init__(
        self,
        targets: Targets,
        plan: Plan,
        store: Store | None,
        seconds: float | None,
        stop: threading.Event,
    ) -> None:
        self._targets = targets
        self._stop = stop
        self._plan = plan
        self._store = store
        self._seconds = seconds
        self._deadline: float | None = None
        self._streams = {source: _Stream.of(source, plan.settings.live) for source in targets.sources}
        self._run_id: int | None = None
        self._outbox: Outbox | None = None
        self._delivery: PeriodicDelivery | None = None
        self._unsaved: list[Item] = []

    def run(self) -> Generator[WatchOutput, None, None]:
        settings = self._plan.settings
        status = "interrupted"
        try:
            if self._store is not None:
                self._store.end_abandoned(settings.sinks)
                self._run_id = self._store.begin_run("watch", settings.model_dump_json(), settings.digest())
            with start_actors(
                self._plan, self._run_id, lambda cores: len(self._targets.sources), StreamWorker
            ) as actors:
                if actors.writer is not None:
                    self._outbox = Outbox(actors.writer, settings.live.store_patience)
                if actors.courier is not None:
                    self._delivery = PeriodicDelivery(actors.courier)
                try:
                    self._load(actors)
                    if self._seconds is not None:
                        self._deadline = time.monotonic() + self._seconds
                    yield from self._work(actors)
                    status = "done"
                finally:
                    self._finish()
        except StreamwatchError:
            status = "failed"
            raise
        finally:
            if self._store is not None and self._run_id is not None:
                with contextlib.suppress(*([StoreError] if status == "failed" else [])):
                    self._store.save(self._run_id, self._unsaved, settings.sinks, settings.alerts.clips)
                    self._store.end_run(self._run_id, status)

    def _work(self, actors: RunActors) -> Generator[WatchOutput, None, None]:
        load = LoadPoller(actors.detectors, actors.lanes)
        while not self._done() or (self._outbox and self._outbox.items):
            output: list[WatchOutput] = [*self._reconcile()]
            for stream in self._streams.values():
                if stream.assignment is None:
                    self._begin(stream, actors)
                else:
                    self._poll(stream, stream.assignment, actors)
                output.extend(self._sort(stream))
            if self._outbox is not None:
                output.extend(self._outbox.exchange())
            if self._delivery is not None:
                output.extend(self._delivery.exchange())
            output.extend(load.poll())
            yield from output
            if self._outbox is not None and self._outbox.unanswered > PATIENCE and self._done():
                yield from self._save_here(self._outbox)
            if self._steady():
                actors.prepare_worker()
            self._pause()
        if self._delivery is not None:
            yield from self._delivery.last(PATIENCE)

    def _save_here(self, outbox: Outbox) -> Iterator[WatchOutput]:
        """At the end, where the writer does not answer because its cluster is gone, as where a signal reached all
        processes: store what is left, and deliver its alerts. Raises StoreError where that fails for
        `live.store_patience` seconds.
        """
        from streamwatch.sinks import Courier  # with an HTTP client that is not needed otherwise

        assert self._store is not None
        assert self._run_id is not None
        settings = self._plan.settings
        try:
            self._store.save(self._run_id, outbox.items, settings.sinks, settings.alerts.clips)
        except StoreError:
            if outbox.unanswered > settings.live.store_patience:
                raise
            return
        yield from outbox.stored(outbox.take())
        if settings.sinks:
            courier = Courier(self._store, settings.sinks)
            courier.work()
            courier.close()

    def _load(self, actors: RunActors) -> None:
        """Wait for the models: frames that come before would go stale. Raises WeightsError."""
        for reference in actors.loading:
            while not (ray.wait([reference], timeout=POLL)[0] or self._stop.is_set()):
                pass
            if not self._stop.is_set():
                result_of(reference)

    def _done(self) -> bool:
        """Whether nothing is watched any more, nor will be."""
        ending = self._stop.is_set() or (self._deadline is not None and time.monotonic() >= self._deadline)
        return all(stream.over for stream in self._streams.values()) and (not self._targets.followed or ending)

    def _steady(self) -> bool:
        """Whether every stream runs and none is being removed."""
        streams = self._streams.values()
        return all(stream.state is StreamState.RUNNING and not stream.leaving for stream in streams)

    def _reconcile(self) -> Iterator[OperatorNotice]:
        """Have the streams that are watched be those that are wanted; those that stay are not touched."""
        if self._stop.is_set():
            self._targets.clear()
        else:
            try:
                self._targets.follow()
            except (ConfigError, SourceRefused) as error:
                yield OperatorNotice(utc_now(), f"{error}; the streams stay as they are")
                return
        for source in self._targets.sources:
            if source not in self._streams:
                self._streams[source] = _Stream.of(source, self._plan.settings.live)
            stream = self._streams[source]
            if stream.leaving and stream.over:  # it was watched before
                stream.leaving = stream.over = False
                stream.leave_by, stream.retry_at = math.inf, 0.0
        for stream in self._streams.values():
            if stream.source not in self._targets.sources and not stream.leaving:
                self._dismiss(stream)

    def _dismiss(self, stream: _Stream) -> None:
        """Have a stream end that is not wanted any more."""
        stream.leaving = True
        if stream.assignment is not None:
            stream.leave_by = time.monotonic() + PATIENCE + self._plan.settings.decode.read_timeout
            stream.assignment.worker.stop.remote()
        elif not stream.over:
            stream.over = True
            stream.transition(StreamState.STOPPED)

    def _begin(self, stream: _Stream, actors: RunActors) -> None:
        now = time.monotonic()
        left = None if self._deadline is None else self._deadline - now
        if left is not None and left <= 0:
            stream.over = True
        if stream.over or now < stream.retry_at:
            return
        if stream.workers:
            stream.transition(StreamState.CONNECTING)
        resume = ResumeState.after(stream.latest, first_track=stream.workers * TRACKS_PER_WORKER + 1)
        stream.workers += 1
        stream.assignment = _Assignment.begin(actors.take_worker(), stream.source, left, resume)

    def _poll(self, stream: _Stream, assignment: _Assignment, actors: RunActors) -> None:
        """Receive the worker's pending items; where it has ended, its last verdict too."""
        try:
            if assignment.over:
                stream.items += assignment.last()
                stream.over = True
                self._release(stream, assignment, actors)
            elif events := assignment.events():
                stream.items += events
            elif time.monotonic() > stream.leave_by:
                self._lose(stream, assignment, actors, "")
        except LOST:
            logger.info("%s: its worker died", stream.source, exc_info=True)
            self._lose(stream, assignment, actors, "the process that watched it died")
        except RayTaskError as error:
            if isinstance(error.cause, StreamwatchError) and not isinstance(error.cause, DetectorError):
                raise error.cause from error
            logger.exception("%s: its worker failed", stream.source)
            self._lose(stream, assignment, actors, redact_text(str(error.cause)))

    def _lose(self, stream: _Stream, assignment: _Assignment, actors: RunActors, message: str) -> None:
        now = time.monotonic()
        if stream.leaving:
            stream.over = True
            stream.transition(StreamState.STOPPED)
            self._release(stream, assignment, actors)
            return
        failed, wait = stream.retries.failed(Cause.CRASHED, now - assignment.began)
        stream.retry_at = now + wait
        stream.transition(StreamState.FAILED if failed else StreamState.BACKING_OFF, message, wait)
        if failed:
            stream.items.append(self._given_up(stream, message))
        self._release(stream, assignment, actors)

    def _given_up(self, stream: _Stream, message: str) -> VideoVerdict:
        """The verdict on a stream whose workers die one after the other, with an alert that says so."""
        before, name = stream.latest, stream.source.name
        subject = self._plan.subject(name, None, None if before is None else before.started_at)
        earlier = () if before is None else before.alerts
        alerts = SourceAlerts(name, self._plan.alert_rules, self._plan.policy, earlier=earlier)
        now = utc_now().timestamp()
        alerts.fault(AlertKind.DOWN, f"{Cause.CRASHED}: {message}", now, at_once=True)
        alerts.step(now)
        frames = ResumeState.after(before, 1).frames
        return error_verdict(subject, WorkerLost(f"{name}: {message}"), frames, alerts=alerts.current(now))

    def _release(self, stream: _Stream, assignment: _Assignment, actors: RunActors) -> None:
        actors.end_worker(assignment.worker)
        stream.assignment = None

    def _sort(self, stream: _Stream) -> Iterator[VideoVerdict | Transition]:
        """Changes of state are yielded at once, verdicts after they were stored."""
        items, stream.items = stream.items, []
        for item in items:
            if isinstance(item, Transition):
                stream.state = item.state
            elif isinstance(item, VideoVerdict):
                stream.latest = item
            if self._outbox is not None:
                self._outbox.put(item)
            if isinstance(item, Transition) or (self._outbox is None and not isinstance(item, EvidenceClip)):
                yield item

    def _pause(self) -> None:
        references = [reference for assignment in self._assignments() for reference in assignment.references]
        references += [self._outbox.answer] if self._outbox and self._outbox.answer is not None else []
        if references:
            ray.wait(references, timeout=POLL)
        else:
            time.sleep(POLL)

    def _finish(self) -> None:
        """Interrupted: have every worker end its stream, and keep the last verdicts for the store."""
        if self._outbox is not None:
            self._unsaved = self._outbox.items
        assignments = self._assignments()
        for assignment in assignments:
            assignment.worker.stop.remote()
        patience = PATIENCE + self._plan.settings.decode.read_timeout
        if assignments:
            ray.wait(
                [assignment.watching for assignment in assignments], num_returns=len(assignments), timeout=patience
            )
        for stream in self._streams.values():
            if stream.assignment is None:
                continue
            try:
                self._unsaved += stream.assignment.last(patience=0)
            except RayTaskError:
                logger.exception("%s: its worker failed", stream.source)
            except (*LOST, ray.exceptions.GetTimeoutError):
                continue

    def _assignments(self) -> list[_Assignment]:
        return [stream.assignment for stream in self._streams.values() if stream.assignment is not None]
