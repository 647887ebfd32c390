"""Where the face, its border and its surroundings lie in a wide crop.

A crop of 1.8 × the face box has the box in its middle: RetinaFace's boxes are about 0.78 as wide as high, so that
the face is an ellipse with half axes of 0.217 and 0.278 of the crop's side.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from streamwatch.detectors.statistics.catalogue import BORDER_RINGS
from streamwatch.detectors.statistics.trees import DoubleArray
from streamwatch.records import FloatArray

HALF_WIDTH, HALF_HEIGHT = 0.217, 0.278
"""Half axes of the face ÷ the crop's side."""

_RING = (1.3, 1.85)
_FACE = 0.95
_LOWER, _UPPER = 0.2, 0.05
_BAND_RANGE = (0.6, 1.4)


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """Regions of a side×side picture, as places in its side² pixels.

    lower, middle, upper: of the face, round the mouth, between, and round the eyes. ring: what surrounds the face.
    order: all of these places, in this order; each region is a slice of it.
    in_face, in_ring: first place of a stretch of the side² pixels that holds all of face or ring, and of each pixel
        of the stretch 1 where it is of it, else 0.
    """

    side: int
    order: NDArray[np.intp]
    lower: slice
    middle: slice
    upper: slice
    ring: slice
    in_face: tuple[int, FloatArray]
    in_ring: tuple[int, FloatArray]

    @property
    def face(self) -> slice:
        """lower, middle and upper."""
        return slice(0, self.upper.stop)

    @property
    def parts(self) -> tuple[slice, slice, slice, slice]:
        """lower, middle, upper, ring."""
        return self.lower, self.middle, self.upper, self.ring


@dataclass(frozen=True, slots=True, eq=False)
class Border:
    """Rings across the border of the face in a side×side picture.

    order: the M places of all rings. weights: BORDER_RINGS×M, rings from inside to outside, each row of a sum of 1 (of
    0 where the ring is empty).
    normal_x, normal_y: M, the unit vector out of the face.
    """

    order: NDArray[np.intp]
    weights: FloatArray
    normal_x: FloatArray
    normal_y: FloatArray


Margins = tuple[int, int, int, int]
"""Columns and rows at the left, top, right and bottom that count for nothing."""


@lru_cache(maxsize=256)
def regions(side: int, margins: Margins = (0, 0, 0, 0)) -> Regions:
    """Where the regions of a side×side picture lie."""
    _, y, radius = _ellipse(side)
    valid = _valid(side, margins)
    face = radius < _FACE
    masks = [
        face & (y > _LOWER),
        face & (y <= _LOWER) & (y >= _UPPER),
        face & (y < _UPPER),
        (radius > _RING[0]) & (radius < _RING[1]),
    ]
    places = [np.flatnonzero(mask & valid) for mask in masks]
    ends = np.cumsum([0, *map(len, places)]).tolist()
    lower, middle, upper, ring = (slice(start, end) for start, end in pairwise(ends))
    order = np.concatenate(places)
    in_face, in_ring = (_stretch(order[part], side) for part in (slice(0, upper.stop), ring))
    return Regions(side, order, lower, middle, upper, ring, in_face, in_ring)


def _stretch(places: NDArray[np.intp], side: int) -> tuple[int, FloatArray]:
    if len(places) == 0:
        return 0, np.zeros(0, np.float32)
    mask = np.zeros(side * side, np.float32)
    mask[places] = 1
    first = int(places.min())
    return first, mask[first : int(places.max()) + 1]


@lru_cache(maxsize=64)
def border(side: int, margins: Margins = (0, 0, 0, 0)) -> Border:
    """Where the rings across the border lie in a side×side picture."""
    x, y, radius = _ellipse(side)
    valid = _valid(side, margins)
    edges = np.linspace(*_BAND_RANGE, BORDER_RINGS + 1)
    rings = [(radius >= start) & (radius < stop) & valid for start, stop in pairwise(edges)]
    stacked = np.stack([ring.ravel() for ring in rings]).astype(np.float32)
    slope = np.hypot(x / HALF_WIDTH, y / HALF_HEIGHT) + 1e-9
    weights = np.asarray(stacked / np.maximum(stacked.sum(axis=1, keepdims=True), 1.0), np.float32)
    order = np.flatnonzero(stacked.any(axis=0))
    return Border(
        order=order,
        weights=np.ascontiguousarray(weights[:, order]),
        normal_x=np.asarray(x / HALF_WIDTH / slope, np.float32).ravel()[order],
        normal_y=np.asarray(y / HALF_HEIGHT / slope, np.float32).ravel()[order],
    )


def _ellipse(side: int) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """Of each pixel its place in half axes from the centre of the face, and its distance: 1 on the face's border."""
    centres = (np.arange(side) + 0.5) / side - 0.5
    x, y = np.meshgrid(centres / HALF_WIDTH, centres / HALF_HEIGHT)
    return x, y, np.hypot(x, y)


def _valid(side: int, margins: Margins) -> NDArray[np.bool_]:
    left, top, right, bottom = margins
    valid = np.zeros((side, side), bool)
    valid[top : side - bottom, left : side - right] = True
    return valid
