"""Small statistics detectors and crops for them, for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from streamwatch.detectors import Calibration, InputSpec, Limits, ModelCard, Thresholds
from streamwatch.detectors.statistics.catalogue import CATALOGUE, COUNT
from streamwatch.detectors.statistics.config import StatisticsConfig
from streamwatch.detectors.statistics.model import StatisticsModel
from streamwatch.detectors.statistics.regions import HALF_HEIGHT, HALF_WIDTH
from streamwatch.detectors.statistics.trees import Trees
from streamwatch.faces.crops import CropGeometry
from streamwatch.records import ImageArray

SIZE = 128
NOISE_RATIO = "luma noise of face to ring, scale 0"


def column(name: str) -> int:
    """The place of a statistic in the vector."""
    return [statistic.name for statistic in CATALOGUE].index(name)


def stump(of: int, threshold: float, below: float, above: float) -> Trees:
    """One decision."""
    return Trees(
        feature=np.array([[of, 0, 0]], np.int32),
        threshold=np.array([[threshold, 0.0, 0.0]]),
        left=np.array([[1, 1, 2]], np.int32),
        right=np.array([[2, 1, 2]], np.int32),
        value=np.array([[(below + above) / 2, below, above]]),
        depth=1,
        base=0.0,
        columns=COUNT,
    )


def tiny_model() -> StatisticsModel:
    """Says "fake" of faces that are smoother than what surrounds them."""
    coefficients = np.zeros(COUNT)
    coefficients[column(NOISE_RATIO)] = -2.0
    return StatisticsModel(
        mean=np.zeros(COUNT),
        scale=np.ones(COUNT),
        coefficients=coefficients,
        intercept=0.25,
        trees=stump(column(NOISE_RATIO), -0.5, 1.0, -1.0),
    )


def tiny_card(**changes: Any) -> ModelCard:
    """The card of `tiny_model`."""
    card = ModelCard(
        name="smooth",
        preset=StatisticsConfig(trees=1, depth=1),
        input=InputSpec(SIZE, mean=(0.0,) * 3, std=(1.0,) * 3),
        geometry=CropGeometry(1.8),
        calibration=Calibration(temperature=2.0, bias=0.1),
        thresholds=Thresholds(real=0.4, fake=0.7),
        limits=Limits(min_face_side=40.0),
        data="none",
        date="2026-01-02",
        recipe="by hand",
        metrics={},
        licence="Apache-2.0",
    )
    return replace(card, **changes)


def noisy_crop(seed: int = 0, *, smooth: bool = False, grey: bool = False, size: int = SIZE) -> ImageArray:
    """Noise of 12 steps on grey; smooth: less of it in the face. grey: alike in all channels."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 12, (size, size, 1 if grey else 3)) * np.ones(3)
    if smooth:
        noise = np.where(face_mask(size)[..., np.newaxis], 0.4 * noise, noise)
    return np.asarray(np.clip(np.rint(128 + noise), 0, 255), np.uint8)


def face_mask(size: int = SIZE) -> np.ndarray:
    """Where the face lies."""
    mask = np.zeros((size, size), np.uint8)
    axes = (round(size * HALF_WIDTH), round(size * HALF_HEIGHT))
    return np.asarray(cv2.ellipse(mask, (size // 2, size // 2), axes, 0, 0, 360, 1, -1), bool)
