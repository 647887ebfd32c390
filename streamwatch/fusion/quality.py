"""How much one face may say: a weight in 0..1 from the pixels that it has."""

from __future__ import annotations

from streamwatch.detectors.card import Limits
from streamwatch.enums import StrEnum
from streamwatch.records import Face, FaceQuality

FLOOR = 0.25
"""No factor falls below this, so that a poor face counts little but several of them still count."""

SHARP = 100.0
"""Variance of the Laplacian from which a crop counts as sharp (a common limit for "not blurred", 8-bit grey).
"""


class Unusable(StrEnum):
    """The limit of the model that a face is beyond."""

    SMALL = "small"
    BLURRED = "blurred"
    TURNED = "turned"


def unusable(quality: FaceQuality, limits: Limits) -> Unusable | None:
    """Why a face of this quality carries no weight; None for one that does."""
    if quality.short_side < limits.min_face_side or quality.short_side <= 0:
        return Unusable.SMALL
    if quality.sharpness < limits.min_sharpness:
        return Unusable.BLURRED
    return Unusable.TURNED if quality.pose > limits.max_pose else None


def face_weight(face: Face, limits: Limits) -> float:
    """Weight of a face in the fusion: the product of five factors, each 1 at best.

    - size: ½ at the smallest side that the limits allow, growing to 1 at twice of it;
    - sharpness: variance of the Laplacian ÷ `SHARP`;
    - pose: 1 frontal, falling to `FLOOR` in profile;
    - detection confidence as it is;
    - upscaling: 1 ÷ factor for crops that were enlarged.

    All but the size are held within `FLOOR`..1. A face beyond the limits weighs 0. A face without a measured quality
    has the size and the confidence only.
    """
    quality = face.quality
    side = face.short_side if quality is None else quality.short_side
    if side < limits.min_face_side or side <= 0:
        return 0.0
    if quality is not None and unusable(quality, limits) is not None:
        return 0.0
    size = 1.0 if limits.min_face_side == 0 else min(1.0, 0.5 * side / limits.min_face_side)
    weight = size * _bounded(face.confidence)
    if quality is not None:
        weight *= _bounded(quality.sharpness / SHARP)
        weight *= _bounded(1.0 - (1.0 - FLOOR) * quality.pose)
        weight *= _bounded(1.0 / max(quality.upscaling, 1.0))
    return weight


def _bounded(factor: float) -> float:
    return min(1.0, max(FLOOR, factor))
