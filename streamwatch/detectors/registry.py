"""Detectors by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from streamwatch.detectors.card import card_path, check_suffix, kind_of, read_card
from streamwatch.detectors.statistics.config import StatisticsConfig
from streamwatch.errors import WeightsError
from streamwatch.extensions import DETECTORS

if TYPE_CHECKING:
    from streamwatch.detectors.protocol import Detector, LoadableDetector, Precision

WEIGHTS = Path(__file__).parent.parent / "weights"

# name -> what to do where its weights are missing
_REGISTERED = {
    "m2tr-lite": "reinstall streamwatch, whose wheel carries them, or train them with `streamwatch train`",
    "m2tr-b4": "it ships none; import the authors' checkpoint with `streamwatch models import m2tr FILE`, "
    "then give the path of the result instead of the name",
    "statistics": "reinstall streamwatch, whose wheel carries them, or train them with `streamwatch train statistics`",
    "texture": "reinstall streamwatch, whose wheel carries them, or train them with `streamwatch train texture`",
}


def registered() -> list[str]:
    """The names that `load_detector` knows, the default first, those of other distributions last."""
    return [*_REGISTERED, *DETECTORS.added()]


def weights_path(name_or_path: str | Path) -> Path:
    """The weights of a registered name or a path. Raises WeightsError saying how to get them, ConfigError for a broken
    extension.
    """
    text = str(name_or_path)
    DETECTORS.check(text)
    if text in _REGISTERED:
        path = WEIGHTS / f"{text}.safetensors"
        if not path.is_file():
            raise WeightsError(f"{text}: no weights at {path}", _REGISTERED[text])
        return path
    if text in DETECTORS.added():
        weights = getattr(DETECTORS.load(text), "weights", None)
        if weights is None:
            raise WeightsError(f"{text}: comes without weights", "give the path of a file whose card names this kind")
        return Path(weights)
    path = Path(name_or_path)
    if not path.is_file():
        raise WeightsError(
            f"{text}: neither a detector's name ({', '.join(registered())}) nor an existing .safetensors file"
        )
    return path


def gives_reasons(name_or_path: str | Path) -> bool:
    """Whether a detector is a `ReasoningDetector`, from its card alone. Raises WeightsError."""
    return isinstance(read_card(weights_path(name_or_path)).preset, StatisticsConfig)


def load_detector(
    name_or_path: str | Path,
    device: str = "auto",
    threads: int | None = None,
    precision: Precision = "auto",
) -> Detector:
    """A detector, ready to score.

    name_or_path: a registered name, or a .safetensors file with its card beside it.
    device: `auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`.
    threads: CPU threads; they are a setting of the whole process. None or 0 leaves them as they are.
    precision: `bf16` computes faster and rounds coarser; `auto` takes it where the hardware has it.
    A statistics detector runs on one core of the CPU whatever these say, and needs no torch.

    Raises WeightsError for missing or damaged weights, DetectorError for a device that is not there, ConfigError for a
    broken extension.
    """
    path = weights_path(name_or_path)
    if not card_path(path).is_file():
        check_suffix(path)  # perhaps it is somebody's checkpoint
    kind = kind_of(read_card(path).preset)
    made: LoadableDetector = DETECTORS.load(kind)
    with DETECTORS.guard(kind):
        return made.load(path, device=device, threads=threads, precision=precision)
