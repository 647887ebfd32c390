"""Pictures come as a player shows them: upright, not mirrored, of square pixels, progressive, of standard range."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import pytest
from av.filter import Graph
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from streamwatch.config import DecodeSettings, SamplingSettings
from streamwatch.records import ImageArray
from streamwatch.sources import Location, VideoSource, picture_at
from streamwatch.sources.keyframes import key_pictures, read_key_frames
from streamwatch.sources.pixels import PictureConverter
from streamwatch.sources.tonemap import PEAK, WHITE, Transfer, hlg_to_scene, light_to_pq, pq_to_light, to_standard_range
from tests.support import media

ONE = 1 << 16
ORIENTATIONS = {
    "as it is": ((ONE, 0, 0, ONE), ()),
    "left-right": ((-ONE, 0, 0, ONE), ("hflip",)),
    "up-down": ((ONE, 0, 0, -ONE), ("vflip",)),
    "half turn": ((-ONE, 0, 0, -ONE), ("hflip", "vflip")),
    "clockwise": ((0, ONE, -ONE, 0), ("transpose=clock",)),
    "counter-clockwise": ((0, -ONE, ONE, 0), ("transpose=cclock",)),
    "transposed": ((0, ONE, ONE, 0), ("transpose=cclock_flip",)),
    "transposed the other way": ((0, -ONE, -ONE, 0), ("transpose=clock_flip",)),
}
"""The four numbers that turn and mirror, and FFmpeg's filters for the same."""


def _matrix(path: Path, numbers: tuple[int, int, int, int]) -> Path:
    """An MP4 whose track header has this display matrix."""
    data = bytearray(path.read_bytes())
    place = data.find(b"tkhd") + 4 + 40
    a, b, c, d = numbers
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def _filtered(frames: list[VideoFrame], *filters: str) -> list[VideoFrame]:
    """Pictures as FFmpeg's filters give them."""
    graph = Graph()
    first = frames[0]
    nodes = [
        graph.add_buffer(width=first.width, height=first.height, format=first.format, time_base=Fraction(1, 25)),
        *(graph.add(*each.split("=", 1)) for each in filters),
        graph.add("buffersink"),
    ]
    for left, right in itertools.pairwise(nodes):
        left.link_to(right)
    graph.configure()

    def pulled() -> Iterator[VideoFrame]:
        try:
            while True:
                frame = graph.pull()
                assert isinstance(frame, VideoFrame)
                yield frame
        except (av.error.BlockingIOError, av.error.EOFError):
            return

    found: list[VideoFrame] = []
    for frame in [*frames, None]:
        graph.push(frame)
        found += pulled()
    return found


def _decoded(path: Path) -> list[VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def _images(path: Path) -> tuple[list[ImageArray], VideoSource]:
    with VideoSource(path) as source:
        return [picture.to_image() for picture in source.decoded()], source


def _distance(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.abs(one.astype(int) - other).mean())


@pytest.mark.parametrize(("numbers", "filters"), ORIENTATIONS.values(), ids=ORIENTATIONS.keys())
def test_every_display_matrix_gives_what_ffmpegs_filters_give(
    numbers: tuple[int, int, int, int], filters: tuple[str, ...], tmp_path: Path
) -> None:
    path = _matrix(media.encode(tmp_path / "a.mp4", frames=2), numbers)
    shown = _decoded(path)[0]
    if filters:
        (shown,) = _filtered([shown], *filters)
    images, source = _images(path)
    assert np.array_equal(images[0], shown.to_ndarray(format="rgb24"))
    assert images[0].shape == (source.height, source.width, 3)
    determinant = numbers[0] * numbers[3] - numbers[1] * numbers[2]
    assert any("mirrored" in remark for remark in source.counts.remarks) is (determinant < 0)


@pytest.mark.parametrize("numbers", [(0, 0, 0, 0), (1, 0, 0, 0), (-(1 << 31), 1, (1 << 31) - 1, 5)])
def test_an_absurd_display_matrix_still_gives_a_picture(numbers: tuple[int, int, int, int], tmp_path: Path) -> None:
    images, _ = _images(_matrix(media.encode(tmp_path / "a.mp4", frames=2), numbers))
    assert images[0].shape == (96, 160, 3)


@pytest.mark.parametrize(
    ("suffix", "aspect", "size"),
    [
        (".mp4", Fraction(8, 3), (427, 96)),
        (".mkv", Fraction(8, 3), (427, 96)),
        (".ts", Fraction(8, 3), (427, 96)),
        (".mp4", Fraction(10, 11), (160, 106)),
        (".ts", Fraction(1, 2), (160, 192)),
        (".mp4", Fraction(200, 199), (160, 96)),  # rounding of an encoder
        (".mp4", Fraction(60, 1), (160, 96)),  # nobody means that
    ],
)
def test_pixels_are_made_square_by_stretching_the_shorter_side(
    suffix: str, aspect: Fraction, size: tuple[int, int], tmp_path: Path
) -> None:
    path = media.encode(tmp_path / f"a{suffix}", frames=5, aspect=aspect)
    images, source = _images(path)
    assert (source.width, source.height) == size
    assert {image.shape for image in images} == {(size[1], size[0], 3)}
    assert any("square" in remark for remark in source.counts.remarks) is (size != (160, 96))
    found = picture_at(path, 0.04)
    assert found is not None
    assert np.array_equal(found, images[1])


def test_pixels_are_square_before_the_picture_is_turned(tmp_path: Path) -> None:
    path = media.encode(tmp_path / "a.mp4", frames=2, aspect=Fraction(2), rotation=90)
    images, source = _images(path)
    assert (source.width, source.height) == (96, 320)
    assert images[0].shape == (320, 96, 3)


def test_an_aspect_that_changes_on_the_way_is_followed(tmp_path: Path) -> None:
    parts = [
        media.encode(tmp_path / f"{n}.ts", frames=25, aspect=aspect)
        for n, aspect in enumerate((Fraction(16, 15), Fraction(64, 45)))
    ]
    images, _ = _images(media.concatenated(tmp_path / "all.ts", *parts))
    assert [image.shape[1] for image in (images[0], images[-1])] == [171, 228]


def test_a_large_picture_is_not_stretched_beyond_bounds() -> None:
    picture = VideoFrame(4096, 2304, "yuv420p")
    assert PictureConverter.size(picture, Fraction(4)) == (4096, 576)
    assert PictureConverter.size(picture, Fraction(1, 4)) == (1024, 2304)


def _moving(moment: float, width: int = 160, height: int = 96) -> NDArray[np.uint8]:
    """A bright disc on a dark ground that moves 300 pixels a second."""
    y, x = np.mgrid[:height, :width]
    disc = np.hypot(x - 30 - 300 * moment, y - height / 2) < 25
    image = np.full((height, width, 3), 40, np.uint8)
    image[disc] = (200, 180, 160)
    return image


def _woven(number: int) -> NDArray[np.uint8]:
    """The picture whose first field is of one moment, and whose second is half a picture later."""
    image = _moving(number / 25)
    image[1::2] = _moving((number + 0.5) / 25)[1::2]
    return image


def _interlaced(path: Path, codec: str = "libx264", **options: object) -> Path:
    images = [_woven(number) for number in range(10)]
    return media.encode(path, codec=codec, images=images, frames=10, interlaced=True, keyframe_every=5, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.ts", "libx264"), ("a.ts", "mpeg2video"), ("a.mpg", "mpeg2video")]
)
def test_interlaced_pictures_show_one_moment(name: str, codec: str, tmp_path: Path) -> None:
    path = _interlaced(tmp_path / name, codec, crf=10 if codec == "libx264" else None)
    images, source = _images(path)
    deinterlaced = _filtered(_decoded(path), "bwdif=mode=send_frame:parity=tff:deint=interlaced")
    assert len(images) == 10
    for number, (image, shown) in enumerate(zip(images, deinterlaced, strict=True)):
        truth, woven = _moving(number / 25), _woven(number)
        combed = (truth != woven).any(axis=2)
        error, whole = _distance(image[combed], truth[combed]), _distance(woven[combed], truth[combed])
        assert error < 0.2 * whole
        assert error < _distance(shown.to_ndarray(format="rgb24")[combed], truth[combed]) + 4
    assert "interlaced: one field of each picture" in source.counts.remarks


def test_interlaced_pictures_are_the_same_by_every_way_to_them(tmp_path: Path) -> None:
    path = _interlaced(tmp_path / "a.mp4")
    whole, _ = _images(path)
    found = picture_at(path, 5 / 25)
    assert found is not None
    assert np.array_equal(found, whole[5])
    location, decode, converter = Location(str(path)), DecodeSettings(), PictureConverter()
    key_frames = read_key_frames(location, decode, 0.0).frames
    for key_frame, image in key_pictures(location, decode, key_frames, converter):
        assert np.array_equal(image, whole[key_frame.index])
    assert any("interlaced" in remark for remark in converter.remarks)
    with VideoSource(path) as source:
        segments = source.segments(0.2)
    assert len(segments) == 2
    with VideoSource(path, segment=segments[1]) as source:
        assert np.array_equal(next(source.decoded()).to_image(), whole[5])


def test_interlaced_pictures_of_a_live_source_come_without_delay(tmp_path: Path) -> None:
    path = _interlaced(tmp_path / "a.ts")
    with VideoSource(path, sampling=SamplingSettings(fps=25), live=True) as source:
        frames = []
        for frame in source.frames():
            frames.append(frame)
            assert (source.counts.decoded, source.counts.sampled) == (frame.index + 1, len(frames))
    assert [frame.index for frame in frames] == list(range(10))
    assert [round(frame.pts * 25) for frame in frames] == list(range(10))
    assert all(frame.wall_time is not None for frame in frames)


def test_progressive_pictures_keep_all_their_rows(tmp_path: Path) -> None:
    path = media.encode(tmp_path / "a.mp4", frames=3)
    images, source = _images(path)
    for image, frame in zip(images, _decoded(path), strict=True):
        assert np.array_equal(image, frame.to_ndarray(format="rgb24"))
    assert source.counts.remarks == frozenset()


@pytest.mark.parametrize(
    ("light", "value"),
    [(0.0, 0.0), (0.005, 0.0151), (100.0, 0.5081), (203.0, 0.5807), (1000.0, 0.7518), (10000.0, 1.0)],
)
def test_pq_is_as_the_standard_has_it(light: float, value: float) -> None:
    assert light_to_pq(np.array(light)) == pytest.approx(value, abs=1e-3)
    assert pq_to_light(light_to_pq(np.array(light))) == pytest.approx(light, abs=1e-6)


def test_hlg_is_as_the_standard_has_it() -> None:
    assert hlg_to_scene(np.array([0.0, 0.5, 0.75, 1.0])) == pytest.approx([0.0, 1 / 12, 0.2650, 1.0], abs=1e-3)


def _signal(rgb: tuple[float, float, float], transfer: Transfer) -> NDArray[np.uint16]:
    """A colour of BT.709 (0..1 for a display of gamma 2.4) as a master of high range has it, white at 203 cd/m²."""
    to_wide = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])  # BT.2087-0
    light = to_wide @ (WHITE * np.array(rgb) ** 2.4)
    if transfer is Transfer.PQ:
        encoded = light_to_pq(light)
    else:
        luma = float(np.array([0.2627, 0.6780, 0.0593]) @ light) / PEAK
        scene = light / PEAK * max(luma, 1e-9) ** (1 / 1.2 - 1)
        table = np.linspace(0, 1, 100_001)
        encoded = np.interp(scene, hlg_to_scene(table), table)
    return np.rint(encoded * 65535).astype(np.uint16).reshape(1, 1, 3)


@pytest.mark.parametrize("transfer", [Transfer.PQ, Transfer.HLG])
@pytest.mark.parametrize("rgb", [(0.0, 0.0, 0.0), (0.1, 0.1, 0.1), (0.62, 0.5, 0.42), (0.2, 0.5, 0.6)])
def test_tones_of_skin_come_out_of_high_range_as_they_were(rgb: tuple[float, float, float], transfer: Transfer) -> None:
    found = to_standard_range(_signal(rgb, transfer), transfer, wide=True)[0, 0]
    assert found.tolist() == pytest.approx([255 * value for value in rgb], abs=2)


@pytest.mark.parametrize("transfer", [Transfer.PQ, Transfer.HLG])
def test_highlights_are_rolled_off_in_order(transfer: Transfer) -> None:
    grey = np.linspace(0, 65535, 2000).astype(np.uint16).reshape(1, -1, 1).repeat(3, axis=2)
    found = to_standard_range(grey, transfer, wide=True)[0]
    assert (np.diff(found[:, 1].astype(int)) >= 0).all()
    assert found[0].tolist() == [0, 0, 0]
    assert found[-1].min() >= 253
    assert (found.max(axis=1) - found.min(axis=1)).max() <= 1
    white = to_standard_range(_signal((1.0, 1.0, 1.0), transfer), transfer, wide=True)
    assert 220 < white.min() < 240  # what is brighter has room


@pytest.mark.parametrize(("transfer", "number"), [(Transfer.PQ, 16), (Transfer.HLG, 18)], ids=["PQ", "HLG"])
def test_a_video_of_high_range_looks_like_that_of_standard_range(
    transfer: Transfer, number: int, tmp_path: Path
) -> None:
    skin = (0.62, 0.5, 0.42)
    colour = _signal(skin, transfer)[0, 0]
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p10le"
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc = 9, 9, number
        for index in range(3):
            rgb = VideoFrame.from_ndarray(np.broadcast_to(colour, (96, 160, 3)).copy(), format="rgb48le")
            frame = rgb.reformat(format="yuv420p10le", dst_colorspace=9)
            frame.colorspace, frame.color_primaries, frame.color_trc = 9, 9, number
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    images, source = _images(path)
    assert images[0][48, 80].tolist() == pytest.approx([255 * value for value in skin], abs=4)
    assert source.counts.remarks == {f"HDR ({transfer.value}): tone-mapped"}


def test_a_wide_gamut_of_standard_range_becomes_bt709() -> None:
    to_wide = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
    rgb = np.array([0.62, 0.5, 0.42])
    signal = np.rint(65535 * (to_wide @ rgb**2.4) ** (1 / 2.4)).astype(np.uint16).reshape(1, 1, 3)
    found = to_standard_range(signal, Transfer.SDR, wide=True)[0, 0]
    assert found.tolist() == pytest.approx((255 * rgb).tolist(), abs=2)
