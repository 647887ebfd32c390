"""Perceptual distance and embedding of faces: what an ImageNet network sees of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from streamwatch.detectors.m2tr.backbone import EfficientNet
from streamwatch.detectors.m2tr.imagenet import PIXEL_MEAN, PIXEL_STD, load_imagenet
from streamwatch.faces.crops import CropGeometry
from streamwatch.records import FloatArray, ImageArray

NETWORK = "EfficientNet-Lite0, ImageNet"
INPUT_SIZE = 224
GEOMETRY = CropGeometry(scale=1.3)
LAYERS = (2, 4, 10)
"""Blocks whose outputs are compared: the last of the strides 4, 8 and 16, with 24, 40 and 112 channels."""


class ImageNetFeatures:
    """An EfficientNet-Lite0 (Tan & Le, ICML 2019) with its ImageNet weights, on the CPU.

    Faces are N×S×S×3 uint8 RGB, cut by GEOMETRY to S = INPUT_SIZE. Raises WeightsError without the weights.
    """

    def __init__(self) -> None:
        self._trunk = EfficientNet("efficientnet-lite0", drop_connect=0.0).eval()
        load_imagenet(self._trunk)

    @torch.inference_mode()
    def distances(self, real: ImageArray, fake: ImageArray) -> FloatArray:
        """Perceptual distance of each face from its original: N values from 0 (equal) to 4 per layer.

        Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric" (CVPR 2018),
        Equation 1 with all w = 1: features scaled to unit length over channels, squared distance, mean over
        positions, sum over LAYERS.
        """
        total = torch.zeros(len(real))
        for a, b in zip(self._layers(real), self._layers(fake), strict=True):
            total += (F.normalize(a) - F.normalize(b)).square().sum(dim=1).mean(dim=(1, 2))
        return np.asarray(total.numpy(), np.float32)

    @torch.inference_mode()
    def embeddings(self, faces: ImageArray) -> FloatArray:
        """Output of the last convolution (`head`), mean over positions: N×1280."""
        x = self._trunk.blocks(self._trunk.stem(_normalised(faces)), 0, len(self._trunk))
        return np.asarray(self._trunk.head(x).mean(dim=(2, 3)).numpy(), np.float32)

    def _layers(self, faces: ImageArray) -> list[Tensor]:
        outputs, x, done = [], self._trunk.stem(_normalised(faces)), 0
        for last in LAYERS:
            x = self._trunk.blocks(x, done, last + 1)
            outputs.append(x)
            done = last + 1
        return outputs


def _normalised(faces: ImageArray) -> Tensor:
    return (torch.from_numpy(faces).permute(0, 3, 1, 2).float() - PIXEL_MEAN) / PIXEL_STD
