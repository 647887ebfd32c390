"""Live streams from GStreamer's RTSP server, another real one than that of the other tests; where it is installed."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamwatch.config import DecodeSettings, LiveSettings, SamplingSettings, Settings
from streamwatch.engine.feed import Feed
from streamwatch.evaluation.loopback.fault_proxy import fault_proxy
from streamwatch.evaluation.loopback.rtsp_server import free_port
from streamwatch.records import Frame
from streamwatch.sources.states import Cause, StreamState, Transition
from tests import media

PYTHON = Path("/usr/bin/python3")
PROBE = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"


def installed() -> bool:
    return PYTHON.exists() and subprocess.run([PYTHON, "-c", PROBE], capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not installed(), reason="GStreamer's RTSP server is not installed")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return media.encode(tmp_path_factory.mktemp("gstreamer") / "clip.ts", frames=500, b_frames=False)


@contextlib.contextmanager
def serve(clip: Path, *login: str) -> Iterator[int]:
    """The port."""
    port = free_port()
    command = [PYTHON, Path(__file__).with_name("gstreamer_server.py"), clip, str(port), *login]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        try:
            yield port
        finally:
            server.kill()


def watch(
    url: str, *, frames: int = 0, until: tuple[StreamState, Cause] | None = None
) -> tuple[Feed, list[Transition]]:
    """A feed that has run until it gave so many frames, or told that state and cause."""
    settings = Settings(
        sampling=SamplingSettings(fps=10),
        decode=DecodeSettings(open_timeout=3, read_timeout=2, probe_seconds=0.5),
        live=LiveSettings(stalled_after=0.8, backoff_first=0.2, backoff_max=1.0),
    )
    changes: list[Transition] = []
    feed = Feed(url, settings, listen=changes.append)
    got: list[Frame] = []
    end = time.monotonic() + 20
    feed.start()
    while time.monotonic() < end:
        frame = feed.frames.get(0.1)
        got += [frame] if frame is not None else []
        told = until is not None and any((change.state, change.cause) == until for change in changes)
        if told or (until is None and len(got) >= frames):
            break
    else:
        pytest.fail(f"{len(got)} frames; {changes}")
    feed.stop()
    pts = [frame.pts for frame in got]
    assert pts == sorted(set(pts))
    assert feed.counts.sampled >= len(got)
    return feed, changes


def test_its_stream_is_decoded_and_cut_off_and_comes_back(clip: Path) -> None:
    with serve(clip) as port, fault_proxy(port) as proxy:
        url = f"rtsp://127.0.0.1:{proxy.port}/live"
        _, changes = watch(url, frames=20)
        assert (changes[0].state, changes[0].message) == (StreamState.RUNNING, "h264 160×96")
        proxy.black_hole()
        watch(url, until=(StreamState.BACKING_OFF, Cause.TIMEOUT))
        proxy.restore()
        watch(url, frames=5)


def test_its_refusals_have_the_right_cause(clip: Path) -> None:
    with serve(clip, "bob", "right") as port:
        watch(f"rtsp://bob:right@127.0.0.1:{port}/live", frames=5)
        _, changes = watch(f"rtsp://bob:wr0ng@127.0.0.1:{port}/live", until=(StreamState.FAILED, Cause.AUTHENTICATION))
        assert "wr0ng" not in str(changes)
    with serve(clip) as port:
        watch(f"rtsp://127.0.0.1:{port}/absent", until=(StreamState.BACKING_OFF, Cause.NOT_FOUND))
