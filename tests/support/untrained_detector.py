"""An untrained detector of the real architecture, and settings with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from streamwatch.config import Settings

INPUT = 64


def untrained_detector(folder: Path, bias: float = 0.0) -> Path:
    """Weights of a small M2TR that has learnt nothing, with a card; its scores depend on the crop all the same."""
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
    path = folder / "untrained.safetensors"
    save_checkpoint(path, build(config), card)
    return path


def settings_for(weights: Path, **changes: Any) -> Settings:
    """Settings with this detector on the CPU, sampled at 4 frames a second."""
    values: dict[str, Any] = {
        "detector": {"model": str(weights), "device": "cpu", "threads": 1},
        "sampling": {"fps": 4.0},
        "faces": {"long_side": 256, "batch": 4},
        **changes,
    }
    return Settings(**values)
