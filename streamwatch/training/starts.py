"""The weights that a run begins with."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from streamwatch.detectors.m2tr.frequency import GlobalFilter, resize_filter
from streamwatch.detectors.m2tr.imagenet import load_imagenet
from streamwatch.detectors.m2tr.model import M2TR
from streamwatch.errors import WeightsError


def start_from_imagenet(model: M2TR) -> None:
    """Give the backbone its ImageNet weights.

    Raises ConfigError for a backbone without such weights, WeightsError if their package is missing.
    """
    load_imagenet(model.model, model.config.backbone)


def start_from(model: M2TR, path: Path) -> None:
    """Give the model the weights of an earlier run; frequency filters of another input size are resampled.

    Raises WeightsError for a file that is missing, is no safetensors, or belongs to another architecture.
    """
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: no safetensors weights ({error}); see `start` of the recipe") from None
    for name, module in model.named_modules():
        key = f"{name}.complex_weight"
        if isinstance(module, GlobalFilter) and key in weights:
            weights[key] = resize_filter(weights[key], len(weights[key]), module.side, module.side)
    try:
        model.load_state_dict(weights)
    except RuntimeError:
        raise WeightsError(
            f"{path}: weights of another architecture than the recipe's; `preset` and `switches` must be as in the run "
            "that wrote it, but for `input_size`"
        ) from None
