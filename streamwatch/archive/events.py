"""What happens in a scan, as events, and what its scheduler decides, as instructions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from streamwatch.archive.input_queue import QueuedInput
from streamwatch.pipeline.analyser import Analysis
from streamwatch.records import Failure, VideoVerdict
from streamwatch.sources.segments import Segment


class Kind(Enum):
    """A kind of work for a worker."""

    OPEN = "open"
    """Plan the segments of a file; one that is a single segment is analysed at once."""
    ANALYSE = "analyse"
    """Score the faces of a segment."""
    FUSE = "fuse"
    """Make the verdict on a file from all its segments."""
    DRAW = "draw"
    """Draw a segment of an annotated clip."""
    JOIN = "join"
    """Make the annotated clip from all its segments."""


@dataclass(frozen=True, slots=True)
class Task:
    """A piece of work. number: of the input. segment: for those kinds that work on one."""

    kind: Kind
    number: int
    segment: Segment | None = None


# ── events ──


@dataclass(frozen=True, slots=True)
class InputReady:
    """An input was hashed, or could not be. spent: why it failed in earlier runs, where it is not to be tried again."""

    item: QueuedInput
    spent: Failure | None = None


@dataclass(frozen=True, slots=True)
class LookedUp:
    """The answer to `LookUp`. verdict: what is stored on the content. leased: whether this run has it to itself now."""

    number: int
    verdict: VideoVerdict | None = None
    leased: bool = False


@dataclass(frozen=True, slots=True)
class Planned:
    """A file is analysed in segments. known: those whose scores are there already."""

    task: Task
    segments: Sequence[Segment]
    known: Collection[Segment] = ()


@dataclass(frozen=True, slots=True)
class SegmentDone:
    """A segment was analysed or drawn; what came of it is kept where the work is done."""

    task: Task


@dataclass(frozen=True, slots=True)
class Analysed:
    """The analysis of a file is complete, or has failed as its verdict says."""

    task: Task
    analysis: Analysis


@dataclass(frozen=True, slots=True)
class ClipDone:
    """The annotated clip of a file is there, or why it is not."""

    task: Task
    clip: Path | Failure


@dataclass(frozen=True, slots=True)
class WorkLost:
    """The process that worked on a task has died."""

    task: Task


@dataclass(frozen=True, slots=True)
class Saved:
    """The analysis of an input is in the store."""

    number: int


@dataclass(frozen=True, slots=True)
class Tick:
    """Time to look again at content that other runs work on."""


@dataclass(frozen=True, slots=True)
class Resized:
    """There may be so many tasks at a time from now on."""

    slots: int


Event = InputReady | LookedUp | Planned | SegmentDone | Analysed | ClipDone | WorkLost | Saved | Tick | Resized

# ── instructions ──


@dataclass(frozen=True, slots=True)
class LookUp:
    """See what the store has on the content of an input; lease: where it has nothing, have it for this run."""

    item: QueuedInput
    lease: bool


@dataclass(frozen=True, slots=True)
class Start:
    """Give a task to a worker."""

    task: Task


@dataclass(frozen=True, slots=True)
class Save:
    """Put the analysis of an input into the store; its segments are not needed any more."""

    item: QueuedInput
    analysis: Analysis


@dataclass(frozen=True, slots=True)
class Settle:
    """Note in the job what has become of an input."""

    item: QueuedInput
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class Deliver:
    """Give the caller the analysis of an input: once for each."""

    item: QueuedInput
    analysis: Analysis


Instruction = LookUp | Start | Save | Settle | Deliver
