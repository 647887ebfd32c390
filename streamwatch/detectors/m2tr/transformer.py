"""The multi-scale transformer (MT): every attention head compares patches of another size."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from streamwatch.detectors.m2tr.attention import attend
from streamwatch.detectors.m2tr.normalised import Convolution, ConvSequence

SLOPE = 0.2


class DilatedConv(Convolution):
    """A convolution that trains in fp32 on a CPU, whatever autocast says.

    torch 2.13's bf16 weight gradient of a dilated channels-last convolution reads memory that was never written there.
    """

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """This convolution with other numbers."""
        if not (x.device.type == "cpu" and torch.is_grad_enabled()):
            return super().convolve(x, weight, bias)
        with torch.autocast("cpu", enabled=False):
            return super().convolve(x.to(weight.dtype), weight, bias)


class FeedForward(nn.Module):
    """Two 3×3 convolutions without expansion, the first with dilation 2, each with BN and LeakyReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = ConvSequence(
            DilatedConv(channels, channels, 3, padding=2, dilation=2),
            nn.BatchNorm2d(channels),
            nn.LeakyReLU(SLOPE, inplace=True),
            Convolution(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.LeakyReLU(SLOPE, inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y


class MultiScaleAttention(nn.Module):
    """Self-attention over patches, one patch size per head; tokens are flattened (channel, row, column)."""

    def __init__(self, channels: int, divisors: tuple[int, ...]) -> None:
        super().__init__()
        self.divisors = divisors
        self.query_embedding = nn.Conv2d(channels, channels, 1)
        self.key_embedding = nn.Conv2d(channels, channels, 1)
        self.value_embedding = nn.Conv2d(channels, channels, 1)
        self.output_linear = ConvSequence(
            Convolution(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.LeakyReLU(SLOPE, inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        heads = len(self.divisors)
        queries = self.query_embedding(x).chunk(heads, dim=1)
        keys = self.key_embedding(x).chunk(heads, dim=1)
        values = self.value_embedding(x).chunk(heads, dim=1)
        outputs = [
            _patch_attention(query, key, value, divisor)
            for query, key, value, divisor in zip(queries, keys, values, self.divisors, strict=True)
        ]
        y: Tensor = self.output_linear(torch.cat(outputs, dim=1))
        return y


class TransformerBlock(nn.Module):
    """Attention and feed-forward, each with a residual. No LayerNorm, no positions."""

    def __init__(self, channels: int, divisors: tuple[int, ...]) -> None:
        super().__init__()
        self.attention = MultiScaleAttention(channels, divisors)
        self.feed_forward = FeedForward(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        y: Tensor = x + self.feed_forward(x)
        return y


class MultiScaleTransformer(nn.Module):
    """One transformer block under the name that the authors' checkpoints use."""

    def __init__(self, channels: int, divisors: tuple[int, ...]) -> None:
        super().__init__()
        self.t = TransformerBlock(channels, divisors)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.t(x)
        return y


def _patch_attention(query: Tensor, key: Tensor, value: Tensor, divisor: int) -> Tensor:
    """Attention of one head (N×D×H×W) over its divisor² patches."""
    if divisor == 1:
        return value  # the softmax over a single token is 1
    tokens = [_to_patches(tensor, divisor) for tensor in (query, key, value)]
    attended = attend(tokens[0], tokens[1], tokens[2], scale=tokens[0].shape[-1] ** -0.5)
    return _from_patches(attended, divisor, value.shape)


def _to_patches(x: Tensor, divisor: int) -> Tensor:
    """N×D×H×W -> N×divisor²×(D·H/divisor·W/divisor)."""
    n, d, h, w = x.shape
    x = x.reshape(n, d, divisor, h // divisor, divisor, w // divisor)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(n, divisor * divisor, -1)


def _from_patches(x: Tensor, divisor: int, shape: torch.Size) -> Tensor:
    n, d, h, w = shape
    x = x.reshape(n, divisor, divisor, d, h // divisor, w // divisor)
    return x.permute(0, 3, 1, 4, 2, 5).reshape(n, d, h, w)
