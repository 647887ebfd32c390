import sys
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import ArrayLike

from streamwatch.detectors.card import Thresholds
from streamwatch.errors import LibraryMissing
from streamwatch.evaluation import bootstrap
from streamwatch.evaluation.bootstrap import bootstrap_interval
from streamwatch.evaluation.calibration import fit_platt, threshold_at
from streamwatch.evaluation.levels import LevelScores, Proportion, measure
from streamwatch.evaluation.metrics import (
    accuracy,
    average_precision,
    balanced_accuracy,
    equal_error_rate,
    expected_calibration_error,
    intersection_over_union,
    log_loss,
    reliability,
    roc_auc,
    roc_curve,
    true_positive_rate_at,
)
from streamwatch.evaluation.weighted import Ranking
from tests.support.present import present


def pairwise_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    fakes = [s for y, s in zip(labels, scores, strict=True) if y]
    reals = [s for y, s in zip(labels, scores, strict=True) if not y]
    return float(np.mean([(f > r) + 0.5 * (f == r) for f in fakes for r in reals]))


def test_auc_counts_pairs_with_ties() -> None:
    rng = np.random.default_rng(0)
    labels, scores = rng.random(60) < 0.4, rng.integers(0, 8, 60)
    assert roc_auc(labels, scores) == pytest.approx(pairwise_auc(labels, scores))


def test_auc_of_perfect_reversed_and_constant_scores() -> None:
    labels = [0, 0, 1, 1]
    assert roc_auc(labels, [1, 2, 3, 4]) == 1
    assert roc_auc(labels, [4, 3, 2, 1]) == 0
    assert roc_auc(labels, [5, 5, 5, 5]) == 0.5


@pytest.mark.parametrize("metric", [roc_auc, roc_curve, average_precision, equal_error_rate])
@pytest.mark.parametrize(
    ("labels", "scores"), [([1, 1], [0.1, 0.2]), ([0, 1], [0.1, float("nan")]), ([0, 1, 1], [0.1, 0.2])]
)
def test_metrics_refuse_what_they_cannot_answer(
    metric: Callable[..., object], labels: ArrayLike, scores: ArrayLike
) -> None:
    with pytest.raises(ValueError, match=r"needed|NaN|equal length"):
        metric(labels, scores)


def test_roc_curve_by_hand_has_a_point_for_each_distinct_score() -> None:
    false, true = roc_curve([1, 0, 1, 1, 0], [0.9, 0.8, 0.8, 0.5, 0.1])
    np.testing.assert_allclose(false, [0, 0, 1 / 2, 1 / 2, 1])
    np.testing.assert_allclose(true, [0, 1 / 3, 2 / 3, 1, 1])
    false, _ = roc_curve([0, 0, 0, 1], [4, 3, 2, 1])  # on one line
    np.testing.assert_allclose(false, [0, 1 / 3, 2 / 3, 1, 1])


@pytest.mark.parametrize("metric", [roc_auc, roc_curve, average_precision])
def test_without_scikit_learn_metrics_name_the_extra(
    metric: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    with pytest.raises(LibraryMissing, match=r"scikit-learn .*pip install '\.\[evaluate\]'"):
        metric([0, 1], [0.1, 0.9])


def test_roc_area_equals_auc() -> None:
    rng = np.random.default_rng(1)
    labels, scores = rng.random(200) < 0.3, rng.normal(size=200).round(1)
    false, true = roc_curve(labels, scores)
    assert np.trapezoid(true, false) == pytest.approx(roc_auc(labels, scores))


def test_equal_error_rate() -> None:
    assert equal_error_rate([0, 0, 1, 1], [1, 2, 3, 4]) == 0
    assert equal_error_rate([0, 0, 1, 1], [4, 3, 2, 1]) == 1
    assert equal_error_rate([0, 1, 0, 1], [1, 2, 3, 4]) == pytest.approx(0.5)


def test_true_positives_at_a_false_alarm_rate() -> None:
    labels = [0] * 10 + [1] * 10
    scores = [*range(10), 8.5, *range(10, 19)]
    assert true_positive_rate_at(labels, scores, 0.0) == pytest.approx(0.9)
    assert true_positive_rate_at(labels, scores, 0.1) == pytest.approx(1.0)


def test_calibration_error_of_known_cases() -> None:
    labels = np.array([1, 0] * 50)
    assert expected_calibration_error(labels, np.full(100, 0.5)) == pytest.approx(0)
    assert expected_calibration_error(labels, np.full(100, 0.9)) == pytest.approx(0.4)
    assert expected_calibration_error(labels, labels.astype(float)) == pytest.approx(0)


def test_intersection_over_union() -> None:
    a, b = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    a[:2], b[1:3] = True, True
    assert intersection_over_union(a, b) == pytest.approx(4 / 12)
    assert intersection_over_union(np.zeros((2, 2), bool), np.zeros((2, 2), bool)) == 1


def test_platt_recovers_the_scale_that_made_the_labels() -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 4, 40_000)
    labels = rng.random(40_000) < 1 / (1 + np.exp(-(logits / 2.5)))
    temperature, bias = fit_platt(logits, labels)
    assert temperature == pytest.approx(2.5, rel=0.05)
    assert bias == pytest.approx(0, abs=0.05)


def test_platt_refuses_scores_that_fall_with_the_label() -> None:
    with pytest.raises(ValueError, match="do not rise"):
        fit_platt([3.0, 2.0, -2.0, -3.0, 1.0, -1.0], [0, 0, 1, 1, 1, 0])


def test_threshold_lets_no_more_than_the_rate_through() -> None:
    real = np.linspace(0, 0.99, 100)
    threshold = threshold_at(real, 0.02)
    assert (real >= threshold).sum() == 2
    assert (real >= threshold_at(real, 0.0)).sum() == 0


def test_average_precision_by_hand_and_at_chance() -> None:
    assert average_precision([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1]) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert average_precision([0, 1, 0, 1], [1, 1, 1, 1]) == pytest.approx(0.5)
    assert average_precision([0, 0, 1], [1, 2, 3]) == 1
    tied = average_precision([1, 0, 1, 1, 0], [0.9, 0.8, 0.8, 0.5, 0.1])
    assert tied == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)


def test_accuracies_at_a_threshold() -> None:
    labels, scores = [0, 0, 0, 1], [0.1, 0.2, 0.6, 0.5]
    assert accuracy(labels, scores, 0.5) == pytest.approx(3 / 4)
    assert balanced_accuracy(labels, scores, 0.5) == pytest.approx((1 + 2 / 3) / 2)
    assert balanced_accuracy(labels, scores, 0.7) == pytest.approx(0.5)


def test_log_loss_of_known_cases() -> None:
    assert log_loss([0, 1], [0.5, 0.5]) == pytest.approx(np.log(2))
    assert log_loss([0, 1, 1], [0.2, 0.5, 0.5]) == pytest.approx((-np.log(0.8) + 2 * np.log(2)) / 3)
    assert log_loss([0, 1, 1], [0.2, 0.5, 0.5], balanced=True) == pytest.approx((-np.log(0.8) + np.log(2)) / 2)
    assert np.isfinite(log_loss([0, 1], [1.0, 0.0]))


def test_reliability_bins_hold_means_and_weights() -> None:
    predicted, observed, mass = reliability([0, 1, 1, 1], [0.1, 0.1, 0.9, 0.7], bins=2)
    np.testing.assert_allclose(predicted, [0.1, 0.8])
    np.testing.assert_allclose(observed, [0.5, 1.0])
    np.testing.assert_allclose(mass, [0.5, 0.5])
    _, observed, mass = reliability([0, 1, 1, 1], [0.1, 0.1, 0.9, 0.7], bins=2, balanced=True)
    np.testing.assert_allclose(observed, [0.25, 1.0])
    np.testing.assert_allclose(mass, [2 / 3, 1 / 3])


def test_balanced_calibration_error_does_not_see_the_share_of_fakes() -> None:
    rng = np.random.default_rng(4)
    labels = np.repeat([True, False], 20_000)
    z = rng.normal(np.where(labels, 1.0, -1.0), 1.0)
    p = 1 / (1 + np.exp(-2 * z))
    assert expected_calibration_error(labels, p) < 0.01
    few = np.r_[np.arange(2_000), np.arange(20_000, 40_000)]
    assert expected_calibration_error(labels[few], p[few]) > 0.1
    assert expected_calibration_error(labels[few], p[few], balanced=True) < 0.02


def grouped(rng: np.random.Generator, groups: int, size: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Faces of one video share most of their score."""
    labels = np.repeat(np.arange(groups) % 2 == 1, size)
    video = rng.normal(size=groups) + np.where(np.arange(groups) % 2 == 1, 1.0, 0.0)
    scores = np.repeat(video, size) + 0.1 * rng.normal(size=groups * size)
    return labels, scores, [f"v{i}" for i in np.repeat(np.arange(groups), size)]


def test_bootstrap_resamples_whole_groups() -> None:
    labels, scores, groups = grouped(np.random.default_rng(5), 40, 20)
    ranking = Ranking.of(labels, scores)
    low, high = bootstrap_interval(ranking.auc, labels, groups, rounds=200)
    assert low < roc_auc(labels, scores) < high
    alone = [f"f{i}" for i in range(len(labels))]
    narrow = bootstrap_interval(ranking.auc, labels, alone, rounds=200)
    assert high - low > 2 * (narrow[1] - narrow[0])
    assert bootstrap_interval(ranking.auc, labels, groups, rounds=200) == (low, high)
    assert bootstrap_interval(ranking.auc, labels, groups, rounds=200, seed=1) != (low, high)


def test_bootstrap_draws_as_many_groups_of_each_class_in_any_number_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, groups = [0, 0, 0, 1, 1, 1], ["a", "a", "b", "c", "a", "a"]
    drawn: list[np.ndarray] = []

    def count_fakes(weights: np.ndarray) -> np.ndarray:
        drawn.append(weights)
        return np.asarray(weights[:, 3:].sum(axis=1))

    interval = bootstrap_interval(count_fakes, labels, groups, rounds=50)
    whole = drawn.pop()
    assert whole.shape == (50, 6)
    assert (whole[:, 0] == whole[:, 1]).all()
    assert (whole[:, 4] == whole[:, 5]).all()
    assert (whole[:, [0, 2]].sum(axis=1) == 2).all()
    assert (whole[:, [3, 4]].sum(axis=1) == 2).all()
    assert (whole[:, 0] != whole[:, 4]).any()  # the fakes of a source are drawn apart from its real samples
    monkeypatch.setattr(bootstrap, "_BLOCK", 100)
    assert bootstrap_interval(count_fakes, labels, groups, rounds=50) == interval
    assert [len(block) for block in drawn] == [16, 16, 16, 2]
    np.testing.assert_array_equal(np.concatenate(drawn), whole)


def test_bootstrap_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(6)
    truth = 0.7602  # P(N(1, 1) > N(0, 1)) = Φ(1/√2)
    held = 0
    for _ in range(100):
        labels, scores, groups = grouped(rng, 60, 1)
        low, high = bootstrap_interval(Ranking.of(labels, scores).auc, labels, groups, rounds=200)
        held += low <= truth <= high
    assert 85 <= held <= 100


def test_bootstrap_needs_two_groups_of_each_class() -> None:
    labels = [0, 0, 1, 1]
    with pytest.raises(ValueError, match="two groups"):
        bootstrap_interval(Ranking.of(labels, [1, 2, 3, 4]).auc, labels, ["a", "b", "c", "c"])


def test_wilson_interval() -> None:
    rate = Proportion.measure(np.array([False] * 20))
    assert (rate.count, rate.of, rate.low) == (0, 20, 0)
    assert rate.high == pytest.approx(0.1611, abs=1e-4)


def test_level_of_two_classes_and_of_one() -> None:
    items = [(False, 0.1, "a", ""), (False, 0.9, "b", ""), (True, 0.8, "a", "swap"), (True, 0.95, "c", "lip")]
    scores = LevelScores.of(items)
    thresholds = Thresholds(real=0.85, fake=0.85)
    level = measure(scores, "video", thresholds)
    separation = present(level.separation)
    assert separation.auc == pytest.approx(0.75)
    assert separation.auc_interval is not None
    assert separation.accuracy == pytest.approx(0.5)
    assert (present(level.real).called_fake.count, present(level.fake).called_fake.count) == (1, 1)
    wide = measure(scores, "video", Thresholds(real=0.1, fake=0.9))
    reals, fakes = present(wide.real), present(wide.fake)
    assert (reals.called_real.count, reals.called_fake.count, fakes.called_real.count) == (1, 1, 0)
    swap = measure(scores.against("swap"), "video", thresholds, method="swap")
    assert present(swap.fake).called_fake.of == 1
    assert present(swap.separation).auc_interval is None
    real = measure(LevelScores.of(items[:2]), "video", thresholds)
    assert real.separation is None
    assert real.fake is None
    assert present(real.real).quantiles["0.5"] == pytest.approx(0.5)
