"""The states that runs and alerts go through."""

from __future__ import annotations

from enum import Enum


class RunStatus(str, Enum):
    """How a run stands."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"

    def __str__(self) -> str:
        return self.value


class ReviewState(str, Enum):
    """Whether a person has looked at an alert."""

    NEW = "new"
    REVIEWED = "reviewed"

    def __str__(self) -> str:
        return self.value
