"""The M2TR objective (Wang et al., ICMR 2022): L = CE + λ₁·BCE(mask) + λ₂·L_con."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Objective:
    """The terms of one batch; `total` carries the gradient."""

    total: Tensor
    classification: float
    mask: float
    contrastive: float


def objective(
    logits: Tensor,
    labels: Tensor,
    features: Tensor,
    mask_logits: Tensor | None,
    masks: Tensor,
    mask_known: Tensor,
    *,
    mask_weight: float,
    contrastive_weight: float,
) -> Objective:
    """Loss of a batch.

    logits: N×2 (real, fake). labels: N, 1 = fake. features: N×D. mask_logits: N×1×h×w or None.
    masks: N×1×H×W in 0..1, brought to h×w here. mask_known: N, which masks are supervision.
    """
    classification = F.cross_entropy(logits, labels)
    total = classification
    mask = contrast = logits.new_zeros(())
    if mask_logits is not None and mask_weight > 0:
        mask = mask_loss(mask_logits, masks, mask_known)
        total = total + mask_weight * mask
    if contrastive_weight > 0:
        contrast = contrastive_loss(features, labels)
        total = total + contrastive_weight * contrast
    return Objective(total, classification.item(), mask.item(), contrast.item())


def mask_loss(mask_logits: Tensor, masks: Tensor, known: Tensor) -> Tensor:
    """Binary cross-entropy over the pixels of the known masks; 0 if none is known."""
    if not bool(known.any()):
        return mask_logits.sum() * 0
    target = F.interpolate(masks[known], size=mask_logits.shape[-2:], mode="area")
    return F.binary_cross_entropy_with_logits(mask_logits[known], target)


def contrastive_loss(features: Tensor, labels: Tensor) -> Tensor:
    """mean(1 − cos(f_real, c)) − mean(1 − cos(f_fake, c)), c = detached mean of the real features.

    0 for a batch that lacks one of the classes. Lower is better: reals close to their centre, fakes away from it.
    """
    real, fake = features[labels == 0], features[labels == 1]
    if len(real) == 0 or len(fake) == 0:
        return features.sum() * 0
    centre = real.detach().mean(dim=0, keepdim=True)
    return (1 - F.cosine_similarity(real, centre)).mean() - (1 - F.cosine_similarity(fake, centre)).mean()
