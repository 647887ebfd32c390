"""Scores of faces that a test writes down, and the policy that fuses them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from streamwatch.config import FusionSettings
from streamwatch.detectors.card import Limits
from streamwatch.fusion import Policy
from streamwatch.fusion.spans import to_logit
from streamwatch.records import Face, FaceCrop, FaceQuality, FaceScore

CARD: Any = SimpleNamespace(
    name="model",
    thresholds=SimpleNamespace(real=0.5, fake=0.8),
    limits=Limits(min_face_side=40.0, min_sharpness=5.0, max_pose=0.9),
    mask_threshold=0.5,
)
GOOD = FaceQuality(short_side=200.0, sharpness=400.0, pose=0.0, upscaling=1.0)


def policy(**changes: Any) -> Policy:
    return Policy.resolve(FusionSettings(**changes), CARD)


def face(side: float = 200.0, confidence: float = 1.0, track: int = 1, quality: FaceQuality | None = GOOD) -> Face:
    points = ((0.0, 0.0),) * 5
    return Face((0.0, 0.0, side, side * 1.3), points, confidence, track, quality)


def scored(
    probability: float,
    pts: float,
    track: int = 1,
    quality: FaceQuality = GOOD,
    image: np.ndarray | None = None,
    mask: np.ndarray | None = None,
) -> FaceScore:
    crop = FaceCrop(
        image=np.full((16, 16, 3), 90, np.uint8) if image is None else image,
        face=face(track=track, quality=quality),
        region=(0.0, 0.0, 16.0, 16.0),
        frame_index=round(pts * 25),
        pts=pts,
    )
    return FaceScore(float(to_logit(probability)), probability, np.zeros(4, np.float32), mask, crop)
