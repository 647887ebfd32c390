"""What makes training hold under quality and small changes of the weights: taps for QAD's tie, and AWP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
