"""The model card: what a checkpoint is, how to feed it and how to read its answers.

A card is the YAML file beside the weights (`NAME.safetensors`, `NAME.yaml`) and names their SHA-256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import yaml
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
)

from streamwatch.detectors.m2tr.config import M2TRConfig
from streamwatch.detectors.statistics.config import StatisticsConfig
from streamwatch.errors import ConfigError, WeightsError
from streamwatch.extensions import DETECTORS
from streamwatch.faces.crops import CropGeometry
from streamwatch.files import SHARED, replacing
from streamwatch.records import FloatArray
from streamwatch.validation import dotted, problems

SUFFIX = ".safetensors"

MAX_BYTES = 1_000_000
"""Of a card: those that ship take up less than 10 kB."""

Channel = Annotated[float, Field(ge=-1e4, le=1e4)]
Channels = tuple[Channel, Channel, Channel]
Spread = Annotated[float, Field(gt=1e-6, le=1e4)]
Probability = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class ExtensionPreset:
    """Of a detector that another distribution adds. kind: its name in `DETECTORS`. options: its own settings."""

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)


def kind_of(preset: Any) -> str:
    """Which detector of `DETECTORS` a preset is of; those of M2TR networks name no kind."""
    kind = preset.get("kind", "m2tr") if isinstance(preset, Mapping) else getattr(preset, "kind", "m2tr")
    return str(kind)


def _tag(preset: Any) -> str:
    kind = kind_of(preset)
    return kind if kind in DETECTORS.builtin else "extension"


Preset = Annotated[
    Annotated[M2TRConfig, Tag("m2tr")]
    | Annotated[StatisticsConfig, Tag("statistics")]
    | Annotated[ExtensionPreset, Tag("extension")],
    Discriminator(_tag),
]
"""What the weights are of. An architecture other than M2TR says so in its field `kind`."""


@dataclass(frozen=True)
class InputSpec:
    """Square RGB crops of side `size`; per channel, (pixel − mean) / std with pixels 0..255 (0 and 1: as they are)."""

    size: Annotated[int, Field(ge=1, le=4096)]
    mean: Channels
    std: tuple[Spread, Spread, Spread]


@dataclass(frozen=True)
class Calibration:
    """probability = sigmoid(logit / temperature + bias)."""

    temperature: Annotated[float, Field(ge=1e-3, le=1e3)]
    bias: Annotated[float, Field(ge=-100, le=100)]

    def probability(self, logits: FloatArray) -> FloatArray:
        """Calibrated probability of "fake" of z_fake − z_real; safe for logits of any size."""
        scaled = np.asarray(logits, np.float64) / self.temperature + self.bias
        return (0.5 * (1.0 + np.tanh(0.5 * scaled))).astype(np.float32)


@dataclass(frozen=True)
class Thresholds:
    """A score ≤ `real` is real, ≥ `fake` is fake, between them inconclusive."""

    real: Annotated[float, Field(ge=0, lt=1)]
    fake: Annotated[float, Field(gt=0, le=1)]

    def __post_init__(self) -> None:
        if self.real > self.fake:
            raise ValueError(f"real ({self.real}) must not be above fake ({self.fake})")


@dataclass(frozen=True)
class Limits:
    """Faces that scores are to be trusted on: the model was measured on no others.

    min_face_side: shorter side of the face box, frame pixels. min_sharpness, max_pose: see `FaceQuality`.
    """

    min_face_side: Annotated[float, Field(ge=0, le=1e4)]
    min_sharpness: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    max_pose: Probability = 1.0


def _checked_metrics(metrics: dict[str, float]) -> dict[str, float]:
    if not 0 <= metrics.get("mask_threshold", 0.5) <= 1:
        raise ValueError("mask_threshold must be in 0..1")
    return metrics


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """The content of `<weights>.yaml`.

    preset: architecture and switches; its type says which detector reads the weights.
    sha256: of the weights file; what writes that fills it in.
    geometry: how crops are cut around the face box, the same in training and serving.
    data, recipe: what it was trained on and how. date: YYYY-MM-DD. metrics: name -> value.
    licence: of the weights, and which use the training data's terms allow.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", allow_inf_nan=False
    )  # holds for the nested parts too

    name: str
    preset: Preset
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] = ""
    input: InputSpec
    geometry: CropGeometry
    calibration: Calibration
    thresholds: Thresholds
    limits: Limits
    data: str
    date: Annotated[str, BeforeValidator(str)]  # YAML reads a bare date as one
    recipe: str
    metrics: Annotated[dict[str, float], AfterValidator(_checked_metrics)]
    licence: str

    @property
    def mask_threshold(self) -> float:
        """Where a mask (0..1) begins to count as forged: as measured, or else an even chance."""
        return self.metrics.get("mask_threshold", 0.5)


_ADAPTER = TypeAdapter(ModelCard)
_KEYS = [field.name for field in fields(ModelCard)]


def card_path(weights: Path) -> Path:
    """The card beside a weights file."""
    return weights.with_suffix(".yaml")


def read_card(path: Path) -> ModelCard:
    """The card of a weights file (or the card file itself).

    Raises WeightsError naming the file, and the key that is missing, unknown or wrong.
    """
    path = card_path(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise WeightsError(f"{path}: too long for a model card, of which {MAX_BYTES:,} bytes are read at most")
        values = yaml.safe_load(data.decode("utf-8"))
    except RecursionError:
        raise WeightsError(f"{path}: not a model card: it is nested too deeply") from None
    except OSError as error:
        raise WeightsError(
            f"{path}: the model card cannot be read ({error.strerror})", "weights need their card beside them"
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        raise WeightsError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise WeightsError(f"{path}: must be a mapping with the keys {', '.join(_KEYS)}")
    return _parse(values, path)


def verified_card(weights: Path) -> ModelCard:
    """The card of a weights file that is there and is the one that the card names.

    Raises WeightsError for a file of another kind, a missing one, or one whose SHA-256 is not the card's.
    """
    check_suffix(weights)
    if not weights.is_file():
        raise WeightsError(f"{weights}: no such file")
    card = read_card(weights)
    digest = file_sha256(weights)
    if digest != card.sha256:
        raise WeightsError(
            f"{weights}: its SHA-256 is {digest}, its card says {card.sha256}",
            "the file is damaged or belongs to another card: fetch or import it again",
        )
    return card


def check_suffix(path: Path) -> None:
    """Raise WeightsError for a file that does not end in `.safetensors`."""
    if path.suffix != SUFFIX:
        raise WeightsError(
            f"{path}: weights are {SUFFIX} files", "convert a checkpoint with `streamwatch models import`"
        )


def write_card(card: ModelCard, path: Path) -> None:
    """Write the card to `path`, whole or not at all.

    Raises WeightsError for a value that would not read back.
    """
    values = _ADAPTER.dump_python(card, mode="json", warnings=False)
    _parse(values, path)
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110)
    with replacing(path, mode=SHARED) as draft:
        draft.write_text(text, encoding="utf-8")


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _parse(values: Mapping[str, Any], path: Path) -> ModelCard:
    missing = [key for key in _KEYS if key not in values]
    if missing:
        raise WeightsError(f"{path}: the model card lacks {', '.join(missing)}")
    if (kind := kind_of(values["preset"])) not in DETECTORS.names():
        known = ", ".join(DETECTORS.names())
        raise WeightsError(f"{path}: preset.kind: {kind} is none of {known}; install the distribution that adds it")
    try:
        return _ADAPTER.validate_python(values)
    except ValidationError as error:
        raise WeightsError(f"{path}: {problems(error, _key)}") from None
    except ConfigError as error:
        raise WeightsError(f"{path}: preset.{error.problem}", error.fix) from None


def _key(loc: Sequence[int | str]) -> str:
    """The key that an error is about, without the kind of preset, which pydantic puts between."""
    return dotted([*loc[:1], *loc[2:]] if loc[:1] == ("preset",) and len(loc) > 2 else loc)
