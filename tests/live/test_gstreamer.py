"""What GStreamer's RTSP server refuses, where it is installed; test_faults.py has its faults."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from streamwatch.config import DecodeSettings, LiveSettings, SamplingSettings, Settings
from streamwatch.live.feed import Feed
from streamwatch.sources import Location
from streamwatch.sources.states import Cause, StreamState, Transition
from tests.support import gstreamer, media

pytestmark = [pytest.mark.alone, pytest.mark.skipif(not gstreamer.installed(), reason=gstreamer.MISSING)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return media.encode(tmp_path_factory.mktemp("gstreamer") / "clip.ts", frames=500, b_frames=False)


def watch(url: str, state: StreamState, cause: Cause | None = None) -> list[Transition]:
    """What a feed reported until it reported that state and cause."""
    settings = Settings(
        sampling=SamplingSettings(fps=10),
        decode=DecodeSettings(open_timeout=3, read_timeout=2, probe_seconds=0.5),
        live=LiveSettings(backoff_first=0.2, backoff_max=1.0),
    )
    changes: list[Transition] = []
    feed = Feed(Location(url), settings, listen=changes.append)
    end = time.monotonic() + 20
    feed.start()
    while not any((change.state, change.cause) == (state, cause) for change in changes):
        assert time.monotonic() < end, changes
        time.sleep(0.05)
    feed.stop()
    return changes


def test_its_refusals_have_the_right_cause(clip: Path) -> None:
    with gstreamer.serve_gstreamer(clip, "bob", "right") as url:
        watch(url.replace("//", "//bob:right@"), StreamState.RUNNING)
        changes = watch(url.replace("//", "//bob:wr0ng@"), StreamState.FAILED, Cause.AUTHENTICATION)
        assert "wr0ng" not in str(changes)
    with gstreamer.serve_gstreamer(clip) as url:
        opened = watch(url, StreamState.RUNNING)[0]
        assert opened.message == "h264 160×96"
        watch(url.replace("/live", "/absent"), StreamState.BACKING_OFF, Cause.NOT_FOUND)
