"""Scores as many faces at once as memory has room for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

import numpy as np
from numpy.typing import NDArray

from streamwatch.cluster.batch_counts import BatchCounts
from streamwatch.detectors.protocol import ScoreArrays
from streamwatch.errors import DetectorExhausted

REGROW = 100
"""Batches in a row that must go well before more faces are tried at once again, after memory ran out."""

SMOOTHING = 0.2
"""Weight of the newest value in the running mean of scoring times."""


class BatchScorer:
    """Calls `score` on `executor`, so that the event loop stays free. Where it raises DetectorExhausted, half as many
    faces are scored at once from then on, and more again after `REGROW` batches.

    room: faces that are scored at once at present. typical: seconds that a batch takes, a running mean; None before
    the first. counts: notes the batches, and how often memory ran out.
    """

    def __init__(
        self,
        score: Callable[[NDArray[np.uint8]], ScoreArrays],
        executor: Executor,
        max_batch: int,
        counts: BatchCounts,
    ) -> None:
        self.room = max_batch
        self.typical: float | None = None
        self._score = score
        self._executor = executor
        self._max_batch = max_batch
        self._counts = counts
        self._good = 0  # batches in a row

    async def score(self, crops: NDArray[np.uint8]) -> ScoreArrays:
        """Score N×S×S×3 crops, in parts of as many as there is room for. Raises DetectorError, also where there is no
        room for one.
        """
        loop = asyncio.get_running_loop()
        parts: list[ScoreArrays] = []
        start = 0
        while start < len(crops):
            part = crops[start : start + self.room]
            begun = loop.time()
            try:
                parts.append(await loop.run_in_executor(self._executor, self._score, part))
            except DetectorExhausted:
                self._counts.exhausted += 1
                if len(part) == 1:
                    raise
                self.room, self._good = max(1, len(part) // 2), 0
                continue
            self._note(len(part), loop.time() - begun)
            start += len(part)
        return join(parts)

    def _note(self, faces: int, seconds: float) -> None:
        self._counts.sizes.observe(faces)
        self._counts.times.observe(seconds)
        self.typical = seconds if self.typical is None else self.typical + SMOOTHING * (seconds - self.typical)
        self._good += 1
        if self._good >= REGROW and self.room < self._max_batch:
            self.room, self._good = min(self._max_batch, self.room * 2), 0


def join(parts: list[ScoreArrays]) -> ScoreArrays:
    """One behind the other."""
    if len(parts) == 1:
        return parts[0]
    masks = [part.masks for part in parts if part.masks is not None]
    return ScoreArrays(
        np.concatenate([part.logits for part in parts]),
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate([part.features for part in parts]),
        np.concatenate(masks) if masks else None,
    )
