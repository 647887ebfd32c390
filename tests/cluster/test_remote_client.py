"""A worker's way to the detectors, over calls that are answered here in place of Ray."""

from __future__ import annotations

import numpy as np
import pytest
from ray.exceptions import ActorUnavailableError

from streamwatch.cluster.detector import RemoteClient
from streamwatch.detectors.protocol import ScoreArrays
from streamwatch.errors import DetectorError
from tests.support.clocks import Clock
from tests.support.score_clients import scores_of

CROPS = np.full((2, 4, 4, 3), 7, np.uint8)


class Detector:
    """Stands in for the actor's handle, and its calls for references."""

    def __init__(self) -> None:
        self.score = self
        self.calls = 0

    def remote(self, client: str, crops: np.ndarray) -> np.ndarray:
        self.calls += 1
        return crops


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()

    def sleep(seconds: float) -> None:
        clock.now += seconds

    monkeypatch.setattr("streamwatch.cluster.detector.time.monotonic", clock)
    monkeypatch.setattr("streamwatch.cluster.detector.time.sleep", sleep)
    return clock


def unreachable() -> ActorUnavailableError:
    return ActorUnavailableError("the machine is gone", b"x" * 16)


def test_a_batch_is_sent_again_while_its_detector_cannot_be_reached(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = [unreachable() for _ in range(5)]

    def get(reference: np.ndarray) -> ScoreArrays:
        if errors:
            raise errors.pop()
        return scores_of(reference)

    monkeypatch.setattr("streamwatch.cluster.detector.ray.get", get)
    detector = Detector()
    pending = RemoteClient([detector], "worker").submit(CROPS)
    np.testing.assert_array_equal(pending.result().logits, [7, 7])
    assert detector.calls == 6
    assert clock.now > 0, "not all tries in one moment"


def test_a_detector_that_stays_away_is_an_error(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def get(reference: np.ndarray) -> ScoreArrays:
        raise unreachable()

    monkeypatch.setattr("streamwatch.cluster.detector.ray.get", get)
    with pytest.raises(DetectorError, match="could not be reached for 60 s"):
        RemoteClient([Detector()], "worker").submit(CROPS).result()
    assert 60 < clock.now < 66
