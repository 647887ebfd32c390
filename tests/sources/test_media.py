"""One contract for every kind of video that a user may bring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from streamwatch.config import DecodeSettings, SamplingSettings
from streamwatch.errors import SourceNotFound, SourceTooLarge, SourceUnreadable
from streamwatch.records import ImageArray
from streamwatch.sources import DecodedFrame, VideoSource, expand_inputs, iter_frames, open_source, picture_at
from tests.support import media

FPS = 5.0


@dataclass(frozen=True)
class Case:
    """make: writes the clip into a directory and returns its path; the rest is what must come of it."""

    make: Callable[[Path], Path]
    codec: str
    size: tuple[int, int] = (160, 96)
    frames: tuple[int, int] = (10, 10)
    decoded: tuple[int, int] = (50, 50)
    damaged: bool = False


def _clip(name: str, **options: object) -> Callable[[Path], Path]:
    return lambda folder: media.encode(folder / name, **options)  # type: ignore[arg-type]


def _grey(number: int) -> np.ndarray:
    return np.asarray(media.picture(number).mean(axis=2, keepdims=True).repeat(3, axis=2), np.uint8)


def _size_change(folder: Path) -> Path:
    small = media.encode(folder / "small.ts", frames=25)
    large = media.encode(folder / "large.ts", frames=25, width=320, height=192)
    return media.concatenated(folder / "change.ts", small, large)


def _truncated(folder: Path) -> Path:
    whole = media.encode(folder / "whole.mp4", container_options={"movflags": "faststart"})
    return media.truncated(whole, folder / "half.mp4")


def _corrupted(folder: Path) -> Path:
    whole = media.encode(folder / "whole.mp4", container_options={"movflags": "faststart"})
    return media.corrupted(whole, folder / "hole.mp4")


def _corrupted_transport(folder: Path) -> Path:
    return media.corrupted(media.encode(folder / "whole.ts"), folder / "hole.ts", share=0.1)


VARIABLE = [0.0, 0.04, 0.08, 0.5, 0.9, 0.93, 0.96, 1.0, 1.6, 1.61, 1.62, 2.0]

CASES = {
    "h264": Case(_clip("a.mp4"), "h264"),
    "h264-ts": Case(_clip("a.ts"), "h264"),
    "h264-mkv": Case(_clip("a.mkv"), "h264"),
    "h264-10bit": Case(_clip("a.mkv", pixel_format="yuv420p10le"), "h264"),
    "h264-444": Case(_clip("a.mp4", pixel_format="yuv444p"), "h264"),
    "h264-audio": Case(_clip("a.mp4", audio=True), "h264"),
    "h264-raw": Case(_clip("a.h264", b_frames=False), "h264"),
    "hevc": Case(_clip("a.mp4", codec="libx265"), "hevc"),
    "hevc-10bit": Case(_clip("a.mkv", codec="libx265", pixel_format="yuv420p10le"), "hevc"),
    "vp9": Case(_clip("a.webm", codec="libvpx-vp9"), "vp9"),
    "mpeg4": Case(_clip("a.avi", codec="mpeg4"), "mpeg4"),
    "mpeg1": Case(_clip("a.mpg", codec="mpeg1video"), "mpeg1video"),
    "mjpeg": Case(_clip("a.avi", codec="mjpeg", pixel_format="yuvj420p"), "mjpeg"),
    "grey": Case(_clip("a.mkv", pixel_format="gray", images=[_grey(n) for n in range(50)]), "h264"),
    "odd-size": Case(_clip("a.mp4", pixel_format="yuv444p", width=161, height=97), "h264", size=(161, 97)),
    "rotated-90": Case(_clip("a.mp4", rotation=90), "h264", size=(96, 160)),
    "rotated-180": Case(_clip("a.mp4", rotation=180), "h264"),
    "variable-rate": Case(_clip("a.mkv", times=VARIABLE), "h264", frames=(6, 6), decoded=(12, 12)),
    "slow": Case(_clip("a.mp4", fps=2, frames=6), "h264", frames=(6, 6), decoded=(6, 6)),
    "one-frame": Case(_clip("a.mp4", frames=1), "h264", frames=(1, 1), decoded=(1, 1)),
    "colon-in-name": Case(_clip("a:b.mp4"), "h264"),
    # The demuxer takes the seam for lost data, and with it the picture before.
    "size-change": Case(_size_change, "h264", decoded=(50, 50), damaged=True),
    "truncated": Case(_truncated, "h264", frames=(2, 6), decoded=(10, 26), damaged=True),
    "corrupted": Case(_corrupted, "h264", frames=(5, 9), decoded=(25, 49), damaged=True),
    "corrupted-ts": Case(_corrupted_transport, "h264", frames=(5, 10), decoded=(25, 49), damaged=True),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_clip_keeps_the_contract(case: Case, threads: int, tmp_path: Path) -> None:
    path = case.make(tmp_path)

    with VideoSource(str(path), DecodeSettings(threads=threads), SamplingSettings(fps=FPS, min_frames=0)) as source:
        assert (source.width, source.height) == case.size
        assert source.codec == case.codec
        assert source.source_id == str(path)
        frames = list(source.frames())
        counts = source.counts

    assert case.frames[0] <= len(frames) <= case.frames[1]
    assert case.decoded[0] <= counts.decoded <= case.decoded[1]
    assert counts.sampled == len(frames)
    assert (counts.corrupt > 0) is case.damaged
    times = [frame.pts for frame in frames]
    assert times[0] == pytest.approx(0, abs=0.1)
    assert np.all(np.diff(times) > 0)
    assert np.all(np.diff([frame.index for frame in frames]) > 0)
    for frame in frames:
        assert frame.source_id == str(path)
        assert frame.wall_time is None
        assert frame.image.dtype == np.uint8
        assert frame.image.ndim == 3
        assert frame.image.shape[2] == 3
        assert frame.image.flags.c_contiguous
    assert frames[0].image.shape[:2] == case.size[::-1]


@pytest.mark.parametrize("name", ["h264", "h264-ts", "hevc-10bit", "vp9", "mpeg4", "rotated-90", "variable-rate"])
def test_a_picture_is_found_again_by_its_time(name: str, tmp_path: Path) -> None:
    path = str(CASES[name].make(tmp_path))
    frames = list(iter_frames(path, FPS))
    for frame in frames:
        found = picture_at(path, frame.pts)
        assert found is not None
        assert np.array_equal(found, frame.image)
    assert picture_at(path, frames[-1].pts + 60) is None
    assert picture_at(path, frames[1].pts + 0.011) is None


def test_a_picture_that_cannot_be_sought_is_none(tmp_path: Path) -> None:
    assert picture_at(str(CASES["h264-raw"].make(tmp_path)), 1.0) is None
    with pytest.raises(SourceNotFound):
        picture_at(str(tmp_path / "none.mp4"), 0.0)


def test_rotated_pictures_come_upright(tmp_path: Path) -> None:
    upright = media.picture(0)
    lying = [np.rot90(upright, -1)] * 5  # stored a quarter turn clockwise; the player has to turn it back
    path = media.encode(tmp_path / "a.mp4", images=lying, frames=5, width=96, height=160, rotation=90)

    with VideoSource(str(path)) as source:
        image = next(source.frames()).image

    assert image.shape == upright.shape
    assert np.abs(image.astype(int) - upright).mean() < 12


def test_pictures_keep_their_colours_and_sampled_moments(tmp_path: Path) -> None:
    path = media.encode(tmp_path / "a.mp4", frames=50)

    with VideoSource(str(path), sampling=SamplingSettings(fps=5)) as source:
        frames = list(source.frames())

    assert [frame.index for frame in frames] == list(range(0, 50, 5))
    assert [frame.pts for frame in frames] == pytest.approx([n / 5 for n in range(10)])
    for frame in frames:
        assert np.abs(frame.image.astype(int) - media.picture(frame.index)).mean() < 12


def test_variable_rate_is_sampled_by_time(tmp_path: Path) -> None:
    path = media.encode(tmp_path / "a.mkv", times=VARIABLE)

    with VideoSource(str(path), sampling=SamplingSettings(fps=2, min_frames=0)) as source:
        times = [frame.pts for frame in source.frames()]

    assert times == pytest.approx([0.0, 0.5, 1.0, 1.6, 2.0], abs=2e-3)


def test_timestamps_that_start_again_go_on(tmp_path: Path) -> None:
    part = media.encode(tmp_path / "part.ts", frames=50)
    path = media.concatenated(tmp_path / "twice.ts", part, part)

    with VideoSource(str(path), sampling=SamplingSettings(fps=5)) as source:
        times = [frame.pts for frame in source.frames()]

    assert len(times) == 20
    assert np.diff(times) == pytest.approx(0.2, abs=0.05)
    assert times[-1] == pytest.approx(3.8, abs=0.1)


def test_size_change_shows_in_the_frames(tmp_path: Path) -> None:
    with VideoSource(str(_size_change(tmp_path)), sampling=SamplingSettings(fps=5)) as source:
        shapes = {frame.image.shape for frame in source.frames()}

    assert shapes == {(96, 160, 3), (192, 320, 3)}


def test_pictures_that_grow_beyond_the_limit_stop_the_source(tmp_path: Path) -> None:
    settings = DecodeSettings(max_pixels=200 * 100)

    with VideoSource(str(_size_change(tmp_path)), settings, SamplingSettings(fps=5)) as source:
        frames = source.frames()
        assert next(frames).image.shape == (96, 160, 3)
        with pytest.raises(SourceTooLarge, match=r"change\.ts: 320×192 .* decode\.max_pixels = 20000"):
            list(frames)


def test_large_pictures_are_refused_before_decoding(tmp_path: Path) -> None:
    path = media.encode(tmp_path / "a.mp4", frames=2)

    with pytest.raises(SourceTooLarge, match=r"a\.mp4: 160×96"):
        VideoSource(str(path), DecodeSettings(max_pixels=160 * 96 - 1))


def test_a_codec_that_is_not_on_the_list_is_refused_by_name(tmp_path: Path) -> None:
    path = media.encode(tmp_path / "a.avi", codec="zmbv", pixel_format="bgr0", frames=3)

    with pytest.raises(SourceUnreadable, match=r"a\.avi: zmbv video is not decoded here; convert it .* h264"):
        VideoSource(str(path))


def _zero_bytes(path: Path) -> Path:
    path.touch()
    return path


def _text(path: Path) -> Path:
    path.write_text("this is no video\n" * 500)
    return path


def _wave(path: Path) -> Path:
    path.write_bytes(b"RIFF$\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0@\x1f\0\0@\x1f\0\0")
    return path


def _cut_before_the_index(path: Path) -> Path:
    whole = media.encode(path.with_name("whole.mp4"))  # its index stands at the end
    return media.truncated(whole, path)


def _damaged_from_the_start(path: Path) -> Path:
    whole = media.encode(path.with_name("whole.mp4"), container_options={"movflags": "faststart"})
    return media.corrupted(whole, path, start=0.25, share=0.75)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_zero_bytes, "is empty"),
        (_text, "not a video"),
        (_wave, "not a video"),
        (media.audio_only, "has no video stream"),
        (_cut_before_the_index, "not a video, or damaged"),
        (_damaged_from_the_start, "no picture could be decoded .* damaged packets"),
    ],
)
def test_what_is_no_video_says_so(make: Callable[[Path], Path], reason: str, tmp_path: Path) -> None:
    path = make(tmp_path / "x.mp4")

    with pytest.raises(SourceUnreadable, match=rf"x\.mp4: .*{reason}"):
        VideoSource(str(path))


def test_only_sampled_pictures_are_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = media.encode(tmp_path / "a.mp4", frames=50)
    converted: list[int] = []
    convert = DecodedFrame.to_image

    def noted(frame: DecodedFrame) -> ImageArray:
        converted.append(frame.index)
        return convert(frame)

    monkeypatch.setattr(DecodedFrame, "to_image", noted)

    with VideoSource(str(path), sampling=SamplingSettings(fps=1, min_frames=0)) as source:
        assert len(list(source.frames())) == 2

    assert converted == [0, 25]


def test_decoded_gives_every_picture_and_marks_the_sampled(tmp_path: Path) -> None:
    path = media.encode(tmp_path / "a.mp4", frames=20)

    with VideoSource(str(path), sampling=SamplingSettings(fps=5, min_frames=0, max_frames=3)) as source:
        pictures = list(source.decoded())

    assert [picture.index for picture in pictures] == list(range(20))
    assert [picture.index for picture in pictures if picture.sampled] == [0, 5, 10]
    assert np.abs(pictures[7].to_image().astype(int) - media.picture(7)).mean() < 12


def test_a_short_file_is_sampled_densely_enough_for_a_verdict(tmp_path: Path) -> None:
    short = media.encode(tmp_path / "short.mp4", frames=20)
    long = media.encode(tmp_path / "long.mp4", frames=120)

    with VideoSource(str(short), sampling=SamplingSettings(fps=2, min_frames=8)) as source:
        assert len(list(source.frames())) == pytest.approx(8, abs=1)
    with VideoSource(str(long), sampling=SamplingSettings(fps=2, min_frames=8)) as source:
        assert len(list(source.frames())) == 10


def test_max_frames_ends_a_file_early(tmp_path: Path) -> None:
    path = media.encode(tmp_path / "a.mp4", frames=50)

    with VideoSource(str(path), sampling=SamplingSettings(fps=5, min_frames=0, max_frames=3)) as source:
        assert len(list(source.frames())) == 3
        assert source.counts.decoded < 20


def test_reading_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = media.encode(tmp_path / "a.mp4", frames=50)

    with VideoSource(str(path), sampling=SamplingSettings(fps=5)) as source:
        first = next(source.frames())
        rest = list(source.frames())

    assert [first.index, *(frame.index for frame in rest)] == list(range(0, 50, 5))


def test_sources_give_their_files_back(tmp_path: Path) -> None:
    path = media.encode(tmp_path / "a.mp4", frames=10)
    bad = _text(tmp_path / "bad.mp4")
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        pytest.skip("needs /proc to count open files")
    before = len(list(descriptors.iterdir()))

    for _ in range(50):
        with VideoSource(str(path)) as source:
            next(source.frames())
        with pytest.raises(SourceUnreadable):
            VideoSource(str(bad))

    assert len(list(descriptors.iterdir())) == before


def test_a_closed_source_yields_nothing_more(tmp_path: Path) -> None:
    path = media.encode(tmp_path / "a.mp4", frames=10)
    source = VideoSource(str(path))
    source.close()
    source.close()

    assert list(source.frames()) == []


def test_open_source_and_iter_frames(tmp_path: Path) -> None:
    path = media.encode(tmp_path / "a.mp4", frames=100)

    with open_source(str(path)) as source:
        assert source.duration == pytest.approx(4.0, abs=0.05)
        assert source.frame_rate == pytest.approx(25)
        assert not source.live
        assert len(list(source.frames())) == 8
    assert len(list(iter_frames(str(path), fps=5))) == 20


def test_shared_clips_all_give_frames(shared: Path) -> None:
    clips = expand_inputs([str(shared / "media" / "real")])
    assert clips
    for clip in clips:
        with VideoSource(clip, sampling=SamplingSettings(fps=1, min_frames=0, max_frames=2)) as source:
            assert len(list(source.frames())) >= 1
