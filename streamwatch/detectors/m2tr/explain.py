"""Which parts of a crop raise the score: Grad-CAM (Selvaraju et al., ICCV 2017, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from streamwatch.detectors.m2tr.model import M2TR


def grad_cam(model: M2TR, x: Tensor) -> Tensor:
    """Maps N×S×S in 0..1 of what speaks for "fake" in x, N×3×S×S, normalised as the weights' card says.

    ReLU(Σₖ αₖ Aᵏ) with A the last map that the classifier reads, N×D×h×w (mostly the output of the last convolution),
    and αₖ the mean of ∂(z_fake − z_real)/∂Aᵏ over h×w; enlarged bilinearly, then divided by its own maximum, so that
    maps of two crops do not compare. Where nothing speaks for "fake" the map is 0. Where the head is a mean and a
    linear layer, this is CAM (Zhou et al., CVPR 2016), as the paper's section 3.1 shows. Computes in the precision of
    `model`, which must be in evaluation mode; its parameters and their gradients stay as they are.
    """
    with torch.no_grad():
        [*others, last], _ = model.convolve(x)
    with torch.enable_grad():
        last = last.requires_grad_()
        logits, _ = model.classify([*others, last])
        (gradient,) = torch.autograd.grad((logits[:, 1] - logits[:, 0]).sum(), last)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    maps = (weights * last.detach()).sum(dim=1, keepdim=True).relu()
    maps = F.interpolate(maps, size=x.shape[-2:], mode="bilinear", align_corners=False).squeeze(1)
    peaks = maps.amax(dim=(1, 2), keepdim=True)
    return maps / torch.where(peaks > 0, peaks, 1.0)
