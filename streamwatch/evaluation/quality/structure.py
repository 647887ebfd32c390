"""Mask-SSIM: structural similarity inside the head region of a fake frame and its original."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from streamwatch.records import Box, ImageArray

WINDOW, SIGMA = 11, 1.5
K1, K2, LEVELS = 0.01, 0.03, 255
_MARGIN = WINDOW // 2

HEAD_SIDE, HEAD_TOP, HEAD_BOTTOM = 0.2, 0.4, 0.1
"""Shares of a face box's width (each side) and height by which it grows to hold ears, hair and chin."""


def mask_ssim(real: ImageArray, fake: ImageArray, mask: NDArray[np.bool_]) -> float | None:
    """Mean SSIM of two H×W×3 RGB pictures over the pixels of `mask` (H×W): 1 for equal pictures, −1 at the least.

    Pixels closer to the border than half a window have no SSIM; None where `mask` has no others. The map is that
    of the luma (BT.601). Raises ValueError for pictures or a mask of different sizes.
    """
    if not real.shape == fake.shape == (*mask.shape, 3):
        raise ValueError(f"pictures {real.shape} and {fake.shape} and the mask {mask.shape} must have one size")
    inside = mask[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    if not inside.any():
        return None
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    part = np.s_[rows[0] : rows[-1] + 2 * _MARGIN + 1, columns[0] : columns[-1] + 2 * _MARGIN + 1]
    similarity = ssim_map(_luma(real[part]), _luma(fake[part]))
    return float(similarity[inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]].mean())


def ssim_map(a: ImageArray, b: ImageArray) -> NDArray[np.float64]:
    """SSIM of two H×W pictures (uint8) at every pixel whose window lies inside: (H−10)×(W−10), values in −1..1.

    Equation 13 of Wang et al., "Image quality assessment: from error visibility to structural similarity" (IEEE
    TIP 2004), with its 11×11 Gaussian window of σ = 1.5, K₁ = 0.01, K₂ = 0.03 and L = 255.
    """
    x, y = a.astype(np.float64), b.astype(np.float64)
    c1, c2 = (K1 * LEVELS) ** 2, (K2 * LEVELS) ** 2
    mean_x, mean_y = _windowed(x), _windowed(y)
    variance_x, variance_y = _windowed(x * x) - mean_x**2, _windowed(y * y) - mean_y**2
    covariance = _windowed(x * y) - mean_x * mean_y
    similarity: NDArray[np.float64] = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    )
    return similarity


def head_mask(size: tuple[int, int], box: Box) -> NDArray[np.bool_]:
    """The head around a face box (frame pixels) in a picture of `size` (height, width), cut off at its border.

    The ellipse that fills the box after it has grown by HEAD_SIDE, HEAD_TOP and HEAD_BOTTOM.
    """
    x0, y0, x1, y1 = box
    width, height = x1 - x0, y1 - y0
    left, right = x0 - HEAD_SIDE * width, x1 + HEAD_SIDE * width
    top, bottom = y0 - HEAD_TOP * height, y1 + HEAD_BOTTOM * height
    y, x = np.arange(size[0])[:, None] + 0.5, np.arange(size[1])[None] + 0.5
    across = (x - (left + right) / 2) / ((right - left) / 2)
    down = (y - (top + bottom) / 2) / ((bottom - top) / 2)
    inside: NDArray[np.bool_] = across**2 + down**2 <= 1
    return inside


def _luma(image: ImageArray) -> ImageArray:
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY), np.uint8)


def _windowed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian mean over every window that lies inside."""
    blurred = np.asarray(cv2.GaussianBlur(values, (WINDOW, WINDOW), SIGMA), np.float64)
    return blurred[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
