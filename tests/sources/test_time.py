from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from streamwatch.sources.clocks import MAX_STEP_CONTINUOUS, MAX_STEP_DISCONTINUOUS, CaptureClock, MediaClock
from streamwatch.sources.sampling import TimeSampler

NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)


def kept(fps: float, times: list[float]) -> list[float]:
    sampler = TimeSampler(fps)
    return [time for time in times if sampler.keep(time)]


def media_times(timestamps: list[float | None], **options: float | None) -> list[float]:
    options.setdefault("max_step", MAX_STEP_DISCONTINUOUS)
    clock = MediaClock(**options)  # type: ignore[arg-type]
    return [clock.advance(timestamp) for timestamp in timestamps]


def test_constant_rate_gives_the_first_picture_at_or_after_each_due_time() -> None:
    assert kept(2, [n / 25 for n in range(40)]) == pytest.approx([0.0, 0.52, 1.0, 1.52])


def test_the_grid_does_not_drift() -> None:
    assert len(kept(2, [n * 1001 / 30000 for n in range(108_000)])) == pytest.approx(7207, abs=1)


def test_the_grid_starts_at_the_first_picture() -> None:
    assert kept(1, [0.3, 0.9, 1.2, 1.3, 2.3]) == [0.3, 1.3, 2.3]


@pytest.mark.parametrize("rate", [23.976, 24, 25, 29.97, 30, 50, 59.94, 60])
@pytest.mark.parametrize("fps", [0.5, 1, 2, 3, 5, 10])
def test_timestamps_rounded_to_milliseconds_lose_no_sample(rate: float, fps: float) -> None:
    exact = [n / rate for n in range(round(rate * 60))]
    rounded = [round(time, 3) for time in exact]

    assert len(kept(fps, rounded)) == len(kept(fps, exact)) == 60 * fps


def test_a_source_slower_than_the_sampling_is_kept_whole() -> None:
    times = [n / 3 for n in range(10)]
    assert kept(5, times) == times


def test_a_gap_causes_no_burst() -> None:
    assert kept(2, [0, 0.5, 60.1, 60.2, 60.3, 60.5]) == [0, 0.5, 60.1, 60.5]


def test_restart_at_another_rate_counts_on() -> None:
    sampler = TimeSampler(1)
    assert [sampler.keep(time) for time in (0.0, 0.5)] == [True, False]
    sampler.restart(4)
    assert [sampler.keep(time) for time in (0.6, 0.7, 0.85)] == [True, False, True]
    assert sampler.kept == 3
    with pytest.raises(ValueError, match="fps"):
        sampler.restart(0)


def test_a_sampler_keeps_no_more_than_its_limit() -> None:
    sampler = TimeSampler(1, limit=2)
    found = [(sampler.keep(time), sampler.exhausted) for time in (0.0, 0.5, 1.0, 2.0)]
    assert found == [(True, False), (False, False), (True, True), (False, True)]
    sampler.restart()
    assert not sampler.keep(3.0)
    assert sampler.kept == 2


def test_restart_keeps_the_next_picture_and_anchors_there() -> None:
    sampler = TimeSampler(1)
    assert sampler.keep(0.0)
    sampler.restart()
    assert [sampler.keep(time) for time in (0.2, 1.0, 1.2)] == [True, False, True]


@pytest.mark.parametrize("fps", [0.0, -1.0])
def test_the_rate_must_be_positive(fps: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        TimeSampler(fps)


def test_media_time_counts_from_the_start_of_the_container() -> None:
    assert media_times([1.48, 1.52], start=1.4) == pytest.approx([0.08, 0.12])


def test_a_senseless_container_start_is_ignored() -> None:
    assert media_times([1.48, 1.52], start=90000.0) == pytest.approx([0.0, 0.04])


def test_media_time_counts_from_the_first_timestamp_without_a_start() -> None:
    assert media_times([5000.0, 5000.5]) == [0.0, 0.5]


def test_missing_timestamps_are_filled_at_the_frame_rate() -> None:
    assert media_times([None, None, None], frame_rate=10) == pytest.approx([0.0, 0.1, 0.2])
    assert media_times([7.0, None, None, 7.3], frame_rate=10) == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert media_times([None, None, 7.0, 7.1], frame_rate=10) == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_an_unknown_frame_rate_is_taken_as_25() -> None:
    assert media_times([None, None]) == pytest.approx([0.0, 0.04])


def test_small_steps_back_hold_the_time() -> None:
    assert media_times([0.0, 0.12, 0.04, 0.08, 0.16], frame_rate=25) == pytest.approx([0, 0.12, 0.12, 0.12, 0.16])


@pytest.mark.parametrize("jump", [-3600.0, -5.0, 11.0, 90000.0])
def test_a_jump_is_bridged_by_one_frame(jump: float) -> None:
    clock = MediaClock(frame_rate=25, max_step=MAX_STEP_DISCONTINUOUS)
    for timestamp in (10.0, 10.04):
        clock.advance(timestamp)
        assert not clock.jumped

    assert clock.advance(10.08 + jump) == pytest.approx(0.08)
    assert clock.jumped
    assert clock.advance(10.12 + jump) == pytest.approx(0.12)
    assert not clock.jumped


def test_a_long_pause_in_a_file_is_no_jump() -> None:
    assert media_times([0.0, 600.0], max_step=MAX_STEP_CONTINUOUS) == [0.0, 600.0]


class Wall:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


def test_capture_is_arrival_of_the_first_picture_plus_media_time() -> None:
    wall = Wall()
    clock = CaptureClock(wall)
    assert clock.captured(3.0) == NOON
    wall.now += timedelta(seconds=2.5)  # half a second late
    assert clock.captured(5.0) == NOON + timedelta(seconds=2)


def test_capture_is_never_after_arrival() -> None:
    wall = Wall()
    clock = CaptureClock(wall)
    clock.captured(0.0)
    assert clock.captured(1.5) == NOON  # a burst: the stream is that much ahead of the first guess
    wall.now += timedelta(seconds=1)
    assert clock.captured(2.5) == NOON + timedelta(seconds=1)


def test_capture_starts_afresh_when_the_sender_stood_still() -> None:
    wall = Wall()
    clock = CaptureClock(wall)
    clock.captured(0.0)
    wall.now += timedelta(minutes=5)
    assert clock.captured(0.04) == wall.now


def test_capture_starts_afresh_after_a_restart() -> None:
    wall = Wall()
    clock = CaptureClock(wall)
    clock.captured(0.0)
    wall.now += timedelta(seconds=4)
    clock.restart()
    assert clock.captured(0.04) == wall.now


def test_the_opening_has_a_rate_of_its_own() -> None:
    sampler = TimeSampler(2, opening=(10, 0.5))

    kept = [number / 50 for number in range(150) if sampler.keep(number / 50)]

    assert kept == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 1.0, 1.5, 2.0, 2.5], abs=0.021)
