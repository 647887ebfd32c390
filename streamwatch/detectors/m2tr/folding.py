"""Batch normalisation folded into the convolution before it: the same function, less work."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Network = TypeVar("Network", bound=nn.Module)

# (convolution, normalisation) by name, in the backbone; elsewhere they are neighbours in a Sequential
_BACKBONE_PAIRS = (
    ("_conv_stem", "_bn0"),
    ("_expand_conv", "_bn0"),
    ("_depthwise_conv", "_bn1"),
    ("_project_conv", "_bn2"),
    ("_conv_head", "_bn1"),
)


def fold_batch_norms(model: Network) -> Network:
    """A copy in evaluation mode without batch normalisation. The model itself is left as it is."""
    folded = copy.deepcopy(model).eval()
    for module in folded.modules():
        names = list(pairwise(module._modules)) if isinstance(module, nn.Sequential) else _BACKBONE_PAIRS
        for convolution, norm in names:
            _fold(module, convolution, norm)
    return folded


def _fold(parent: nn.Module, convolution: str, norm: str) -> None:
    before, after = parent._modules.get(convolution), parent._modules.get(norm)
    if isinstance(before, nn.Conv2d) and isinstance(after, nn.BatchNorm2d):
        setattr(parent, convolution, fuse_conv_bn_eval(before, after))
        setattr(parent, norm, nn.Identity())
