"""The configuration of a statistics detector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from streamwatch.errors import ConfigError

VERSION = 1
"""Of the list of statistics: weights belong to exactly one, as their columns are its numbers."""


@dataclass(frozen=True)
class StatisticsConfig:
    """A linear model and boosted trees over statistics of a crop.

    kind: the architecture, for the reader of the card.
    version: of the list of statistics that the weights were fitted to.
    trees, depth: number of trees, and the most decisions from a root to a leaf.
    """

    kind: Literal["statistics"] = "statistics"
    version: int = VERSION
    trees: int = 150
    depth: int = 4

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise ConfigError(
                f"version: {self.version}, and this streamwatch computes version {VERSION} of the statistics",
                "train the weights again",
            )
        if not 0 <= self.trees <= 100_000:
            raise ConfigError(f"trees: {self.trees} must be 0 to 100000")
        if not 1 <= self.depth <= 16:
            raise ConfigError(f"depth: {self.depth} must be 1 to 16")
