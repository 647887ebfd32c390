"""The kinds of work for a worker: how each is started, and which event its result, its failure or its loss is.

`streamwatch.archive.input_queue` has the one kind that needs no worker: hashing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamwatch.archive.events import Analysed, ClipDone, Event, Kind, Planned, SegmentDone, Task, WorkLost
from streamwatch.archive.input_queue import QueuedInput
from streamwatch.archive.parts import SegmentParts
from streamwatch.archive.run_store import RunStore
from streamwatch.archive.scheduler import failed_verdict
from streamwatch.cluster.connection import Actor
from streamwatch.drawing.annotate import Drawing
from streamwatch.drawing.muxing import Part
from streamwatch.errors import SourceError, SourceUnreadable, StreamwatchError
from streamwatch.files import shortened
from streamwatch.fusion import Subject, error_verdict
from streamwatch.pipeline.analyser import Analysis, SegmentPlan
from streamwatch.records import Failure
from streamwatch.sources.segments import Segment


@dataclass(slots=True, eq=False)
class Clip:
    """An annotated clip in the making. shared: the drawing, as Ray's object."""

    drawing: Drawing
    shared: Any
    segments: tuple[Segment, ...]
    parts: dict[Segment, Part | None] = field(default_factory=dict)
    closed: bool = False

    def close(self) -> None:
        """Delete the parts."""
        self.closed = True
        self.drawing.clear()


@dataclass(slots=True, eq=False)
class FileUnderWork:
    """An input, and what was found of it so far."""

    item: QueuedInput
    subject: Subject
    plan: SegmentPlan | None = None
    parts: SegmentParts | None = None
    analysis: Analysis | None = None
    clip: Clip | None = None

    def end_analysis(self, analysis: Analysis) -> None:
        """The parts are not needed any more."""
        self.analysis = analysis
        self._close_parts()

    def close(self) -> None:
        """Delete what was kept on the way."""
        self._close_parts()
        if self.clip is not None:
            self.clip.close()

    def _close_parts(self) -> None:
        if self.parts is not None:
            self.parts.close()


class Work(ABC):
    """A task for a worker, on a file. spared: errors that end this work only; others end the scan."""

    spared: tuple[type[StreamwatchError], ...] = ()

    def __init__(self, task: Task, file: FileUnderWork) -> None:
        self.task = task
        self.file = file

    @property
    def segment(self) -> Segment:
        """Of the tasks that have one."""
        assert self.task.segment is not None
        return self.task.segment

    @abstractmethod
    def start(self, worker: Actor) -> Any:
        """Call the worker. Returns Ray's reference to the result."""

    @abstractmethod
    def took(self, result: Any) -> Event:
        """Keep the result. Raises ConfigError where there is no room for it."""

    def analysed(self, analysis: Analysis) -> Event:
        """The analysis is over; what it found of a file that has changed since it was hashed belongs to no content."""
        if self.file.item.changed:
            name = self.file.subject.source
            error = SourceUnreadable(f"{name}: changed while it was read", "scan it once it is complete")
            analysis = Analysis(error_verdict(self.file.subject, error))
        return Analysed(self.task, analysis)

    def failed(self, failure: Failure) -> Event:
        """The worker raised an error that nobody foresaw."""
        return Analysed(self.task, Analysis(failed_verdict(self.file.subject, failure)))

    def lost(self) -> Event:
        """The process of the worker died."""
        return WorkLost(self.task)


class OpenFile(Work):
    """See `Analyser.begin`. trace: give the traces of its faces too. length: of segments, about, seconds."""

    def __init__(self, task: Task, file: FileUnderWork, store: RunStore, *, trace: bool, length: float) -> None:
        super().__init__(task, file)
        self._store = store
        self._trace = trace
        self._length = length

    def start(self, worker: Actor) -> Any:
        return worker.begin.remote(self.file.subject, self.file.item.source.absolute(), self._trace, self._length)

    def took(self, result: Analysis | SegmentPlan) -> Event:
        if isinstance(result, Analysis):
            return self.analysed(result)
        self.file.plan, self.file.parts = result, SegmentParts()
        stored = self._store.segments(self.file.item)
        known = [segment for segment in result.segments if segment.place in stored]
        for segment in known:
            self.file.parts.put(segment, stored[segment.place])
        return Planned(self.task, result.segments, known)


class AnalyseSegment(Work):
    """See `Analyser.analyse_segment`."""

    def __init__(self, task: Task, file: FileUnderWork, store: RunStore, *, trace: bool) -> None:
        super().__init__(task, file)
        self._store = store
        self._trace = trace

    def start(self, worker: Actor) -> Any:
        source = self.file.item.source.absolute()
        return worker.analyse_segment.remote(self.file.subject, source, self.segment, self._trace)

    def took(self, result: bytes | Analysis) -> Event:
        if isinstance(result, Analysis):
            return self.analysed(result)
        if self.file.analysis is None:
            assert self.file.parts is not None
            self.file.parts.put(self.segment, result)
            self._store.add_segment(self.file.item, self.segment, result)
        return SegmentDone(self.task)


class FuseSegments(Work):
    """See `Analyser.fuse`."""

    def start(self, worker: Actor) -> Any:
        plan, parts = self.file.plan, self.file.parts
        assert plan is not None
        assert parts is not None
        return worker.fuse.remote(self.file.subject, plan, [parts.get(segment) for segment in plan.segments])

    def took(self, result: Analysis) -> Event:
        return self.analysed(result)


class _ClipWork(Work):
    """On the annotated clip of a file, whose verdict stands already."""

    spared = (SourceError,)

    @property
    def clip(self) -> Clip:
        assert self.file.clip is not None
        return self.file.clip

    def failed(self, failure: Failure) -> Event:
        return ClipDone(self.task, failure)


class DrawSegment(_ClipWork):
    """See `Drawing.draw`."""

    def start(self, worker: Actor) -> Any:
        return worker.draw.remote(self.clip.shared, self.segment)

    def took(self, result: Part | None) -> Event:
        if self.clip.closed:  # it failed elsewhere while this part was drawn
            self.clip.close()
        self.clip.parts[self.segment] = result
        return SegmentDone(self.task)


class JoinClip(_ClipWork):
    """See `Drawing.join`."""

    def start(self, worker: Actor) -> Any:
        parts = [self.clip.parts[segment] for segment in self.clip.segments]
        return worker.join.remote(self.clip.shared, parts)

    def took(self, result: None) -> Event:
        return ClipDone(self.task, self.clip.drawing.output)


def work_of(task: Task, file: FileUnderWork, store: RunStore, *, trace: bool, length: float) -> Work:
    """The work that a task is. trace, length: see `OpenFile`."""
    match task.kind:
        case Kind.OPEN:
            return OpenFile(task, file, store, trace=trace, length=length)
        case Kind.ANALYSE:
            return AnalyseSegment(task, file, store, trace=trace)
        case Kind.FUSE:
            return FuseSegments(task, file)
        case Kind.DRAW:
            return DrawSegment(task, file)
        case Kind.JOIN:
            return JoinClip(task, file)


class ClipNames:
    """Where annotated clips are written: in a folder, each under a name of its own that is not an input's."""

    def __init__(self, folder: Path, sources: set[Path]) -> None:
        self._folder = folder
        self._sources = sources
        self._taken: set[Path] = set()

    def next(self, source: Path) -> Path:
        """The clip of a source: its name, with a number where that is taken."""
        stem, number = shortened(source.stem), 1
        while True:
            output = self._folder / f"{stem}{f'-{number}' if number > 1 else ''}.mp4"
            if output not in self._taken and output.resolve() not in self._sources:
                self._taken.add(output)
                return output
            number += 1
