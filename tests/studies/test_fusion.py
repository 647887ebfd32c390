"""Rules of fusion compared on the same tracks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from streamwatch.fusion import TrackFusion
from streamwatch.fusion.vtf import VTFConfig
from streamwatch.records import sigmoid
from streamwatch.studies.fusion import RULES, as_served, compare, train_vtf
from streamwatch.studies.tracks import TrackScores, compared
from tests.support.face_scores import policy, scored

CONFIG = VTFConfig(features=6, frames=4, width=16, depth=1, heads=2)


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


def test_the_rule_that_is_compared_as_served_is_that_of_verdicts() -> None:
    settings, rng = policy(), np.random.default_rng(0)
    above = 0
    for number in range(20):
        logits = rng.normal(-2, 1, 24)
        logits[6:16] += number / 3
        track = TrackFusion(1, settings)
        for index, logit in enumerate(logits):
            track.add(scored(sigmoid(logit), index / 2))
        found = as_served(settings, 2.0)(logits.astype(np.float32))
        assert found == pytest.approx(track.verdict().score, abs=1e-6)
        above += found > sigmoid(logits.mean()) + 1e-6
    assert 0 < above < 20
