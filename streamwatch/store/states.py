"""The states that runs, jobs and alerts go through."""

from __future__ import annotations

from streamwatch.enums import StrEnum


class RunStatus(StrEnum):
    """How a run stands."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class JobState(StrEnum):
    """How a job stands. `done`: every input has a result, or a failure."""

    OPEN = "open"
    DONE = "done"
    CANCELLED = "cancelled"


class ItemState(StrEnum):
    """How an input of a job stands."""

    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"


class ReviewState(StrEnum):
    """Whether a person has looked at an alert."""

    NEW = "new"
    REVIEWED = "reviewed"
