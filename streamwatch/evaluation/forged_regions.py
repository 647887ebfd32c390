"""Where a forged picture was changed, as far as a data set lets one know."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from streamwatch.records import ImageArray


def forged_region(fake: ImageArray, original: ImageArray, *, agreement: float = 0.9) -> NDArray[np.float32] | None:
    """Where a fake differs from its original in the same crop: H×W, 0..1; None if the two are not aligned.

    Aligned means that the outer border of both (12 % of the side) correlates at least `agreement`. The difference is
    smoothed, thresholded between the border's own level and its strong end, and closed, since a swap repaints skin that
    happens to keep its colour too. A fake in which nothing stands out from the border has no region either.
    """
    if fake.shape != original.shape:
        return None
    a = cv2.cvtColor(fake, cv2.COLOR_RGB2GRAY).astype(np.float32)
    b = cv2.cvtColor(original, cv2.COLOR_RGB2GRAY).astype(np.float32)
    side = min(a.shape)
    margin = max(2, round(0.12 * side))
    border = np.ones(a.shape, bool)
    border[margin:-margin, margin:-margin] = False
    border_a, border_b = a[border], b[border]
    if border_a.std() < 1 or border_b.std() < 1 or np.corrcoef(border_a, border_b)[0, 1] < agreement:
        return None
    difference = np.abs(fake.astype(np.float32) - original.astype(np.float32)).mean(axis=2)
    smooth = np.asarray(cv2.GaussianBlur(difference, (0, 0), side / 32), np.float32)
    floor = float(np.median(smooth[border]))
    strong = float(np.percentile(smooth, 98))
    if strong < 2.0 * floor + 2.0:
        return None
    changed = (smooth > floor + 0.25 * (strong - floor)).astype(np.uint8)
    closing = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * (side // 10) + 1, 2 * (side // 10) + 1))
    opening = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * (side // 28) + 1, 2 * (side // 28) + 1))
    whole = cv2.morphologyEx(cv2.morphologyEx(changed, cv2.MORPH_OPEN, opening), cv2.MORPH_CLOSE, closing)
    if not whole.any():
        return None
    return np.asarray(cv2.GaussianBlur(whole.astype(np.float32), (0, 0), side / 64), np.float32)
