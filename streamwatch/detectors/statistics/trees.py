"""Boosted decision trees as arrays, evaluated for all rows and trees at once."""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

DoubleArray = NDArray[np.float64]
IndexArray = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """T trees of up to M nodes over D columns; node 0 is a root. A row goes left where x[feature] ≤ threshold.

    feature, left, right: T×M int32; a leaf is its own left and right. threshold: T×M float64.
    value: T×M float64: of a leaf what it adds to the logit, of another node the mean of what the training rows that
        came through it got in the end.
    depth: the most decisions from a root to a leaf. base: what every logit begins with.
    columns: D.

    Raises ValueError for arrays that do not fit together or point out of themselves.
    """

    feature: IndexArray
    threshold: DoubleArray
    left: IndexArray
    right: IndexArray
    value: DoubleArray
    depth: int
    base: float
    columns: int

    def __post_init__(self) -> None:
        shape = self.feature.shape
        arrays = (self.feature, self.threshold, self.left, self.right, self.value)
        if len(shape) != 2 or any(array.shape != shape for array in arrays) or (shape[0] and not shape[1]):
            raise ValueError(f"the arrays of the trees are {', '.join(str(a.shape) for a in arrays)}: not of one shape")
        for name, limit in (("feature", self.columns), ("left", shape[1]), ("right", shape[1])):
            array = getattr(self, name)
            if array.size and not (array.min() >= 0 and array.max() < limit):
                raise ValueError(f"trees.{name} points out of its {limit} places")
        for name in ("threshold", "value"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"trees.{name} holds numbers that are not finite")

    def decision(self, rows: NDArray[Any]) -> DoubleArray:
        """Logits N of N×D rows. Raises ValueError for rows of another width."""
        return np.asarray(self.base + self.value.take(self._paths(rows)[-1]).sum(axis=1), np.float64)

    @property
    def expected(self) -> float:
        """The mean logit over the training rows."""
        return float(self.base + self.value[:, 0].sum()) if self.value.size else self.base

    def contributions(self, rows: NDArray[Any]) -> DoubleArray:
        """N×D: how far each column moved each row's logit from `expected`; the two add up to `decision`.

        At every decision the difference of the node's value to its parent's goes to the column that decided (Saabas,
        "Interpreting random forests", 2014): cheap, and blind to what columns do only together.
        """
        found = np.zeros((len(rows), self.columns))
        row = np.arange(len(rows))[:, np.newaxis]
        for start, end in pairwise(self._paths(rows)):
            np.add.at(found, (row, self.feature.take(start)), self.value.take(end) - self.value.take(start))
        return found

    def _paths(self, rows: NDArray[Any]) -> list[NDArray[np.intp]]:
        """N×T places of nodes, in the T·M of all, after 0, 1, … `depth` decisions."""
        if rows.ndim != 2 or rows.shape[1] != self.columns:
            raise ValueError(f"the trees decide on N×{self.columns} numbers, not {rows.shape}")
        trees, nodes = self.feature.shape
        roots = np.arange(trees) * nodes
        place = np.tile(roots, (len(rows), 1))
        steps = [place]
        for _ in range(self.depth):
            left = np.take_along_axis(rows, self.feature.take(place), axis=1) <= self.threshold.take(place)
            place = roots + np.where(left, self.left.take(place), self.right.take(place))
            steps.append(place)
        return steps

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What `fields` holds, all as arrays, for a file."""
        return {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}
