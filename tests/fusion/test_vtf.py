import numpy as np
import pytest
import torch

from streamwatch.fusion.vtf import VTF, OnlineVTF, VTFConfig
from streamwatch.records import FloatArray

CONFIG = VTFConfig(features=6, frames=4, width=16, depth=1, heads=2)


def model() -> VTF:
    torch.manual_seed(0)
    return VTF(CONFIG).eval()


def features(count: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).normal(size=(count, 6)).astype(np.float32)


def online(net: VTF, rows: FloatArray) -> float:
    fusion = OnlineVTF(net)
    for row in rows:
        fusion.add(row)
    return fusion.logit


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 11])
def test_online_equals_the_weighted_mean_over_windows(count: int) -> None:
    net, rows = model(), features(count)
    windows = [rows[i : i + 4] for i in range(0, count, 4)]
    with torch.inference_mode():
        logits = [net(torch.from_numpy(w)[None]).item() for w in windows]
    expected = np.average(logits, weights=[len(w) for w in windows])
    assert online(net, rows) == pytest.approx(expected, abs=1e-5)


def test_memory_does_not_grow_with_the_track() -> None:
    fusion = OnlineVTF(model())
    for row in features(101):
        fusion.add(row)
    assert len(fusion._window) <= CONFIG.frames
    with pytest.raises(ValueError, match="without faces"):
        _ = OnlineVTF(model()).logit


def test_missing_places_change_nothing() -> None:
    net, rows = model(), torch.from_numpy(features(3))[None]
    padded = torch.cat([rows, torch.full((1, 1, 6), 7.0)], dim=1)
    missing = torch.tensor([[False, False, False, True]])
    torch.testing.assert_close(net(padded, missing), net(rows), atol=1e-5, rtol=1e-4)


def test_order_matters_and_long_windows_are_refused() -> None:
    net, rows = model(), torch.from_numpy(features(4))[None]
    assert not torch.allclose(net(rows), net(rows.flip(1)))
    with pytest.raises(ValueError, match="at most 4"):
        net(torch.zeros(1, 5, 6))
