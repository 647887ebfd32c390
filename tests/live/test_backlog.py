"""When pictures come and nothing becomes of them."""

from __future__ import annotations

from streamwatch.live.backlog import BacklogMonitor
from tests.support.clocks import Clock


def states(*steps: tuple[float, int, int]) -> list[bool]:
    """For each instant with the frames sampled and those that are through."""
    clock = Clock()
    monitor = BacklogMonitor(2.0, clock)
    found = []
    for clock.now, sampled, finished in steps:
        found.append(monitor.update(sampled, finished))
    return found


def test_frames_that_come_and_are_not_through_for_too_long_are_a_backlog() -> None:
    assert states((0, 0, 0), (10, 1, 0), (12, 5, 0), (12.1, 5, 0)) == [False, False, False, True]


def test_no_frames_are_no_backlog() -> None:
    assert states((0, 4, 4), (60, 4, 4), (61, 5, 4), (62, 5, 4)) == [False] * 4


def test_one_frame_that_is_through_ends_it() -> None:
    assert states((0, 3, 0), (3, 6, 0), (3.1, 6, 1), (5, 6, 1), (5.1, 7, 1), (7.2, 7, 1)) == [
        *(False, True, False, False, False),
        True,
    ]
