"""A convolution and its fixed normalisation in one: the same numbers, and the same gradients for all parameters."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from streamwatch.detectors.m2tr.backbone import SameConv2d
from streamwatch.detectors.m2tr.model import build
from streamwatch.detectors.m2tr.normalised import Convolution, ConvSequence, convolve_normalised


def normalised(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            tensor.uniform_(0.5, 1.5)
    return norm


@pytest.mark.parametrize(
    "convolution",
    [Convolution(4, 6, 3, padding=1), SameConv2d(4, 6, 3, stride=2), SameConv2d(4, 4, 5, groups=4)],
    ids=["with bias", "uneven padding", "depthwise"],
)
def test_folding_changes_no_number_and_no_gradient(convolution: Convolution) -> None:
    torch.manual_seed(0)
    norm = normalised(convolution.out_channels).eval()
    x = torch.randn(2, 4, 10, 10, requires_grad=True)
    leaves = [x, *convolution.parameters(), *norm.parameters()]
    folded, apart = convolve_normalised(convolution, norm, x), norm(convolution(x))
    torch.testing.assert_close(folded, apart)
    weights = torch.randn_like(apart)
    for one, other in zip(
        torch.autograd.grad((folded * weights).sum(), leaves),
        torch.autograd.grad((apart * weights).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_in_training_the_statistics_of_the_batch_count_and_are_kept() -> None:
    torch.manual_seed(0)
    convolution, norm = Convolution(3, 5, 3), normalised(5)
    x, before = torch.randn(4, 3, 8, 8), norm.running_mean.clone()
    y = ConvSequence(convolution, norm)(x)
    torch.testing.assert_close(y.mean(dim=(0, 2, 3)), norm.bias)
    assert not torch.equal(norm.running_mean, before)


def test_a_sequence_runs_its_other_modules_as_they_are() -> None:
    torch.manual_seed(0)
    modules = (nn.ReLU(), Convolution(3, 4, 1), normalised(4), nn.LeakyReLU(0.2), Convolution(4, 2, 1))
    sequence = ConvSequence(*modules).eval()
    x = torch.randn(1, 3, 5, 5)
    torch.testing.assert_close(sequence(x), nn.Sequential(*sequence)(x))


def test_every_batch_norm_of_the_network_is_folded_in_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("m2tr-lite", input_size=128).eval()
    run = []
    monkeypatch.setattr(nn.BatchNorm2d, "forward", lambda self, x: run.append(self))
    with torch.inference_mode():
        model(torch.randn(1, 3, 128, 128))
    assert not run
