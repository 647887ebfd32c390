"""Patterns of neighbouring pixels in the face, and how its values use their range."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from streamwatch.detectors.statistics.catalogue import PATTERNS
from streamwatch.detectors.statistics.regions import Margins, regions
from streamwatch.records import ImageArray

_NEIGHBOURS: Final = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))  # down, right
_BRIGHTER: Final = np.array([0.5, 0.25, 0.25], np.float32)
"""By how many steps of 0..255 a neighbour must be above a pixel to count: luma, blue chroma, red chroma."""

_DARK, _BRIGHT = 6, 249
_LEAST_SHARE: Final = 0.001


def _pattern_of_code() -> np.ndarray:
    """Of each of the 256 codes its number of set bits, or 9 where they change more than twice round the circle."""
    bits = (np.arange(256)[:, np.newaxis] >> np.arange(8)) & 1
    changes = (bits != np.roll(bits, 1, axis=1)).sum(axis=1)
    return np.where(changes <= 2, bits.sum(axis=1), PATTERNS - 1)


_PATTERN: Final = _pattern_of_code()


def texture(planes: np.ndarray) -> list[float]:
    """Shares of the ten rotation-invariant uniform local binary patterns in the face, as roots, plane after plane.

    planes: S×S×3 luma and chroma. Ojala, Pietikäinen and Mäenpää, "Multiresolution gray-scale and rotation invariant
    texture classification with local binary patterns", IEEE TPAMI 2002, section 2.3 (LBP with P = 8 on the square,
    riu2), with a threshold above 0 so that flat places are one pattern.
    """
    side, flat = planes.shape[0], planes.reshape(-1, 3)
    places = regions(side)
    face = places.order[: places.upper.stop]
    centre = flat.take(face, axis=0) + _BRIGHTER
    codes = np.zeros(centre.shape, np.uint8)
    for bit, (down, right) in enumerate(_NEIGHBOURS):
        codes |= (flat.take(face + (down * side + right), axis=0) >= centre).astype(np.uint8) << bit
    found: list[float] = []
    for plane in range(3):
        counts = np.bincount(_PATTERN[codes[:, plane]], minlength=PATTERNS)
        found += np.sqrt(counts / len(face)).tolist()
    return found


def exposure(crop: ImageArray, margins: Margins) -> list[float]:
    """Dark and blown-out shares, colourfulness and range, of the face and of the ring round it.

    crop: S×S×3 uint8. After McCloskey and Albright, "Detecting GAN-generated imagery using saturation cues", ICIP 2019:
    generators seldom reach the ends of the range.
    """
    red, green, blue = cv2.split(crop)
    most = cv2.max(cv2.max(red, green), blue).ravel()
    least = cv2.min(cv2.min(red, green), blue).ravel()
    places = regions(crop.shape[0], margins)
    found: list[float] = []
    for part in (slice(0, places.upper.stop), places.ring):
        chosen = places.order[part]
        if len(chosen) == 0:
            found += [0.0] * 4
            continue
        high, low = (np.bincount(values.take(chosen), minlength=256) for values in (most, least))
        reached = np.cumsum(high) / len(chosen)
        spread = int(np.searchsorted(reached, 0.99)) - int(np.searchsorted(reached, 0.01))
        levels = np.arange(256)
        found += [
            float(np.log(_LEAST_SHARE + low[:_DARK].sum() / len(chosen))),
            float(np.log(_LEAST_SHARE + high[_BRIGHT + 1 :].sum() / len(chosen))),
            float((high - low) @ levels / len(chosen)),
            float(np.log1p(spread)),
        ]
    return found
