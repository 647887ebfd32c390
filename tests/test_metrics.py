import numpy as np
import pytest

from streamwatch.evaluation.calibration import fit_platt, threshold_at
from streamwatch.evaluation.metrics import (
    equal_error_rate,
    expected_calibration_error,
    intersection_over_union,
    roc_auc,
    roc_curve,
    true_positive_rate_at,
)


def pairwise_auc(labels, scores):
    fakes = [s for y, s in zip(labels, scores, strict=True) if y]
    reals = [s for y, s in zip(labels, scores, strict=True) if not y]
    return np.mean([(f > r) + 0.5 * (f == r) for f in fakes for r in reals])


def test_auc_counts_pairs_with_ties():
    rng = np.random.default_rng(0)
    labels, scores = rng.random(60) < 0.4, rng.integers(0, 8, 60)
    assert roc_auc(labels, scores) == pytest.approx(pairwise_auc(labels, scores))


def test_auc_of_perfect_reversed_and_constant_scores():
    labels = [0, 0, 1, 1]
    assert roc_auc(labels, [1, 2, 3, 4]) == 1
    assert roc_auc(labels, [4, 3, 2, 1]) == 0
    assert roc_auc(labels, [5, 5, 5, 5]) == 0.5


@pytest.mark.parametrize(
    ("labels", "scores"), [([1, 1], [0.1, 0.2]), ([0, 1], [0.1, float("nan")]), ([0, 1, 1], [0.1, 0.2])]
)
def test_auc_refuses_what_it_cannot_answer(labels, scores):
    with pytest.raises(ValueError, match=r"needed|NaN|equal length"):
        roc_auc(labels, scores)


def test_roc_area_equals_auc():
    rng = np.random.default_rng(1)
    labels, scores = rng.random(200) < 0.3, rng.normal(size=200).round(1)
    false, true = roc_curve(labels, scores)
    assert np.trapezoid(true, false) == pytest.approx(roc_auc(labels, scores))


def test_equal_error_rate():
    assert equal_error_rate([0, 0, 1, 1], [1, 2, 3, 4]) == 0
    assert equal_error_rate([0, 0, 1, 1], [4, 3, 2, 1]) == 1
    assert equal_error_rate([0, 1, 0, 1], [1, 2, 3, 4]) == pytest.approx(0.5)


def test_true_positives_at_a_false_alarm_rate():
    labels = [0] * 10 + [1] * 10
    scores = [*range(10), 8.5, *range(10, 19)]
    assert true_positive_rate_at(labels, scores, 0.0) == pytest.approx(0.9)
    assert true_positive_rate_at(labels, scores, 0.1) == pytest.approx(1.0)


def test_calibration_error_of_known_cases():
    labels = np.array([1, 0] * 50)
    assert expected_calibration_error(labels, np.full(100, 0.5)) == pytest.approx(0)
    assert expected_calibration_error(labels, np.full(100, 0.9)) == pytest.approx(0.4)
    assert expected_calibration_error(labels, labels.astype(float)) == pytest.approx(0)


def test_intersection_over_union():
    a, b = np.zeros((4, 4)), np.zeros((4, 4))
    a[:2], b[1:3] = 1, 0.8
    assert intersection_over_union(a, b) == pytest.approx(4 / 12)
    assert intersection_over_union(np.zeros((2, 2)), np.zeros((2, 2))) == 1


def test_platt_recovers_the_scale_that_made_the_labels():
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 4, 40_000)
    labels = rng.random(40_000) < 1 / (1 + np.exp(-(logits / 2.5)))
    temperature, bias = fit_platt(logits, labels)
    assert temperature == pytest.approx(2.5, rel=0.05)
    assert bias == pytest.approx(0, abs=0.05)


def test_platt_refuses_scores_that_fall_with_the_label():
    with pytest.raises(ValueError, match="do not rise"):
        fit_platt([3.0, 2.0, -2.0, -3.0, 1.0, -1.0], [0, 0, 1, 1, 1, 0])


def test_threshold_lets_no_more_than_the_rate_through():
    real = np.linspace(0, 0.99, 100)
    threshold = threshold_at(real, 0.02)
    assert (real >= threshold).sum() == 2
    assert (real >= threshold_at(real, 0.0)).sum() == 0
