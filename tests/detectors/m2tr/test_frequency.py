"""The spectral filter and the DCT bands."""

from __future__ import annotations

import pytest
import torch

from streamwatch.detectors.m2tr.frequency import GlobalFilter, split_bands


def gaussian_filter(side: int, channels: int = 2) -> GlobalFilter:
    """A blur whose transfer function is the same function of the frequency for every side."""
    layer = GlobalFilter(channels, side)
    rows, columns = torch.fft.fftfreq(side), torch.fft.rfftfreq(side)
    response = torch.exp(-((rows[:, None] ** 2 + columns[None, :] ** 2) * 20))
    with torch.no_grad():
        layer.complex_weight.zero_()
        layer.complex_weight[..., 0] = response[..., None]
    return layer


def test_a_filter_of_ones_changes_nothing() -> None:
    layer = GlobalFilter(3, 16)
    with torch.no_grad():
        layer.complex_weight.zero_()
        layer.complex_weight[..., 0] = 1
    for height, width in ((16, 16), (20, 20), (12, 18), (9, 9)):
        x = torch.randn(2, 3, height, width)
        torch.testing.assert_close(layer(x), x, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("side", [64, 40, 20])
def test_interpolated_filter_keeps_its_meaning(side: int) -> None:
    """A blur stored for another side blurs (nearly) like one made for this side; naive resizing would not."""
    x = torch.randn(1, 2, side, side)
    with torch.no_grad():
        torch.testing.assert_close(gaussian_filter(80)(x), gaussian_filter(side)(x), atol=0.01, rtol=0.01)


def test_filter_computes_in_fp32_under_autocast() -> None:
    layer = gaussian_filter(16)
    x = torch.randn(1, 2, 16, 16).bfloat16()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    with torch.no_grad():
        assert torch.equal(y, layer(x.float()).bfloat16())


def test_bands_sum_to_the_picture() -> None:
    picture = torch.rand(2, 3, 32, 32)
    low, middle, high = split_bands(picture).chunk(3, dim=1)
    torch.testing.assert_close(low + middle + high, picture, atol=1e-5, rtol=1e-5)


def test_bands_separate_slow_from_fast() -> None:
    size = 64
    flat = torch.full((1, 3, size, size), 0.5)
    checkers = (torch.arange(size)[:, None] + torch.arange(size)[None, :]).remainder(2).float()
    low, middle, high = split_bands(flat).chunk(3, dim=1)
    assert low.abs().max() > 0.49
    assert max(middle.abs().max(), high.abs().max()) < 1e-5
    low, middle, high = split_bands(checkers.expand(1, 3, size, size) - 0.5).chunk(3, dim=1)
    assert high.abs().mean() > 20 * max(low.abs().mean(), middle.abs().mean())
