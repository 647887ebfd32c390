"""The states of runs, jobs and alerts."""

from __future__ import annotations

from streamwatch.enums import StrEnum


class RunStatus(StrEnum):
    """The state of a run."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class JobState(StrEnum):
    """The state of a job. `done`: every input has a result, or a failure."""

    OPEN = "open"
    DONE = "done"
    CANCELLED = "cancelled"


class ItemState(StrEnum):
    """The state of an input of a job."""

    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"


class ReviewState(StrEnum):
    """Whether a person has reviewed an alert."""

    NEW = "new"
    REVIEWED = "reviewed"
