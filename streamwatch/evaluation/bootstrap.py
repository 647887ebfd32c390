"""Confidence intervals that know that the faces of a video are no independent samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Weights = NDArray[np.float64]

LEVEL = 0.95
ROUNDS = 1000
_BLOCK = 1 << 22
"""Weights in memory at once, about: 32 MiB of them."""


def bootstrap_interval(
    statistic: Callable[[Weights], NDArray[np.float64]],
    labels: ArrayLike,
    groups: Sequence[str],
    *,
    level: float = LEVEL,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic of N samples (Efron & Tibshirani, 1993, chapter 13).

    Whole groups are drawn with replacement, those of each class among themselves, so that a draw has as many groups
    of real and of fake samples as the data. statistic: R values for R×N weights, how often each of R draws has each
    sample. That of `weighted.Ranking.auc` sorts the samples once; scikit-learn's AUC of one draw after the other took
    twice as long for 20,000 samples and more than ten times as long for 2,000. labels: N, 1 = fake. groups: N names of
    what is independent (source videos).

    Raises ValueError where a class has fewer than two groups: nothing can be said about its spread.
    """
    y = np.asarray(labels, bool)
    strata = [_Stratum.of(np.flatnonzero(y == fake), groups) for fake in (False, True)]
    if min(stratum.groups for stratum in strata) < 2:
        raise ValueError("an interval needs at least two groups of each class")
    rng = np.random.default_rng(seed)
    values: list[NDArray[np.float64]] = []
    step = max(1, _BLOCK // len(y))
    for start in range(0, rounds, step):
        weights = np.empty((min(step, rounds - start), len(y)))
        for row in weights:
            for stratum in strata:
                row[stratum.samples] = stratum.draw(rng)
        values.append(statistic(weights))
    return percentiles(np.concatenate(values), level)


@dataclass(frozen=True, slots=True, eq=False)
class _Stratum:
    """The M samples of one class. samples: M indices. member: M numbers of their groups, 0 … groups − 1."""

    samples: NDArray[np.intp]
    member: NDArray[np.intp]
    groups: int

    @classmethod
    def of(cls, samples: NDArray[np.intp], groups: Sequence[str]) -> _Stratum:
        """Groups are numbered in the order in which they first appear."""
        numbers: dict[str, int] = {}
        member = [numbers.setdefault(groups[index], len(numbers)) for index in samples]
        return cls(samples, np.array(member, np.intp), len(numbers))

    def draw(self, rng: np.random.Generator) -> NDArray[np.intp]:
        """How often each sample is in one draw of as many groups as there are: M."""
        drawn = rng.integers(0, self.groups, self.groups)
        return np.bincount(drawn, minlength=self.groups)[self.member]


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
