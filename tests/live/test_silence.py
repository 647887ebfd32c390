"""How long a decoder has had nothing new to say."""

from __future__ import annotations

from streamwatch.config import DecodeSettings, Settings
from streamwatch.live.silence import SilenceMonitor
from tests.support.clocks import Clock

SETTINGS = Settings(decode=DecodeSettings(open_timeout=7.0, read_timeout=3.0))


class WaitingClock(Clock):
    def wait(self, seconds: float) -> str:
        self.now += seconds
        return f"{seconds} s"


def test_only_waiting_counts_and_only_new_pictures_end_it() -> None:
    clock = WaitingClock()
    silence = SilenceMonitor(SETTINGS, clock)
    silence.connect()
    assert silence.count(lambda: clock.wait(2.0)) == "2.0 s"
    clock.wait(50.0)  # spent on a picture
    assert silence.seconds == 2.0
    assert silence.reach(0.0)
    silence.count(lambda: clock.wait(1.0))
    assert not silence.reach(0.0)  # media time stands still
    assert silence.seconds == 1.0
    assert silence.reach(0.1)
    assert silence.seconds == 0.0


def test_opening_has_more_time_than_reading() -> None:
    silence = SilenceMonitor(SETTINGS)
    silence.connect()
    assert silence.limit == 10.0
    silence.opened()
    assert silence.limit == 3.0
    silence.connect()
    assert silence.limit == 10.0


def test_a_new_connection_has_a_media_time_of_its_own_but_the_picture_is_as_old_as_before() -> None:
    clock = WaitingClock()
    silence = SilenceMonitor(SETTINGS, clock)
    silence.connect()
    assert silence.since_picture(clock.now) == 0.0
    silence.reach(500.0)
    silence.connect()
    silence.count(lambda: clock.wait(4.0))
    assert silence.since_picture(clock.now) == 4.0
    assert silence.reach(0.0)
    assert silence.since_picture(clock.now) == 0.0


def picture_every(silence: SilenceMonitor, interval: float, count: int, start: float = 0.0) -> None:
    for number in range(count):
        silence.reach(start + number * interval)


def test_a_slow_camera_stalls_after_three_of_its_intervals() -> None:
    silence = SilenceMonitor(SETTINGS)
    silence.connect()
    assert silence.stalled_after == SETTINGS.live.stalled_after
    picture_every(silence, 4.0, 6)
    assert (silence.interval, silence.stalled_after) == (4.0, 12.0)
    silence.reach(100.0)  # one pause changes nothing
    assert silence.stalled_after == 12.0
    silence.connect()
    picture_every(silence, 0.25, 6)
    assert silence.stalled_after == SETTINGS.live.stalled_after


def test_a_decoder_that_says_that_it_waits_does_not_hang() -> None:
    clock = WaitingClock()
    silence = SilenceMonitor(SETTINGS, clock)
    silence.connect()
    silence.count(lambda: clock.wait(9.0))
    silence.wait_on()
    assert silence.seconds == 0.0
    assert silence.limit == 10.0
