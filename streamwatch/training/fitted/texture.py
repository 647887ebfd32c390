"""The fit of a `texture` detector: a linear classifier on the statistics of maps of a frozen ImageNet network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from streamwatch.detectors.card import ModelCard
from streamwatch.detectors.checkpoints import save_checkpoint
from streamwatch.detectors.m2tr.config import resolve
from streamwatch.detectors.m2tr.levels import CLIP, LevelStatistics
from streamwatch.detectors.m2tr.model import M2TR
from streamwatch.errors import ConfigError
from streamwatch.records import FloatArray, ImageArray
from streamwatch.training.fitted.fit import fit_linear, standardisation
from streamwatch.training.fitted.pictures import StatisticsRows
from streamwatch.training.fitted.recipe import TextureRecipe
from streamwatch.training.inference import normalise
from streamwatch.training.starts import start_from_imagenet

_LEAST_SCALE = 1e-3  # a statistic that hardly varies must not count for much; and fp16 has to hold it


class Texture:
    """A network of the recipe's preset with ImageNet weights, whose classifier is to be fitted.

    Raises ConfigError for a preset without `levels` or with layers to train, WeightsError without ImageNet weights.
    """

    def __init__(self, recipe: TextureRecipe) -> None:
        config = resolve(recipe.preset)
        if not config.levels or config.depth:
            raise ConfigError(f"preset {recipe.preset!r}: a texture detector needs levels and no M2TR layers")
        size, share = recipe.geometry.size, 1 / recipe.geometry.scale
        self.model = M2TR(replace(config, input_size=size, face_share=share, dropout=0.0))
        start_from_imagenet(self.model)
        self.model.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._recipe = recipe

    @property
    def _levels(self) -> LevelStatistics:
        assert self.model.levels is not None
        return self.model.levels

    def measure(self, crops: ImageArray) -> FloatArray:
        """N×D statistics of N×S×S×3 uint8 crops, as they are."""
        with torch.inference_mode():
            maps, _ = self.model.convolve(normalise(torch.from_numpy(crops).permute(0, 3, 1, 2)))
            rows: FloatArray = self._levels.measure(maps).numpy()
        return rows

    def fit(self, rows: StatisticsRows) -> None:
        """Give the model the standardisation and the classifier of the rows. Raises LibraryMissing."""
        mean, scale = standardisation(rows.statistics, rows.weights, _LEAST_SCALE)
        standardised = np.clip((rows.statistics - mean) / scale, -CLIP, CLIP)
        coefficients, intercept = fit_linear(standardised, rows.fake, rows.weights, self._recipe.linear)
        self._levels.mean.copy_(torch.from_numpy(mean))
        self._levels.scale.copy_(torch.from_numpy(scale))
        half = torch.from_numpy(coefficients / 2).float()
        projection = self.model.classifier.projection
        projection.weight.copy_(torch.stack([-half, half]))
        projection.bias.copy_(torch.tensor([-intercept / 2, intercept / 2]))

    def decision(self, rows: FloatArray) -> FloatArray:
        """Logits N, z_fake − z_real, of N×D statistics as they are."""
        with torch.inference_mode():
            logits = self.model.classifier(self._levels.standardise(torch.from_numpy(rows)))
        found: FloatArray = (logits[:, 1] - logits[:, 0]).numpy()
        return found

    def save(self, path: Path, card: ModelCard) -> ModelCard:
        """Write weights and card. Raises WeightsError."""
        return save_checkpoint(path, self.model, card)
