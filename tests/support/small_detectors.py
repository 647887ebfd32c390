"""Detectors on disk that load fast, and settings with them."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from streamwatch.config import Settings

INPUT = 64


def light_detector(folder: Path) -> Path:
    """The statistics detector that ships, for faces as small as those of `face_clip`.

    A process that loads it imports no torch and starts in half the time: for tests of processes, not of networks.
    """
    from streamwatch.detectors.card import Limits, card_path, read_card, write_card
    from streamwatch.detectors.registry import weights_path

    shipped = weights_path("statistics")
    path = folder / "light.safetensors"
    path.write_bytes(shipped.read_bytes())
    write_card(replace(read_card(shipped), name="light", limits=Limits(min_face_side=24.0)), card_path(path))
    return path


def untrained_detector(folder: Path, bias: float = 0.0) -> Path:
    """Weights of a small M2TR that has learnt nothing, with a card; its scores depend on the crop all the same."""
    path = folder / "untrained.safetensors"
    for suffix, data in _untrained(bias).items():
        path.with_suffix(suffix).write_bytes(data)
    return path


@cache
def _untrained(bias: float) -> dict[str, bytes]:
    """Its files by suffix; every test of a process asks for the same ones."""
    import torch

    from streamwatch.detectors import Calibration, InputSpec, Limits, ModelCard, Thresholds, save_checkpoint
    from streamwatch.detectors.m2tr.config import M2TRConfig
    from streamwatch.detectors.m2tr.model import build
    from streamwatch.faces import CropGeometry

    torch.manual_seed(1)
    config = M2TRConfig(
        backbone="efficientnet-lite0",
        input_size=INPUT,
        insert_after=4,
        depth=1,
        patch_divisors=(1, 2),
        decoder=True,
        decoder_stages=((8, 1),),
    )
    card = ModelCard(
        name="untrained",
        preset=config,
        input=InputSpec(INPUT, (127.0, 127.0, 127.0), (128.0, 128.0, 128.0)),
        geometry=CropGeometry(1.3),
        calibration=Calibration(temperature=1.0, bias=bias),
        thresholds=Thresholds(real=0.5, fake=0.8),
        limits=Limits(min_face_side=24.0),
        data="none",
        date="2024-01-01",
        recipe="none",
        metrics={},
        licence="Apache-2.0",
    )
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(Path(folder) / "untrained.safetensors", build(config), card)
        return {path.suffix: path.read_bytes() for path in Path(folder).iterdir()}


def settings_for(weights: Path, **changes: Any) -> Settings:
    """Settings with this detector on the CPU, sampled at 4 frames a second."""
    values: dict[str, Any] = {
        "detector": {"model": str(weights), "device": "cpu", "threads": 1},
        "sampling": {"fps": 4.0},
        "faces": {"long_side": 256, "batch": 4},
        **changes,
    }
    return Settings(**values)
