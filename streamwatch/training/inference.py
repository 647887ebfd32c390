"""What a network that is being trained makes of pictures as they are served: no augmentation, no gradients."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from streamwatch.detectors.m2tr.imagenet import PIXEL_MEAN, PIXEL_STD
from streamwatch.detectors.m2tr.model import M2TROutput
from streamwatch.faces.crops import CropGeometry, crop_face
from streamwatch.sources.pictures import read_image
from streamwatch.training.prepare import FacePicture


def normalise(images: Tensor) -> Tensor:
    """uint8 N×3×S×S to float, (x − 127) / 128, channels last: what the ImageNet weights were trained on."""
    return ((images.float() - PIXEL_MEAN) / PIXEL_STD).contiguous(memory_format=torch.channels_last)


def evaluate(model: nn.Module, images: Tensor, device: torch.device) -> M2TROutput:
    """The network's output for uint8 N×3×S×S images, in evaluation mode, without gradients."""
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        output: M2TROutput = model(normalise(images.to(device)))
    model.train(was_training)
    return output


def infer(model: nn.Module, images: Tensor, device: torch.device) -> NDArray[np.float32]:
    """z_fake − z_real (N) of uint8 N×3×S×S images, in evaluation mode."""
    output = evaluate(model, images, device)
    logits: NDArray[np.float32] = (output.logits[:, 1] - output.logits[:, 0]).float().cpu().numpy()
    return logits


def face_logits(
    model: nn.Module,
    pictures: list[FacePicture],
    geometry: CropGeometry,
    size: int,
    device: torch.device,
    batch: int = 32,
) -> NDArray[np.float32]:
    """z_fake − z_real of every picture, cut as served: no augmentation."""
    logits = []
    for start in range(0, len(pictures), batch):
        crops = [crop_face(read_image(p.path), geometry.region(p.box), size) for p in pictures[start : start + batch]]
        images = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)
        logits.append(infer(model, images, device))
    return np.concatenate(logits)
