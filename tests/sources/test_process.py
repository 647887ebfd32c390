"""A source in a process of its own: what it says, how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamwatch.config import DecodeSettings, SamplingSettings
from streamwatch.errors import SourceNotFound
from streamwatch.sources import Location, VideoSource
from streamwatch.sources.process import Closed, DecodeRate, DecoderDied, DecodingProcess, DecodingProgress, Opened
from tests.support import media

DECODE, SAMPLING = DecodeSettings(), SamplingSettings(fps=5, min_frames=0)


@pytest.fixture
def process() -> Iterator[DecodingProcess]:
    made = DecodingProcess()
    yield made
    made.kill()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return media.synthetic_video(tmp_path_factory.mktemp("process") / "clip.mp4", seconds=4)


def messages(process: DecodingProcess) -> list[Any]:
    found: list[Any] = []
    while not found or not isinstance(found[-1], Closed):
        message = process.receive(20)
        assert message is not None
        found.append(message)
    return found


def test_it_says_what_the_source_says_here(process: DecodingProcess, clip: Path) -> None:
    process.open(Location(clip), DECODE, SAMPLING, live=False)
    opened, *progress, closed = messages(process)
    with VideoSource(str(clip), DECODE, SAMPLING) as source:
        expected = list(source.frames())
        assert opened == Opened(source.codec, source.width, source.height, source.duration)
        assert closed == Closed(None, source.counts)
    frames = [message.frame for message in progress if message.frame is not None]
    assert [(frame.index, frame.pts) for frame in frames] == [(frame.index, frame.pts) for frame in expected]
    assert all((one.image == other.image).all() for one, other in zip(frames, expected, strict=True))


def test_errors_come_as_they_are_and_the_next_source_opens(process: DecodingProcess, clip: Path) -> None:
    process.open(Location("absent.mp4"), DECODE, SAMPLING, live=False)
    (closed,) = messages(process)
    assert isinstance(closed.error, SourceNotFound)
    assert "absent.mp4" in str(closed.error)
    process.open(Location(clip), DECODE, SAMPLING, live=False)
    assert isinstance(messages(process)[0], Opened)


def test_the_effort_is_changed_on_the_way(process: DecodingProcess, tmp_path: Path) -> None:
    long = media.synthetic_video(tmp_path / "long.mp4", seconds=60)
    process.open(Location(long), DECODE, SamplingSettings(fps=25), live=True)
    assert isinstance(process.receive(20), Opened)
    for _ in range(5):
        assert isinstance(process.receive(20), DecodingProgress)
    process.adjust(DecodeRate(0.5))
    late = [message.frame for message in messages(process) if isinstance(message, DecodingProgress) and message.frame]
    assert late[-1].pts - late[-2].pts == pytest.approx(2.0, abs=0.05)


def test_a_killed_process_is_told_and_leaves_nothing(process: DecodingProcess, clip: Path) -> None:
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(DecoderDied):
        process.receive(20)
    with pytest.raises(DecoderDied):
        process.open(Location(clip), DECODE, SAMPLING, live=False)
    process.kill()
    process.kill()
    assert not Path(f"/proc/{process.pid}").exists()


def test_it_ends_with_the_process_that_owns_it() -> None:
    code = (
        "import time; from streamwatch.sources.process import DecodingProcess; "
        "process = DecodingProcess(); print(process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        time.sleep(1)
        assert _runs(pid)
        owner.kill()
    end = time.monotonic() + 10
    while _runs(pid):
        assert time.monotonic() < end
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
