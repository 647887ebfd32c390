"""Statistics of a crop as a `Detector`: numpy only, on one core."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streamwatch.allocator import keep_freed_memory
from streamwatch.detectors.card import ModelCard
from streamwatch.detectors.protocol import Precision, Reason, ScoreArrays
from streamwatch.detectors.statistics.catalogue import COUNT
from streamwatch.detectors.statistics.features import LEAST_SIDE, statistics
from streamwatch.detectors.statistics.model import StatisticsModel
from streamwatch.detectors.statistics.reasons import strongest_reasons
from streamwatch.detectors.statistics.weights import load_statistics
from streamwatch.errors import DetectorError, WeightsError
from streamwatch.records import FaceScore, FloatArray, ImageArray


class StatisticsDetector:
    """Trained numbers with their card. It has no masks, and `device` is always the CPU.

    Raises WeightsError for a card whose crops are too small for the statistics.
    """

    precision = "fp64"

    def __init__(self, model: StatisticsModel, card: ModelCard) -> None:
        if card.input.size < LEAST_SIDE:
            raise WeightsError(f"{card.name}: input.size of its card is {card.input.size}; {LEAST_SIDE} is the least")
        keep_freed_memory()
        self.name = card.name
        self.card = card
        self.input_size = card.input.size
        self.geometry = card.geometry
        self.device = "cpu"
        self._model = model

    @classmethod
    def load(cls, weights: Path, *, device: str, threads: int | None, precision: Precision) -> StatisticsDetector:
        """See `LoadableDetector`; it runs on one core whatever the arguments say."""
        return cls(*load_statistics(weights))

    def score(self, crops: ImageArray) -> list[FaceScore]:
        """One record per crop; see `Detector`."""
        return self.score_arrays(crops).scores()

    def score_arrays(self, crops: ImageArray) -> ScoreArrays:
        """The same as arrays; the features are the statistics (see `features.NAMES`), and there are no masks."""
        rows = self._rows(crops)
        logits = self._model.decision(rows).astype(np.float32)
        return ScoreArrays(logits, self.card.calibration.probability(logits), rows, None)

    def reasons(self, crops: ImageArray) -> list[tuple[Reason, ...]]:
        """What moved the score of each crop, the strongest first; see `ReasoningDetector`."""
        rows = self._rows(crops)
        contributions = self._model.contributions(rows) / self.card.calibration.temperature
        return [strongest_reasons(row, part, self._model.mean) for row, part in zip(rows, contributions, strict=True)]

    def _rows(self, crops: ImageArray) -> FloatArray:
        side = self.input_size
        if crops.dtype != np.uint8 or crops.shape[1:] != (side, side, 3):
            raise DetectorError(f"{self.name} needs N×{side}×{side}×3 uint8 crops, not {crops.shape} {crops.dtype}")
        return np.stack([statistics(crop) for crop in crops]) if len(crops) else np.empty((0, COUNT), np.float32)
