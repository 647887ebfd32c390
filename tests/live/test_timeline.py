"""One line of media time over several connections."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

from streamwatch.live.timeline import Timeline
from streamwatch.records import Frame
from tests.support.clocks import Clock

NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)


def frame(index: int, pts: float, wall_time: datetime | None = None) -> Frame:
    return Frame("s", index, pts, wall_time, np.zeros((2, 2, 3), np.uint8))


def places(timeline: Timeline, *frames: Frame) -> list[tuple[int, float]]:
    timeline.connect()
    return [(placed.index, placed.pts) for placed in map(timeline.place, frames)]


def test_a_later_connection_goes_on_after_the_pause() -> None:
    clock = Clock(100.0)
    timeline = Timeline(2.0, clock=clock)
    assert places(timeline, frame(0, 0.0), frame(12, 0.5)) == [(0, 0.0), (12, 0.5)]
    clock.now += 30.0
    (first, pts), (second, later) = places(timeline, frame(2, 7.0), frame(14, 7.5))
    assert (first, second) == (15, 27)
    assert (pts, later) == pytest.approx((30.0, 30.5))


def test_time_never_stands_still_between_connections() -> None:
    """A burst of buffered pictures runs ahead of the clock; what follows comes a sampling interval later at least."""
    timeline = Timeline(2.0, clock=Clock(100.0))
    assert places(timeline, frame(0, 0.0), frame(1, 40.0)) == [(0, 0.0), (1, 40.0)]
    assert places(timeline, frame(0, 3.0)) == [(2, 40.5)]


def test_a_connection_without_a_frame_changes_nothing() -> None:
    timeline = Timeline(2.0, clock=Clock(100.0))
    places(timeline, frame(0, 0.0))
    places(timeline)
    assert places(timeline, frame(0, 0.0)) == [(1, 0.5)]


def test_the_start_is_that_of_the_first_frame_or_of_the_predecessor() -> None:
    fresh = Timeline(2.0, clock=Clock(100.0))
    places(fresh, frame(0, 1.5, NOON), frame(1, 2.0, NOON + timedelta(seconds=9)))
    assert fresh.started_at == NOON - timedelta(seconds=1.5)

    later = Timeline(2.0, started_at=NOON, clock=Clock(100.0))
    assert places(later, frame(0, 0.0, NOON + timedelta(minutes=1))) == [(0, 60.0)]
    assert later.started_at == NOON
