"""E_warp: what is left of a frame's difference from the one before once the motion is taken out.

Lai et al., "Learning blind video temporal consistency" (ECCV 2018), Section 4.1, with the tests for occlusion of
Ruder et al., "Artistic style transfer for videos" (GCPR 2016), Section 3.3.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from streamwatch.records import FloatArray, ImageArray

FLOW = "DIS, preset medium"
MIN_SIDE = 16
"""Smaller pictures (pixels, shorter side) are too small for the optical flow's patches."""


def warping_error(before: ImageArray, after: ImageArray) -> float | None:
    """Mean squared difference of `before` and the warped `after` (H×W×3 RGB, consecutive) where nothing is occluded.

    Over pixels and channels in 0..1, so 0 for pure motion and 1 at the most; None where every pixel is occluded.
    Raises ValueError for pictures of different sizes, or with a side below MIN_SIDE.
    """
    if before.shape != after.shape:
        raise ValueError(f"consecutive pictures must have one size, not {before.shape} and {after.shape}")
    if min(before.shape[:2]) < MIN_SIDE:
        raise ValueError(f"optical flow needs pictures of at least {MIN_SIDE} pixels a side, not {before.shape[:2]}")
    forward, backward = optical_flow(before, after), optical_flow(after, before)
    visible = ~occluded(forward, backward)
    if not visible.any():
        return None
    difference = _warp(after.astype(np.float32), forward) - before
    return float(np.square(difference[visible] / 255, dtype=np.float64).mean())


def optical_flow(before: ImageArray, after: ImageArray) -> FloatArray:
    """Where each pixel of `before` went to in `after`: H×W×2 (u to the right, v down), pixels.

    Dense inverse search: Kroeger et al., "Fast optical flow using dense inverse search" (ECCV 2016), in OpenCV.
    """
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (before, after)]
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    start = np.zeros((*before.shape[:2], 2), np.float32)
    return np.asarray(search.calc(grey[0], grey[1], start), np.float32)


def occluded(forward: FloatArray, backward: FloatArray) -> NDArray[np.bool_]:
    """Pixels of the first picture (H×W) whose flow does not lead to the same spot of the second.

    With w the forward flow and ŵ the backward flow at its end: |w + ŵ|² > 0.01 (|w|² + |ŵ|²) + 0.5, or a motion
    boundary, |∇u|² + |∇v|² > 0.01 |w|² + 0.002 (forward differences), or a flow that leaves the picture.
    """
    height, width = forward.shape[:2]
    x, y = _targets(forward)
    outside = (x < 0) | (x > width - 1) | (y < 0) | (y > height - 1)
    returning = _warp(backward, forward)
    length, back = np.square(forward).sum(axis=2), np.square(returning).sum(axis=2)
    inconsistent = np.square(forward + returning).sum(axis=2) > 0.01 * (length + back) + 0.5
    down = np.square(np.diff(forward, axis=0, append=forward[-1:])).sum(axis=2)
    right = np.square(np.diff(forward, axis=1, append=forward[:, -1:])).sum(axis=2)
    boundary = down + right > 0.01 * length + 0.002
    hidden: NDArray[np.bool_] = outside | inconsistent | boundary
    return hidden


def _warp(values: FloatArray, flow: FloatArray) -> FloatArray:
    """values (H×W×C) read at each pixel's target, bilinear."""
    x, y = _targets(flow)
    return np.asarray(cv2.remap(values, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _targets(flow: FloatArray) -> tuple[FloatArray, FloatArray]:
    height, width = flow.shape[:2]
    x: FloatArray = flow[..., 0] + np.arange(width).astype(np.float32)
    y: FloatArray = flow[..., 1] + np.arange(height).astype(np.float32)[:, None]
    return x, y
