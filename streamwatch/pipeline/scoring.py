"""Sends face crops to a detector in batches, a bounded number at a time; the scores come back in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from streamwatch.detectors.memory import ran_out_of_memory
from streamwatch.errors import DetectorError, DetectorExhausted
from streamwatch.records import FaceCrop, FaceScore

if TYPE_CHECKING:
    from streamwatch.detectors import Detector, ScoreArrays


def score_crops(detector: Detector, crops: NDArray[np.uint8]) -> ScoreArrays:
    """Score N×S×S×3 crops. Raises DetectorError where the model fails or gives numbers that are none, DetectorExhausted
    where it runs out of memory.
    """
    try:
        found = detector.score_arrays(crops)
    except (RuntimeError, ValueError, MemoryError) as error:
        if ran_out_of_memory(error):
            raise DetectorExhausted(f"{detector.name} ran out of memory on {len(crops)} crops ({error})") from error
        raise DetectorError(f"{detector.name} failed on {len(crops)} crops: {error}") from error
    if not (np.isfinite(found.logits).all() and np.isfinite(found.probabilities).all()):
        raise DetectorError(f"{detector.name} gave scores that are not numbers on {len(crops)} crops")
    return found


class PendingScores(Protocol):
    """Scores on their way."""

    def ready(self) -> bool:
        """Whether `result` would return at once."""

    def wait(self, seconds: float) -> None:
        """Wait until it is ready, at most so long."""

    def result(self) -> ScoreArrays:
        """Wait for the scores. Raises DetectorError."""


class DetectorClient(Protocol):
    """The way to a detector, wherever it runs."""

    def submit(self, crops: NDArray[np.uint8]) -> PendingScores:
        """Hand over N×S×S×3 uint8 RGB crops without waiting."""


class _LocalScores:
    def __init__(self, future: Future[ScoreArrays]) -> None:
        self._future = future

    def ready(self) -> bool:
        return self._future.done()

    def wait(self, seconds: float) -> None:
        wait([self._future], seconds)

    def result(self) -> ScoreArrays:
        return self._future.result()


class LocalClient:
    """A detector in this process, on a thread of its own, so that decoding goes on meanwhile."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="detector")

    def submit(self, crops: NDArray[np.uint8]) -> PendingScores:
        return _LocalScores(self._thread.submit(score_crops, self._detector, crops))


class ScoringQueue:
    """Crops in, scores out in the same order, in batches of `batch` crops with at most `in_flight` pending.

    `put` blocks while `in_flight` batches are pending: that is the back-pressure that bounds memory.
    Both `put` and `drain` raise DetectorError.
    """

    def __init__(
        self, client: DetectorClient, batch: int, in_flight: int, deliver: Callable[[FaceScore], None]
    ) -> None:
        self._client = client
        self._batch = batch
        self._in_flight = in_flight
        self._deliver = deliver
        self._waiting: list[FaceCrop] = []
        self._under_way: deque[tuple[list[FaceCrop], PendingScores]] = deque()
        self._put = self._scored = 0
        self._ends: deque[int] = deque()
        self.finished_frames = 0
        """Frames all of whose crops were scored."""

    def put(self, crops: Sequence[FaceCrop]) -> None:
        """Take all crops of the next frame."""
        self._put += len(crops)
        self._ends.append(self._put)
        self._waiting.extend(crops)
        while len(self._waiting) >= self._batch:
            self._submit()
        self._finish_frames()

    @property
    def full(self) -> bool:
        """Whether `put` would have to wait."""
        return len(self._under_way) >= self._in_flight

    def wait(self, seconds: float) -> None:
        """Wait until some scores are ready, at most so long; not at all where none are pending."""
        if self._under_way:
            self._under_way[0][1].wait(seconds)

    def flush(self) -> None:
        """Send what waits for a full batch."""
        while self._waiting:
            self._submit()

    def collect(self) -> None:
        """Deliver what is ready, without waiting."""
        while self._under_way and self._under_way[0][1].ready():
            self._collect_one()

    def drain(self) -> None:
        """Send and deliver everything."""
        self.flush()
        while self._under_way:
            self._collect_one()

    def _submit(self) -> None:
        while len(self._under_way) >= self._in_flight:
            self._collect_one()
        batch, self._waiting = self._waiting[: self._batch], self._waiting[self._batch :]
        self._under_way.append((batch, self._client.submit(np.stack([crop.image for crop in batch]))))

    def _collect_one(self) -> None:
        crops, pending = self._under_way.popleft()
        for score in pending.result().scores(crops):
            self._deliver(score)
        self._scored += len(crops)
        self._finish_frames()

    def _finish_frames(self) -> None:
        while self._ends and self._ends[0] <= self._scored:
            self._ends.popleft()
            self.finished_frames += 1
