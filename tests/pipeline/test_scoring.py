"""The queue of crops: bounded batches, scores in order."""

from __future__ import annotations

import dataclasses

import numpy as np

from streamwatch.detectors.protocol import ScoreArrays
from streamwatch.pipeline.scoring import PendingScores, ScoringQueue
from streamwatch.records import (
    Face,
    FaceCrop,
    FaceScore,
)
from tests.support.present import present
from tests.support.score_clients import scores_of


def crop_of(value: int) -> FaceCrop:
    face = Face((0.0, 0.0, 8.0, 8.0), ((0.0, 0.0),) * 5, 1.0, track_id=1)
    return FaceCrop(np.full((4, 4, 3), value, np.uint8), face, (0.0, 0.0, 8.0, 8.0), value, value / 10)


class SlowClient:
    """Scores only when a result is asked for; counts what is under way."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.open = self.most = 0

    def submit(self, crops: np.ndarray) -> PendingScores:
        self.batches.append(len(crops))
        self.open += 1
        self.most = max(self.most, self.open)
        return _Slow(self, crops)


class _Slow:
    def __init__(self, client: SlowClient, crops: np.ndarray) -> None:
        self._client = client
        self._crops = crops

    def ready(self) -> bool:
        return False

    def wait(self, seconds: float) -> None:
        pass

    def result(self) -> ScoreArrays:
        self._client.open -= 1
        return scores_of(self._crops)


def test_scores_come_back_in_order_and_in_bounded_batches() -> None:
    client = SlowClient()
    got: list[FaceScore] = []
    queue = ScoringQueue(client, batch=4, in_flight=2, deliver=got.append)
    for start in range(0, 30, 3):
        queue.put([crop_of(start + i) for i in range(3)])
    queue.drain()
    assert [score.logit for score in got] == list(range(30))
    assert [present(score.crop).frame_index for score in got] == list(range(30))
    assert client.batches == [4] * 7 + [2]
    assert client.most == 2


def test_a_frame_is_finished_when_its_last_crop_is_scored() -> None:
    client = SlowClient()
    queue = ScoringQueue(client, batch=2, in_flight=1, deliver=lambda score: None)
    queue.put([])
    assert queue.finished_frames == 1
    queue.put([crop_of(1), crop_of(2), crop_of(3)])
    queue.put([])
    assert queue.finished_frames == 1
    queue.drain()
    assert queue.finished_frames == 3


def test_masks_stay_as_the_detector_gave_them_and_outlive_the_batch() -> None:
    got: list[FaceScore] = []
    masks = np.full((1, 4, 4), 51, np.uint8)

    class Masked(SlowClient):
        def submit(self, crops: np.ndarray) -> PendingScores:
            scores = dataclasses.replace(scores_of(crops), masks=masks)
            slow = _Slow(self, crops)
            slow.result = lambda: scores  # type: ignore[method-assign]
            return slow

    queue = ScoringQueue(Masked(), batch=2, in_flight=1, deliver=got.append)
    queue.put([crop_of(1)])
    queue.drain()
    assert got[0].mask is not None
    assert got[0].mask.dtype == np.uint8
    assert not np.shares_memory(got[0].mask, masks)
    np.testing.assert_array_equal(got[0].mask, masks[0])
