"""M2TR against the plain reference: same weights, same picture, same answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from streamwatch.detectors.m2tr.attention import materialised_attention
from streamwatch.detectors.m2tr.folding import fold_batch_norms
from streamwatch.detectors.m2tr.model import M2TR, build
from tests.support.m2tr_reference import Reference

# preset, side of the picture, changes; a picture of another size than input_size has its filter interpolated
CASES: dict[str, tuple[str, int, dict[str, Any]]] = {
    "b4": ("m2tr-b4", 64, {}),
    "b4 native filter, decoder": ("m2tr-b4", 64, {"input_size": 64, "depth": 1, "decoder": True}),
    "lite": ("m2tr-lite", 192, {}),
    "lite 64": ("m2tr-lite", 64, {}),
    "parallel": ("m2tr-lite", 64, {"arrangement": "parallel"}),
    "dct": ("m2tr-lite", 64, {"frequency": "dct"}),
    "no frequency": ("m2tr-lite", 64, {"frequency": "none"}),
    "cmf": ("m2tr-lite", 64, {"fusion": "cmf"}),
    "add": ("m2tr-lite", 64, {"fusion": "add"}),
    "one scale": ("m2tr-lite", 64, {"multi_scale": False}),
    "plain decoder": ("m2tr-lite", 64, {"decoder_context": None}),
    "no decoder": ("m2tr-lite", 64, {"decoder": False}),
}


def lively(preset: str, size: int, changes: dict[str, Any]) -> tuple[M2TR, torch.Tensor]:
    """A model in which every part bears on the answer, with activations of order one; and a picture."""
    torch.manual_seed(7)
    model = build(preset, dropout=0.0, drop_connect=0.0, **changes)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("complex_weight"):
                parameter.normal_()
            elif parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5) if name.endswith("weight") else parameter.normal_(std=0.2)
            elif ".output_linear.0" in name or "conv" in name.split(".")[-2] or "embedding" in name:
                parameter.mul_(1.5)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        model.classifier.projection.weight.mul_(3)
        pictures = torch.randn(2 if size > 64 else 8, 3, size, size)
        model.train()(pictures)  # batch statistics that fit the weights
    return model.eval(), pictures[:1].double()


def reference(model: M2TR) -> Reference:
    config = model.config
    return Reference(
        {key: value.numpy().astype(np.float64) for key, value in model.state_dict().items()},
        backbone=config.backbone,
        insert_after=config.insert_after,
        depth=config.depth,
        divisors=config.head_divisors,
        arrangement=config.arrangement,
        frequency=config.frequency,
        fusion=config.fusion,
        decoder_context=config.decoder_context,
    )


@pytest.mark.parametrize("case", CASES)
def test_matches_the_reference(case: str) -> None:
    model, picture = lively(*CASES[case])
    logits, mask = reference(model).run(picture[0].numpy())

    with torch.inference_mode():
        single = model(picture.float())
        with materialised_attention():
            written_out = model(picture.float())
        folded = fold_batch_norms(model)(picture.float())
        double = model.double()(picture)

    assert 0.01 < np.abs(logits).max() < 50
    assert np.abs(double.logits[0].numpy() - logits).max() <= 1e-6
    for output in (single, written_out, folded):
        assert np.abs(output.logits[0].numpy() - logits).max() <= 1e-4
    if mask is None:
        assert double.mask_logits is None
    else:
        assert np.abs(double.mask_logits[0, 0].numpy() - mask).max() <= 1e-6


def test_every_part_bears_on_the_logit() -> None:
    """Parity says little about a part that the compared numbers do not feel."""
    parts = (
        "0.t.attention.query_embedding.weight",
        "0.t.attention.output_linear.0.weight",
        "0.t.feed_forward.conv.3.weight",
        "1.filter.complex_weight",
        "1.feed_forward.conv.0.weight",
        "2.conv1.weight",
        "2.conv4.0.weight",
    )
    model, picture = lively(*CASES["lite 64"])
    parameters = dict(model.named_parameters())
    with torch.inference_mode():
        before = model(picture.float()).logits
        for part in parts:
            parameters[f"layers.0.{part}"].mul_(1.1)
            assert (model(picture.float()).logits - before).abs().max() > 2e-4, part
            parameters[f"layers.0.{part}"].div_(1.1)
