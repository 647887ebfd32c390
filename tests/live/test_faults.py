"""Feeds against a real RTSP server behind a proxy that fails: the right cause, in time, and back again."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from streamwatch.bench.loopback.fault_proxy import FaultProxy, fault_proxy
from streamwatch.bench.loopback.rtsp_server import free_port, serve_rtsp
from streamwatch.config import DecodeSettings, LiveSettings, SamplingSettings, Settings
from streamwatch.live.feed import GRACE, Feed
from streamwatch.records import Frame
from streamwatch.sources import Location
from streamwatch.sources.states import Cause, StreamState, Transition
from tests.support import gstreamer, media
from tests.support.silent_server import silent_server

pytestmark = pytest.mark.alone

OPEN, READ, STALL = 1.5, 2.0, 0.8
SLACK = 1.0
"""Seconds beyond a limit within which a fault must have been reported."""
RECOVERY = 5.0
START = 2.0
"""Seconds that the first decoding process may take to come up on a busy machine."""
FPS = 10.0


def settings(**live: float) -> Settings:
    return Settings(
        sampling=SamplingSettings(fps=FPS),
        decode=DecodeSettings(open_timeout=OPEN, read_timeout=READ, probe_seconds=0.5),
        live=LiveSettings(**{"stalled_after": STALL, "backoff_first": 0.2, "backoff_max": 1.0, **live}),
    )


class Watched:
    """A feed that runs, with what it reported and when; its frames are taken as they come."""

    def __init__(self, url: str, **live: float) -> None:
        self.changes: list[Transition] = []
        self.frames: list[Frame] = []
        self._times: list[float] = []
        self._reported = threading.Condition()
        self.feed = Feed(Location(url), settings(**live), listen=self._receive)
        self._taker = threading.Thread(target=self._take, daemon=True)

    def __enter__(self) -> Watched:
        self.feed.start()
        self._taker.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.feed.stop()
        self._taker.join(5)

    def wait(self, state: StreamState, cause: Cause | None = None, *, since: int = 0, within: float) -> float:
        """Seconds until the feed reported that state (and cause), among the changes from number `since` on."""
        begun = time.monotonic()

        def reported() -> list[float]:
            return [
                at
                for at, change in zip(self._times[since:], self.changes[since:], strict=True)
                if change.state is state and cause in (None, change.cause)
            ]

        with self._reported:
            assert self._reported.wait_for(reported, within), (state, cause, self.changes[since:])
            return reported()[0] - begun

    def wait_for_frames(self, count: int, within: float) -> None:
        goal, end = len(self.frames) + count, time.monotonic() + within
        while len(self.frames) < goal:
            assert time.monotonic() < end, f"{len(self.frames)} of {goal} frames; {self.changes}"
            time.sleep(0.02)

    def assert_accounted(self) -> None:
        counts = self.feed.counts
        assert counts.sampled == len(self.frames) + counts.dropped
        assert counts.decoded >= counts.sampled
        pts = [frame.pts for frame in self.frames]
        assert pts == sorted(set(pts))

    def _receive(self, change: Transition) -> None:
        with self._reported:
            self.changes.append(change)
            self._times.append(time.monotonic())
            self._reported.notify_all()

    def _take(self) -> None:
        while not self.feed.frames.exhausted:
            if (frame := self.feed.frames.get(0.1)) is not None:
                self.frames.append(frame)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return media.encode(tmp_path_factory.mktemp("faults") / "clip.mp4", frames=250, b_frames=False)


@contextlib.contextmanager
def serve(kind: str, clip: Path) -> Iterator[str]:
    """The URL of a real server: the one of PyPI, or GStreamer's."""
    if kind == "gstreamer":
        if not gstreamer.installed():
            pytest.skip(gstreamer.MISSING)
        transport = clip.with_suffix(".ts")
        if not transport.exists():
            media.encode(transport, frames=750, b_frames=False)
        with gstreamer.serve_gstreamer(transport) as url:
            yield url
    else:
        with serve_rtsp(clip, plays=0) as url:
            yield url


ONE_SERVER = pytest.mark.parametrize("behind", ["aio-rtsp-toolkit"], indirect=True)
"""For what has nothing to do with the kind of server."""


@pytest.fixture(params=["aio-rtsp-toolkit", "gstreamer"])
def behind(clip: Path, request: pytest.FixtureRequest) -> Iterator[tuple[FaultProxy, str]]:
    """A proxy before a server, and the URL through it."""
    with serve(request.param, clip) as url:
        port = urlsplit(url).port
        assert port is not None
        with fault_proxy(port) as proxy:
            yield proxy, url.replace(f":{port}/", f":{proxy.port}/")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - nothing but the names is wanted


def children() -> set[int]:
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has just ended
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


@pytest.fixture(autouse=True)
def nothing_leaks(behind: object) -> Iterator[None]:
    before = children(), descriptors()
    yield
    end = time.monotonic() + 5
    while (children(), descriptors()) != before and time.monotonic() < end:
        time.sleep(0.05)  # the server's side of a connection ends a moment later
    assert children() == before[0]
    assert descriptors() <= before[1]


def assert_reported_and_repaired(
    behind: tuple[FaultProxy, str], break_it: Callable[[FaultProxy], object], cause: Cause, limit: float
) -> None:
    """A feed that runs is broken, must report `cause` within `limit` (+ SLACK), and run again after the repair."""
    proxy, url = behind
    with Watched(url) as watched:
        watched.wait(StreamState.RUNNING, within=10)
        watched.wait_for_frames(5, within=5)
        before = len(watched.changes)
        break_it(proxy)
        took = watched.wait(StreamState.BACKING_OFF, cause, since=before, within=limit + SLACK)
        assert took <= limit + SLACK
        broken = len(watched.changes)
        proxy.restore()
        assert watched.wait(StreamState.RUNNING, since=broken, within=RECOVERY) <= RECOVERY
        watched.wait_for_frames(5, within=RECOVERY)
    watched.assert_accounted()


def test_a_server_that_goes_away(behind: tuple[FaultProxy, str]) -> None:
    assert_reported_and_repaired(behind, FaultProxy.refuse, Cause.ENDED, limit=0.0)


def test_a_connection_cut_in_the_middle_of_a_group_of_pictures(behind: tuple[FaultProxy, str]) -> None:
    assert_reported_and_repaired(behind, FaultProxy.cut, Cause.ENDED, limit=0.0)


@pytest.mark.slow
def test_a_black_hole(behind: tuple[FaultProxy, str]) -> None:
    assert_reported_and_repaired(behind, FaultProxy.black_hole, Cause.STALLED, limit=READ + GRACE)


@pytest.mark.slow
def test_a_throttled_line(behind: tuple[FaultProxy, str]) -> None:
    assert_reported_and_repaired(behind, lambda proxy: proxy.throttle(100.0), Cause.STALLED, limit=READ + GRACE)


def test_a_short_silence_stalls_and_needs_no_new_connection(behind: tuple[FaultProxy, str]) -> None:
    proxy, url = behind
    with Watched(url) as watched:
        watched.wait(StreamState.RUNNING, within=10)
        watched.wait_for_frames(3, within=5)
        proxy.black_hole()
        assert watched.wait(StreamState.STALLED, Cause.STALLED, within=STALL + SLACK) <= STALL + SLACK
        before = len(watched.changes)
        proxy.restore()
        watched.wait(StreamState.RUNNING, since=before, within=SLACK)
        assert not watched.feed.machine.reconnects
    watched.assert_accounted()


def test_a_late_line_is_no_fault(behind: tuple[FaultProxy, str]) -> None:
    proxy, url = behind
    proxy.delay(0.1)  # opening is half a dozen turns
    with Watched(url) as watched:
        watched.wait(StreamState.RUNNING, within=10)
        proxy.delay(0.3)
        watched.wait_for_frames(20, within=10)
        assert [change.state for change in watched.changes] == [StreamState.RUNNING]
    watched.assert_accounted()


@pytest.mark.slow
def test_damaged_bytes_end_nothing_for_good(behind: tuple[FaultProxy, str]) -> None:
    proxy, url = behind
    with Watched(url) as watched:
        watched.wait(StreamState.RUNNING, within=10)
        proxy.corrupt(0.2)
        time.sleep(2)
        proxy.restore()
        watched.wait_for_frames(20, within=RECOVERY + READ)
        assert watched.feed.machine.state is StreamState.RUNNING
    watched.assert_accounted()


def test_a_server_that_is_not_there_yet(behind: tuple[FaultProxy, str]) -> None:
    proxy, url = behind
    proxy.refuse()
    with Watched(url) as watched:
        watched.wait(StreamState.BACKING_OFF, Cause.REFUSED, within=5)
        proxy.restore()
        assert watched.wait(StreamState.RUNNING, within=RECOVERY) <= RECOVERY
    watched.assert_accounted()


def test_a_server_that_takes_connections_and_says_nothing(behind: tuple[FaultProxy, str]) -> None:
    proxy, url = behind
    proxy.black_hole()
    with Watched(url) as watched:
        reported = watched.wait(StreamState.BACKING_OFF, Cause.TIMEOUT, within=10)
        assert reported <= OPEN + SLACK + START
        proxy.restore()
        assert watched.wait(StreamState.RUNNING, within=RECOVERY) <= RECOVERY
    watched.assert_accounted()


@ONE_SERVER
def test_a_decoder_that_dies_is_replaced(behind: tuple[FaultProxy, str]) -> None:
    _, url = behind
    with Watched(url) as watched:
        watched.wait(StreamState.RUNNING, within=10)
        (decoder,) = children()
        os.kill(decoder, signal.SIGKILL)
        watched.wait(StreamState.BACKING_OFF, Cause.CRASHED, within=SLACK)
        before = len(watched.changes)
        watched.wait(StreamState.RUNNING, since=before, within=RECOVERY)
        assert children() != {decoder}
    watched.assert_accounted()


@ONE_SERVER
@pytest.mark.slow
def test_a_decoder_that_hangs_is_killed(behind: tuple[FaultProxy, str]) -> None:
    _, url = behind
    with Watched(url) as watched:
        watched.wait(StreamState.RUNNING, within=10)
        watched.wait_for_frames(3, within=5)
        (decoder,) = children()
        os.kill(decoder, signal.SIGSTOP)
        took = watched.wait(StreamState.BACKING_OFF, Cause.STALLED, within=READ + GRACE + SLACK)
        assert READ < took <= READ + GRACE + SLACK
        assert decoder not in children()
        before = len(watched.changes)
        watched.wait(StreamState.RUNNING, since=before, within=RECOVERY)
    watched.assert_accounted()


@ONE_SERVER
def test_wrong_credentials_fail_once_and_are_shown_nowhere(clip: Path) -> None:
    with (
        serve_rtsp(clip, user="bob", password="right") as url,
        Watched(url.replace("right", "wr0ng"), failed_retry=60) as watched,
    ):
        watched.wait(StreamState.FAILED, Cause.AUTHENTICATION, within=5)
        time.sleep(0.5)
        assert len(watched.changes) == 1
        commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children()]
        assert commands
    assert b"wr0ng" not in b"".join(commands)
    assert "wr0ng" not in f"{watched.changes} {watched.feed.failure}"


@ONE_SERVER
def test_every_cause_of_a_stream_that_does_not_open(clip: Path) -> None:
    with serve_rtsp(clip) as served, silent_server(b"this is not TLS") as plain:
        for url, cause in (
            (served.replace("clip.mp4", "absent.mp4"), Cause.NOT_FOUND),
            (f"rtsps://127.0.0.1:{plain}/clip.mp4", Cause.TLS),
            (f"rtsp://127.0.0.1:{free_port()}/clip.mp4", Cause.REFUSED),
        ):
            with Watched(url) as watched:
                limit = OPEN + SLACK + START
                assert watched.wait(StreamState.BACKING_OFF, cause, within=limit) <= limit


@ONE_SERVER
@pytest.mark.slow
def test_a_dead_stream_slows_no_other(behind: tuple[FaultProxy, str], clip: Path) -> None:
    proxy, url = behind
    with serve_rtsp(clip, plays=0) as other, Watched(other) as well, Watched(url) as sick:
        well.wait(StreamState.RUNNING, within=10)
        sick.wait(StreamState.RUNNING, within=10)
        well.wait_for_frames(20, within=10)  # what the server had waiting came in a burst
        seconds = 4.0

        def analysed() -> int:
            before = len(well.frames)
            time.sleep(seconds)
            return len(well.frames) - before

        together = analysed()
        proxy.black_hole()
        sick.wait(StreamState.STALLED, within=STALL + SLACK)
        alone = analysed()
        proxy.restore()
    print(f"{together} frames beside a stream that runs, {alone} beside one that died")
    assert together >= 0.85 * seconds * FPS
    assert alone >= 0.9 * together  # 0.95 where the machine does nothing else
