"""The tasks of a scan: which wait, in which order they start, how often each was tried."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from streamwatch.archive.events import Kind, Task
from streamwatch.sources.segments import Segment


@dataclass(slots=True, eq=False)
class SegmentedWork:
    """The work on one file in segments, and then (last) on what is made of all of them."""

    each: Kind
    number: int
    segments: tuple[Segment, ...]
    last: Kind
    done: set[Segment]
    waiting: deque[Task] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.waiting.extend(Task(self.each, self.number, one) for one in self.segments if one not in self.done)
        self._end_if_complete()

    @property
    def share(self) -> float:
        """How much of the work is done, 0..1."""
        return len(self.done) / max(1, len(self.segments))

    def add(self, segment: Segment | None) -> None:
        assert segment is not None
        self.done.add(segment)
        self._end_if_complete()

    def _end_if_complete(self) -> None:
        if len(self.done) == len(self.segments):
            self.waiting.append(Task(self.last, self.number))


@dataclass(slots=True)
class TaskQueue:
    """Tasks start in this order: drawing, segments of files that were begun, files, and at the end files whose worker
    died.

    slots: tasks at a time. limit: how often a task is tried.
    """

    slots: int
    limit: int
    _running: set[Task] = field(default_factory=set)
    _attempts: Counter[Task] = field(default_factory=Counter)
    _files: deque[Task] = field(default_factory=deque)
    _last: deque[Task] = field(default_factory=deque)
    _segmented: list[SegmentedWork] = field(default_factory=list)

    @property
    def spare(self) -> int:
        """Slots for which no task is known."""
        waiting = len(self._files) + sum(len(work.waiting) for work in self._segmented)
        return self.slots - len(self._running) - waiting

    def add_file(self, task: Task) -> None:
        self._files.append(task)

    def add_last(self, task: Task) -> None:
        """After all other inputs."""
        self._last.append(task)

    def add_segments(self, work: SegmentedWork) -> None:
        """After other segments of its kind; drawing comes before analysis."""
        place = len(self._segmented) if work.each is Kind.ANALYSE else self._drawings
        self._segmented.insert(place, work)

    def remove_segments(self, work: SegmentedWork) -> None:
        self._segmented.remove(work)

    def start(self, *, inputs_left: bool) -> Task | None:
        """The next task, which runs from now on; None where there is none to start."""
        if len(self._running) >= self.slots:
            return None
        queues = [work.waiting for work in self._segmented] + [self._files] + ([] if inputs_left else [self._last])
        task = next((queue.popleft() for queue in queues if queue), None)
        if task is not None:
            self._running.add(task)
            self._attempts[task] += 1
        return task

    def ended(self, task: Task) -> None:
        """A task has a result."""
        self._running.discard(task)
        del self._attempts[task]

    def lost(self, task: Task) -> bool:
        """The worker of a task died. Returns whether the task may be tried again."""
        self._running.discard(task)
        if self._attempts[task] < self.limit:
            return True
        del self._attempts[task]
        return False

    @property
    def _drawings(self) -> int:
        return sum(work.each is Kind.DRAW for work in self._segmented)
