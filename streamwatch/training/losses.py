"""The M2TR objective (Wang et al., ICMR 2022), L = CE + λ₁·BCE(mask) + λ₂·L_con, and QAD's tie across qualities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Classification = Literal["cross_entropy", "focal"]


@dataclass(frozen=True, slots=True)
class Objective:
    """The terms of one batch; `total` carries the gradient."""

    total: Tensor
    classification: float
    mask: float
    contrastive: float
    quality: float
    ranking: float


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
    classification: Classification = "cross_entropy",
    stages: Sequence[Tensor] = (),
    qualities: int = 1,
    quality_weight: float = 0.0,
    related: Tensor | None = None,
    ranking_weight: float = 0.0,
) -> Objective:
    """Loss of a batch.

    logits: N×2 (real, fake). labels: N, 1 = fake. features: N×D. mask_logits: N×1×h×w or None.
    masks: N×1×H×W in 0..1, brought to h×w here. mask_known: N, which masks are supervision.
    related: N/2, whether rows 2i (real) and 2i + 1 (fake) show one person. stages: features of some depths, each N×C,
    of which rows i, i + N/qualities, … show one face in each quality.
    """
    decision = F.cross_entropy(logits, labels) if classification == "cross_entropy" else focal_loss(logits, labels)
    total = decision
    mask = contrast = quality = ranking = logits.new_zeros(())
    if mask_logits is not None and mask_weight > 0:
        mask = mask_loss(mask_logits, masks, mask_known)
        total = total + mask_weight * mask
    if contrastive_weight > 0:
        contrast = contrastive_loss(features, labels)
        total = total + contrastive_weight * contrast
    if quality_weight > 0 and qualities > 1:
        quality = quality_loss(stages, qualities)
        total = total + quality_weight * quality
    if ranking_weight > 0 and related is not None:
        ranking = ranking_loss(logits, related)
        total = total + ranking_weight * ranking
    return Objective(total, decision.item(), mask.item(), contrast.item(), quality.item(), ranking.item())


def ranking_loss(logits: Tensor, related: Tensor) -> Tensor:
    """mean(log(1 + exp(z_real − z_fake))) over the related pairs (Burges et al., RankNet, ICML 2005); 0 without any.

    logits: N×2 of real, fake, real, fake, … with z = logits[:, 1] − logits[:, 0]. related: N/2.
    """
    z = logits[:, 1] - logits[:, 0]
    gaps = (z[0::2] - z[1::2])[related]
    return F.softplus(gaps).mean() if len(gaps) else z.sum() * 0


def focal_loss(logits: Tensor, labels: Tensor, gamma: float = 2.0) -> Tensor:
    """mean((1 − p)^γ · −log p) of the right class (Lin et al., ICCV 2017), α = 1."""
    log_p = F.log_softmax(logits, dim=1).gather(1, labels[:, None])[:, 0]
    return (-((1 - log_p.exp()) ** gamma) * log_p).mean()


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


def quality_loss(stages: Sequence[Tensor], qualities: int) -> Tensor:
    """Mean of 1 − CKA over stages and pairs of qualities: how differently the same faces are distinguished.

    Le & Woo, "Quality-Agnostic Deepfake Detection" (ICCV 2023), tie qualities by HSIC; the debiased CKA stands in
    for it because the normalised HSIC saturates at the batch sizes in use. stages: each (qualities·n)×C.
    """
    terms = []
    for stage in stages:
        views = stage.chunk(qualities)
        terms += [1 - debiased_cka(a, b) for i, a in enumerate(views) for b in views[i + 1 :]]
    return torch.stack(terms).mean()


def debiased_cka(x: Tensor, y: Tensor) -> Tensor:
    """Linear centred kernel alignment of n×C and n×D features (n > 3) with unbiased HSIC (Song et al., JMLR 2012).

    1 for features equal up to rotation and scale, about 0 for independent ones (it may fall below).
    """
    cross, own_x, own_y = (_unbiased_hsic(a @ a.T, b @ b.T) for a, b in ((x, y), (x, x), (y, y)))
    return cross / (own_x * own_y).clamp_min(1e-12).sqrt()


def _unbiased_hsic(k: Tensor, m: Tensor) -> Tensor:
    n = len(k)
    off = 1 - torch.eye(n, device=k.device, dtype=k.dtype)
    k, m = k * off, m * off
    rows_k, rows_m = k.sum(dim=1), m.sum(dim=1)
    pairs = (k * m).sum() + rows_k.sum() * rows_m.sum() / ((n - 1) * (n - 2)) - 2 * (rows_k @ rows_m) / (n - 2)
    return pairs / (n * (n - 3))
