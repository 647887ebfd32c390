"""Joining the transformer's features with the frequency features.

Every fusion takes (skip, rgb, frequency): the layer's input, the transformer's output and the frequency
features, all N×C×H×W.
"""

from __future__ import annotations

from torch import Tensor, nn

from streamwatch.detectors.m2tr.attention import attend
from streamwatch.detectors.m2tr.normalised import Convolution, ConvSequence
from streamwatch.detectors.m2tr.transformer import SLOPE


class CrossModalityAttention(nn.Module):
    """CMA of the released code: rgb + LReLU(BN(conv1×1(attention of rgb over the frequency features))).

    One head over all pixels. The skip is not used: rgb carries it.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 1)
        self.conv2 = nn.Conv2d(channels, channels, 1)
        self.conv3 = nn.Conv2d(channels, channels, 1)
        self.conv4 = _projection(channels)

    def forward(self, skip: Tensor, rgb: Tensor, frequency: Tensor) -> Tensor:
        scale = rgb.shape[1] ** -0.5
        attended = _pixel_attention(self.conv1(rgb), self.conv2(frequency), self.conv3(frequency), scale)
        y: Tensor = rgb + self.conv4(attended)
        return y


class CrossModalityFusion(nn.Module):
    """CMF of the paper's first version: conv3×3(skip + rgb + softmax(QKᵀ/√(H·W·C))V).

    That Q comes from rgb, and K and V from the frequency features, is taken over from CMA.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.output = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, skip: Tensor, rgb: Tensor, frequency: Tensor) -> Tensor:
        scale = rgb[0].numel() ** -0.5
        attended = _pixel_attention(self.query(rgb), self.key(frequency), self.value(frequency), scale)
        y: Tensor = self.output(skip + rgb + attended)
        return y


class AdditiveFusion(nn.Module):
    """CMA without its attention: rgb + LReLU(BN(conv1×1(frequency))). The skip is not used."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv4 = _projection(channels)

    def forward(self, skip: Tensor, rgb: Tensor, frequency: Tensor) -> Tensor:
        y: Tensor = rgb + self.conv4(frequency)
        return y


FUSIONS: dict[str, type[nn.Module]] = {
    "cma": CrossModalityAttention,
    "cmf": CrossModalityFusion,
    "add": AdditiveFusion,
}


def _projection(channels: int) -> ConvSequence:
    return ConvSequence(Convolution(channels, channels, 1), nn.BatchNorm2d(channels), nn.LeakyReLU(SLOPE, inplace=True))


def _pixel_attention(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Attention of every pixel over every pixel; N×C×H×W in and out."""
    tokens = [tensor.flatten(2).transpose(1, 2) for tensor in (query, key, value)]
    attended = attend(tokens[0], tokens[1], tokens[2], scale)
    return attended.transpose(1, 2).reshape(value.shape)
