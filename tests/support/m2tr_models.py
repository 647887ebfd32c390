"""Small M2TR networks and their cards, for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from streamwatch.detectors import Calibration, InputSpec, Limits, ModelCard, Thresholds
from streamwatch.detectors.m2tr.config import PRESETS, M2TRConfig
from streamwatch.detectors.m2tr.model import M2TR, build
from streamwatch.faces.crops import CropGeometry


def tiny_config(**changes: Any) -> M2TRConfig:
    """The lite architecture for 64-pixel crops, one layer deep."""
    return replace(
        PRESETS["m2tr-lite"],
        **{"input_size": 64, "depth": 1, "identity_init": False, **changes},
    )


def tiny_model(**changes: Any) -> M2TR:
    """With fixed random weights, and batch statistics that fit them."""
    torch.manual_seed(5)
    model = build(tiny_config(**changes))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model(torch.randn(8, 3, 64, 64))
        model.classifier.projection.weight.mul_(5)
    return model.eval()


def card_for(config: M2TRConfig, **changes: Any) -> ModelCard:
    """A card as a trainer would write it."""
    card = ModelCard(
        name="tiny",
        preset=config,
        input=InputSpec(size=config.input_size, mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0)),
        geometry=CropGeometry(scale=1.4, center_x=0.5, center_y=0.45),
        calibration=Calibration(temperature=1.5, bias=-0.25),
        thresholds=Thresholds(real=0.4, fake=0.7),
        limits=Limits(min_face_side=40.0),
        data="random numbers",
        date="2026-01-02",
        recipe="none",
        metrics={"auc": 0.5},
        licence="Apache-2.0",
    )
    return replace(card, **changes)
