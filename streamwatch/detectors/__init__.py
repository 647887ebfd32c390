"""Forgery detectors: crops in, scores out. Importing this package does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamwatch.detectors.card import (
    Calibration,
    InputSpec,
    Limits,
    ModelCard,
    Thresholds,
    read_card,
)
from streamwatch.detectors.protocol import Detector, ExplainingDetector, Reason, ReasoningDetector, ScoreArrays
from streamwatch.detectors.registry import gives_reasons, load_detector, registered, weights_path

if TYPE_CHECKING:
    from streamwatch.detectors.checkpoints import import_m2tr, load_checkpoint, save_checkpoint

__all__ = [
    "Calibration",
    "Detector",
    "ExplainingDetector",
    "InputSpec",
    "Limits",
    "ModelCard",
    "Reason",
    "ReasoningDetector",
    "ScoreArrays",
    "Thresholds",
    "gives_reasons",
    "import_m2tr",
    "load_checkpoint",
    "load_detector",
    "read_card",
    "registered",
    "save_checkpoint",
    "weights_path",
]

_NEED_TORCH = ("import_m2tr", "load_checkpoint", "save_checkpoint")


def __getattr__(name: str) -> Any:
    if name in _NEED_TORCH:
        from streamwatch.detectors import checkpoints

        return getattr(checkpoints, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
