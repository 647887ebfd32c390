"""Metrics of a binary detector; label 1 = fake, higher score = more fake."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamwatch.evaluation.extra import load_sklearn


def roc_auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve, ties counted half. Raises ValueError if a class is missing.

    For many weightings of the same samples `weighted.Ranking` is faster by far.
    """
    return float(load_sklearn("metrics").roc_auc_score(*checked_scores(labels, scores)))


def roc_curve(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False and true positive rates from (0, 0) to (1, 1), one point per distinct score."""
    false, true, _ = load_sklearn("metrics").roc_curve(*checked_scores(labels, scores), drop_intermediate=False)
    return false, true


def equal_error_rate(labels: ArrayLike, scores: ArrayLike) -> float:
    """Rate at which false alarms and misses are equal, linearly interpolated on the ROC."""
    false, true = roc_curve(labels, scores)
    gap = false - (1 - true)
    cross = int(np.argmax(gap >= 0))
    if cross == 0:
        return float(false[0])
    share = -gap[cross - 1] / (gap[cross] - gap[cross - 1])
    return float(false[cross - 1] + share * (false[cross] - false[cross - 1]))


def true_positive_rate_at(labels: ArrayLike, scores: ArrayLike, false_positive_rate: float) -> float:
    """Largest true positive rate whose false positive rate does not exceed the given one."""
    false, true = roc_curve(labels, scores)
    return float(true[false <= false_positive_rate].max())


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Σ (Rₙ − Rₙ₋₁)·Pₙ over the distinct scores, falling: the area under the precision-recall steps, uninterpolated.

    It depends on the share of fakes: compare it only between results on the same items.
    """
    return float(load_sklearn("metrics").average_precision_score(*checked_scores(labels, scores)))


def accuracy(labels: ArrayLike, scores: ArrayLike, threshold: float) -> float:
    """Share of samples on the right side of the threshold; a score ≥ threshold says fake."""
    y, s = checked_scores(labels, scores)
    return float(((s >= threshold) == y).mean())


def balanced_accuracy(labels: ArrayLike, scores: ArrayLike, threshold: float) -> float:
    """Mean of the accuracies on the real and on the fake samples; a score ≥ threshold says fake."""
    y, s = checked_scores(labels, scores)
    return float(((s[y] >= threshold).mean() + (s[~y] < threshold).mean()) / 2)


def log_loss(labels: ArrayLike, probabilities: ArrayLike, *, balanced: bool = False) -> float:
    """Mean −log of the probability (natural logarithm) given to the true class, held within 1e-7 … 1 − 1e-7.

    balanced: both classes weigh alike, whatever their numbers, as the calibration's prior has it.
    """
    y, p = checked_scores(labels, probabilities)
    p = np.clip(p, 1e-7, 1 - 1e-7)
    return float(-np.average(np.log(np.where(y, p, 1 - p)), weights=_weights(y, balanced)))


def reliability(
    labels: ArrayLike, probabilities: ArrayLike, bins: int = 15, *, balanced: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean probability, share of fakes and weight (sum 1) of each of `bins` equally wide bins that is not empty."""
    y = np.asarray(labels, dtype=bool)
    p = np.asarray(probabilities, dtype=np.float64)
    weight = _weights(y, balanced)
    index = np.minimum((p * bins).astype(int), bins - 1)
    mass = np.asarray(np.bincount(index, weight, bins), np.float64)
    filled = mass > 0
    predicted = np.bincount(index, weight * p, bins)[filled] / mass[filled]
    observed = np.bincount(index, weight * y, bins)[filled] / mass[filled]
    return predicted, observed, mass[filled]


def expected_calibration_error(
    labels: ArrayLike, probabilities: ArrayLike, bins: int = 15, *, balanced: bool = False
) -> float:
    """Mean |observed − predicted| over equally wide bins, weighted by their size (Guo et al., ICML 2017).

    balanced: both classes weigh alike, whatever their numbers.
    """
    predicted, observed, mass = reliability(labels, probabilities, bins, balanced=balanced)
    return float(mass @ np.abs(observed - predicted))


def intersection_over_union(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """IoU of two regions; 1 if both are empty."""
    union = (mask | truth).sum()
    return float((mask & truth).sum() / union) if union else 1.0


def _weights(fake: NDArray[np.bool_], balanced: bool) -> NDArray[np.float64]:
    """Weights that sum to 1: each sample alike, or each class."""
    if not balanced:
        return np.full(len(fake), 1 / len(fake))
    return np.where(fake, 0.5 / max(int(fake.sum()), 1), 0.5 / max(int((~fake).sum()), 1))


def checked_scores(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Labels (N, 1 = fake) and scores (N) as arrays.

    Raises ValueError for other shapes, a score that is NaN, or a missing class.
    """
    y, s = np.asarray(labels, dtype=bool), np.asarray(scores, dtype=np.float64)
    if y.shape != s.shape or y.ndim != 1:
        raise ValueError(f"labels {y.shape} and scores {s.shape} must be 1-D and of equal length")
    if y.all() or not y.any():
        raise ValueError("both classes are needed")
    if np.isnan(s).any():
        raise ValueError("a score is NaN")
    return y, s
