import math

import numpy as np
import pytest
import torch

from streamwatch.fusion.vtf import VTF, OnlineVTF, VTFConfig
from streamwatch.records import FloatArray
from streamwatch.studies.fusion import RULES, compare, train_vtf
from streamwatch.studies.tracks import TrackScores, compared

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


def flickering(fake: bool, seed: int) -> TrackScores:
    """Fakes whose feature jumps from face to face around the reals' mean: only time tells them."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(0, 0.3, (4, 6)).astype(np.float32)
    rows[:, 0] += np.array([2, -2, 2, -2], np.float32) if fake else rng.choice([-2, 2]) * np.ones(4, np.float32)
    return TrackScores(f"clip{seed}", "flicker", fake, rows[:, 1], rows)


def test_the_transformer_learns_what_only_time_shows_and_plain_rules_do_not() -> None:
    tracks = [flickering(fake, 2 * i + fake) for i in range(60) for fake in (False, True)]
    net = train_vtf(tracks, CONFIG, epochs=30)
    found = {
        row.name: row
        for row in compare(net, [flickering(f, 500 + 2 * i + f) for i in range(40) for f in (False, True)])
    }
    assert set(found) == {*RULES, "VTF"}
    assert found["VTF"].auc > 0.9
    assert found["mean of logits"].auc < 0.7
    assert found["VTF"].low <= found["VTF"].auc <= found["VTF"].high


def test_gains_are_over_the_mean_of_logits_on_the_same_tracks() -> None:
    tracks = [flickering(fake, 900 + 2 * i + fake) for i in range(20) for fake in (False, True)]
    right = np.array([float(track.fake) for track in tracks])
    wrong = compared("wrong", tracks, -right, right)
    assert (wrong.auc, wrong.gain, wrong.gain_low, wrong.gain_high) == (0, -1, -1, -1)
    assert compared("same", tracks, right, right).gain == 0
    assert math.isnan(compared("alone", tracks, right).gain)


def test_plain_rules() -> None:
    logits = np.array([-1.0, 2.0, 3.0, 4.0, 5.0, -6.0], np.float32)
    values = {name: rule(logits) for name, rule in RULES.items()}
    assert values["mean of logits"] == pytest.approx(7 / 6)
    assert values["median of logits"] == 2.5
    assert values["majority"] == pytest.approx(4 / 6)
    assert values["mean of the 4 highest"] == 3.5
