"""Files cut at key frames: the parts show what the whole does, picture for picture."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from streamwatch.config import DecodeSettings, SamplingSettings
from streamwatch.sources.location import Location
from streamwatch.sources.sampling import TimeSampler
from streamwatch.sources.segments import MOST_SEGMENTS, Segment, find_segments
from streamwatch.sources.video import VideoSource
from tests.support.media import corrupted, encode, picture, truncated

Shown = tuple[float, bool, bytes]

UNEVEN = [number / 25 + (number % 7) * 0.004 + (1.3 if number > 60 else 0.0) for number in range(120)]
"""Seconds of pictures that come as they please, with a pause."""

MAKERS: dict[str, Callable[[Path], Path]] = {
    "h264": lambda folder: encode(folder / "clip.mp4", frames=120),
    "h264 in matroska": lambda folder: encode(folder / "clip.mkv", frames=120),
    "hevc": lambda folder: encode(folder / "clip.mp4", codec="libx265", frames=120),
    "vp9": lambda folder: encode(folder / "clip.webm", codec="libvpx-vp9", frames=120),
    "mpeg4 in avi": lambda folder: encode(folder / "clip.avi", codec="mpeg4", frames=120),
    "uneven": lambda folder: encode(folder / "clip.mp4", times=UNEVEN),
    "late": lambda folder: encode(folder / "clip.mkv", times=[moment + 3.7 for moment in UNEVEN]),
    "fragmented": lambda folder: encode(
        folder / "clip.mp4", frames=120, container_options={"movflags": "frag_keyframe+empty_moov"}
    ),
    "damaged": lambda folder: corrupted(encode(folder / "whole.mkv", frames=120), folder / "clip.mkv"),
    "broken off": lambda folder: truncated(encode(folder / "whole.mkv", frames=120), folder / "clip.mkv"),
}


def shown(video: VideoSource) -> list[Shown]:
    """What a decoder puts in place of damage depends on what it has decoded before."""
    return [
        (picture.pts, picture.sampled, b"" if picture.spoiled else picture.to_image().tobytes())
        for picture in video.decoded()
    ]


def segments(path: Path, seconds: float) -> list[Segment]:
    with VideoSource(str(path)) as video:
        return video.segments(seconds)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("seconds", [0.7, 2.0])
def test_the_parts_are_the_whole(name: str, seconds: float, tmp_path: Path) -> None:
    path = MAKERS[name](tmp_path)
    sampling = SamplingSettings(fps=7.0)
    with VideoSource(str(path), sampling=sampling) as video:
        whole, counts, duration = shown(video), video.counts, video.duration
    parts, unseen, corrupt = [], 0.0, 0
    cut = segments(path, seconds)
    for segment in cut:
        with VideoSource(str(path), sampling=sampling, segment=segment) as video:
            parts += shown(video)
            corrupt += video.counts.corrupt
            unseen += sum(video.counts.unseen.values())
    assert parts == whole
    assert corrupt == counts.corrupt
    if name != "broken off":  # there the last part has no end of its own
        assert unseen == pytest.approx(sum(counts.unseen.values()))
    if name not in ("damaged", "broken off"):
        assert duration is not None
        assert 1 < len(cut) <= round(duration / seconds)


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: encode(folder / "clip.ts", frames=120),
        lambda folder: encode(folder / "clip.h264", frames=120),
        lambda folder: encode(folder / "clip.mp4", frames=120, keyframe_every=500),
    ],
    ids=["timestamps may restart", "no duration", "no other key frame"],
)
def test_what_cannot_be_cut_stays_whole(make: Callable[[Path], Path], tmp_path: Path) -> None:
    assert segments(make(tmp_path), 1.0) == [Segment()]


def test_a_file_is_not_cut_where_pictures_are_refreshed_bit_by_bit(tmp_path: Path) -> None:
    """Its key frames are marked as such, and are no pictures by themselves."""
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        options = {"preset": "ultrafast", "x264-params": "intra-refresh=1:keyint=20"}
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for number in range(120):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        assert sum(packet.is_keyframe for packet in container.demux(video=0)) > 3
    assert segments(path, 1.0) == [Segment()]


def test_so_many_frames_are_so_many_of_the_whole_file(tmp_path: Path) -> None:
    path = MAKERS["h264"](tmp_path)
    with VideoSource(str(path), sampling=SamplingSettings(max_frames=3)) as video:
        assert video.segments(1.0) == [Segment()]


@pytest.mark.parametrize("fps", [0.3, 2.0, 7.0, 24.0])
def test_a_sampler_that_resumes_keeps_what_one_that_saw_everything_keeps(fps: float) -> None:
    whole = TimeSampler(fps)
    kept = [whole.keep(pts) for pts in UNEVEN]
    for border in range(1, len(UNEVEN)):
        part = TimeSampler(fps)
        part.resume(UNEVEN[0], UNEVEN[border - 1])
        assert [part.keep(pts) for pts in UNEVEN[border:]] == kept[border:]


def declared(path: Path, seconds: float) -> Path:
    """The Matroska file with another duration in its header, which is a 64-bit float of milliseconds."""
    data = path.read_bytes()
    place = data.index(b"\x44\x89\x88") + 3
    path.write_bytes(data[:place] + struct.pack(">d", seconds * 1000) + data[place + 8 :])
    return path


def test_a_duration_that_the_bytes_cannot_hold_is_ignored(tmp_path: Path) -> None:
    path = declared(encode(tmp_path / "clip.mkv", frames=50), 1e11)

    with VideoSource(str(path)) as video:
        assert video.duration is None
        assert video.segments(300.0) == [Segment()]
        assert len(list(video.frames())) == 4


def test_a_file_is_cut_into_so_many_parts_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeks: list[int] = []
    monkeypatch.setattr(find_segments.__module__ + "._cut_before", lambda *place: seeks.append(place[2]))
    path = encode(tmp_path / "clip.mkv", frames=50)

    assert find_segments(
        Location(path), DecodeSettings(), seconds=1.0, duration=MOST_SEGMENTS * 100.0, origin=0.0, first=0.0
    ) == [Segment()]

    assert len(seeks) == MOST_SEGMENTS - 1


def test_looking_for_cuts_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeks: list[int] = []

    def slow(_container: object, _stream: object, target: int) -> None:
        seeks.append(target)
        time.sleep(0.05)

    monkeypatch.setattr(find_segments.__module__ + "._cut_before", slow)
    path = encode(tmp_path / "clip.mkv", frames=50)

    find_segments(Location(path), DecodeSettings(open_timeout=0.1), seconds=1.0, duration=100.0, origin=0.0, first=0.0)

    assert 1 <= len(seeks) <= 4


@pytest.mark.parametrize("seconds", [0.001, 0.5])
def test_a_file_that_is_longer_than_it_says_is_sampled_densely_at_its_beginning_only(
    seconds: float, tmp_path: Path
) -> None:
    path = declared(encode(tmp_path / "clip.mkv", frames=250), seconds)

    with VideoSource(str(path)) as video:
        frames = [frame.pts for frame in video.frames()]

    assert 8 <= sum(pts < 0.55 for pts in frames) <= 10
    assert sum(pts >= 0.55 for pts in frames) == pytest.approx(2 * 9.45, abs=2)
