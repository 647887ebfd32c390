"""What the detectors of a running watch have done."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import ray

from streamwatch.cluster.batch_counts import BatchCounts
from streamwatch.cluster.connection import LOST, Actor
from streamwatch.sources.clocks import utc_now

POLL_EVERY = 5.0
"""Seconds between two questions to the detectors."""


@dataclass(frozen=True, slots=True, eq=False)
class DetectorLoad:
    """What the detectors have done since they were started, and how many batches each scores at a time."""

    at: datetime
    counts: tuple[BatchCounts, ...]
    lanes: int


class LoadPoller:
    """Asks the detectors every few seconds what they have done."""

    def __init__(self, detectors: Sequence[Actor], lanes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._detectors = detectors
        self._lanes = lanes
        self._clock = clock
        self._answers: list[Any] = []
        self._due = clock()

    def poll(self) -> Iterator[DetectorLoad]:
        """Query the detectors where that is due; gives the load once all have answered."""
        answers = self._answers
        if answers and len(ray.wait(answers, num_returns=len(answers), timeout=0)[0]) == len(answers):
            self._answers = []
            self._due = self._clock() + POLL_EVERY
            with contextlib.suppress(*LOST):
                yield DetectorLoad(utc_now(), tuple(ray.get(answers)), self._lanes)
        if not self._answers and self._clock() >= self._due:
            self._answers = [detector.counts.remote() for detector in self._detectors]
