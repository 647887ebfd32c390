"""What the scores of labelled items amount to: the figures of one level (faces, tracks or videos)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from streamwatch.detectors.card import Thresholds
from streamwatch.evaluation import metrics
from streamwatch.evaluation.bootstrap import LEVEL, bootstrap_interval
from streamwatch.evaluation.weighted import Ranking

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True)
class Proportion:
    """count of `of`, with its 95 % interval (Wilson, JASA 1927), which takes the items for independent."""

    count: int
    of: int
    low: float
    high: float

    @classmethod
    def measure(cls, hits: NDArray[np.bool_]) -> Proportion:
        """Of at least one item."""
        count = int(hits.sum())
        interval = binomtest(count, len(hits)).proportion_ci(LEVEL, method="wilson")
        return cls(count, len(hits), float(interval.low), float(interval.high))

    @property
    def value(self) -> float:
        return self.count / self.of


@dataclass(frozen=True, slots=True)
class ClassScores:
    """The items of one class. called_fake: those at or above the threshold of `fake`; called_real: those at or below
    that of `real`. quantiles: of the scores, by share."""

    called_fake: Proportion
    called_real: Proportion
    quantiles: dict[str, float]


@dataclass(frozen=True, slots=True)
class LevelSeparation:
    """How well two classes are separated; rates and probabilities in 0..1.

    auc_interval: 95 % bootstrap over groups (sources), None where a class has fewer than two of them. Accuracies are
    those at the threshold. log_loss (natural logarithm) and ece weigh both classes alike, as the calibration does.
    """

    auc: float
    auc_interval: tuple[float, float] | None
    average_precision: float
    eer: float
    accuracy: float
    balanced_accuracy: float
    tpr_at_1_percent_fpr: float
    tpr_at_5_percent_fpr: float
    log_loss: float
    ece: float


@dataclass(frozen=True, slots=True)
class Level:
    """One level of one part of a data set. A class without items is None, and then there is no separation."""

    level: str
    method: str
    real: ClassScores | None
    fake: ClassScores | None
    separation: LevelSeparation | None


@dataclass(frozen=True, slots=True, eq=False)
class LevelScores:
    """N scored items: fake (N, bool), probability (N, 0..1), the group and the method of each."""

    fake: NDArray[np.bool_]
    probability: NDArray[np.float64]
    groups: tuple[str, ...]
    methods: tuple[str, ...]

    @classmethod
    def of(cls, items: Sequence[tuple[bool, float, str, str]]) -> LevelScores:
        """From (fake, probability, group, method) of each item."""
        return cls(
            np.array([fake for fake, *_ in items], bool),
            np.array([probability for _, probability, *_ in items], np.float64),
            tuple(group for _, _, group, _ in items),
            tuple(method for *_, method in items),
        )

    def against(self, method: str) -> LevelScores:
        """All real items and the fakes of one method."""
        kept = np.flatnonzero([not fake or m == method for fake, m in zip(self.fake, self.methods, strict=True)])
        return LevelScores(
            self.fake[kept],
            self.probability[kept],
            tuple(self.groups[i] for i in kept),
            tuple(self.methods[i] for i in kept),
        )


def measure(scores: LevelScores, level: str, thresholds: Thresholds, *, method: str = "", seed: int = 0) -> Level:
    """The figures of `scores`; a score ≥ `thresholds.fake` is called fake, one ≤ `thresholds.real` real."""
    fake, p = scores.fake, scores.probability
    classes = [_class_scores(p[fake == label], thresholds) for label in (False, True)]
    separation = _separation(scores, thresholds.fake, seed) if all(classes) else None
    return Level(level, method, classes[0], classes[1], separation)


def _class_scores(p: NDArray[np.float64], thresholds: Thresholds) -> ClassScores | None:
    if len(p) == 0:
        return None
    quantiles = {f"{share:g}": float(np.quantile(p, share)) for share in QUANTILES}
    return ClassScores(Proportion.measure(p >= thresholds.fake), Proportion.measure(p <= thresholds.real), quantiles)


def _separation(scores: LevelScores, threshold: float, seed: int) -> LevelSeparation:
    fake, p = scores.fake, scores.probability
    try:
        interval = bootstrap_interval(Ranking.of(fake, p).auc, fake, scores.groups, seed=seed)
    except ValueError:
        interval = None
    return LevelSeparation(
        auc=metrics.roc_auc(fake, p),
        auc_interval=interval,
        average_precision=metrics.average_precision(fake, p),
        eer=metrics.equal_error_rate(fake, p),
        accuracy=metrics.accuracy(fake, p, threshold),
        balanced_accuracy=metrics.balanced_accuracy(fake, p, threshold),
        tpr_at_1_percent_fpr=metrics.true_positive_rate_at(fake, p, 0.01),
        tpr_at_5_percent_fpr=metrics.true_positive_rate_at(fake, p, 0.05),
        log_loss=metrics.log_loss(fake, p, balanced=True),
        ece=metrics.expected_calibration_error(fake, p, balanced=True),
    )
