"""M2TR in evaluation mode, written out in numpy: explicit matrices and loops, no code of the package.

It reads the weights from a state dict and computes in double precision. Slow on purpose: attention maps are
materialised, Fourier transforms are matrix products, convolutions are sums over kernel taps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Trunk:
    """(repeats, kernel, stride, expansion) of the seven stages; SE and swish, or neither and ReLU6."""

    stages: tuple[tuple[int, int, int, int], ...]
    lite: bool


TRUNKS = {
    "efficientnet-b4": Trunk(
        ((2, 3, 1, 1), (4, 3, 2, 6), (4, 5, 2, 6), (6, 3, 2, 6), (6, 5, 1, 6), (8, 5, 2, 6), (2, 3, 1, 6)),
        False,
    ),
    "efficientnet-lite0": Trunk(
        ((1, 3, 1, 1), (2, 3, 2, 6), (2, 5, 2, 6), (3, 3, 2, 6), (3, 5, 1, 6), (4, 5, 2, 6), (1, 3, 1, 6)),
        True,
    ),
}


class Reference:
    """`logits(picture)` and `mask(picture)` of one normalised 3×S×S picture, S a multiple of 32."""

    def __init__(
        self,
        state: Mapping[str, Array],
        *,
        backbone: str,
        insert_after: int,
        depth: int,
        divisors: tuple[int, ...],
        arrangement: str,
        frequency: str,
        fusion: str,
        decoder_context: int | None,
    ) -> None:
        self.state = state
        self.trunk = TRUNKS[backbone]
        self.insert_after = insert_after
        self.depth = depth
        self.divisors = divisors
        self.arrangement = arrangement
        self.frequency = frequency
        self.fusion = fusion
        self.decoder_context = decoder_context

    def run(self, picture: Array) -> tuple[Array, Array | None]:
        """Logits [real, fake], and mask logits m×m where the state has a decoder."""
        x = self.act(self.bn("model._bn0", self.same_conv("model._conv_stem", picture, 2)))
        index, texture, context = 0, x, None
        for repeats, kernel, stride, expand in self.trunk.stages:
            for repeat in range(repeats):
                x = self.mbconv(f"model._blocks.{index}", x, kernel, stride if repeat == 0 else 1, expand)
                if index == self.insert_after:
                    x = texture = self.layers(x, picture)
                if index == self.decoder_context:
                    context = x
                index += 1
        x = self.act(self.bn("model._bn1", self.same_conv("model._conv_head", x, 1)))
        pooled = x.mean(axis=(1, 2))
        logits = self.state["classifier.projection.weight"] @ pooled + self.state["classifier.projection.bias"]
        has_decoder = any(key.startswith("decoder.") for key in self.state)
        return logits, self.decode(texture, context) if has_decoder else None

    # backbone

    def act(self, x: Array) -> Array:
        return np.clip(x, 0, 6) if self.trunk.lite else x * sigmoid(x)

    def mbconv(self, name: str, x: Array, kernel: int, stride: int, expand: int) -> Array:
        y = x
        if expand != 1:
            y = self.act(self.bn(f"{name}._bn0", self.same_conv(f"{name}._expand_conv", y, 1)))
        y = self.same_conv(f"{name}._depthwise_conv", y, stride, depthwise=True)
        y = self.act(self.bn(f"{name}._bn1", y))
        if not self.trunk.lite:
            squeezed = y.mean(axis=(1, 2), keepdims=True)
            squeezed = self.conv(f"{name}._se_expand", self.act(self.conv(f"{name}._se_reduce", squeezed)))
            y = y * sigmoid(squeezed)
        y = self.bn(f"{name}._bn2", self.same_conv(f"{name}._project_conv", y, 1))
        return x + y if stride == 1 and x.shape[0] == y.shape[0] else y

    def same_conv(self, name: str, x: Array, stride: int, depthwise: bool = False) -> Array:
        """TensorFlow's SAME: ⌈side / stride⌉ outputs, an odd padding pixel goes right and below."""
        weight = self.state[f"{name}.weight"]
        kernel, side = weight.shape[-1], x.shape[-1]
        total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
        near, far = total // 2, total - total // 2
        return taps(np.pad(x, ((0, 0), (near, far), (near, far))), weight, stride, 1, depthwise)

    def conv(self, name: str, x: Array, padding: int = 0, dilation: int = 1, stride: int = 1) -> Array:
        padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
        y = taps(padded, self.state[f"{name}.weight"], stride, dilation, depthwise=False)
        bias = self.state.get(f"{name}.bias")
        return y if bias is None else y + bias[:, None, None]

    def bn(self, name: str, x: Array) -> Array:
        eps = 1e-3 if name.startswith("model.") else 1e-5
        mean, variance, weight, bias = (
            self.state[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / np.sqrt(variance + eps) * weight + bias

    # M2TR layers

    def layers(self, x: Array, picture: Array) -> Array:
        bands = self.dct_features(picture) if self.frequency == "dct" else None
        for index in range(self.depth):
            name = f"layers.{index}"
            mt = self.transformer(f"{name}.0.t", x)
            if self.frequency == "none":
                x = mt
                continue
            if bands is None:
                frequency = self.frequency_block(f"{name}.1", mt if self.arrangement == "serial" else x)
            else:
                frequency = bands
            x = self.fuse(f"{name}.2", x, mt, frequency)
        return x

    def transformer(self, name: str, x: Array) -> Array:
        q, k, v = (self.conv(f"{name}.attention.{part}_embedding", x) for part in ("query", "key", "value"))
        width = x.shape[0] // len(self.divisors)
        heads = []
        for head, divisor in enumerate(self.divisors):
            part = slice(head * width, (head + 1) * width)
            side = x.shape[1] // divisor
            corners = [(row * side, col * side) for row in range(divisor) for col in range(divisor)]
            tokens = [
                np.stack([t[part, row : row + side, column : column + side].ravel() for row, column in corners])
                for t in (q, k, v)
            ]
            attended = softmax(tokens[0] @ tokens[1].T / math.sqrt(width * side * side)) @ tokens[2]
            folded = np.empty_like(v[part])
            for token, (row, col) in zip(attended, corners, strict=True):
                folded[:, row : row + side, col : col + side] = token.reshape(width, side, side)
            heads.append(folded)
        joined = self.conv(f"{name}.attention.output_linear.0", np.concatenate(heads), padding=1)
        x = x + leaky(self.bn(f"{name}.attention.output_linear.1", joined))
        return x + self.feed_forward(f"{name}.feed_forward", x)

    def feed_forward(self, name: str, x: Array) -> Array:
        y = leaky(self.bn(f"{name}.conv.1", self.conv(f"{name}.conv.0", x, padding=2, dilation=2)))
        return leaky(self.bn(f"{name}.conv.4", self.conv(f"{name}.conv.3", y, padding=1)))

    def frequency_block(self, name: str, x: Array) -> Array:
        """The filter on the whole spectrum: the stored half, and its mirror image (real signals)."""
        side = x.shape[-1]
        stored = self.state[f"{name}.filter.complex_weight"]
        half = np.empty((side, side // 2 + 1, x.shape[0]), np.complex128)
        for row in range(side):
            for column in range(side // 2 + 1):
                half[row, column] = sample_filter(stored, row, column, side)
        indices = np.arange(side)
        fourier = np.exp(-2j * math.pi * np.outer(indices, indices) / side) / math.sqrt(side)
        spectrum = np.einsum("kh,chw,lw->ckl", fourier, x.astype(np.complex128), fourier)
        for channel in range(x.shape[0]):
            for column in range(side // 2 + 1):
                spectrum[channel, :, column] *= half[:, column, channel]
            # columns that are their own mirror image: only the Hermitian part makes a real signal
            for column in (0, side // 2):
                line = spectrum[channel, :, column]
                spectrum[channel, :, column] = (line + np.conj(line[-indices % side])) / 2
            for column in range(side // 2 + 1, side):
                spectrum[channel, :, column] = np.conj(spectrum[channel, -indices % side, side - column])
        inverse = fourier.conj()
        filtered = np.einsum("hk,ckl,wl->chw", inverse, spectrum, inverse)
        assert np.abs(filtered.imag).max() < 1e-9 * max(1.0, np.abs(filtered.real).max())
        return x + self.feed_forward(f"{name}.feed_forward", filtered.real)

    def dct_features(self, picture: Array) -> Array:
        size = picture.shape[-1]
        basis = np.array(
            [
                [
                    math.sqrt((1 if k == 0 else 2) / size) * math.cos(math.pi * k * (2 * i + 1) / (2 * size))
                    for i in range(size)
                ]
                for k in range(size)
            ]
        )
        spectrum = np.stack([basis @ channel @ basis.T for channel in picture])
        order = np.add.outer(np.arange(size), np.arange(size))
        masks = (order < size / 16, (order >= size / 16) & (order < size / 8), order >= size / 8)
        x = np.concatenate([np.stack([basis.T @ (c * mask) @ basis for c in spectrum]) for mask in masks])
        step = 0
        while f"bands.stack.{step}.0.weight" in self.state:
            name = f"bands.stack.{step}"
            x = leaky(self.bn(f"{name}.1", self.conv(f"{name}.0", x, padding=1, stride=2)))
            step += 1
        return x

    def fuse(self, name: str, skip: Array, mt: Array, frequency: Array) -> Array:
        channels, side, _ = mt.shape
        if self.fusion == "add":
            return mt + leaky(self.bn(f"{name}.conv4.1", self.conv(f"{name}.conv4.0", frequency)))
        names = ("conv1", "conv2", "conv3") if self.fusion == "cma" else ("query", "key", "value")
        sources = (mt, frequency, frequency)
        q, k, v = (
            self.conv(f"{name}.{part}", source).reshape(channels, -1).T
            for part, source in zip(names, sources, strict=True)
        )
        scale = math.sqrt(channels if self.fusion == "cma" else channels * side * side)
        z = (softmax(q @ k.T / scale) @ v).T.reshape(mt.shape)
        if self.fusion == "cma":
            return mt + leaky(self.bn(f"{name}.conv4.1", self.conv(f"{name}.conv4.0", z)))
        return self.conv(f"{name}.output", skip + mt + z, padding=1)

    # decoder

    def decode(self, texture: Array, context: Array | None) -> Array:
        x = texture
        if context is not None:
            x = x + bilinear(self.conv("decoder.context", context), texture.shape[-1])
        keys = sorted({tuple(map(int, key.split(".")[2:4])) for key in self.state if key.startswith("decoder.stages.")})
        for stage, position in keys:
            if position == 0:
                x = bilinear(x, 2 * x.shape[-1])
            x = self.conv(f"decoder.stages.{stage}.{position}", x, padding=1)
            if (stage, position) != keys[-1]:
                x = leaky(x)
        return np.asarray(x[0])


def taps(x: Array, weight: Array, stride: int, dilation: int, depthwise: bool) -> Array:
    """Convolution of an already padded C×H×W as a sum over the taps of the kernel."""
    kernel = weight.shape[-1]
    height, width = ((side - dilation * (kernel - 1) - 1) // stride + 1 for side in x.shape[1:])
    y = np.zeros((weight.shape[0], height, width))
    for row in range(kernel):
        for column in range(kernel):
            top, left = row * dilation, column * dilation
            part = x[:, top : top + stride * height : stride, left : left + stride * width : stride]
            tap = weight[:, :, row, column]
            y += part * tap[:, 0, None, None] if depthwise else np.tensordot(tap, part, axes=1)
    return y


def sample_filter(stored: Array, row: int, column: int, side: int) -> NDArray[np.complex128]:
    """The stored filter at the frequency of (row, column) of another side, linear, periodic over the rows."""
    size = stored.shape[0]
    complex_filter = stored[..., 0] + 1j * stored[..., 1]
    frequency = row / side if row < side / 2 else row / side - 1
    down, right = frequency * size, min(column / side * size, stored.shape[1] - 1)
    top, left = math.floor(down), math.floor(right)
    value = np.zeros(stored.shape[2], np.complex128)
    for r, row_share in ((top, 1 - (down - top)), (top + 1, down - top)):
        for c, column_share in ((left, 1 - (right - left)), (left + 1, right - left)):
            value += row_share * column_share * complex_filter[r % size, min(c, stored.shape[1] - 1)]
    return value


def bilinear(x: Array, side: int) -> Array:
    """Pixel centres at half integers, borders repeated."""
    last = x.shape[-1] - 1
    matrix = np.zeros((side, last + 1))
    for target in range(side):
        position = min(max((target + 0.5) * (last + 1) / side - 0.5, 0), last)
        low = math.floor(position)
        matrix[target, low] += 1 - (position - low)
        matrix[target, min(low + 1, last)] += position - low
    return np.asarray(np.einsum("th,chw,sw->cts", matrix, x, matrix))


def softmax(x: Array) -> Array:
    y = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(y / y.sum(axis=-1, keepdims=True))


def sigmoid(x: Array) -> Array:
    return 0.5 + 0.5 * np.tanh(0.5 * x)


def leaky(x: Array) -> Array:
    return np.where(x > 0, x, 0.2 * x)
