"""Convolution and batch normalisation as one: with the statistics fixed, both are linear."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Convolution(nn.Conv2d):
    """A convolution that can be run with other numbers than its own; padded with zeros."""

    padding: tuple[int, int]

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """This convolution with other numbers."""
        return F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolve(x, self.weight, self.bias)


class ConvSequence(nn.Sequential):
    """A sequence in which every convolution that a batch normalisation follows runs by `convolve_normalised`."""

    def forward(self, x: Tensor) -> Tensor:
        modules = list(self)
        index = 0
        while index < len(modules):
            module, after = modules[index], modules[index + 1] if index + 1 < len(modules) else None
            if isinstance(module, Convolution) and isinstance(after, nn.BatchNorm2d):
                x = convolve_normalised(module, after, x)
                index += 2
            else:
                x = module(x)
                index += 1
        return x


def convolve_normalised(convolution: Convolution, norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """norm(convolution(x)).

    In evaluation mode the normalisation's scale goes into the convolution's weights, which spares the passes over the
    map, forward and backward; gradients reach the parameters of both as they would one after the other.
    """
    if norm.training or norm.running_mean is None or norm.running_var is None:
        y: Tensor = norm(convolution(x))
        return y
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    shift = norm.bias - norm.running_mean * scale
    if convolution.bias is not None:
        shift = shift + convolution.bias * scale
    return convolution.convolve(x, convolution.weight * scale[:, None, None, None], shift)
