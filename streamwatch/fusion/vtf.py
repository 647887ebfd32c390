"""A temporal transformer over the features of one track.

The M2TR paper compares the mean of frame features with a temporal block (VTF) whose layers and sizes it does not give,
and which its released code lacks: this one is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from streamwatch.records import FloatArray


@dataclass(frozen=True)
class VTFConfig:
    """features: D of the detector. frames: in a window. width, depth, heads: of the transformer, with MLP × 4."""

    features: int = 1280
    frames: int = 16
    width: int = 128
    depth: int = 2
    heads: int = 8
    dropout: float = 0.1


class VTF(nn.Module):
    """Projection, learned time positions, class token, pre-norm layers, one logit."""

    def __init__(self, config: VTFConfig) -> None:
        super().__init__()
        self.config = config
        self.project = nn.Sequential(nn.LayerNorm(config.features), nn.Linear(config.features, config.width))
        self.token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.position = nn.Parameter(0.02 * torch.randn(1, config.frames + 1, config.width))
        layer = nn.TransformerEncoderLayer(
            config.width, config.heads, 4 * config.width, config.dropout, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, config.depth, nn.LayerNorm(config.width), enable_nested_tensor=False)
        self.head = nn.Linear(config.width, 1)

    def forward(self, features: Tensor, missing: Tensor | None = None) -> Tensor:
        """Logits (N) of N×T×D features, T ≤ `frames`, in order of time.

        missing: N×T, True where a window has no face; such places are not attended to.
        """
        count = features.shape[1]
        if count > self.config.frames:
            raise ValueError(f"a window holds at most {self.config.frames} faces, not {count}")
        x = torch.cat([self.token.expand(len(features), -1, -1), self.project(features)], dim=1)
        x = x + self.position[:, : count + 1]
        hidden = None
        if missing is not None:
            hidden = torch.cat([missing.new_zeros(len(missing), 1), missing], dim=1)
        y: Tensor = self.head(self.layers(x, src_key_padding_mask=hidden)[:, 0]).squeeze(1)
        return y


class OnlineVTF:
    """The logit of a track that goes on: the mean over its full windows and the current one.

    Windows follow one another without overlap, each weighted by its faces. Memory does not grow with the track: one
    window of features and two numbers. Fed face by face or all at once, the result is the same.
    """

    def __init__(self, model: VTF) -> None:
        self._model = model.eval()
        self._window: list[FloatArray] = []
        self._sum = 0.0
        self._faces = 0

    def add(self, feature: FloatArray) -> None:
        """Take in the next face's feature (D)."""
        if len(self._window) == self._model.config.frames:
            self._sum += self._window_logit() * len(self._window)
            self._faces += len(self._window)
            self._window.clear()
        self._window.append(feature)

    @property
    def logit(self) -> float:
        """Of the faces so far. Raises ValueError before the first."""
        if not self._window:
            raise ValueError("a track without faces has no score")
        count = len(self._window)
        return (self._sum + self._window_logit() * count) / (self._faces + count)

    def _window_logit(self) -> float:
        with torch.inference_mode():
            stack = torch.from_numpy(np.stack(self._window))[None]
            return float(self._model(stack).item())
