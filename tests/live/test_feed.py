"""Frames of a live source: what is dropped, and how a lost source comes back."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from streamwatch.config import LiveSettings
from streamwatch.live.feed import Feed, FrameQueue
from streamwatch.pipeline.plan import Plan
from streamwatch.records import Frame
from streamwatch.sources import Location
from streamwatch.sources.states import Cause, StreamState, Transition
from tests.support.clocks import Clock
from tests.support.face_clips import face_clip
from tests.support.small_detectors import settings_for, untrained_detector


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engine")


@pytest.fixture(scope="module")
def weights(folder: Path) -> Path:
    return untrained_detector(folder)


@pytest.fixture(scope="module")
def clip(folder: Path) -> Path:
    return face_clip(folder / "clip.mp4")


@pytest.fixture(scope="module")
def plan(weights: Path) -> Plan:
    return Plan.resolve(settings_for(weights))


def frame(number: int) -> Frame:
    return Frame("s", number, number / 2, None, np.zeros((2, 2, 3), np.uint8))


def test_stale_frames_are_dropped_and_counted() -> None:
    clock = Clock()
    queue = FrameQueue(stale_after=2.0, fps=2.0, clock=clock)
    for number in range(4):
        clock.now = number / 2
        queue.put(frame(number))
    clock.now = 2.8
    got = queue.get(0)
    assert got is not None
    assert got.index == 2
    assert queue.counts == (4, 2)


def test_a_full_live_queue_drops_its_oldest() -> None:
    queue = FrameQueue(stale_after=2.0, fps=2.0, clock=Clock())
    for number in range(8):
        queue.put(frame(number))
    assert queue.counts == (8, 3)
    left = []
    while (got := queue.get(0)) is not None:
        left.append(got.index)
    assert left == [3, 4, 5, 6, 7]


def test_a_file_waits_for_room_and_drops_nothing() -> None:
    queue = FrameQueue(stale_after=None, fps=2.0)
    thread = threading.Thread(target=lambda: list(map(queue.put, map(frame, range(20)))))
    thread.start()
    got = [queue.get(5) for _ in range(20)]
    thread.join(5)
    assert [item.index for item in got if item is not None] == list(range(20))
    assert queue.counts == (20, 0)


def test_a_closed_queue_gives_what_waits_and_takes_no_more() -> None:
    queue = FrameQueue(stale_after=2.0, fps=2.0, clock=Clock())
    queue.put(frame(0))
    queue.close()
    queue.put(frame(1))
    before, got, after = queue.exhausted, queue.get(0), queue.exhausted
    assert (before, after) == (False, True)
    assert got is not None
    assert queue.get(60) is None
    assert queue.counts == (1, 0)


def test_a_feed_reconnects_and_time_goes_on(plan: Plan, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file behind a URL stands for a server that ends its stream again and again."""
    monkeypatch.setattr(Location, "is_url", True)
    clock = Clock()
    events: list[Transition] = []
    stale = plan.settings.model_copy(update={"live": LiveSettings(stale_after=60.0, backoff_first=1e-6)})
    feed = Feed(Location(clip), stale, listen=events.append, clock=clock)
    feed.start()
    frames: list[Frame] = []
    while len(frames) < 30:
        got = feed.frames.get(5)
        assert got is not None
        frames.append(got)
    feed.stop(5)
    times = [item.pts for item in frames]
    assert times == sorted(set(times))
    assert [item.index for item in frames] == sorted({item.index for item in frames})
    assert times[12] >= times[11] + 0.25
    states = [event.state for event in events]
    assert states[:4] == [StreamState.RUNNING, StreamState.BACKING_OFF, StreamState.CONNECTING, StreamState.RUNNING]
    assert feed.machine.reconnects[Cause.ENDED] >= 2
    assert feed.started_at is not None
