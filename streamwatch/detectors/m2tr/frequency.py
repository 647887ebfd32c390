"""Frequency features: a learnable filter on the feature map's spectrum, or fixed DCT bands of the picture."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from streamwatch.detectors.m2tr.normalised import Convolution, ConvSequence
from streamwatch.detectors.m2tr.transformer import SLOPE, FeedForward


class GlobalFilter(nn.Module):
    """Multiply the 2-D spectrum of every channel by a learnable complex filter.

    The filter is stored for maps of `side`×`side` as [side, side // 2 + 1, channels, (real, imaginary)]; for
    other sizes it is interpolated linearly in normalised frequency (cycles per sample). Computes in fp32 at
    least, whatever autocast says.
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.complex_weight = nn.Parameter(torch.randn(side, side // 2 + 1, channels, 2) * 0.02)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            wide = x.to(torch.promote_types(x.dtype, torch.float32))
            weight = self.complex_weight.to(wide.dtype)
            height, width = x.shape[-2:]
            if (height, width) != (self.side, self.side):
                weight = resize_filter(weight, self.side, height, width)
            spectrum = torch.fft.rfft2(wide, norm="ortho")
            spectrum = spectrum * torch.view_as_complex(weight.contiguous()).permute(2, 0, 1)
            y: Tensor = torch.fft.irfft2(spectrum, s=(height, width), norm="ortho").to(x.dtype)
            return y


class FrequencyBlock(nn.Module):
    """f = y + FFN(filtered y)."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.filter = GlobalFilter(channels, side)
        self.feed_forward = FeedForward(channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.feed_forward(self.filter(x))
        return y


class DctBands(nn.Module):
    """Frequency branch of the paper's first version: DCT bands of the picture, convolved to the map's size.

    Bands by i + j of the coefficient: below N/16, below N/8, the rest. The inverse transform of each band
    is a picture; their 9 channels go through stride-2 convolutions up to the texture map's stride. The
    paper's text was not available: the number and width of those convolutions are our choice.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        steps = int(math.log2(stride))
        widths = [9, *(max(16, channels >> (steps - 1 - step)) for step in range(steps - 1)), channels]
        self.stack = nn.Sequential(
            *(
                ConvSequence(
                    Convolution(before, after, 3, stride=2, padding=1, bias=False),
                    nn.BatchNorm2d(after),
                    nn.LeakyReLU(SLOPE, inplace=True),
                )
                for before, after in itertools.pairwise(widths)
            )
        )

    def forward(self, picture: Tensor) -> Tensor:
        """N×3×S×S -> N×C×S/stride×S/stride."""
        y: Tensor = self.stack(split_bands(picture))
        return y


def split_bands(picture: Tensor) -> Tensor:
    """N×3×S×S -> N×9×S×S: low, middle and high DCT band of each channel (they sum to the picture)."""
    with torch.autocast(picture.device.type, enabled=False):
        wide = picture.to(torch.promote_types(picture.dtype, torch.float32))
        size = wide.shape[-1]
        basis = dct_matrix(size, wide.dtype, wide.device)
        coefficients = basis @ wide @ basis.T
        index = torch.arange(size, device=wide.device)
        order = index[:, None] + index[None, :]
        low, middle = order < size / 16, order < size / 8
        bands = [basis.T @ (coefficients * mask) @ basis for mask in (low, middle & ~low, ~middle)]
        return torch.cat(bands, dim=1).to(picture.dtype)


def dct_matrix(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Orthonormal DCT-II: row k is the k-th cosine; its transpose inverts it."""
    k = torch.arange(size, dtype=torch.float64)
    matrix = torch.cos(math.pi / size * (k[None, :] + 0.5) * k[:, None]) * math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix.to(device, dtype)


def resize_filter(weight: Tensor, side: int, height: int, width: int) -> Tensor:
    """Sample a [side, side // 2 + 1, C, 2] filter at the frequencies of a height×width map."""
    device, dtype = weight.device, weight.dtype
    rows = torch.fft.fftfreq(height, device=device, dtype=dtype) * side
    low = rows.floor()
    part = (rows - low)[:, None, None, None]
    below = low.long() % side
    weight = torch.lerp(weight[below], weight[(below + 1) % side], part)

    last = weight.shape[1] - 1
    columns = (torch.fft.rfftfreq(width, device=device, dtype=dtype) * side).clamp(max=last)
    low = columns.floor()
    part = (columns - low)[None, :, None, None]
    below = low.long()
    return torch.lerp(weight[:, below], weight[:, (below + 1).clamp(max=last)], part)
