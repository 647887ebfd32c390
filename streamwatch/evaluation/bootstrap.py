"""Confidence intervals that know that the faces of a video are no independent samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Metric = Callable[[NDArray[np.bool_], NDArray[np.float64]], float]

LEVEL = 0.95
ROUNDS = 1000


def bootstrap_interval(
    metric: Metric,
    labels: ArrayLike,
    scores: ArrayLike,
    groups: Sequence[str],
    *,
    level: float = LEVEL,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of metric(labels, scores) (Efron & Tibshirani, 1993, chapter 13).

    Whole groups are drawn with replacement, those of each class among themselves, so that a draw has as many groups
    of real and of fake samples as the data. labels: N, 1 = fake. scores: N. groups: N names of what is independent
    (source videos).

    Raises ValueError where a class has fewer than two groups: nothing can be said about its spread.
    """
    y, s = np.asarray(labels, bool), np.asarray(scores, np.float64)
    strata = [_members(np.flatnonzero(y == fake), groups) for fake in (False, True)]
    if min(map(len, strata)) < 2:
        raise ValueError("an interval needs at least two groups of each class")
    rng = np.random.default_rng(seed)
    values = np.empty(rounds)
    for index in range(rounds):
        drawn = np.concatenate([members[g] for members in strata for g in rng.integers(0, len(members), len(members))])
        values[index] = metric(y[drawn], s[drawn])
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _members(indices: NDArray[np.intp], groups: Sequence[str]) -> list[NDArray[np.intp]]:
    """The samples of each group, groups in the order in which they first appear."""
    found: dict[str, list[int]] = {}
    for index in indices:
        found.setdefault(groups[index], []).append(int(index))
    return [np.array(members, np.intp) for members in found.values()]


def group_draws(
    groups: Sequence[str], labels: ArrayLike, *, rounds: int = ROUNDS, seed: int = 0
) -> NDArray[np.float64]:
    """How often each of N samples is in each of `rounds` draws of whole groups with replacement: rounds×N.

    The samples of a group come together, whatever their class: for groups (scenes) that hold both. A draw in which a
    class is missing is drawn again. groups: N names. labels: N, 1 = fake.

    Raises ValueError where a class has fewer than two groups: nothing can be said about its spread.
    """
    y = np.asarray(labels, bool)
    names = list(dict.fromkeys(groups))
    place = {name: index for index, name in enumerate(names)}
    member = np.array([place[group] for group in groups], np.intp)
    present = np.stack([np.isin(np.arange(len(names)), member[y == fake]) for fake in (False, True)])
    if present.sum(axis=1).min() < 2:
        raise ValueError("an interval needs at least two groups of each class")
    rng = np.random.default_rng(seed)
    kept: list[NDArray[np.intp]] = []
    found = 0
    while found < rounds:
        counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=rounds)
        whole = counts[((counts @ present.T) > 0).all(axis=1)]
        kept.append(whole)
        found += len(whole)
    return np.concatenate(kept)[:rounds, member].astype(np.float64)


def percentiles(values: NDArray[np.float64], level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval of the values of a metric over the draws; NaN (a metric without a value) is left out."""
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
