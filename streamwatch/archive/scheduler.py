"""What a scan does next: a state machine that knows no Ray, no store and no clock.

`Scheduler.handle` takes an event and returns instructions, as `WorkerState.handle_stimulus` does in dask.distributed.
Events may come in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from streamwatch.archive.events import (
    Analysed,
    ClipDone,
    Deliver,
    Event,
    InputReady,
    Instruction,
    Kind,
    LookedUp,
    LookUp,
    Planned,
    Resized,
    Save,
    Saved,
    SegmentDone,
    Settle,
    Start,
    Task,
    Tick,
    WorkLost,
)
from streamwatch.archive.input_queue import QueuedInput
from streamwatch.archive.task_queue import SegmentedWork, TaskQueue
from streamwatch.errors import StreamwatchError, WorkerLost
from streamwatch.fusion import Subject, error_verdict
from streamwatch.pipeline.analyser import Analysis
from streamwatch.records import Failure, Label, VideoVerdict

DRAWING = (Kind.DRAW, Kind.JOIN)


@dataclass(slots=True, eq=False)
class _File:
    """An input on its way. copies: inputs of the same content that wait for its result. last: after others."""

    item: QueuedInput
    copies: list[_File] = field(default_factory=list)
    last: bool = False
    analysing: SegmentedWork | None = None
    drawing: SegmentedWork | None = None
    analysis: Analysis | None = None


class Scheduler:
    """Each of `total` inputs is delivered once, whatever happens to the work on it.

    A task whose worker dies is tried `attempts` times in all; an input that kills workers comes again after all others.
    slots: tasks at a time. subject: what a verdict on an input is about. share: inputs of the same content are
    analysed once, the others receive the same verdict under their own names. draw: make annotated clips of local files.
    """

    def __init__(
        self,
        total: int,
        slots: int,
        *,
        attempts: int,
        subject: Callable[[QueuedInput], Subject],
        share: bool = True,
        draw: bool = False,
    ) -> None:
        self._total = total
        self._subject = subject
        self._share = share
        self._draw = draw
        self._files: dict[int, _File] = {}
        self._contents = _Contents()
        self._elsewhere: list[_File] = []
        self._asked: set[int] = set()
        self._tasks = TaskQueue(slots, attempts)
        self._arrived = 0
        self._delivered = 0

    @property
    def finished(self) -> bool:
        """Whether every input was delivered."""
        return self._delivered == self._total

    @property
    def wants_input(self) -> bool:
        """Whether a worker would have nothing to do without another input."""
        return self._tasks.spare > len(self._asked)

    @property
    def progress(self) -> float:
        """Inputs delivered, with the shares of those under way of which segments are done; a clip counts as half."""
        half = 0.5 if self._draw else 1.0
        analysed = sum(file.analysing.share for file in self._files.values() if file.analysing) * half
        drawn = sum(1 + file.drawing.share for file in self._files.values() if file.drawing) * half
        return self._delivered + analysed + drawn

    def weight(self, task: Task) -> float:
        """The share of an input that a task is, 0..1."""
        file = self._files.get(task.number)
        work = None if file is None else file.drawing or file.analysing
        whole = 0.5 if self._draw else 1.0
        return whole if work is None else whole / max(1, len(work.segments))

    def handle(self, event: Event) -> list[Instruction]:
        """Take in an event. Returns what is to be done, in this order."""
        if isinstance(event, (Planned, SegmentDone, Analysed, ClipDone)):
            self._tasks.ended(event.task)
        return [*self._react(event), *self._start()]

    def _react(self, event: Event) -> Iterator[Instruction]:
        match event:
            case InputReady(item, spent):
                yield from self._take_in(item, spent)
            case LookedUp(number, verdict, leased):
                yield from self._looked_up(self._files[number], verdict, leased)
            case Planned(task, segments, known):
                work = SegmentedWork(Kind.ANALYSE, task.number, tuple(segments), Kind.FUSE, set(known))
                self._files[task.number].analysing = work
                self._tasks.add_segments(work)
            case SegmentDone(task):
                if (under_way := self._work(task)) is not None:
                    under_way.add(task.segment)
            case Analysed(task, analysis):
                if (unfinished := self._unfinished(task)) is not None:
                    yield from self._finish(unfinished, analysis)
            case ClipDone(task, clip):
                if self._work(task) is not None:
                    yield from self._end_clip(self._files[task.number], clip)
            case WorkLost(task):
                yield from self._lost(task)
            case Saved(number):
                yield from self._saved(self._files[number])
            case Tick():
                waiting, self._elsewhere = self._elsewhere, []
                for file in waiting:
                    yield self._look_up(file)
            case Resized(slots):
                self._tasks.slots = slots

    # ── an input comes ──

    def _take_in(self, item: QueuedInput, spent: Failure | None) -> Iterator[Instruction]:
        self._arrived += 1
        file = self._files[item.number] = _File(item)
        if item.failure is not None:
            yield from self._finish(file, Analysis(error_verdict(self._subject(item), item.failure)))
        elif spent is not None:
            yield self._deliver(file, Analysis(failed_verdict(self._subject(item), spent)))
        elif not self._share or item.sha256 is None:
            yield self._look_up(file)
        elif (original := self._contents.verdicts.get(item.sha256)) is not None:
            yield from self._deliver_copy(file, original)
        elif (first := self._contents.first.setdefault(item.sha256, file)) is not file:
            first.copies.append(file)
        else:
            yield self._look_up(file)

    def _look_up(self, file: _File) -> LookUp:
        """Of content that another run works on, the lease is taken only where there is a worker for it."""
        self._asked.add(file.item.number)
        return LookUp(file.item, lease=self._tasks.spare >= len(self._asked))

    def _looked_up(self, file: _File, verdict: VideoVerdict | None, leased: bool) -> Iterator[Instruction]:
        self._asked.discard(file.item.number)
        if verdict is not None:
            yield from self._deliver_copy(file, verdict)
            yield from self._deliver_copies(file, verdict)
        elif leased:
            add = self._tasks.add_last if file.last else self._tasks.add_file
            add(Task(Kind.OPEN, file.item.number))
        else:
            self._elsewhere.append(file)

    # ── work ends ──

    def _unfinished(self, task: Task) -> _File | None:
        file = self._files.get(task.number)
        return file if file is not None and file.analysis is None else None

    def _work(self, task: Task) -> SegmentedWork | None:
        """The work that a task is part of; None where it ended without it."""
        file = self._files.get(task.number)
        if file is None:
            return None
        return file.drawing if task.kind in DRAWING else file.analysing

    def _lost(self, task: Task) -> Iterator[Instruction]:
        again, work = self._tasks.lost(task), self._work(task)
        if task.kind is not Kind.OPEN and work is None:
            return
        if again:
            if work is None:
                self._tasks.add_last(task)
            else:
                work.waiting.appendleft(task)
            return
        file = self._files[task.number]
        lost = WorkerLost(
            f"{file.item.source}: the process that worked on it died {self._tasks.limit} times",
            "leave it out, or scan it with --workers 1 and watch the memory",
        )
        if task.kind in DRAWING:
            yield from self._end_clip(file, Failure(type(lost).__name__, str(lost)))
        else:
            yield from self._finish(file, Analysis(error_verdict(self._subject(file.item), lost)))

    def _finish(self, file: _File, analysis: Analysis) -> Iterator[Instruction]:
        """The analysis of an input is there; it is delivered once it is saved."""
        if file.analysing is not None:
            analysis = replace(analysis, segments=file.analysing.segments)
            self._tasks.remove_segments(file.analysing)
            file.analysing = None
        file.analysis = analysis
        yield Save(file.item, analysis)

    def _saved(self, file: _File) -> Iterator[Instruction]:
        analysis = file.analysis
        assert analysis is not None
        yield Settle(file.item, analysis.verdict.failure)
        if analysis.verdict.label is Label.ERROR:
            for copy in self._contents.end(file):  # the error may be of this one path only
                copy.last = True
                yield self._look_up(copy)
        else:
            yield from self._deliver_copies(file, without_pictures(analysis.verdict))
        if self._draw and analysis.verdict.label is not Label.ERROR and not file.item.source.is_url:
            file.drawing = SegmentedWork(Kind.DRAW, file.item.number, analysis.segments, Kind.JOIN, set())
            self._tasks.add_segments(file.drawing)
        else:
            yield self._deliver(file, analysis)

    def _end_clip(self, file: _File, clip: Path | Failure) -> Iterator[Instruction]:
        assert file.drawing is not None
        assert file.analysis is not None
        self._tasks.remove_segments(file.drawing)
        yield self._deliver(file, replace(file.analysis, clip=clip))

    # ── copies, delivery ──

    def _deliver_copies(self, file: _File, verdict: VideoVerdict) -> Iterator[Instruction]:
        if self._share and file.item.sha256 is not None:
            self._contents.verdicts[file.item.sha256] = without_pictures(verdict)
        for copy in self._contents.end(file):
            yield from self._deliver_copy(copy, verdict)

    def _deliver_copy(self, file: _File, verdict: VideoVerdict) -> Iterator[Instruction]:
        yield Settle(file.item, verdict.failure)
        yield self._deliver(file, Analysis(renamed(verdict, file.item)))

    def _deliver(self, file: _File, analysis: Analysis) -> Deliver:
        self._delivered += 1
        del self._files[file.item.number]
        return Deliver(file.item, replace(analysis, metadata=file.item.metadata))

    def _start(self) -> Iterator[Start]:
        inputs_left = self._arrived < self._total or bool(self._asked)
        while (task := self._tasks.start(inputs_left=inputs_left)) is not None:
            yield Start(task)


@dataclass(slots=True)
class _Contents:
    """Contents by their hash: the first input that has it, while its result is awaited, and the verdicts by now."""

    first: dict[str, _File] = field(default_factory=dict)
    verdicts: dict[str, VideoVerdict] = field(default_factory=dict)

    def end(self, file: _File) -> list[_File]:
        """The copies that waited for a file; they wait no longer."""
        if file.item.sha256 is not None and self.first.get(file.item.sha256) is file:
            del self.first[file.item.sha256]
        copies, file.copies = file.copies, []
        return copies


def failed_verdict(subject: Subject, failure: Failure) -> VideoVerdict:
    """The verdict `error` for a failure that is known by its record."""
    return replace(error_verdict(subject, StreamwatchError(failure.message)), failure=failure)


def renamed(verdict: VideoVerdict, item: QueuedInput) -> VideoVerdict:
    """A verdict on the same content, under the name of another input."""
    alerts = tuple(replace(alert, source=item.source.name) for alert in verdict.alerts)
    return replace(verdict, source=item.source.name, alerts=alerts)


def without_pictures(verdict: VideoVerdict) -> VideoVerdict:
    """A verdict small enough to be kept for copies that may come."""
    return replace(
        verdict,
        tracks=tuple(replace(track, evidence=()) for track in verdict.tracks),
        alerts=tuple(replace(alert, evidence=()) for alert in verdict.alerts),
        scores=(),
    )
