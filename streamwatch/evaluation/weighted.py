"""AUC and true positive rates of weighted samples, for many weightings of the same samples at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamwatch.evaluation.metrics import checked_scores

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """N samples in order of their scores, ties together.

    fake: N, in the order of the samples. order: N indices, scores rising. starts: of each distinct score, in `order`.
    """

    fake: NDArray[np.bool_]
    order: NDArray[np.intp]
    starts: NDArray[np.intp]

    @classmethod
    def of(cls, fake: ArrayLike, scores: ArrayLike) -> Ranking:
        """fake: N, 1 = fake. scores: N. Raises ValueError for other shapes, a score that is NaN, or a missing class."""
        y, s = checked_scores(fake, scores)
        order = np.argsort(s, kind="stable")
        starts = np.flatnonzero(np.append(True, np.diff(s[order]) > 0))
        return cls(y, order, starts)

    def auc(self, weights: Array) -> Array:
        """Weighted area under the ROC curve, ties counted half: R values for R×N weights (each class with some mass).

        The chance that a fake, drawn by weight, scores above a real sample, drawn by weight.
        """
        real, fake = self._masses(weights)
        below = np.cumsum(real, axis=1) - real / 2
        return np.asarray((fake * below).sum(axis=1) / (fake.sum(axis=1) * real.sum(axis=1)), np.float64)

    def true_positive_rate(self, weights: Array, false_positive_rate: float) -> Array:
        """Largest weighted true positive rate whose false positive rate does not exceed the given one: R values."""
        real, fake = (mass[:, ::-1].cumsum(axis=1) / mass.sum(axis=1, keepdims=True) for mass in self._masses(weights))
        return np.asarray(np.where(real <= false_positive_rate + _ROUNDING, fake, 0.0).max(axis=1), np.float64)

    def beaten(self, weights: Array) -> Array:
        """Share of the real mass that each sample scores above, ties counted half: R×N."""
        real, _ = self._masses(weights)
        below = (np.cumsum(real, axis=1) - real / 2) / real.sum(axis=1, keepdims=True)
        lengths = np.diff(np.append(self.starts, len(self.order)))
        shares = np.empty(weights.shape)
        shares[:, self.order] = np.repeat(below, lengths, axis=1)
        return shares

    def _masses(self, weights: Array) -> tuple[Array, Array]:
        """Weight of the real and of the fake samples at each distinct score, rising: R×K each."""
        ordered = weights[:, self.order]
        fake = self.fake[self.order]
        real_mass, fake_mass = (
            np.add.reduceat(np.where(chosen, ordered, 0.0), self.starts, axis=1) for chosen in (~fake, fake)
        )
        return real_mass, fake_mass


_ROUNDING = 1e-12
"""Sums of weights that should be equal differ by this much at most."""
