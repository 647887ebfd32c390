"""Decoded pictures as a player shows them: progressive, of square pixels, the right way up, RGB of standard range.

Of an interlaced picture one field is taken and interpolated. That needs no other picture: it costs a live stream no
delay, key frames and parts of a file come out as in the whole, and damage in a neighbour stays there.

What was scaled or tone-mapped has its colours halved (4:2:0) before it becomes RGB, as those of nearly all video are:
on colours as sharp as scaling and tone mapping leave them, detectors raise false alarms.
"""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from typing import Any

import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorTrc, Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from streamwatch.records import ImageArray
from streamwatch.sources.tonemap import Transfer, to_standard_range

MOST_STRETCH = 4
"""Largest believed ratio of the sides of a pixel: recorders that halve the width have 8:3."""

LEAST_STRETCH = Fraction(101, 100)
"""Smallest ratio that is undone: some encoders round a picture's sides, and let the pixels make up for it."""

LARGEST = 4096 * 2304
"""Pixels up to which the shorter sides are stretched; in larger pictures the longer ones are shrunk."""

_TRANSFERS: dict[int, Transfer] = {ColorTrc.SMPTE2084: Transfer.PQ, ColorTrc.ARIB_STD_B67: Transfer.HLG}


class PixelAspect:
    """Width ÷ height of the pixels of a stream that is being decoded: as its container says, else as its pictures say,
    which may change on the way.
    """

    def __init__(self, stream: VideoStream) -> None:
        self._context = stream.codec_context
        own, whole = self._context.sample_aspect_ratio, stream.sample_aspect_ratio
        self._container = whole if whole and whole != own else None

    @property
    def now(self) -> Fraction:
        """That of the pictures that come now; 1 where nobody says, or nobody could mean it."""
        aspect = self._container or self._context.sample_aspect_ratio or Fraction(1)
        stretch = max(aspect, 1 / aspect) if aspect > 0 else 0
        return aspect if LEAST_STRETCH <= stretch <= MOST_STRETCH else Fraction(1)


class PictureConverter:
    """Converts the pictures of one stream, one after another.

    remarks: what was done to pictures beside a plain conversion, each in a few words.
    """

    def __init__(self) -> None:
        self.remarks: frozenset[str] = frozenset()
        self._reformatter = VideoReformatter()

    def convert(self, picture: VideoFrame, aspect: Fraction) -> ImageArray:
        """A picture whose pixels are of this aspect as upright RGB, H×W×3 uint8, contiguous, full resolution."""
        orientation = Orientation.of(picture)
        size = _squared(picture.width, picture.height, aspect)
        wide = picture.color_primaries == ColorPrimaries.BT2020
        transfer = _TRANSFERS.get(picture.color_trc, Transfer.SDR)
        self.remarks |= _remarks(picture, aspect, orientation, transfer)
        progressive = _one_field(picture) if picture.interlaced_frame else picture
        scaled = (progressive.width, progressive.height) != size
        if transfer is not Transfer.SDR or wide:
            signal: NDArray[Any] = self._reformat(progressive, "rgb48le", size, scaled).to_ndarray()
            mapped = VideoFrame.from_ndarray(to_standard_range(signal, transfer, wide=wide), format="rgb24")
            progressive = self._reformat(mapped, "yuv420p", size)
        elif scaled:
            progressive = self._reformat(progressive, "yuv420p", size, scaled)
        rgb: NDArray[Any] = self._reformat(progressive, "rgb24", size).to_ndarray()
        return np.ascontiguousarray(orientation.apply(rgb), dtype=np.uint8)

    def _reformat(self, picture: VideoFrame, pixels: str, size: tuple[int, int], scaled: bool = False) -> VideoFrame:
        interpolation = Interpolation.BICUBIC if scaled else None
        return self._reformatter.reformat(picture, *size, pixels, interpolation=interpolation, threads=1)

    @staticmethod
    def size(picture: VideoFrame, aspect: Fraction) -> tuple[int, int]:
        """Width and height of what `convert` gives."""
        size = _squared(picture.width, picture.height, aspect)
        return size[::-1] if Orientation.of(picture).transposed else size


class Orientation:
    """How a stored picture has to be turned and mirrored: transposed, then each axis reversed or not.

    matrix: the nine numbers of a display matrix: x' = m₀x + m₃y, y' = m₁x + m₄y (libavutil/display.h). What is no
    multiple of a quarter turn is taken for the nearest one.
    """

    def __init__(self, matrix: tuple[int, ...] = (1, 0, 0, 0, 1, 0, 0, 0, 1)) -> None:
        x_of_x, y_of_x, x_of_y, y_of_y = matrix[0], matrix[1], matrix[3], matrix[4]
        self.transposed = abs(x_of_y) + abs(y_of_x) > abs(x_of_x) + abs(y_of_y)
        self._left_right = (x_of_y if self.transposed else x_of_x) < 0
        self._up_down = (y_of_x if self.transposed else y_of_y) < 0

    @classmethod
    def of(cls, picture: VideoFrame) -> Orientation:
        """That of a picture; as it is stored where it does not say."""
        side = picture.side_data.get("DISPLAYMATRIX")
        data = bytes(side) if isinstance(side, SideData) else b""
        return cls(struct.unpack("=9i", data[:36])) if len(data) >= 36 else cls()

    @property
    def mirrored(self) -> bool:
        """Whether no turn alone brings it upright."""
        return self.transposed ^ self._left_right ^ self._up_down

    def apply(self, image: ImageArray) -> ImageArray:
        """A view of an H×W×3 array the right way up."""
        image = image.transpose(1, 0, 2) if self.transposed else image
        return image[:: -1 if self._up_down else 1, :: -1 if self._left_right else 1]


def _remarks(picture: VideoFrame, aspect: Fraction, orientation: Orientation, transfer: Transfer) -> frozenset[str]:
    remarks = {
        "interlaced: one field of each picture": picture.interlaced_frame,
        f"pixels {aspect.numerator}:{aspect.denominator}: made square": aspect != 1,
        "mirrored by its display matrix: mirrored back": orientation.mirrored,
        f"HDR ({transfer.value}): tone-mapped": transfer is not Transfer.SDR,
    }
    return frozenset(remark for remark, holds in remarks.items() if holds)


def _squared(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """The size in square pixels."""
    grown = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
    if math.prod(grown) <= max(LARGEST, width * height):
        return grown
    return (width, max(1, round(height / aspect))) if aspect > 1 else (max(1, round(width * aspect)), height)


def _one_field(picture: VideoFrame) -> VideoFrame:
    """The field of an interlaced picture that begins with its first row: a picture of half the height."""
    graph = Graph()
    source = graph.add_buffer(
        width=picture.width, height=picture.height, format=picture.format, time_base=Fraction(1, 1)
    )
    field, sink = graph.add("field", "top"), graph.add("buffersink")
    source.link_to(field)
    field.link_to(sink)
    graph.configure()
    graph.push(picture)
    found = graph.pull()
    assert isinstance(found, VideoFrame)
    return found
