"""Weights on disk: safetensors with a model card beside them, and the authors' checkpoints made into such.

Nothing here runs code from a file: safetensors hold numbers only, and PyTorch files are read with
`weights_only=True`.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from streamwatch.detectors.card import (
    Calibration,
    InputSpec,
    Limits,
    ModelCard,
    Thresholds,
    card_path,
    check_suffix,
    file_sha256,
    read_card,
    verified_card,
    write_card,
)
from streamwatch.detectors.m2tr.config import PRESETS, M2TRConfig
from streamwatch.detectors.m2tr.model import M2TR, build
from streamwatch.errors import WeightsError
from streamwatch.faces.crops import CropGeometry
from streamwatch.files import SHARED, replacing

IMAGENET = InputSpec(size=320, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))

__all__ = ["import_m2tr", "load_checkpoint", "read_card", "save_checkpoint"]


def save_checkpoint(path: Path, model: M2TR, card: ModelCard, *, half: bool = True) -> ModelCard:
    """Write `path` (.safetensors) and its card; returns the card with the weights' SHA-256 filled in.

    half: store floating point numbers as fp16 (those that fp16 cannot hold stay fp32).
    Raises WeightsError if the card does not describe this model, or numbers are not finite.
    """
    check_suffix(path)
    if card.preset != model.config:
        raise WeightsError(f"{path}: the card's preset is not the configuration of the model to be saved")
    if card.input.size != model.config.input_size:
        raise WeightsError(f"{path}: the card's input.size is not the model's {model.config.input_size}")
    tensors = {}
    for key, value in model.state_dict().items():
        if not bool(torch.isfinite(value).all()):
            raise WeightsError(f"{path}: {key} holds numbers that are not finite; nothing was written")
        tensors[key] = _stored(value.detach().cpu(), half)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, mode=SHARED) as draft:
        save_file(tensors, draft, metadata={"name": card.name})
        draft.chmod(0o644)  # safetensors writes files that only their owner can read
        stamped = replace(card, sha256=file_sha256(draft))
        write_card(stamped, card_path(path))
    return stamped


def load_checkpoint(path: Path) -> tuple[M2TR, ModelCard]:
    """The model (fp32, on the CPU, in evaluation mode) and its card.

    Raises WeightsError for a missing or unreadable file, one whose SHA-256 is not the card's, one whose
    parameters are not exactly those of the card's preset, or a card of another kind of detector.
    """
    card = verified_card(path)
    if not isinstance(card.preset, M2TRConfig):
        raise WeightsError(f"{path}: its card is of a {card.preset.kind} detector, not of an M2TR network")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a readable safetensors file ({error})") from None
    model = build(card.preset)
    _load(model, {key: _widened(value) for key, value in tensors.items()}, path)
    return model.eval(), card


def import_m2tr(source: Path, output: Path, *, fake_class: int = 1) -> ModelCard:
    """Convert a checkpoint of the released M2TR code to safetensors with a card.

    source: the dictionary {epoch, model_state, …} that the code saves, or the model's state alone.
    fake_class: which of the two outputs means fake. The authors' FaceForensics++ lists have 1, their
        Celeb-DF lists 0; it is 1 in what is written.
    The unused classifier of the backbone (`model._fc`) is left out; anything else must match exactly. The
    card says what the released code does: box × 1.3, and the ImageNet normalisation that it trains and tests
    with (although its backbone started from weights for 2x − 1 inputs). The thresholds are ours, and there
    is no calibration.

    Raises WeightsError naming the file.
    """
    check_suffix(output)
    if fake_class not in (0, 1):
        raise WeightsError(f"fake_class: {fake_class} must be 0 or 1")
    model = build("m2tr-b4")
    _load(model, _authors_state(source), source)
    if fake_class == 0:
        projection = model.classifier.projection
        with torch.no_grad():
            projection.weight.copy_(projection.weight.flip(0))
            projection.bias.copy_(projection.bias.flip(0))
    card = ModelCard(
        name=output.stem,
        preset=PRESETS["m2tr-b4"],
        input=IMAGENET,
        geometry=CropGeometry(scale=1.3),
        calibration=Calibration(temperature=1.0, bias=0.0),
        thresholds=Thresholds(real=0.5, fake=0.8),
        limits=Limits(min_face_side=48.0),
        data=f"imported from {source.name} (SHA-256 {file_sha256(source)}); see its authors for the data",
        date=datetime.now(timezone.utc).date().isoformat(),
        recipe="none of ours; uncalibrated: temperature 1, default thresholds",
        metrics={},
        licence="that of the imported file",
    )
    return save_checkpoint(output, model, card, half=False)


def _authors_state(source: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(source, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"{source}: cannot be read ({error.strerror or error})") from None
    except (RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise WeightsError(
            f"{source}: not a PyTorch checkpoint that can be read safely ({_first_line(error)})"
        ) from None
    state = content.get("model_state", content) if isinstance(content, Mapping) else content
    if not isinstance(state, Mapping) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{source}: holds no model state", "expected a checkpoint of the released M2TR code")
    bare = {str(key).removeprefix("module."): value for key, value in state.items()}
    return {key: value for key, value in bare.items() if not key.startswith("model._fc.")}


def _load(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    expected = model.state_dict()
    missing = [key for key in expected if key not in state]
    surplus = [key for key in state if key not in expected]
    shapes = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(value.shape)}"
        for key, value in expected.items()
        if key in state and state[key].shape != value.shape
    ]
    problems = [
        f"{title} {', '.join(keys[:3])}{f' and {len(keys) - 3} more' if len(keys) > 3 else ''}"
        for title, keys in (("lacks", missing), ("has unknown", surplus), ("has", shapes))
        if keys
    ]
    if problems:
        raise WeightsError(f"{path}: does not fit the architecture: {'; '.join(problems)}")
    model.load_state_dict(dict(state))


def _stored(value: Tensor, half: bool) -> Tensor:
    if half and value.is_floating_point():
        small = value.half()
        if bool(torch.isfinite(small).all()):
            return small.contiguous()
    return value.contiguous()


def _widened(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
