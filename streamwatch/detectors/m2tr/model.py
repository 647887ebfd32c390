"""M2TR: multi-modal multi-scale transformers for deepfake detection (Wang et al., ICMR 2022)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from streamwatch.detectors.m2tr.backbone import EfficientNet
from streamwatch.detectors.m2tr.config import M2TRConfig, resolve
from streamwatch.detectors.m2tr.decoder import MaskDecoder
from streamwatch.detectors.m2tr.frequency import DctBands, FrequencyBlock
from streamwatch.detectors.m2tr.fusion import FUSIONS, CrossModalityFusion
from streamwatch.detectors.m2tr.levels import LevelStatistics, regions
from streamwatch.detectors.m2tr.transformer import MultiScaleTransformer
from streamwatch.errors import ConfigError

# the last normalisation of each branch that adds to the texture map
_RESIDUAL_ENDS = ("0.t.attention.output_linear.1", "0.t.feed_forward.conv.4", "2.conv4.1")


class M2TROutput(NamedTuple):
    """The network's output for N crops.

    logits: N×2, [real, fake]. feature: N×D, pooled. mask_logits: N×1×m×m with m = `M2TR.mask_side`, or None
    without a decoder; for another input size S than the configured one, m grows with S.
    """

    logits: Tensor
    feature: Tensor
    mask_logits: Tensor | None


class M2TRLayer(nn.ModuleList):
    """Multi-scale transformer, frequency block and fusion, under the indices of the released code."""

    def __init__(self, config: M2TRConfig, channels: int, side: int) -> None:
        super().__init__([MultiScaleTransformer(channels, config.head_divisors)])
        self.arrangement = config.arrangement
        self.frequency = config.frequency
        if config.frequency == "fft":
            self.append(FrequencyBlock(channels, side))
        elif config.frequency == "dct":
            self.append(nn.Identity())  # the bands come from the picture, once for all layers
        if config.frequency != "none":
            self.append(FUSIONS[config.fusion](channels))

    def forward(self, x: Tensor, bands: Tensor | None) -> Tensor:
        rgb: Tensor = self[0](x)
        if self.frequency == "none":
            return rgb
        frequency = self[1](rgb if self.arrangement == "serial" else x) if bands is None else bands
        y: Tensor = self[2](x, rgb, frequency)
        return y


class Classifier(nn.Module):
    """Dropout and a linear layer to [real, fake]."""

    def __init__(self, features: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Linear(features, 2)

    def forward(self, feature: Tensor) -> Tensor:
        y: Tensor = self.projection(self.dropout(feature))
        return y


class LayerClassifier(nn.Module):
    """Statistics of the output of M2TR layers beside a backbone, and what they add to the logits: at first nothing."""

    def __init__(self, channels: int, config: M2TRConfig) -> None:
        super().__init__()
        self.levels = LevelStatistics([channels], config.face_share)
        self.classifier = Classifier(self.levels.size, config.dropout)
        nn.init.zeros_(self.classifier.projection.weight)
        nn.init.zeros_(self.classifier.projection.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits N×2 and features N×D of a map N×C×h×w."""
        feature = self.levels([x])
        return self.classifier(feature), feature


class M2TR(nn.Module):
    """The whole network. `model` is the backbone, under the name that the authors' checkpoints use.

    stride, channels: of the texture map. levels: None where the classifier reads the pooled last map. beside: reads the
    output of M2TR layers that stand beside the backbone; None where they stand in it. feature_size: D. mask_side: side
    of the mask logits for an input of `config.input_size`, None without a decoder.
    Raises ConfigError where the map cannot be cut into the patches, or its channels not split into the heads.
    """

    def __init__(self, config: M2TRConfig) -> None:
        super().__init__()
        self.config = config
        self.model = EfficientNet(config.backbone, config.drop_connect)
        self.model.check_block("insert_after", config.insert_after)
        if config.decoder_context is not None:
            self.model.check_block("decoder_context", config.decoder_context)
        self.channels = self.model.channels[config.insert_after]
        self.stride = self.model.strides[config.insert_after]
        self.levels: LevelStatistics | None = None
        self.feature_size = self.model.head_channels
        if config.levels:
            self.model.check_block("levels", config.levels[-1])
            self.levels = LevelStatistics([self.model.channels[i] for i in config.levels], config.face_share)
            self.feature_size = self.levels.size
            self._check_face(config.levels[-1])
        side = self._map_side(config.input_size)
        if self.channels % len(config.patch_divisors):
            raise ConfigError(
                f"patch_divisors: {len(config.patch_divisors)} heads cannot share {self.channels} channels"
            )
        self.layers = nn.ModuleList(M2TRLayer(config, self.channels, side) for _ in range(config.depth))
        self.bands = DctBands(self.channels, self.stride) if config.frequency == "dct" and config.depth else None
        self.classifier = Classifier(self.feature_size, config.dropout)
        self.beside: LayerClassifier | None = None
        if self.levels is not None and config.depth:
            self.beside = LayerClassifier(self.channels, config)
            self.feature_size += self.beside.levels.size
        self.decoder: MaskDecoder | None = None
        self.mask_side: int | None = None
        if config.decoder:
            context = config.decoder_context
            deep = None if context is None else self.model.channels[context]
            self.decoder = MaskDecoder(self.channels, config.decoder_stages, deep)
            self.mask_side = side * 2 ** len(config.decoder_stages)
        if config.identity_init:
            self._pass_features()

    def forward(self, x: Tensor) -> M2TROutput:
        """x: N×3×S×S, normalised as the weights' card says."""
        maps, mask = self.convolve(x)
        logits, feature = self.classify(maps)
        return M2TROutput(logits, feature, mask)

    def convolve(self, x: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """The maps that the classifier reads, N×C×h×w, and the mask logits, for x as in `forward`."""
        self._map_side(x.shape[-1])
        if self.levels is not None:
            return self._convolve_levels(x)
        cut, context = self.config.insert_after + 1, self.config.decoder_context
        texture = self._texture(x, self.model.blocks(self.model.stem(x), 0, cut))
        middle = cut if context is None else context + 1
        deep = self.model.blocks(texture, cut, middle)
        last = self.model.head(self.model.blocks(deep, middle, len(self.model)))
        return [last], None if self.decoder is None else self.decoder(texture, deep)

    def classify(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits N×2 and features N×D of the maps of `convolve`."""
        last = maps[-1]
        with torch.autocast(last.device.type, enabled=False):  # scores are worth full precision, and cheap here
            if self.levels is None:
                feature = last.to(torch.promote_types(last.dtype, torch.float32)).mean(dim=(2, 3))
                return self.classifier(feature), feature
            if self.beside is None:
                feature = self.levels(maps)
                return self.classifier(feature), feature
            first, *backbone = maps
            feature = self.levels(backbone)
            logits, of_layers = self.beside(first)
            return self.classifier(feature) + logits, torch.cat([feature, of_layers], dim=1)

    def _texture(self, x: Tensor, texture: Tensor) -> Tensor:
        """The texture map behind the M2TR layers."""
        bands = None if self.bands is None else self.bands(x)
        for layer in self.layers:
            texture = layer(texture, bands)
        return texture

    def _convolve_levels(self, x: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """`convolve` with levels; the output of M2TR layers stands before the backbone's maps."""
        levels, cut, context = self.config.levels, self.config.insert_after, self.config.decoder_context
        y, done, found = self.model.stem(x), 0, dict[int | None, Tensor]()
        for stop in sorted({*levels, cut, cut if context is None else context}):
            y = found[stop] = self.model.blocks(y, done, stop + 1)
            done = stop + 1
        texture, maps = self._texture(x, found[cut]), [found[level] for level in levels]
        mask = None if self.decoder is None else self.decoder(texture, found.get(context))
        return [texture, *maps] if self.layers else maps, mask

    def _check_face(self, level: int) -> None:
        """Raise ConfigError where the face covers no cell of the map of a block."""
        side = self.config.input_size // self.model.strides[level]
        if not all(part.isfinite().all() for part in regions(side, side, self.config.face_share, torch.device("cpu"))):
            raise ConfigError(
                f"face_share: a face of {self.config.face_share:g} of the crop covers no cell of the map of block "
                f"{level}, {side}×{side}",
                "wider faces, a larger input_size or no such level",
            )

    def _map_side(self, size: int) -> int:
        unit = self.stride * math.lcm(*self.config.head_divisors)
        if size % unit:
            raise ConfigError(
                f"input_size: {size} is not a multiple of {unit}, so that the feature map cannot be cut into "
                f"{self.config.head_divisors} patches a side"
            )
        return size // self.stride

    def _pass_features(self) -> None:
        """Zero the scale of every branch that adds to the texture map (gradients still reach it)."""
        for layer in self.layers:
            for name, module in layer.named_modules():
                if name in _RESIDUAL_ENDS and isinstance(module, nn.BatchNorm2d):
                    nn.init.zeros_(module.weight)
                elif isinstance(module, CrossModalityFusion):
                    # skip and rgb are equal at the start: half of their sum is the layer's input
                    nn.init.dirac_(module.output.weight)
                    with torch.no_grad():
                        module.output.weight.mul_(0.5)
                    for parameter in (module.output.bias, module.value.weight, module.value.bias):
                        if parameter is not None:
                            nn.init.zeros_(parameter)


def build(preset: str | M2TRConfig, **changes: Any) -> M2TR:
    """A network with fresh weights: a preset's name or a configuration, with fields replaced by `changes`."""
    return M2TR(replace(resolve(preset), **changes))
