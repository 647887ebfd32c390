"""The numbers of a statistics detector on disk: safetensors with a model card beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from streamwatch.detectors.card import ModelCard, card_path, check_suffix, file_sha256, verified_card, write_card
from streamwatch.detectors.statistics.catalogue import COUNT
from streamwatch.detectors.statistics.config import StatisticsConfig
from streamwatch.detectors.statistics.model import StatisticsModel
from streamwatch.detectors.statistics.trees import Trees
from streamwatch.errors import WeightsError
from streamwatch.files import SHARED, replacing

_LINEAR = ("mean", "scale", "coefficients", "intercept", "linear_share", "tree_share")
_TREES = ("feature", "threshold", "left", "right", "value", "depth", "base", "columns")
_INDICES = ("feature", "left", "right", "depth", "columns")


def save_statistics(path: Path, model: StatisticsModel, card: ModelCard) -> ModelCard:
    """Write `path` (.safetensors) and its card; returns the card with the weights' SHA-256 filled in.

    Raises WeightsError if the card does not describe this model.
    """
    check_suffix(path)
    _check_fit(path, model, _preset(path, card))
    arrays: dict[str, NDArray[Any]] = {name: np.asarray(getattr(model, name), np.float64) for name in _LINEAR}
    arrays |= {f"trees.{name}": _stored(name, array) for name, array in model.trees.arrays().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, mode=SHARED) as draft:
        save_file(arrays, draft, metadata={"name": card.name})
        draft.chmod(0o644)
        stamped = replace(card, sha256=file_sha256(draft))
        write_card(stamped, card_path(path))
    return stamped


def load_statistics(path: Path) -> tuple[StatisticsModel, ModelCard]:
    """The model and its card.

    Raises WeightsError for a missing or unreadable file, one whose SHA-256 is not the card's, a card of another
    kind of detector, or arrays that are not those of the card's preset.
    """
    card = verified_card(path)
    preset = _preset(path, card)
    try:
        arrays = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a readable safetensors file ({error})") from None
    expected = {*_LINEAR, *(f"trees.{name}" for name in _TREES)}
    missing, unknown = sorted(expected - set(arrays)), sorted(set(arrays) - expected)
    if missing or unknown:
        problems = [
            f"{text} {', '.join(names)}" for text, names in (("lacks", missing), ("has unknown", unknown)) if names
        ]
        raise WeightsError(f"{path}: does not fit the architecture: {'; '.join(problems)}")
    try:
        model = _model(arrays)
    except (ValueError, TypeError) as error:
        raise WeightsError(f"{path}: does not fit the architecture: {error}") from None
    _check_fit(path, model, preset)
    return model, card


def _model(arrays: Mapping[str, NDArray[Any]]) -> StatisticsModel:
    trees = {name: arrays[f"trees.{name}"] for name in _TREES}
    return StatisticsModel(
        mean=np.asarray(arrays["mean"], np.float64),
        scale=np.asarray(arrays["scale"], np.float64),
        coefficients=np.asarray(arrays["coefficients"], np.float64),
        intercept=float(arrays["intercept"]),
        trees=Trees(
            feature=np.asarray(trees["feature"], np.int32),
            threshold=np.asarray(trees["threshold"], np.float64),
            left=np.asarray(trees["left"], np.int32),
            right=np.asarray(trees["right"], np.int32),
            value=np.asarray(trees["value"], np.float64),
            depth=int(trees["depth"]),
            base=float(trees["base"]),
            columns=int(trees["columns"]),
        ),
        linear_share=float(arrays["linear_share"]),
        tree_share=float(arrays["tree_share"]),
    )


def _stored(name: str, array: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(array, np.int32 if name in _INDICES else np.float64)


def _preset(path: Path, card: ModelCard) -> StatisticsConfig:
    if not isinstance(card.preset, StatisticsConfig):
        raise WeightsError(f"{path}: its card is of an M2TR network, not of a statistics detector")
    return card.preset


def _check_fit(path: Path, model: StatisticsModel, preset: StatisticsConfig) -> None:
    trees = model.trees
    if (len(trees.feature), trees.depth) != (preset.trees, preset.depth):
        raise WeightsError(
            f"{path}: holds {len(trees.feature)} trees of depth {trees.depth}, its card says {preset.trees} of "
            f"{preset.depth}"
        )
    if trees.columns != COUNT:
        raise WeightsError(f"{path}: is of {trees.columns} statistics, and this streamwatch computes {COUNT}")
