"""How many video tracks a source has: every picture track counts, covers and variants do not."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition

from streamwatch.sources.container import video_tracks
from streamwatch.sources.video import VideoSource
from tests.support.media import picture


def with_tracks(path: Path, count: int, cover: bool = False) -> Path:
    """A second of video in so many tracks, the first of which is the default."""
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=25) for _ in range(count)]
        for number, stream in enumerate(streams):
            stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
            stream.disposition = Disposition.default if number == 0 else Disposition(0)
        art = container.add_stream("mjpeg") if cover else None
        if art is not None:
            art.width, art.height, art.pix_fmt = 160, 96, "yuvj420p"
            art.disposition = Disposition.attached_pic
        for index in range(25):
            for number, stream in enumerate(streams):
                frame = av.VideoFrame.from_ndarray(picture(index + 10 * number), format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, 25)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
        if art is not None:
            packet = av.Packet(np.asarray(cv2.imencode(".jpg", picture(0))[1]).tobytes())
            packet.stream, packet.pts, packet.dts, packet.time_base = art, 0, 0, Fraction(1, 25)
            container.mux(packet)
    return path


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.ts", "a.mov"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_track_of_a_file_counts(tmp_path: Path, name: str, count: int) -> None:
    with VideoSource(with_tracks(tmp_path / name, count)) as source:
        assert source.video_tracks == count


def test_a_cover_picture_is_no_track(tmp_path: Path) -> None:
    path = with_tracks(tmp_path / "a.mp4", 1, cover=True)
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 2
    with VideoSource(path) as source:
        assert source.video_tracks == 1


def container_of(name: str, dispositions: Sequence[Disposition]) -> Any:
    tracks = [SimpleNamespace(disposition=disposition) for disposition in dispositions]
    return cast(Any, SimpleNamespace(format=SimpleNamespace(name=name), streams=SimpleNamespace(video=tracks)))


def test_variants_of_a_playlist_and_thumbnails_of_chapters_are_no_tracks() -> None:
    plain = Disposition(0)
    assert video_tracks(container_of("hls", [plain, plain, plain])) == 1
    assert video_tracks(container_of("mov,mp4,m4a,3gp,3g2,mj2", [plain, Disposition.timed_thumbnails])) == 1
    assert video_tracks(container_of("rtsp", [plain, plain])) == 2
