"""The statistics detector: what its numbers mean, its trees, its files, its words."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from streamwatch.detectors import ReasoningDetector, load_checkpoint, load_detector, save_checkpoint
from streamwatch.detectors.card import card_path, file_sha256, read_card, write_card
from streamwatch.detectors.statistics.catalogue import CATALOGUE, COUNT
from streamwatch.detectors.statistics.config import StatisticsConfig
from streamwatch.detectors.statistics.detector import StatisticsDetector
from streamwatch.detectors.statistics.features import LEAST_SIDE, statistics
from streamwatch.detectors.statistics.model import StatisticsModel
from streamwatch.detectors.statistics.trees import Trees
from streamwatch.detectors.statistics.weights import load_statistics, save_statistics
from streamwatch.errors import DetectorError, WeightsError
from tests.support.m2tr_models import card_for
from tests.support.m2tr_models import tiny_model as tiny_network
from tests.support.statistics_models import (
    NOISE_RATIO,
    SIZE,
    column,
    face_mask,
    noisy_crop,
    stump,
    tiny_card,
    tiny_model,
)


def statistic(crop: np.ndarray, name: str) -> float:
    return float(statistics(crop)[column(name)])


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "smooth.safetensors"
    save_statistics(path, tiny_model(), tiny_card())
    return path


@pytest.fixture
def detector() -> StatisticsDetector:
    return StatisticsDetector(tiny_model(), tiny_card())


def test_names_are_unique_and_there_is_a_number_for_each() -> None:
    assert len({statistic.name for statistic in CATALOGUE}) == COUNT
    row = statistics(noisy_crop())
    assert row.shape == (COUNT,)
    assert row.dtype == np.float32
    np.testing.assert_array_equal(row, statistics(noisy_crop()))


def test_the_numbers_are_those_that_the_weights_were_trained_on() -> None:
    crop = np.asarray(cv2.GaussianBlur(noisy_crop(3, smooth=True), (3, 3), 0.7), np.uint8)
    crop[:, :20] = crop[:, 20:21]
    expected = [
        *(-0.1631, -0.0270, -0.2056, -0.5570, -0.0278, -0.6686, 0.1331, -1.8890),
        *(1.6385, -0.0110, 0.6035, 0.1387, 0.2035, 0.3798, 3.4725),
    ]
    np.testing.assert_allclose(statistics(crop)[::12], expected, atol=2e-3)
    expected = [
        *(1.9209, -0.0230, -0.0370, -0.4539, 0.0182, -0.0018, -0.0992, -1.6954),
        *(-0.1147, -0.1179, 0.4922, 0.0518, 0.2861, 0.3454, 20.2556),
    ]
    np.testing.assert_allclose(statistics(noisy_crop(4, size=131))[::12], expected, atol=2e-3)


@pytest.mark.parametrize("size", [LEAST_SIDE, 131, 256])
@pytest.mark.parametrize("level", [0, 255])
def test_numbers_are_finite_for_crops_without_any_detail(size: int, level: int) -> None:
    assert np.isfinite(statistics(np.full((size, size, 3), level, np.uint8))).all()


def test_a_smooth_face_has_less_noise_than_its_surroundings() -> None:
    assert statistic(noisy_crop(), NOISE_RATIO) == pytest.approx(0, abs=0.05)
    assert statistic(noisy_crop(smooth=True), NOISE_RATIO) == pytest.approx(np.log(0.4), abs=0.05)
    assert statistic(noisy_crop(smooth=True), "kurtosis of face to ring, scale 0") == pytest.approx(0, abs=0.1)


def test_grey_noise_correlates_over_the_channels_and_coloured_noise_does_not() -> None:
    assert np.tanh(statistic(noisy_crop(grey=True), "red and green, scale 0")) > 0.99
    assert np.tanh(statistic(noisy_crop(), "red and green, scale 0")) == pytest.approx(0, abs=0.05)


def test_interpolated_noise_correlates_with_its_neighbours() -> None:
    coarse = noisy_crop(size=SIZE // 2)
    blocky = coarse.repeat(2, axis=0).repeat(2, axis=1)
    name = "autocorrelation (0, 1) pixels, scale 0"
    assert statistic(blocky, name) > statistic(noisy_crop(), name) + 0.2


def test_a_grid_of_blocks_shows() -> None:
    crop = noisy_crop().astype(int)
    crop[:, ::8] += 25
    gridded = np.clip(crop, 0, 255).astype(np.uint8)
    assert statistic(gridded, "8-pixel grid in columns") > statistic(noisy_crop(), "8-pixel grid in columns") + 0.5
    assert statistic(gridded, "8-pixel grid in rows") < 0.5


def test_a_step_of_colour_over_the_border_shows() -> None:
    crop = noisy_crop()
    stepped = crop.copy()
    stepped[face_mask(), 0] += 60
    name = "red chroma step over the border"
    assert statistic(stepped, name) > statistic(crop, name) + 1


def test_repeated_columns_of_a_crop_out_of_its_frame_count_for_nothing() -> None:
    crop = noisy_crop(smooth=True)
    cut = crop.copy()
    cut[:, :20] = cut[:, 20:21]
    assert statistic(cut, NOISE_RATIO) == pytest.approx(statistic(crop, NOISE_RATIO), abs=0.03)


def test_a_mirrored_crop_has_the_same_noise() -> None:
    crop = noisy_crop(smooth=True)
    mirrored = np.ascontiguousarray(crop[:, ::-1])
    assert statistic(mirrored, NOISE_RATIO) == pytest.approx(statistic(crop, NOISE_RATIO), abs=1e-3)


def test_trees_decide_as_drawn() -> None:
    trees = replace(stump(1, 0.5, 2.0, -1.0), columns=3)
    rows = np.array([[9.0, 0.5, 0.0], [9.0, 0.6, 0.0]])
    np.testing.assert_allclose(trees.decision(rows), [2.0, -1.0])
    np.testing.assert_allclose(trees.contributions(rows), [[0, 1.5, 0], [0, -1.5, 0]])
    assert trees.decision(np.empty((0, 3))).shape == (0,)
    with pytest.raises(ValueError, match="N×3"):
        trees.decision(np.zeros((1, 2)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feature": np.full((1, 3), 3, np.int32)}, "feature points out"),
        ({"left": np.full((1, 3), -1, np.int32)}, "left points out"),
        ({"value": np.full((1, 3), np.nan)}, "value holds"),
        ({"threshold": np.zeros((1, 2))}, "not of one shape"),
    ],
)
def test_trees_that_point_out_of_themselves_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(replace(stump(1, 0.5, 2.0, -1.0), columns=3), **change)


def test_trees_and_contributions_agree_with_scikit_learn() -> None:
    ensemble = pytest.importorskip("sklearn.ensemble")
    from streamwatch.training.fitted.fit import trees_of

    rng = np.random.default_rng(3)
    rows = rng.normal(size=(400, 7)).astype(np.float32)
    labels = rows[:, 0] * rows[:, 1] + rng.normal(size=400) > 0
    weights = rng.uniform(0.1, 2.0, 400)
    first, second = (
        ensemble.GradientBoostingClassifier(
            n_estimators=25, max_depth=depth, subsample=0.5, init="zero", random_state=1
        ).fit(rows, labels, sample_weight=weights)
        for depth in (4, 2)
    )
    trees = trees_of([first, second], 7)
    fresh = np.vstack([rng.normal(size=(300, 7)), rng.normal(size=(300, 7)) * 10]).astype(np.float32)
    expected = (first.decision_function(fresh) + second.decision_function(fresh)) / 2
    np.testing.assert_allclose(trees.decision(fresh), expected, atol=1e-9)
    total = trees.contributions(fresh).sum(axis=1) + trees.expected
    np.testing.assert_allclose(total, trees.decision(fresh), atol=1e-9)


def test_the_linear_part_agrees_with_scikit_learn() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(200, COUNT))
    fitted = linear.LogisticRegression().fit(rows, rows[:, 0] > 0)
    model = replace(tiny_model(), coefficients=fitted.coef_[0], intercept=float(fitted.intercept_[0]), tree_share=0.0)
    fresh = np.clip(rng.normal(size=(50, COUNT)), -4, 4)
    np.testing.assert_allclose(model.decision(fresh), 0.5 * fitted.decision_function(fresh), atol=1e-9)


def test_contributions_add_up_to_the_logit() -> None:
    model, rows = tiny_model(), np.random.default_rng(5).normal(size=(20, COUNT)) * 5
    np.testing.assert_allclose(model.contributions(rows).sum(axis=1) + model.expected, model.decision(rows), atol=1e-9)


def test_scores(detector: StatisticsDetector) -> None:
    crops = np.stack([noisy_crop(), noisy_crop(smooth=True), noisy_crop(7)])
    found = detector.score_arrays(crops)
    assert found.logits.dtype == found.probabilities.dtype == found.features.dtype == np.float32
    assert found.features.shape == (3, COUNT)
    assert found.masks is None
    assert found.logits[1] > 1 > 0 > found.logits[0]
    np.testing.assert_allclose(found.probabilities, 1 / (1 + np.exp(-(found.logits / 2 + 0.1))), atol=1e-6)
    alone = detector.score(crops[1:2])
    assert (alone[0].logit, alone[0].mask) == (found.logits[1], None)
    empty = detector.score_arrays(crops[:0])
    assert (empty.logits.shape, empty.features.shape) == ((0,), (0, COUNT))


@pytest.mark.parametrize("crops", [np.zeros((1, 64, 64, 3), np.uint8), np.zeros((1, SIZE, SIZE, 3), np.float32)])
def test_crops_of_another_shape_are_refused(detector: StatisticsDetector, crops: np.ndarray) -> None:
    with pytest.raises(DetectorError, match=f"N×{SIZE}×{SIZE}×3 uint8"):
        detector.score(crops)
    with pytest.raises(DetectorError, match="smooth needs"):
        detector.reasons(crops)


def test_a_card_of_too_small_crops_is_refused() -> None:
    with pytest.raises(WeightsError, match="96 is the least"):
        StatisticsDetector(tiny_model(), replace(tiny_card(), input=replace(tiny_card().input, size=64)))


def test_reasons_are_words_with_numbers(detector: StatisticsDetector) -> None:
    assert isinstance(detector, ReasoningDetector)
    crops = np.stack([noisy_crop(smooth=True), noisy_crop()])
    smooth, plain = detector.reasons(crops)
    assert [reason.group for reason in smooth] == ["noise"]
    assert "compared with its surroundings, the face has 6" in smooth[0].text
    assert " % less noise in brightness in the finest detail (usually 0.00 % more)" in smooth[0].text
    assert smooth[0].logit > 0 > plain[0].logit
    calibrated = detector.score_arrays(crops).logits[0] / 2
    assert smooth[0].logit == pytest.approx(calibrated - tiny_model().expected / 2, abs=1e-5)


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.name)
def test_every_statistic_is_told_in_plain_words_with_its_number(entry: Any) -> None:
    for value in (-8.0, -0.7, 0.0, 0.2, 6.0):
        described, usual = entry.describe(value, 0.2).split(" (usually ")
        assert "{" not in described
        assert re.search(r"\d", described)
        assert re.search(r"\d", usual)
        assert not re.search(r"\de[+-]", described), "no exponents"
    assert not re.search(
        r"\b(log|logarithm|exponent|root|residuals?|luma|chroma|kurtosis|skew\w*|lag|bins?|planes?|spectrum|frequency"
        r"|autocorrelation|fisher|patterns? \d|(band|ring|scale|channel)s? \d|\d+ of (8|10|12))\b|\(\d, \d\)",
        described,
    )


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("luma noise, scale 1", np.log(4.2), "the face's noise in brightness in fine detail is 4.2 of 255 levels"),
        ("luma contrast", np.log(120.0), "the contrast within the face is 120 of 255 levels"),
        ("luma noise of face to ring, scale 0", np.log(3.0), "the face has 3.0 times as much noise in brightness"),
        (
            "power in band 11",
            np.log(0.004),
            "detail that repeats every 2.0 to 2.2 pixels has 0.004 times as much power",
        ),
        ("slope of the power", -1.0, "for half its size, detail in the face has 50 % less power"),
        (
            "edges along the border in ring 3",
            0.37,
            "just inside the outline of the face, the share that follows it is 37 %",
        ),
        ("luma pattern 3", 0.2, "the share of the face's pixels with 3 brighter neighbours on one side is 4.0 %"),
        ("autocorrelation (0, 2) pixels, scale 1", 0.5, "agrees with itself 4 pixels to the right by 0.50"),
        (
            "red and green of face to ring, scale 0",
            -np.arctanh(0.25),
            "in the face in the finest detail agrees by 0.25 less",
        ),
        ("red chroma of face to ring", -6.0, "the face's red tint is 6.0 of 255 levels lower"),
        ("dark share, face", np.log(0.101), "the share of the face that is nearly black is 10.0 %"),
    ],
)
def test_numbers_are_told_in_units_that_a_reader_knows(name: str, value: float, said: str) -> None:
    assert said in CATALOGUE[column(name)].describe(value, value)


def test_weights_read_back(saved: Path) -> None:
    model, card = load_statistics(saved)
    assert card == tiny_card(sha256=file_sha256(saved))
    rows = np.random.default_rng(0).normal(size=(30, COUNT))
    np.testing.assert_array_equal(model.decision(rows), tiny_model().decision(rows))
    assert sorted(path.name for path in saved.parent.iterdir()) == ["smooth.safetensors", "smooth.yaml"]
    loaded = load_detector(saved)
    assert (loaded.name, loaded.input_size, loaded.device) == ("smooth", SIZE, "cpu")


def restamp(path: Path, **changes: Any) -> None:
    write_card(tiny_card(sha256=file_sha256(path), **changes), card_path(path))


def test_damaged_weights_fail_their_digest(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[-9] ^= 1
    saved.write_bytes(content)
    with pytest.raises(WeightsError, match="SHA-256"):
        load_detector(saved)
    saved.write_bytes(b"rubbish")
    restamp(saved)
    with pytest.raises(WeightsError, match="not a readable safetensors"):
        load_detector(saved)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"mean": None}, "lacks mean"),
        ({"trees.extra": np.zeros(1)}, r"unknown trees\.extra"),
        ({"mean": np.zeros(3)}, "mean is"),
        ({"scale": np.zeros(COUNT)}, "scale holds"),
        ({"intercept": np.array([1.0, 2.0])}, "does not fit"),
        ({"trees.feature": np.full((1, 3), COUNT, np.int32)}, "feature points out"),
        ({"coefficients": np.full(COUNT, np.nan)}, "not finite"),
    ],
)
def test_arrays_must_be_exactly_those_of_the_architecture(saved: Path, edit: dict[str, Any], message: str) -> None:
    arrays = {name: array for name, array in {**load_file(saved), **edit}.items() if array is not None}
    save_file(arrays, saved)
    restamp(saved)
    with pytest.raises(WeightsError, match=message) as caught:
        load_statistics(saved)
    assert str(saved) in str(caught.value)


def test_a_card_of_other_trees_or_of_another_kind_is_refused(saved: Path, tmp_path: Path) -> None:
    restamp(saved, preset=StatisticsConfig(trees=2, depth=1))
    with pytest.raises(WeightsError, match="holds 1 trees of depth 1, its card says 2"):
        load_statistics(saved)
    restamp(saved)
    with pytest.raises(WeightsError, match="of a statistics detector, not of an M2TR network"):
        load_checkpoint(saved)
    network = tmp_path / "tiny.safetensors"
    model = tiny_network()
    save_checkpoint(network, model, card_for(model.config))
    with pytest.raises(WeightsError, match="of an M2TR network, not of a statistics detector"):
        load_statistics(network)
    with pytest.raises(WeightsError, match="of an M2TR network"):
        save_statistics(tmp_path / "x.safetensors", tiny_model(), card_for(model.config))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kind: statistics", "kind: oracle", "preset.*oracle"),
        ("version: 1", "version: 9", "version: 9"),
        ("trees: 1", "trees: many", r"preset\.trees"),
        ("depth: 1", "depth: 1\n  width: 2", r"preset\.width"),
    ],
)
def test_wrong_presets_name_the_key(saved: Path, old: str, new: str, message: str) -> None:
    path = card_path(saved)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(WeightsError, match=message):
        read_card(saved)


def test_numbers_that_do_not_fit_make_no_model() -> None:
    with pytest.raises(ValueError, match="intercept"):
        replace(tiny_model(), intercept=float("nan"))
    with pytest.raises(ValueError, match="coefficients is"):
        StatisticsModel(np.zeros(COUNT), np.ones(COUNT), np.zeros(2), 0.0, stump(0, 0.0, 0.0, 0.0))
    assert isinstance(stump(0, 0.0, 0.0, 0.0), Trees)


def test_scoring_needs_no_torch(saved: Path) -> None:
    code = (
        "import sys, numpy as np; from streamwatch.detectors import load_detector; "
        f"load_detector({str(saved)!r}).score(np.zeros((2, {SIZE}, {SIZE}, 3), np.uint8)); "
        "sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
