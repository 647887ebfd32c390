"""A convolution and its fixed normalisation in one: the same numbers, and the same gradients for all parameters."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from streamwatch.detectors.m2tr.backbone import ReLU6, SameConv2d
from streamwatch.detectors.m2tr.model import build
from streamwatch.detectors.m2tr.normalised import Convolution, ConvSequence, convolve_normalised
from tests.support.present import present


def normalised(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            present(tensor).uniform_(0.5, 1.5)
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
    x, before = torch.randn(4, 3, 8, 8), present(norm.running_mean).clone()
    y = ConvSequence(convolution, norm)(x)
    torch.testing.assert_close(y.mean(dim=(0, 2, 3)), norm.bias)
    assert not torch.equal(present(norm.running_mean), before)


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


@pytest.mark.parametrize("side", [31, 32])
@pytest.mark.parametrize("kernel", [3, 5])
def test_an_uneven_padding_is_the_same_on_the_map_and_on_the_weights(kernel: int, side: int) -> None:
    torch.manual_seed(0)
    convolution = SameConv2d(4, 4, kernel, stride=2, groups=4)
    x = torch.randn(2, 4, side, side, requires_grad=True)
    trained = convolution(x)
    [gradient] = torch.autograd.grad(trained.square().sum(), x)
    with torch.no_grad():
        torch.testing.assert_close(convolution(x), trained)
    convolution.weight.requires_grad_(False)
    frozen = convolution(x)
    torch.testing.assert_close(frozen, trained)
    torch.testing.assert_close(torch.autograd.grad(frozen.square().sum(), x)[0], gradient)


def test_relu6_keeps_the_map_that_its_gradient_needs() -> None:
    x = torch.tensor([-1.0, 3.0, 7.0], requires_grad=True)
    y = x * 1
    z = ReLU6()(y)
    z.sum().backward()
    assert (z.tolist(), y.tolist(), present(x.grad).tolist()) == ([0, 3, 6], [-1, 3, 7], [0, 1, 0])
    with torch.no_grad():
        y = torch.tensor([-1.0, 3.0, 7.0])
        assert ReLU6()(y).data_ptr() == y.data_ptr()
