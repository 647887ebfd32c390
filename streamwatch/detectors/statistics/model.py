"""The numbers of a statistics detector: a linear model and trees, whose logits are joined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamwatch.detectors.statistics.trees import DoubleArray, Trees

CLIP = 4.0
"""Standard deviations beyond which a statistic counts as that far for the linear model: it must not run away."""


@dataclass(frozen=True, slots=True, eq=False)
class StatisticsModel:
    """logit = linear_share · linear + tree_share · trees, of rows of D statistics.

    mean, scale, coefficients: D float64; linear = intercept + Σ coefficient · clip((x − mean) / scale, ±CLIP).

    Raises ValueError for arrays that do not fit together, numbers that are not finite, or a scale of 0 or less.
    """

    mean: DoubleArray
    scale: DoubleArray
    coefficients: DoubleArray
    intercept: float
    trees: Trees
    linear_share: float = 0.5
    tree_share: float = 0.5

    def __post_init__(self) -> None:
        shape = (self.trees.columns,)
        for name in ("mean", "scale", "coefficients"):
            array = getattr(self, name)
            if array.shape != shape:
                raise ValueError(f"{name} is {array.shape} instead of {shape}")
            if not np.isfinite(array).all():
                raise ValueError(f"{name} holds numbers that are not finite")
        if not self.scale.min(initial=1.0) > 0:
            raise ValueError("scale holds numbers that are not above 0")
        if not np.isfinite([self.intercept, self.linear_share, self.tree_share, self.trees.base]).all():
            raise ValueError("intercept, shares or base are not finite")

    def standardised(self, rows: NDArray[Any]) -> DoubleArray:
        """N×D rows as standard deviations from the training's mean, clipped."""
        return np.asarray(np.clip((rows - self.mean) / self.scale, -CLIP, CLIP), np.float64)

    def decision(self, rows: NDArray[Any]) -> DoubleArray:
        """Logits N, z_fake − z_real, of N×D rows. Raises ValueError for rows of another width."""
        trees = self.trees.decision(rows)
        linear = self.standardised(rows) @ self.coefficients + self.intercept
        return np.asarray(self.linear_share * linear + self.tree_share * trees, np.float64)

    @property
    def expected(self) -> float:
        """The logit that contributions start from: of a row at the training's mean, for the linear part."""
        return self.linear_share * self.intercept + self.tree_share * self.trees.expected

    def contributions(self, rows: NDArray[Any]) -> DoubleArray:
        """N×D: how far each statistic moved each logit from `expected`; the two add up to `decision`."""
        linear = self.standardised(rows) * self.coefficients
        return np.asarray(self.linear_share * linear + self.tree_share * self.trees.contributions(rows), np.float64)
