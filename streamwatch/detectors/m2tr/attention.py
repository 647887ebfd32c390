"""Scaled dot-product attention, fused or with the attention map written out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor
from torch.nn import functional as F

_materialised: ContextVar[bool] = ContextVar("materialised", default=False)


@contextmanager
def materialised_attention() -> Iterator[None]:
    """Inside, attention builds its whole map in memory, as the released code does. For benchmarks."""
    token = _materialised.set(True)
    try:
        yield
    finally:
        _materialised.reset(token)


def attend(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """softmax(scale · query · keyᵀ) · value for N×T×D tensors."""
    if _materialised.get():
        return torch.softmax(query @ key.transpose(-2, -1) * scale, dim=-1) @ value
    one_head = F.scaled_dot_product_attention(query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1), scale=scale)
    return one_head.squeeze(1)
