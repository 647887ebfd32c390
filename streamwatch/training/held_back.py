"""How well a network that is being trained does on what it is not trained on; this chooses the checkpoint."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from streamwatch.evaluation.clips import measure
from streamwatch.evaluation.metrics import roc_auc
from streamwatch.evaluation.web_faces import score_web
from streamwatch.faces.crops import CropGeometry
from streamwatch.records import FloatArray, ImageArray
from streamwatch.training.data import Kind, MadePairs, PairDataset, Pools, TrainingPair, forked_loader
from streamwatch.training.dev import CHOSEN_BY, dev_figures
from streamwatch.training.families import FAMILIES, Family
from streamwatch.training.inference import face_logits, infer
from streamwatch.training.prepare import FacePicture
from streamwatch.training.recipe import Recipe
from streamwatch.training.split import DataSplit

_SEED = 1_000_003


@dataclass(frozen=True, slots=True)
class HeldBackAucs:
    """AUC on held-back faces of the paired sets and of the generated ones, and on held-back forgeries by family.

    NaN where no such faces of both classes are held back. dev: figures of the recipe's dev sets (`dev_figures`), empty
    without any.
    """

    faces: float
    generated: float
    families: dict[Family, float]
    dev: dict[str, float] = field(default_factory=dict)

    def cells(self) -> dict[Kind, float]:
        """Every cell under the kind of training pairs that it belongs to."""
        cells: dict[Kind, float] = {"paired": self.faces, "generated": self.generated}
        cells.update(self.families.items())
        return cells

    def score(self, trained_on: Iterable[Kind]) -> float:
        """What chooses the checkpoint: on dev sets the mean of `CHOSEN_BY`, else the mean over the known cells that the
        recipe trains on; −∞ without any.
        """
        if self.dev:
            return sum(self.dev[name] for name in CHOSEN_BY) / len(CHOSEN_BY)
        cells = self.cells()
        known = [cells[kind] for kind in trained_on if not math.isnan(cells.get(kind, math.nan))]
        return sum(known) / len(known) if known else -math.inf


class HeldBack:
    """The faces of a split that nothing is trained on, and forgeries made from them: always the same.

    size: side of the crops, pixels. forgeries: pairs by family.
    """

    def __init__(self, recipe: Recipe, split: DataSplit, size: int) -> None:
        self.forgeries = held_back_pairs(
            split.held_pools, recipe.geometry.geometry(), size, recipe.evaluation.forgeries
        )
        self._recipe = recipe
        self._split = split
        self._size = size
        self._faces = some_of_each_class(split.held_faces, recipe.evaluation.limit)

    def evaluate(self, model: nn.Module, device: torch.device) -> HeldBackAucs:
        return HeldBackAucs(
            self._picture_auc(model, device, self._faces),
            self._picture_auc(model, device, self._split.held_generated),
            {family: self._forgery_auc(model, device, pairs) for family, pairs in self.forgeries.items()},
            self._dev_figures(model, device),
        )

    def first_pairs(self, per_family: int) -> list[TrainingPair]:
        """The first forgeries of every family, cut and degraded as in training."""
        return [pairs.pair(index) for pairs in self.forgeries.values() for index in range(per_family)]

    def _dev_figures(self, model: nn.Module, device: torch.device) -> dict[str, float]:
        if not self._split.dev:
            return {}

        def score(crops: ImageArray) -> FloatArray:
            return infer(model, torch.from_numpy(crops).permute(0, 3, 1, 2), device)

        faces = score_web(score, self._split.dev, self._recipe.geometry.geometry(), self._size, batch=32)
        return dev_figures(measure(faces, rounds=0))

    def _picture_auc(self, model: nn.Module, device: torch.device, pictures: list[FacePicture]) -> float:
        if len({p.fake for p in pictures}) < 2:
            return math.nan
        logits = face_logits(model, pictures, self._recipe.geometry.geometry(), self._size, device)
        return roc_auc([p.fake for p in pictures], logits)

    def _forgery_auc(self, model: nn.Module, device: torch.device, pairs: PairDataset) -> float:
        logits, labels = [], []
        for batch in forked_loader(pairs, 16, self._recipe.optimisation.workers):
            logits.append(infer(model, batch["images"].flatten(0, 2), device))
            labels.append(np.tile([0, 1], len(batch["images"])))
        return roc_auc(np.concatenate(labels), np.concatenate(logits))


def held_back_pairs(
    pools: Pools, geometry: CropGeometry, size: int, count: int, families: Sequence[Family] = FAMILIES
) -> dict[Family, PairDataset]:
    """`count` pairs of each family that these pools can be forged by, always the same."""
    return {
        family: PairDataset(MadePairs(pools, {family: 1.0}, _SEED), geometry, size, _SEED, count)
        for family in families
        if pools.sources and pools.forger.can(family)
    }


def some_of_each_class(pictures: list[FacePicture], limit: int | None) -> list[FacePicture]:
    """The first `limit` pictures of each class; all for None."""
    if limit is None:
        return pictures
    return [p for fake in (False, True) for p in [q for q in pictures if q.fake is fake][:limit]]
