"""What makes training hold under quality and small changes of the weights: taps for QAD's tie, and AWP."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from streamwatch.detectors.m2tr.model import M2TR


@contextmanager
def pooled_stages(model: M2TR, into: list[Tensor] | None) -> Iterator[None]:
    """Collect the pooled output (N×C) of the M2TR layers and of a late backbone block during a forward pass."""
    if into is None:
        yield
        return

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        into.append(output.float().mean(dim=(2, 3)))

    backbone: Any = model.model
    handles = [part.register_forward_hook(keep) for part in (model.layers[-1], backbone._blocks[-5])]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def mixed_styles(model: M2TR, blocks: Sequence[int], seed: int) -> Iterator[None]:
    """Maps behind some backbone blocks take mean and spread between their own and those of another pair of the batch.

    MixStyle (Zhou et al., ICLR 2021; shares from Beta(0.1, 0.1)). Rows 2i and 2i + 1, the real and the fake of a pair,
    are mixed alike, so that a style says nothing of the class.
    """
    generator = torch.Generator().manual_seed(seed)

    def mix(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        pairs = len(output) // 2
        order = torch.randperm(pairs, generator=generator)
        rows = torch.stack([2 * order, 2 * order + 1], dim=1).flatten().to(output.device)
        share = torch.from_numpy(np.random.default_rng(int(order[0]) + seed).beta(0.1, 0.1, pairs))
        own = share.repeat_interleave(2).to(output)[:, None, None, None]
        mean = output.mean(dim=(2, 3), keepdim=True).detach()
        spread = (output.var(dim=(2, 3), keepdim=True) + 1e-6).sqrt().detach()
        mixed_mean = own * mean + (1 - own) * mean[rows]
        mixed_spread = own * spread + (1 - own) * spread[rows]
        return (output - mean) / spread * mixed_spread + mixed_mean

    backbone: Any = model.model
    handles = [backbone._blocks[block].register_forward_hook(mix) for block in blocks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def perturbed(model: nn.Module, gamma: float) -> Iterator[None]:
    """Weights moved against the loss along their present gradients, which are cleared; restored on leaving.

    Adversarial weight perturbation (Wu et al., NeurIPS 2020): every tensor by `gamma` times its own norm.
    """
    moved = []
    for parameter in model.parameters():
        if parameter.grad is None:
            continue
        step = parameter.grad * (gamma * parameter.detach().norm() / parameter.grad.norm().clamp_min(1e-12))
        moved.append((parameter, parameter.detach().clone()))
        with torch.no_grad():
            parameter.add_(step)
    model.zero_grad(set_to_none=True)
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in moved:
                parameter.copy_(value)
