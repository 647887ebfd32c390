"""The one way from a face box to the crop that a forgery detector sees.

Training and serving both call these, so that a checkpoint is served with the crops that it was trained on:
the geometry belongs to the checkpoint and stands in its model card.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from streamwatch.records import Box, FloatArray, ImageArray

FloatingArray = NDArray[np.floating[Any]]


MAX_SCALE = 100.0
"""Sides of a crop in sides of a face: one beyond holds no face that could be seen."""


@dataclass(frozen=True, slots=True)
class CropGeometry:
    """How a square crop lies around a face box.

    scale: side of the crop ÷ longer side of the box (> 0).
    center_x, center_y: where the centre of the box lies inside the crop, 0 (left, top) to 1 (right, bottom).

    Raises ValueError for values out of range.
    """

    scale: float = 1.3
    center_x: float = 0.5
    center_y: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.scale <= MAX_SCALE:
            raise ValueError(f"crop scale must be a positive number up to {MAX_SCALE:g}, not {self.scale}")
        for name in ("center_x", "center_y"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"crop {name} must be in 0..1, not {getattr(self, name)}")

    def region(self, box: Box) -> Box:
        """The square (x0, y0, x1, y1) around `box`, in frame pixels; it may reach outside of the frame."""
        x0, y0, x1, y1 = box
        side = self.scale * max(x1 - x0, y1 - y0)
        left = (x0 + x1) / 2 - self.center_x * side
        top = (y0 + y1) / 2 - self.center_y * side
        return (left, top, left + side, top + side)


def crop_face(image: ImageArray, region: Box, size: int) -> ImageArray:
    """Resample the square `region` of an H×W×3 image to size×size×3.

    Coordinates are continuous: pixel (i, j) covers [j, j+1] × [i, i+1], so the region (0, 0, W, H) is the
    whole image. Regions larger than `size` are averaged exactly over the area of each output pixel, smaller
    ones are interpolated linearly. Outside of the frame its border pixels are repeated.

    Raises ValueError for a region that is no square, an image that is not H×W×3 uint8, or size < 1.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(f"crop_face needs an H×W×3 uint8 image, not {image.shape} {image.dtype}")
    return _resample(image, region, size)


def crop_mask(mask: FloatArray, region: Box, size: int) -> FloatArray:
    """The part `region` of an H×W mask (0..1), size×size, resampled as `crop_face` does (in steps of 1/255).

    Raises ValueError as `crop_face` does.
    """
    levels = np.rint(mask * 255).astype(np.uint8)[..., None]
    return np.asarray(_resample(levels, region, size)[..., 0] / 255.0, np.float32)


def _resample(image: ImageArray, region: Box, size: int) -> ImageArray:
    """`crop_face` for any number of channels."""
    if size < 1:
        raise ValueError(f"crop size must be at least 1, not {size}")
    x0, y0, x1, y1 = region
    side = max(x1 - x0, y1 - y0)
    if not (all(map(math.isfinite, region)) and side > 0 and math.isclose(x1 - x0, y1 - y0, rel_tol=1e-3)):
        raise ValueError(f"crop region must be a finite square, not {region}")

    rows, top = _span(y0, y1, image.shape[0])
    columns, left = _span(x0, x1, image.shape[1])
    patch = image[rows, columns]
    step = side / size
    if step <= 1:
        centers = step * (np.arange(size) + 0.5) - 0.5
        down = np.clip(y0 - top + centers, 0, patch.shape[0] - 1)
        right = np.clip(x0 - left + centers, 0, patch.shape[1] - 1)
        pixels = _interpolate(_interpolate(patch.astype(np.float64), down, axis=0), right, axis=1)
    else:
        # The integral image, read at the corners of the output pixels, gives the exact mean over each.
        # Its linear extrapolation beyond the border repeats the border pixels.
        edges = step * np.arange(size + 1)
        integral = np.asarray(cv2.integral(patch, sdepth=cv2.CV_64F), dtype=np.float64)
        integral = integral.reshape(*integral.shape[:2], -1)
        bands = np.diff(_interpolate(integral, y0 - top + edges, axis=0), axis=0)
        pixels = np.diff(_interpolate(bands, x0 - left + edges, axis=1), axis=1) / step**2
    return np.rint(pixels).astype(np.uint8)


def _span(start: float, stop: float, length: int) -> tuple[slice, int]:
    """The pixels of 0..length that start..stop reads (at least one), and the index of the first."""
    first = min(max(math.floor(start) - 1, 0), length - 1)
    last = max(min(math.ceil(stop) + 1, length), first + 1)
    return slice(first, last), first


def _interpolate(values: FloatingArray, positions: FloatingArray, axis: int) -> FloatingArray:
    """Linear interpolation along an axis at fractional indices, extrapolating beyond the ends."""
    last = values.shape[axis] - 1
    lower = np.clip(np.floor(positions).astype(np.intp), 0, max(last - 1, 0))
    upper = np.minimum(lower + 1, last)
    weights = np.expand_dims(positions - lower, axis=(1, 2) if axis == 0 else (0, 2))
    start = np.take(values, lower, axis)
    mixed: FloatingArray = start + weights * (np.take(values, upper, axis) - start)
    return mixed
