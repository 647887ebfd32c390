"""The states that runs and alerts go through."""

from __future__ import annotations

from streamwatch.enums import StrEnum


class RunStatus(StrEnum):
    """How a run stands."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class ReviewState(StrEnum):
    """Whether a person has looked at an alert."""

    NEW = "new"
    REVIEWED = "reviewed"
