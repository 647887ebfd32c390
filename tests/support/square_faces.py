"""A detector that can be worked out from the colour of a face, and faces that are bright squares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from streamwatch.config import Settings
from streamwatch.detectors import Calibration, InputSpec, Limits, ModelCard, Thresholds
from streamwatch.detectors.m2tr.config import PRESETS
from streamwatch.detectors.protocol import ScoreArrays
from streamwatch.faces.crops import CropGeometry
from streamwatch.fusion import AlertRules, Policy
from streamwatch.pipeline.plan import Plan
from streamwatch.records import Face, FaceScore, ImageArray

SIDE = 32


class RedDetector:
    """Says "fake" as strongly as the crop is red, and marks the red pixels."""

    name, input_size, device = "red", SIDE, "cpu"
    geometry = CropGeometry(scale=1.0)
    card: ModelCard

    def score(self, crops: ImageArray) -> list[FaceScore]:
        return self.score_arrays(crops).scores()

    def score_arrays(self, crops: ImageArray) -> ScoreArrays:
        red = np.asarray(crops[..., 0], np.float32) / np.float32(255)
        level = np.clip(red.mean(axis=(1, 2)), 0.01, 0.99)
        return ScoreArrays(level - 0.5, level, level[:, None], crops[..., 0])


class SquareFinder:
    """Finds the one bright square of a dark picture."""

    def detect(self, images: Any) -> list[list[Face]]:
        return [self._of(image) for image in images]

    def _of(self, image: Any) -> list[Face]:
        rows, columns = np.nonzero(image.max(axis=2) > 60)
        if len(rows) == 0:
            return []
        x0, y0, x1, y1 = float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)
        w, h = x1 - x0, y1 - y0
        eyes = (x0 + 0.3 * w, y0 + 0.4 * h), (x0 + 0.7 * w, y0 + 0.4 * h)
        rest = (x0 + 0.5 * w, y0 + 0.6 * h), (x0 + 0.35 * w, y0 + 0.8 * h), (x0 + 0.65 * w, y0 + 0.8 * h)
        return [Face((x0, y0, x1, y1), (*eyes, *rest), 0.99)]


def plan(**sections: Any) -> Plan:
    card = ModelCard(
        name="red",
        preset=PRESETS["m2tr-lite"],
        sha256="0" * 64,
        input=InputSpec(SIDE, (127.0,) * 3, (128.0,) * 3),
        geometry=RedDetector.geometry,
        calibration=Calibration(1.0, 0.0),
        thresholds=Thresholds(real=0.5, fake=0.7),
        limits=Limits(min_face_side=16.0),
        data="none",
        date="2026-01-01",
        recipe="none",
        metrics={"mask_threshold": 0.4},
        licence="none",
    )
    settings = Settings(**sections)
    policy = Policy.resolve(settings.fusion, card)
    return Plan(settings, card, policy, AlertRules.resolve(settings.alerts, policy), Path("none"))


def red_plan(real: float, fake: float, **sections: Any) -> Plan:
    """A plan for `RedDetector` with these thresholds."""
    return plan(fusion={"real": real, "fake": fake}, **sections)
