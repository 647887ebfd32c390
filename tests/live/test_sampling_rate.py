"""Sampling under load: less where frames go stale, more again where they do not, and equal shares."""

from __future__ import annotations

import dataclasses
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from streamwatch.bench.loopback.rtsp_server import serve_rtsp
from streamwatch.config import LiveSettings
from streamwatch.detectors import load_detector
from streamwatch.live.sampling_rate import FLOOR, PERIOD, STEP, SamplingRate
from streamwatch.live.stream import LiveStream
from streamwatch.pipeline.plan import Plan
from streamwatch.pipeline.scoring import LocalClient, PendingScores
from streamwatch.records import EvidenceClip, ImageArray, VideoVerdict
from streamwatch.sources import Location
from streamwatch.sources.states import Transition
from tests.support.clocks import Clock
from tests.support.face_clips import face_clip
from tests.support.small_detectors import settings_for, untrained_detector


def rates(stale: list[int], wanted: float = 4.0) -> list[float]:
    """The rate after each period, in which so many more frames went stale."""
    clock = Clock()
    governor = SamplingRate(wanted, clock)
    total, found = 0, []
    for count in stale:
        clock.now += PERIOD
        total += count
        governor.update(total)
        found.append(governor.rate)
    return found


def test_the_rate_is_halved_down_to_its_floor_and_raised_by_steps() -> None:
    assert rates([0, 1, 3, 1, 1, 1]) == [4.0, 2.0, 1.0, 0.5, 4.0 * FLOOR, 4.0 * FLOOR]
    assert rates([1, 0, 0, 0, 0, 0]) == [2.0, 2.5, 3.0, 3.5, 4.0, 4.0]


def test_there_is_one_decision_in_a_period_and_only_changes_are_reported() -> None:
    clock = Clock()
    governor = SamplingRate(4.0, clock)
    assert governor.update(5) is False
    clock.now = PERIOD
    assert governor.update(5) is True
    assert governor.update(9) is False
    assert governor.rate == 2.0
    assert not governor.strained
    clock.now = 2 * PERIOD
    assert governor.update(9) is True
    assert governor.strained


def test_streams_that_share_a_detector_come_to_equal_shares() -> None:
    """Eight streams, one of them throttled before; together they want four times what the detector can do."""
    clock = Clock()
    streams = [SamplingRate(4.0, clock) for _ in range(8)]
    streams[0].rate = 4.0 * FLOOR
    stale = [0] * len(streams)
    capacity = 8.0
    shares: list[list[float]] = []
    for _ in range(200):
        clock.now += PERIOD
        load = sum(stream.rate for stream in streams)
        for number, stream in enumerate(streams):
            stale[number] += load > capacity
            stream.update(stale[number])
        shares.append([stream.rate for stream in streams])
    late = np.mean(shares[100:], axis=0)
    assert late.max() / late.min() < 1.05
    assert 0.5 * capacity < late.sum() < 1.1 * capacity


def test_a_lone_stream_that_can_be_followed_stays_at_its_rate() -> None:
    assert set(rates([0] * 20)) == {4.0}
    assert STEP <= 0.25


class SlowClient(LocalClient):
    """A detector that needs a third of a second more for every batch while it is slow."""

    slow = True

    def submit(self, crops: ImageArray) -> PendingScores:
        self._thread.submit(time.sleep, 0.33 if self.slow else 0.0)
        return super().submit(crops)


@pytest.mark.slow
def test_an_overloaded_stream_is_sampled_less_and_then_more_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamwatch.live.sampling_rate.PERIOD", 0.5)
    weights = untrained_detector(tmp_path)
    clip = face_clip(tmp_path / "served.mp4", seconds=20.0, b_frames=False)
    settings = settings_for(weights)
    settings = settings.model_copy(
        update={
            "sampling": settings.sampling.model_copy(update={"fps": 8.0}),
            "live": LiveSettings(stale_after=0.6, verdict_every=0.3),
        }
    )
    plan = dataclasses.replace(Plan.resolve(settings), settings=settings)
    client = SlowClient(load_detector(weights, "cpu", 1))
    seen: list[VideoVerdict] = []
    stop = threading.Event()

    def receive(item: VideoVerdict | Transition | EvidenceClip) -> None:
        if isinstance(item, VideoVerdict):
            seen.append(item)
            if client.slow and "for lack of time" in item.reason:
                client.slow = False
            elif not client.slow and item.frames.analysed and "for lack of time" not in item.reason:
                stop.set()

    with serve_rtsp(clip, plays=0) as url:
        last = LiveStream(plan, client, Location(url), deliver=receive).run(stop, seconds=60)
    assert stop.is_set()
    assert any("for lack of time" in verdict.reason for verdict in seen)
    frames = last.frames
    assert sum(frames.dropped_by.values()) == frames.dropped > 0
    assert frames.decoded == frames.not_sampled + frames.analysed + frames.dropped
