"""EfficientNet trunks: B4 (Tan & Le, ICML 2019), Lite0 and Lite2, in torch alone.

Parameter names are those of the well-known PyTorch ports, so that their published checkpoints load.
Padding is TensorFlow's SAME for maps of an even side, whatever the side: the ports compute it once, for 380
(B4), 224 (Lite0) and 260 (Lite2) pixels, and every strided convolution of theirs comes out with this one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from streamwatch.detectors.m2tr.config import BackboneName
from streamwatch.detectors.m2tr.normalised import Convolution, convolve_normalised
from streamwatch.errors import ConfigError

_BN_EPS = 1e-3
_BN_MOMENTUM = 0.01
_STEM_CHANNELS = 32
_HEAD_CHANNELS = 1280


@dataclass(frozen=True)
class _Stage:
    repeats: int
    kernel: int
    stride: int
    expand: int
    channels: int


# EfficientNet-B0; the other members scale depth and width.
_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


@dataclass(frozen=True)
class _Variant:
    """Scaling of one member of the family.

    lite: no squeeze-excitation, ReLU6, and stem, head, first and last stage not scaled.
    """

    width: float
    depth: float
    lite: bool


_VARIANTS: dict[BackboneName, _Variant] = {
    "efficientnet-b4": _Variant(width=1.4, depth=1.8, lite=False),
    "efficientnet-lite0": _Variant(width=1.0, depth=1.0, lite=True),
    "efficientnet-lite2": _Variant(width=1.1, depth=1.2, lite=True),
}


def _round_width(channels: int, factor: float) -> int:
    """Scaled to a multiple of 8, never more than 10 % below the exact value."""
    exact = channels * factor
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded


class SameConv2d(Convolution):
    """Convolution without bias and with TensorFlow's SAME padding; an odd pixel goes right and below."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        total = kernel - stride
        even = total % 2 == 0
        super().__init__(inputs, outputs, kernel, stride, padding=total // 2 if even else 0, groups=groups, bias=False)
        near, far = total // 2, total - total // 2
        self.uneven = None if even else (near, far, near, far)

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """This convolution with other numbers.

        Where the weights need no gradient they are padded in place of the map, near side against far: the same sums in
        a third of the time. The gradient of such a larger kernel takes longer than what that saves.
        """
        padding = self.padding
        if self.uneven is not None:
            near, far = self.uneven[:2]
            if torch.is_grad_enabled() and weight.requires_grad:
                x = F.pad(x, self.uneven)
            else:
                weight, padding = F.pad(weight, (far - near, 0, far - near, 0)), (far, far)
        return F.conv2d(x, weight, bias, self.stride, padding, self.dilation, self.groups)


class ReLU6(nn.Module):
    """Cut off at 0 and 6; in place, but where the gradient needs the map as it was and would have to copy it."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(x, inplace=not (torch.is_grad_enabled() and x.requires_grad))


class MBConv(nn.Module):
    """Inverted residual bottleneck: expand 1×1, depthwise k×k, squeeze-excitation, project 1×1."""

    def __init__(self, inputs: int, stage: _Stage, stride: int, lite: bool, drop: float) -> None:
        super().__init__()
        hidden = inputs * stage.expand
        self.residual = stride == 1 and inputs == stage.channels
        self.drop = drop
        self.activation: nn.Module = ReLU6() if lite else nn.SiLU()
        self._expand_conv: SameConv2d | None = None
        if stage.expand != 1:
            self._expand_conv = SameConv2d(inputs, hidden, 1)
            self._bn0 = _batch_norm(hidden)
        self._depthwise_conv = SameConv2d(hidden, hidden, stage.kernel, stride, groups=hidden)
        self._bn1 = _batch_norm(hidden)
        self._se_reduce: nn.Module | None = None
        if not lite:
            squeezed = max(1, inputs // 4)
            self._se_reduce = nn.Conv2d(hidden, squeezed, 1)
            self._se_expand = nn.Conv2d(squeezed, hidden, 1)
        self._project_conv = SameConv2d(hidden, stage.channels, 1)
        self._bn2 = _batch_norm(stage.channels)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        if self._expand_conv is not None:
            y = self.activation(convolve_normalised(self._expand_conv, self._bn0, y))
        y = self.activation(convolve_normalised(self._depthwise_conv, self._bn1, y))
        if self._se_reduce is not None:
            weight = self._se_expand(self.activation(self._se_reduce(F.adaptive_avg_pool2d(y, 1))))
            y = torch.sigmoid(weight) * y
        out = convolve_normalised(self._project_conv, self._bn2, y)
        if not self.residual:
            return out
        if self.training and self.drop > 0:
            keep = 1 - self.drop
            out = out * (out.new_empty(len(out), 1, 1, 1).bernoulli_(keep) / keep)
        return x + out


class EfficientNet(nn.Module):
    """Trunk without its ImageNet classifier. `blocks` runs in parts, so that layers can sit in between.

    channels, strides: of each block's output, strides against the input. head_channels: of `head`'s output.
    """

    def __init__(self, name: BackboneName, drop_connect: float) -> None:
        super().__init__()
        variant = _VARIANTS[name]
        stem, head = _STEM_CHANNELS, _HEAD_CHANNELS
        if not variant.lite:
            stem, head = _round_width(stem, variant.width), _round_width(head, variant.width)
        repeats = [
            stage.repeats
            if variant.lite and index in (0, len(_STAGES) - 1)
            else math.ceil(stage.repeats * variant.depth)
            for index, stage in enumerate(_STAGES)
        ]
        total = sum(repeats)

        self._conv_stem = SameConv2d(3, stem, 3, stride=2)
        self._bn0 = _batch_norm(stem)
        self._blocks = nn.Sequential()
        self.channels: list[int] = []
        self.strides: list[int] = []
        inputs, reach = stem, 2
        for stage, count in zip(_STAGES, repeats, strict=True):
            outputs = _round_width(stage.channels, variant.width)
            sized = _Stage(count, stage.kernel, stage.stride, stage.expand, outputs)
            for repeat in range(count):
                stride = stage.stride if repeat == 0 else 1
                drop = drop_connect * len(self._blocks) / total
                self._blocks.append(MBConv(inputs, sized, stride, variant.lite, drop))
                reach, inputs = reach * stride, outputs
                self.channels.append(outputs)
                self.strides.append(reach)
        self._conv_head = SameConv2d(inputs, head, 1)
        self._bn1 = _batch_norm(head)
        self.activation: nn.Module = ReLU6() if variant.lite else nn.SiLU()
        self.head_channels = head
        _initialise(self)

    def stem(self, x: Tensor) -> Tensor:
        """N×3×S×S -> N×C×S/2×S/2."""
        y: Tensor = self.activation(convolve_normalised(self._conv_stem, self._bn0, x))
        return y

    def blocks(self, x: Tensor, start: int, stop: int) -> Tensor:
        """Blocks start … stop−1."""
        y: Tensor = self._blocks[start:stop](x)
        return y

    def head(self, x: Tensor) -> Tensor:
        """The last 1×1 convolution: N×`head_channels`×S/32×S/32."""
        y: Tensor = self.activation(convolve_normalised(self._conv_head, self._bn1, x))
        return y

    def __len__(self) -> int:
        return len(self._blocks)

    def check_block(self, key: str, index: int) -> None:
        """Raise ConfigError naming `key` unless there is a block `index`."""
        if index >= len(self._blocks):
            raise ConfigError(f"{key}: {index} is beyond the last backbone block, {len(self._blocks) - 1}")


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_BN_EPS, momentum=_BN_MOMENTUM)


def _initialise(trunk: EfficientNet) -> None:
    """Normal with variance 2/fan-out, as in the EfficientNet reference."""
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
            nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
