"""A detector's scores of forgeries from faces that its training never saw: every family, and blends of no recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from streamwatch.detectors import Detector
from streamwatch.evaluation.levels import Level, LevelScores, measure
from streamwatch.training.data import TrainingPair
from streamwatch.training.families import FAMILIES
from streamwatch.training.held_back import held_back_pairs
from streamwatch.training.recipe import Recipe
from streamwatch.training.release import unseen_blends
from streamwatch.training.split import split_data

UNSEEN = "unseen blends"
_BATCH = 8


def judge_forgeries(
    detector: Detector,
    recipe: Recipe,
    cache: Path,
    landmark_model: Path,
    *,
    pairs: int = 60,
    report: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Level]:
    """A level per family, then `UNSEEN`: single faces, real ones beside fakes made from them.

    Families are forged from the recipe's held-back faces, `pairs` of each, cut, degraded and coded as in training;
    unseen blends from the `val` faces of its paired sets, as they are, where there are any. Raises as `split_data`
    does.
    """
    split = split_data(recipe, cache, landmark_model, report, tested=FAMILIES)
    families = held_back_pairs(split.held_pools, detector.geometry, detector.input_size, pairs, FAMILIES)
    levels = []
    for number, (family, data) in enumerate(families.items()):
        made = [data.pair(index) for index in range(pairs)]
        items: list[tuple[bool, float, str, str]] = [
            (fake, probability, pair.made.source, family if fake else "")
            for pair, found in zip(made, _probabilities(detector, made), strict=True)
            for fake, probability in zip((False, True), found, strict=True)
        ]
        levels.append(measure(LevelScores.of(items), "frame", detector.card.thresholds, method=family))
        progress(number + 1, len(families) + 1)
    if any(not picture.fake for picture in split.reported):
        blends = unseen_blends(detector, split.reported)
        names = [str(index // 2) for index in range(len(blends.fake))]  # real, blend, real, blend, …
        found = zip(blends.fake, blends.probabilities, names, strict=True)
        items = [(bool(fake), float(p), name, UNSEEN if fake else "") for fake, p, name in found]
        levels.append(measure(LevelScores.of(items), "frame", detector.card.thresholds, method=UNSEEN))
    progress(len(families) + 1, len(families) + 1)
    return levels


def _probabilities(detector: Detector, pairs: list[TrainingPair]) -> list[tuple[float, float]]:
    """Of the real and of the fake face of every pair."""
    found: list[tuple[float, float]] = []
    for start in range(0, len(pairs), _BATCH):
        crops = np.stack([face for pair in pairs[start : start + _BATCH] for face in (pair.real, pair.fake)])
        p = detector.score_arrays(crops).probabilities
        found += zip(p[::2].tolist(), p[1::2].tolist(), strict=True)
    return found
