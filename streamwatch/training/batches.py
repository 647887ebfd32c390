"""The pairs that a run trains on, and the batches that its steps take them in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Subset

from streamwatch.training.data import MadePairs, PairDataset, PairSource, Reuse, forked_loader
from streamwatch.training.device import DevicePairs
from streamwatch.training.pack import PackedPairs
from streamwatch.training.pool import PairPool
from streamwatch.training.recipe import Recipe
from streamwatch.training.split import DataSplit

_POOL_MARGIN = 256  # pairs that the loader may be ahead of the step


class TrainingPairs:
    """All pairs of a run: those of a pack, or made from the split's pictures.

    size: side of the crops, pixels. pool: folder for made pairs that are shown more than once.
    source: where the pairs come from, uncut. dataset: they, cut and degraded.
    """

    def __init__(
        self, recipe: Recipe, split: DataSplit, packed: PackedPairs | None, size: int, device: torch.device, pool: Path
    ) -> None:
        data, options = recipe.data, recipe.optimisation
        reuse = Reuse(data.reuse, data.reuse_lag)
        self.source: PairSource
        if packed is not None:
            self.source = packed
        else:
            self.source = MadePairs(split.pools, data.weights, recipe.seed, data.scene_pairs)
            if reuse.times > 1:
                self.source = PairPool(self.source, pool, _pool_key(recipe), reuse.window + _POOL_MARGIN)
        self.dataset = PairDataset(
            self.source,
            recipe.geometry.geometry(),
            size,
            recipe.seed,
            options.steps * options.accumulate * options.pairs,
            qualities=data.qualities,
            reuse=reuse,
            untouched=data.untouched,
            mix_amplitudes=data.mix_amplitudes,
        )
        self._options = options
        self._on_device: DevicePairs | None = None
        if packed is not None and makes_crops(device):
            self._on_device = DevicePairs(packed, size, recipe.seed, device, untouched=data.untouched)

    def batches(self, step: int, workers: int | None = None) -> Iterator[dict[str, Tensor]]:
        """Those of all steps from `step` on, `accumulate` of them to a step. workers: processes that prepare them,
        other than the recipe's.
        """
        options = self._options
        first, last = step * options.accumulate, options.steps * options.accumulate
        if self._on_device is not None:
            device = self._on_device
            return (device.batch(index, options.pairs) for index in range(first, last))
        rest = Subset(self.dataset, range(first * options.pairs, len(self.dataset)))
        return forked_loader(rest, options.pairs, options.workers if workers is None else workers)


def makes_crops(device: torch.device) -> bool:
    """Whether packed pairs are cut and degraded on this device, and not by processes beside it."""
    return device.type == "cuda"


def images_seen(recipe: Recipe, step: int) -> int:
    """Pictures that went through the network until `step`: pairs of every quality."""
    options = recipe.optimisation
    return step * options.accumulate * options.pairs * 2 * recipe.data.qualities


def _pool_key(recipe: Recipe) -> str:
    data = recipe.data.model_dump_json(exclude={"root", "dev", "reuse", "reuse_lag"})
    return hashlib.sha256(f"{recipe.seed} {data}".encode()).hexdigest()
