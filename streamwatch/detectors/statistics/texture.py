"""Patterns of neighbouring pixels in the face, and how its values use their range."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from streamwatch.detectors.statistics.catalogue import PATTERNS
from streamwatch.detectors.statistics.colours import LUMA_CHROMA
from streamwatch.detectors.statistics.regions import Margins, regions
from streamwatch.records import FloatArray, ImageArray

_NEIGHBOURS: Final = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))  # down, right
_BRIGHTER: Final = np.array([0.5, 0.25, 0.25], np.float32)
"""By how many steps of 0..255 a neighbour must be above a pixel to count: luma, blue chroma, red chroma."""

_DARK, _BRIGHT = 6, 249
_LEAST_SHARE: Final = 0.001
_LEVELS: Final = np.arange(256)


def _pattern_of_code() -> np.ndarray:
    """Of each of the 256 codes its number of set bits, or 9 where they change more than twice round the circle."""
    bits = (np.arange(256)[:, np.newaxis] >> np.arange(8)) & 1
    changes = (bits != np.roll(bits, 1, axis=1)).sum(axis=1)
    return np.where(changes <= 2, bits.sum(axis=1), PATTERNS - 1)


_PATTERN: Final = _pattern_of_code().astype(np.uint8)
_NOT_FACE: Final = 3 * PATTERNS
"""What is added to the patterns of pixels beside the face."""


@dataclass(frozen=True, slots=True, eq=False)
class _Box:
    """The rectangle of rows top..bottom and columns left..right that holds the face of a side×side picture.

    number: rows×columns×3, what is added to the patterns there: those of the next plane count from PATTERNS on, and so
    on. pixels: of the face.
    """

    top: int
    bottom: int
    left: int
    right: int
    number: NDArray[np.uint8]
    pixels: int


@lru_cache(maxsize=8)
def _box(side: int) -> _Box:
    places = regions(side)
    row, column = np.divmod(places.order[places.face], side)
    top, bottom, left, right = int(row.min()), int(row.max()) + 1, int(column.min()), int(column.max()) + 1
    number = np.full((bottom - top, right - left, 3), _NOT_FACE, np.uint8)
    number[row - top, column - left] = np.arange(3) * PATTERNS
    return _Box(top, bottom, left, right, number, len(row))


def texture(crop: ImageArray) -> list[float]:
    """Shares of the ten rotation-invariant uniform local binary patterns in the face, as roots, plane after plane.

    crop: S×S×3 uint8; its luma and chroma at half the size are looked at. Ojala, Pietikäinen and Mäenpää,
    "Multiresolution gray-scale and rotation invariant texture classification with local binary patterns", IEEE TPAMI
    2002, section 2.3 (LBP with P = 8 on the square, riu2), with a threshold above 0: flat places are one pattern.
    """
    box = _box(crop.shape[0] // 2)
    planes = cv2.transform(_shrunk(crop, box), LUMA_CHROMA)
    height, width = box.bottom - box.top, box.right - box.left
    least = planes[1:-1, 1:-1] + _BRIGHTER
    codes = np.zeros(least.shape, np.uint8)
    for bit, (down, right) in enumerate(_NEIGHBOURS):
        above = planes[1 + down : 1 + down + height, 1 + right : 1 + right + width] >= least
        codes |= above.view(np.uint8) << np.uint8(bit)
    counts = np.bincount((_PATTERN.take(codes) + box.number).ravel(), minlength=_NOT_FACE)[:_NOT_FACE]
    return list(np.sqrt(counts / box.pixels).tolist())


def _shrunk(crop: ImageArray, box: _Box) -> FloatArray:
    """The box and a pixel round it, out of the crop at half its size."""
    side = crop.shape[0] // 2
    top, bottom, left, right = box.top - 1, box.bottom + 1, box.left - 1, box.right + 1
    if crop.shape[0] % 2:
        whole = cv2.resize(crop.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
        return np.asarray(whole[top:bottom, left:right])
    part = crop[2 * top : 2 * bottom, 2 * left : 2 * right].astype(np.float32)
    return np.asarray(cv2.resize(part, (right - left, bottom - top), interpolation=cv2.INTER_AREA))


def exposure(channels: Sequence[NDArray[np.uint8]], margins: Margins) -> list[float]:
    """Dark and blown-out shares, colourfulness and range, of the face and of the ring round it.

    channels: red, green and blue, S×S uint8. After McCloskey and Albright, "Detecting GAN-generated imagery using
    saturation cues", ICIP 2019: generators seldom reach the ends of the range.
    """
    red, green, blue = channels
    most = cv2.max(cv2.max(red, green), blue).ravel()
    least = cv2.min(cv2.min(red, green), blue).ravel()
    places = regions(len(red), margins)
    found: list[float] = []
    for part in (places.face, places.ring):
        chosen = places.order[part]
        if len(chosen) == 0:
            found += [0.0] * 4
            continue
        low = least.take(chosen)
        high = cv2.calcHist([most.take(chosen)], [0], None, [256], [0, 256]).ravel().astype(np.int64)
        reached = np.cumsum(high) / len(chosen)
        spread = int(np.searchsorted(reached, 0.99)) - int(np.searchsorted(reached, 0.01))
        found += [
            math.log(_LEAST_SHARE + np.count_nonzero(low < _DARK) / len(chosen)),
            math.log(_LEAST_SHARE + int(high[_BRIGHT + 1 :].sum()) / len(chosen)),
            (int(high @ _LEVELS) - cv2.sumElems(low)[0]) / len(chosen),
            math.log1p(spread),
        ]
    return found
