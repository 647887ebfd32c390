"""Scans many files at once: what the scheduler decides, done with a pool of workers and the store."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import ray

from streamwatch.archive.events import (
    Deliver,
    Event,
    InputReady,
    Instruction,
    LookUp,
    Resized,
    Save,
    Saved,
    Settle,
    Start,
    Task,
    Tick,
)
from streamwatch.archive.input_queue import InputQueue, QueuedInput
from streamwatch.archive.pool import WorkerPool
from streamwatch.archive.run_store import RunStore, StoredRun
from streamwatch.archive.scheduler import DRAWING, Scheduler
from streamwatch.archive.work import Clip, ClipNames, FileUnderWork, Work, work_of
from streamwatch.config import Settings
from streamwatch.drawing.annotate import Drawing
from streamwatch.errors import JobCancelled, StoreError, StreamwatchError
from streamwatch.fusion import Subject
from streamwatch.pipeline.analyser import Analysis
from streamwatch.pipeline.plan import Plan
from streamwatch.records import VideoVerdict
from streamwatch.sources import Input, Location
from streamwatch.store import Store
from streamwatch.store.jobs import InputOutcome

POLL = 0.25
"""Seconds that the loop waits for something to finish before it looks around again."""

LOOK_EVERY = 1.0
"""Seconds between two looks at content that another run works on."""

ASK_EVERY = 0.5
"""Seconds between two questions to the workers how far they are."""


@dataclass(frozen=True, slots=True)
class ScanProgress:
    """done counts inputs, with the shares of those under way: 0 ≤ done ≤ total. job: in the store, if any."""

    done: float
    total: int
    job: int | None = None


def scan(
    inputs: Sequence[str | Path | Location | Input],
    settings: Settings,
    *,
    on_verdict: Callable[[VideoVerdict], None],
    progress: Callable[[ScanProgress], None] | None = None,
    store: bool = True,
    resume: bool = True,
) -> None:
    """Analyse files and pass on each verdict as soon as it is stored. Arguments and errors: see `iter_scan`."""
    for analysis in iter_scan(inputs, settings, progress=progress, store=store, resume=resume):
        on_verdict(analysis.verdict)


def iter_scan(
    inputs: Sequence[str | Path | Location | Input],
    settings: Settings,
    *,
    progress: Callable[[ScanProgress], None] | None = None,
    store: bool = True,
    resume: bool = True,
    trace: bool = False,
    annotate: Path | None = None,
    command: str = "scan",
) -> Generator[Analysis, None, None]:
    """Analyse files on `engine.workers` workers; yields one analysis for each input, in the order of
    completion.

    inputs: paths and URLs with an end, as `read_inputs` gives them. progress: called several times a second.
    store: keep results at `store.url`; a result is yielded after its commit. resume: take what the store has
    for the same content, model and settings; needs `store`, and no `trace`. trace: give the traces of all
    faces too. annotate: folder for annotated clips of the files, each under a name of its own that is not
    an input's; implies `trace`.
    command: what the store notes as the command of this run.

    What fails on one input is its verdict `error`, and the rest goes on. Scans that share a store share the work: what
    another one works on is waited for, and taken over where that one has died. Inputs of the same content are
    analysed once; copies have the same verdict without frame scores and pictures. Closing the iterator, or
    an interrupt, keeps what was finished until then. Raises WeightsError, ConfigError or StoreError where
    nothing can be done at all, and JobCancelled where `streamwatch jobs cancel` ended it.
    """
    plan = Plan.resolve(settings)
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(Store.open(settings.store.url)) if store else None
        trace = trace or annotate is not None
        kept = (
            RunStore() if opened is None else StoredRun(opened, plan, resume=resume and not trace, segments=not trace)
        )
        items = [item if isinstance(item, Input) else Input(Location.of(item)) for item in inputs]
        run = _Scan(items, plan, kept, trace=trace, annotate=annotate)
        yield from stack.enter_context(contextlib.closing(run.run(command, progress)))


class _Scan:
    """One scan: asks the scheduler what is to be done, and does it."""

    def __init__(
        self, inputs: Sequence[Input], plan: Plan, store: RunStore, *, trace: bool, annotate: Path | None
    ) -> None:
        self._inputs = inputs
        self._plan = plan
        self._store = store
        self._trace = trace
        self._clips = None if annotate is None else ClipNames(annotate, _paths(inputs))
        self._pool = WorkerPool(plan)
        self._queue = InputQueue(inputs, 2 * self._pool.size, store.known(inputs))
        self._scheduler = Scheduler(
            len(inputs),
            self._pool.size,
            attempts=plan.settings.engine.attempts,
            subject=self._subject,
            share=not trace,
            draw=annotate is not None,
        )
        self._files: dict[int, FileUnderWork] = {}
        self._outcomes: list[InputOutcome] = []
        self._deliveries: deque[Analysis] = deque()
        self._looked_at = time.monotonic()

    def run(self, command: str, progress: Callable[[ScanProgress], None] | None) -> Generator[Analysis, None, None]:
        status = "interrupted"
        meter = None if progress is None else _Meter(self._scheduler, self._pool, progress)
        try:
            self._store.begin(command, self._inputs)
            while not self._scheduler.finished:
                self._take_inputs()
                self._look_around()
                self._save()
                self._wait()
                if meter is not None:
                    meter.report(self._store.job_id, len(self._inputs))
                yield from self._deliver()
            status = "done"
        except JobCancelled:
            raise
        except StreamwatchError:
            status = "failed"
            raise
        finally:
            self._end(status)

    def _end(self, status: str) -> None:
        """Give everything back. What was finished but not stored yet is stored."""
        self._queue.close()
        self._pool.end()
        for file in self._files.values():
            file.close()
        with contextlib.suppress(StoreError):
            self._store.note(self._queue.take_fresh())
        self._store.end(status)

    # ── events ──

    def _take_inputs(self) -> None:
        """Take inputs while workers have nothing to do, but not so many that results wait for it."""
        for _ in range(self._queue.ahead):
            if not self._scheduler.wants_input or (item := self._queue.next()) is None:
                return
            self._files[item.number] = FileUnderWork(item, self._subject(item))
            self._handle(InputReady(item, self._store.spent(item)))

    def _look_around(self) -> None:
        """Keep the contents of this run, see what has become of those of other runs, and whether to go on."""
        self._store.renew(busy=self._pool.busy)
        if time.monotonic() - self._looked_at >= LOOK_EVERY:
            self._looked_at = time.monotonic()
            self._store.check_cancelled()
            self._handle(Tick())

    def _save(self) -> None:
        """Have what is finished saved."""
        self._store.note(self._queue.take_fresh())
        for number in self._store.save(self._pool.writer):
            self._handle(Saved(number))

    def _wait(self) -> None:
        """Wait until something is finished, or for `POLL` seconds, and handle it."""
        if self._deliveries:
            return
        saving = [] if self._store.saving is None else [self._store.saving]
        if not (self._pool.busy or saving):
            self._queue.wait(POLL)
            return
        reference = self._pool.wait(saving, POLL)
        if reference in saving:
            for number in self._store.saved():
                self._handle(Saved(number))
        elif reference is not None:
            self._handle(self._pool.take(reference))

    def _deliver(self) -> Iterator[Analysis]:
        """What is finished and stored, noted in the job before."""
        outcomes, self._outcomes = self._outcomes, []
        self._store.settle(outcomes)
        while self._deliveries:
            yield self._deliveries.popleft()

    # ── instructions ──

    def _handle(self, event: Event) -> None:
        todo: deque[Instruction] = deque(self._scheduler.handle(event))
        while todo:
            answer = self._follow(todo.popleft())
            if answer is not None:
                todo.extend(self._scheduler.handle(answer))

    def _follow(self, instruction: Instruction) -> Event | None:
        match instruction:
            case LookUp(item, lease):
                return self._store.look_up(item, lease=lease)
            case Start(task):
                return self._start(task)
            case Save(item, analysis):
                self._store.add(item, analysis)
                self._files[item.number].end_analysis(analysis)
            case Settle(item, failure):
                self._outcomes.append(InputOutcome(item.number, item.sha256, failure))
            case Deliver(item, analysis):
                self._deliveries.append(analysis)
                self._files.pop(item.number).close()
        return None

    def _start(self, task: Task) -> Event | None:
        """The event: the machines of a cluster are known now, and with them how many tasks there may be."""
        before = self._pool.size
        self._pool.start(self._work(task), self._store.run_id)
        if self._pool.size == before:
            return None
        self._queue.ahead = 2 * self._pool.size
        return Resized(self._pool.size)

    def _work(self, task: Task) -> Work:
        file = self._files[task.number]
        if task.kind in DRAWING and file.clip is None:
            file.clip = self._begin_clip(file)
        return work_of(task, file, self._store, trace=self._trace, length=self._plan.settings.engine.segment)

    def _begin_clip(self, file: FileUnderWork) -> Clip:
        analysis = file.analysis
        assert analysis is not None
        assert self._clips is not None
        path = file.item.source.absolute().path
        output = self._clips.next(path).absolute()
        drawing = Drawing(path, analysis.traces, analysis.verdict, output, self._plan.settings.decode)
        drawing.clear()  # what a run that was killed has left
        return Clip(drawing, ray.put(drawing), analysis.segments)

    def _subject(self, item: QueuedInput) -> Subject:
        return self._plan.subject(item.source.name, item.sha256, scan=self._store.scan_id)


class _Meter:
    """Reports the progress of a scan, for which it asks the workers now and then."""

    def __init__(self, scheduler: Scheduler, pool: WorkerPool, progress: Callable[[ScanProgress], None]) -> None:
        self._scheduler = scheduler
        self._pool = pool
        self._progress = progress
        self._asked = float("-inf")
        self._running = 0.0

    def report(self, job: int | None, total: int) -> None:
        if not self._pool.busy:
            self._running = 0.0
        elif time.monotonic() - self._asked >= ASK_EVERY:
            self._asked = time.monotonic()
            self._running = sum(share * self._scheduler.weight(task) for task, share in self._pool.shares(POLL))
        self._progress(ScanProgress(min(self._scheduler.progress + self._running, total), total, job))


def _paths(inputs: Sequence[Input]) -> set[Path]:
    return {Path(os.path.realpath(item.source.text)) for item in inputs if not item.source.is_url}
