"""The weights that a run begins with."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from streamwatch.detectors.m2tr.frequency import GlobalFilter, resize_filter
from streamwatch.detectors.m2tr.imagenet import load_imagenet
from streamwatch.detectors.m2tr.levels import LevelStatistics
from streamwatch.detectors.m2tr.model import M2TR
from streamwatch.errors import WeightsError


def start_from_imagenet(model: M2TR) -> None:
    """Give the backbone its ImageNet weights.

    Raises ConfigError for a backbone without such weights, WeightsError if their package is missing.
    """
    load_imagenet(model.model, model.config.backbone)


def start_from(model: M2TR, path: Path) -> None:
    """Give the model the weights of an earlier run; frequency filters of another input size are resampled.

    M2TR layers beside the backbone, what reads them and a mask decoder start afresh where the file has none of them.
    Raises WeightsError for a file that is missing, is no safetensors, or belongs to another architecture.
    """
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: no safetensors weights ({error})", "see `start` of the recipe") from None
    for name, module in model.named_modules():
        key = f"{name}.complex_weight"
        if isinstance(module, GlobalFilter) and key in weights:
            weights[key] = resize_filter(weights[key], len(weights[key]), module.side, module.side)
    if model.beside is not None and not any(name.startswith("beside.") for name in weights):
        weights |= _afresh(model, weights)
    try:
        model.load_state_dict(weights)
    except RuntimeError:
        raise WeightsError(
            f"{path}: weights of another architecture than the recipe's",
            "`preset` and `switches` must be as in the run that wrote it, but for `input_size`",
        ) from None


def _afresh(model: M2TR, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The model's own M2TR layers, decoder and what reads them, standardised as the map that they work on."""
    own = model.state_dict()
    fresh = {name: own[name] for name in own if name.startswith(("layers.", "decoder.", "beside."))}
    levels, cut = model.config.levels, model.config.insert_after
    if cut in levels:
        before = LevelStatistics([model.model.channels[level] for level in levels if level < cut], 1.0).size
        for name in ("mean", "scale"):
            known = weights.get(f"levels.{name}", own[f"levels.{name}"])
            fresh[f"beside.levels.{name}"] = known[before : before + 6 * model.channels]
    return fresh
