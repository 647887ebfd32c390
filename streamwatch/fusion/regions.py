"""Which part of a face a mask covers, in numbers and in words.

The face is the ellipse inscribed in its box. Its parts lie around the five landmarks, in units of the face's own
size u: the inter-ocular distance, or the distance from eyes to mouth ÷ 1.15 where that is larger, so that neither
a turned nor a bowed head shrinks them (1.15 is their ratio in the five-point template of ArcFace, Deng et al.,
CVPR 2019). "Down" leads from the middle of the eyes to the middle of the mouth.

    eyes     ellipses of 0.42 × 0.32 u around points 0.08 u above the eyes: lids and brows
    nose     ellipse of 0.30 × 0.42 u around a point 0.20 u above the tip: bridge to nostrils
    mouth    ellipse of 0.50 × 0.30 u around the middle of the corners of the mouth
    border   of the rest, the outer 20 % of the face's radius, where a pasted face is blended in
    skin     what remains: cheeks, forehead, chin
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamwatch.records import Box, Face, ImageArray, MaskCoverage

ALMOST_ALL = 0.75
"""A part that is covered by this much counts as covered as a whole."""
MOST_AT_LEAST = 0.25
"""A part that is covered by less is not named."""
TIE = 0.1
"""Parts that are covered by this much less than the most covered one are named with it."""
SLIVER = 0.01
"""Share of the face below which what the crop shows of a part is too little to speak of."""

_PARTS = {"eyes": "the eyes", "nose": "the nose", "mouth": "the mouth", "skin": "the skin", "border": "the border"}
_BORDER_FROM = 0.8
_EYES_TO_MOUTH = 1.15

Region = NDArray[np.bool_]
FloatGrid = NDArray[np.float64]


def face_parts(face: Face, region: Box, shape: tuple[int, int]) -> dict[str, Region]:
    """The parts of a face on a grid of h×w points over its crop: `eyes`, `nose`, `mouth`, `skin`, `border`.

    region: the crop's square, in the pixels of `face`. The parts do not overlap; together they are what the crop
    shows of the face.
    """
    height, width = shape
    x = region[0] + (np.arange(width) + 0.5) / width * (region[2] - region[0])
    y = region[1] + (np.arange(height) + 0.5) / height * (region[3] - region[1])
    points = np.stack(np.meshgrid(x, y), axis=-1)

    x0, y0, x1, y1 = face.box
    upright = np.array([0.0, 1.0])
    radius = _radius(points, np.array([x0 + x1, y0 + y1]) / 2, upright, face.width / 2, face.height / 2)
    eye_a, eye_b, nose, mouth_a, mouth_b = np.asarray(face.landmarks, dtype=np.float64)
    mouth = (mouth_a + mouth_b) / 2
    down = mouth - (eye_a + eye_b) / 2
    tall = float(np.hypot(*down))
    unit = max(float(np.hypot(*(eye_b - eye_a))), tall / _EYES_TO_MOUTH)
    down = down / tall if tall > 0 else upright

    free = radius < 1
    eyes = [_radius(points, eye - 0.08 * unit * down, down, 0.42 * unit, 0.32 * unit) < 1 for eye in (eye_a, eye_b)]
    around = {
        "eyes": eyes[0] | eyes[1],
        "nose": _radius(points, nose - 0.20 * unit * down, down, 0.30 * unit, 0.42 * unit) < 1,
        "mouth": _radius(points, mouth, down, 0.50 * unit, 0.30 * unit) < 1,
        "border": radius >= _BORDER_FROM,
    }
    parts = {}
    for name, inside in around.items():
        parts[name] = inside & free
        free = free & ~inside
    return {**parts, "skin": free}


def covered(mask: ImageArray, threshold: float) -> NDArray[np.bool_]:
    """Where a mask (uint8, 255 = forged) reaches a threshold (0..1)."""
    return np.asarray(mask >= threshold * 255)


def measure_coverage(mask: ImageArray, threshold: float, face: Face, region: Box) -> MaskCoverage | None:
    """How much of a face and of its parts a mask covers.

    mask: h×w uint8 (255 = forged) over the crop's square `region`. It covers where it reaches `threshold` (0..1). None
    where the crop shows nothing of the face.
    """
    forged = covered(mask, threshold)
    parts = face_parts(face, region, (mask.shape[0], mask.shape[1]))
    visible = sum(int(part.sum()) for part in parts.values())
    if visible == 0:
        return None
    shares = {
        name: float(forged[part].mean()) if part.sum() >= max(1, SLIVER * visible) else None
        for name, part in parts.items()
    }
    pixels = sum(int(forged[part].sum()) for part in parts.values())
    return MaskCoverage(threshold=threshold, face=pixels / visible, **shares)


def most_covered(coverage: MaskCoverage) -> tuple[str, ...]:
    """The parts that a mask covers most, ties together, in the order of the fields of `coverage`.

    All parts that are covered as a whole, if those are all parts, or all but the border; else the most covered
    part and those within a tenth of it. None where no part is covered by a quarter. What is compared is the share
    of each part that is covered, so that a large part does not win by its size.
    """
    shares = _shares(coverage)
    whole = tuple(name for name in shares if shares[name] >= ALMOST_ALL)
    if whole and set(shares) - set(whole) <= {"border"}:
        return whole
    top = max(shares.values(), default=0.0)
    if top < MOST_AT_LEAST:
        return ()
    return tuple(name for name in shares if shares[name] >= top - TIE)


def describe(coverage: MaskCoverage) -> str:
    """Such as `mask covers 38 % of the face, most of all the mouth`."""
    if coverage.face == 0:
        return "mask is empty"
    return f"mask covers {_percent(coverage.face)} of the face, {_where(coverage)[0]}"


def brief(coverage: MaskCoverage) -> str:
    """The same for a label or a table: `38 %: mouth`."""
    if coverage.face == 0:
        return "empty"
    where = _where(coverage)[1]
    return f"{_percent(coverage.face)}: {where}" if where else _percent(coverage.face)


def _where(coverage: MaskCoverage) -> tuple[str, str]:
    """The end of a sentence, and of a label."""
    shares, most = _shares(coverage), most_covered(coverage)
    if not most:
        return f"no part of it by {_percent(MOST_AT_LEAST)}", ""
    rest = set(shares) - set(most)
    solid = min(shares[name] for name in most) >= ALMOST_ALL
    if not rest:
        return ("the whole of it", "whole face") if solid else ("all parts alike", "all parts")
    if solid and rest == {"border"}:
        return "all of it but the border", "all but border"
    *others, last = (_PARTS[name] for name in most)
    return f"most of all {', '.join(others)} and {last}" if others else f"most of all {last}", ", ".join(most)


def _shares(coverage: MaskCoverage) -> dict[str, float]:
    shares = {name: getattr(coverage, name) for name in _PARTS}
    return {name: share for name, share in shares.items() if share is not None}


def _percent(share: float) -> str:
    return "under 1 %" if 0 < share < 0.005 else f"{share:.0%}".replace("%", " %")


def _radius(points: FloatGrid, centre: FloatGrid, down: FloatGrid, across_axis: float, down_axis: float) -> FloatGrid:
    """Distance from the centre of an ellipse, 1 on its outline; `down` is the direction of its second half axis."""
    if across_axis <= 0 or down_axis <= 0:
        return np.full(points.shape[:2], np.inf)
    offset = points - centre
    along = offset @ down / down_axis
    across = offset @ np.array([-down[1], down[0]]) / across_axis
    radius: FloatGrid = np.hypot(along, across)
    return radius
