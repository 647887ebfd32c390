"""Grad-CAM: what it shows, and what it must not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from streamwatch.detectors import ExplainingDetector
from streamwatch.detectors.m2tr.detector import M2TRDetector
from streamwatch.detectors.m2tr.explain import grad_cam
from streamwatch.detectors.m2tr.model import M2TR
from streamwatch.errors import DetectorError
from tests.support.m2tr_models import card_for, tiny_model


@pytest.fixture
def model() -> M2TR:
    return tiny_model()


@pytest.fixture
def crops() -> torch.Tensor:
    return torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def brightness_model() -> M2TR:
    """A network whose last map is the brightness of each 16×16 cell, and whose score is its mean."""
    model = tiny_model(decoder=False)

    def brightness(x: torch.Tensor) -> tuple[list[torch.Tensor], None]:
        cells = torch.nn.functional.avg_pool2d(x.mean(dim=1, keepdim=True), 16)
        return [cells.expand(-1, model.feature_size, -1, -1).contiguous()], None

    model.convolve = brightness  # type: ignore[method-assign]
    with torch.no_grad():
        model.classifier.projection.weight[0] = -1.0
        model.classifier.projection.weight[1] = 1.0
    return model


def test_maps_are_finite_and_peak_at_one(model: M2TR, crops: torch.Tensor) -> None:
    maps = grad_cam(model, crops)
    assert maps.shape == (3, 64, 64)
    assert maps.min() >= 0
    assert not maps.requires_grad
    for single in maps:
        assert float(single.max()) in (0.0, pytest.approx(1.0))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_map_is_high_where_the_score_comes_from() -> None:
    x = torch.zeros(1, 3, 64, 64)
    x[:, :, 16:32, 32:48] = 1.0
    (heat,) = grad_cam(brightness_model(), x)
    row, column = divmod(int(heat.argmax()), 64)
    assert 16 <= row < 32
    assert 32 <= column < 48
    assert heat[48:].max() == 0


def test_what_speaks_against_fake_is_not_shown() -> None:
    model = brightness_model()
    x = torch.zeros(1, 3, 64, 64)
    x[:, :, 16:32, 32:48] = 1.0
    with torch.no_grad():
        model.classifier.projection.weight.neg_()
    assert grad_cam(model, x).count_nonzero() == 0


def test_it_is_the_class_activation_map_of_this_head(model: M2TR, crops: torch.Tensor) -> None:
    with torch.no_grad():
        [last], _ = model.convolve(crops)
        weight = model.classifier.projection.weight
        maps = torch.einsum("k,nkhw->nhw", weight[1] - weight[0], last).relu()
    size = maps.shape[-1]
    coarse = torch.nn.functional.adaptive_avg_pool2d(grad_cam(model, crops)[:, None], size)[:, 0]
    for mine, theirs in zip(coarse, maps, strict=True):
        if theirs.max() > 0:
            assert torch.corrcoef(torch.stack([mine.flatten(), theirs.flatten()]))[0, 1] > 0.9


def test_another_head_gives_another_map(model: M2TR, crops: torch.Tensor) -> None:
    """The sanity check of Adebayo et al. (NeurIPS 2018): the map depends on what the network has learnt."""
    before = grad_cam(model, crops)
    torch.manual_seed(9)
    torch.nn.init.normal_(model.classifier.projection.weight)
    assert (grad_cam(model, crops) - before).abs().mean() > 0.1


def test_no_gradient_gives_a_map_of_zeros(model: M2TR, crops: torch.Tensor) -> None:
    torch.nn.init.zeros_(model.classifier.projection.weight)
    assert grad_cam(model, crops).count_nonzero() == 0


def test_the_detector_explains_crops_in_any_precision_and_scores_as_before(model: M2TR) -> None:
    detector = M2TRDetector(model, card_for(model.config), device="cpu", precision="bf16")
    exact = M2TRDetector(model, card_for(model.config), device="cpu", precision="fp32")
    assert isinstance(detector, ExplainingDetector)
    crops = np.random.default_rng(2).integers(0, 256, (3, 64, 64, 3), np.uint8)
    before = detector.score_arrays(crops).logits
    heat = detector.explain(crops)
    assert heat.shape == (3, 64, 64)
    assert heat.dtype == np.float32
    assert np.array_equal(heat, exact.explain(crops)), "fp32, whatever the precision of the scores"
    assert np.allclose(heat[1:2], detector.explain(crops[1:2]))
    assert np.array_equal(detector.score_arrays(crops).logits, before)
    assert detector.explain(crops[:0]).shape == (0, 64, 64)
    with pytest.raises(DetectorError, match="64×64"):
        detector.explain(crops[:, :32])
