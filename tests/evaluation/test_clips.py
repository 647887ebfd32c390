"""Figures of scored web clips against values worked out by hand; intervals; clips matched in size and bit rate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from streamwatch.evaluation import logistic, metrics
from streamwatch.evaluation.bootstrap import group_draws, percentiles
from streamwatch.evaluation.clips import ClipFigures, ScoredFace, measure
from streamwatch.evaluation.matching import class_weights, effective, pair_weights
from streamwatch.evaluation.swaps import SWAPS, is_swap
from streamwatch.evaluation.weighted import Ranking


def clip(name: str, label: Any, scene: str, *logits: float, method: str = "", **changes: Any) -> list[ScoredFace]:
    """One picture per logit; unless changed, of a face of 100 pixels at 0.2 bytes per pixel, not aligned."""
    return [
        replace(
            ScoredFace(logit, label, name, scene, frame, method, False, f"{name}#{frame}", 100.0, 0.2),
            **changes,
        )
        for frame, logit in enumerate(logits)
    ]


def small_set() -> list[ScoredFace]:
    """Clip scores: real 0 and 2 (scene a), 1 (b), 3 (c); fake 2 (a), 1 (b), 4 (d, no original); enhanced 2.5 (c)."""
    return [
        *clip("r1", "real", "a", -1, 1),
        *clip("r2", "real", "a", 2),
        *clip("r3", "real", "b", 1),
        *clip("r4", "real", "c", 3, 3, 3),
        *clip("f1", "fake", "a", 1, 3, method="SimSwap"),
        *clip("f2", "fake", "b", 1, method="lips"),
        *clip("f3", "fake", "d", 4, method="lips"),
        *clip("e1", "enhanced", "c", 2.5, method="KEEP"),
    ]


def test_figures_over_clips_faces_pairs_methods() -> None:
    found = measure(small_set(), threshold=2.0)
    assert (found.pictures, found.clips, found.scenes) == (12, 8, 4)
    assert (found.whole.real, found.whole.fake, found.whole.scenes) == (4, 3, 4)
    # fakes 2, 1, 4 against reals 0, 2, 1, 3: 2 beats 0, 1 and ties 2; 1 beats 0 and ties 1; 4 beats all
    assert found.whole.plain.auc.value == pytest.approx((2.5 + 1.5 + 4) / 12)
    # fakes 1, 3, 1, 4 against reals -1, 1, 2, 1, 3, 3, 3
    assert found.whole.plain.auc_faces.value == pytest.approx((2 + 5.5 + 2 + 7) / 28)
    assert found.whole.plain.tpr_at_1_percent_fpr.value == pytest.approx(1 / 3)
    assert found.pairs is not None
    # f1 (2) against the mean of r1 and r2 (1): won; f2 (1) against r3 (1): tied; f3 has no original
    assert (found.pairs.pairs, found.pairs.scenes, found.pairs.won.value) == (2, 2, 0.75)
    # the clips of scenes a and b: fakes 2, 1 against reals 0, 2, 1
    assert found.pairs.auc.value == pytest.approx((2.5 + 1.5) / 6)
    assert [(m.method, m.swap, m.clips, m.scenes, m.pairs, m.won) for m in found.methods] == [
        ("SimSwap", True, 1, 1, 1, 1.0),
        ("lips", False, 2, 2, 1, 0.5),
    ]
    assert [m.auc.value for m in found.methods] == pytest.approx([2.5 / 4, 5.5 / 8])
    assert found.over_methods.value == pytest.approx((2.5 / 4 + 5.5 / 8) / 2)
    assert found.worst_quarter.value == pytest.approx(2.5 / 4)
    assert found.swaps is not None
    assert found.swaps.fake == 1
    assert found.swaps.plain.auc.value == pytest.approx(2.5 / 4)
    assert found.swap_pairs is not None
    assert (found.swap_pairs.pairs, found.swap_pairs.won.value) == (1, 1.0)
    assert found.called_fake == (2 / 4, 2 / 3)


def test_enhanced_footage_is_apart_and_moves_no_figure_of_the_classes() -> None:
    found = measure(small_set(), threshold=2.0)
    enhanced = found.enhanced
    assert enhanced is not None
    assert (enhanced.clips, enhanced.pairs, enhanced.mean_logit, enhanced.mean_logit_originals) == (1, 1, 2.5, 3.0)
    assert (enhanced.above_original, enhanced.called_fake, enhanced.above_5_percent) == (0.0, 1.0, 0.0)
    without = measure([face for face in small_set() if face.label != "enhanced"], threshold=2.0)
    kept = ("whole", "pairs", "swaps", "methods", "over_methods", "worst_quarter", "called_fake")
    assert all(getattr(found, name) == getattr(without, name) for name in kept)
    assert without.enhanced is None


def test_aligned_fakes_are_compared_on_the_frames_in_common() -> None:
    real = clip("r", "real", "a", 0, 5, 5)
    own = clip("f", "fake", "a", 1, 1, 1, method="lips")
    faces = [*real, replace(own[0], aligned=True, source="r#0"), *own[1:]]
    pairs = measure(faces).pairs
    assert pairs is not None
    assert pairs.won.value == 1.0  # 1 against 0 on the first frame; the clips' means are 1 and 10/3
    second = [replace(face, clip="r2", logit=4.0) for face in real[:1]]  # the same frame twice: their mean is 2
    pairs = measure([*faces, *second]).pairs
    assert pairs is not None
    assert pairs.won.value == 0.0
    elsewhere = [replace(face, scene="b") for face in real]  # the same source in another scene is no original
    assert measure([*elsewhere, *faces[3:]]).pairs is None


def test_what_cannot_be_measured_is_refused() -> None:
    good = small_set()
    for faces, said in (
        ([face for face in good if face.label != "fake"], "both classes"),
        ([replace(good[0], logit=float("nan")), *good[1:]], r"clip r1, frame 0: the logit is nan"),
        ([replace(good[0], side=0.0), *good[1:]], "must be positive"),
        ([replace(good[0], scene="z"), *good[1:]], "clip r1: its pictures differ"),
    ):
        with pytest.raises(ValueError, match=said):
            measure(faces)


def random_set(scenes: int = 40, seed: int = 0, **bias: float) -> list[ScoredFace]:
    """Scenes with one to three clips; logits of fakes 1 higher. bias: how much the log of a fake's facts is higher."""
    rng = np.random.default_rng(seed)
    faces = []
    for scene in range(scenes):
        level = rng.normal(0, 1)
        for number, label in enumerate(("real", "fake", "fake")[: rng.integers(1, 4)]):
            forged = label == "fake"
            faces += clip(
                f"{scene}-{number}",
                label,
                str(scene),
                *rng.normal(level + forged, 1, 3),
                method=f"m{scene % 5}" if forged else "",
                side=100 * float(np.exp(rng.normal(forged * bias.get("side", 0), 0.5))),
                bytes_per_pixel=0.2 * float(np.exp(rng.normal(forged * bias.get("bytes", 0), 0.4))),
            )
    return faces


def test_intervals_come_from_draws_of_whole_scenes_and_are_always_the_same() -> None:
    found = measure(random_set(), rounds=200)
    assert found == measure(random_set(), rounds=200)
    assert found != measure(random_set(), rounds=200, seed=1)
    estimates = (found.whole.plain.auc, found.whole.plain.tpr_at_5_percent_fpr, found.over_methods, found.worst_quarter)
    for estimate in estimates:
        assert estimate.interval is not None
        assert estimate.interval[0] <= estimate.value <= estimate.interval[1]
    assert measure(random_set(), rounds=0).whole.plain.auc.interval is None
    # eight times the pictures of a scene say nothing new; eight times the scenes do
    copies = [replace(f, clip=f"{f.clip}/{n}", source=f"{f.source}/{n}") for f in random_set() for n in range(8)]
    more = [replace(f, clip=f"{f.clip}/{n}", scene=f"{f.scene}/{n}") for f in random_set() for n in range(8)]
    widths = [width(measure(faces, rounds=200)) for faces in (random_set(), copies, more)]
    assert widths[1] == pytest.approx(widths[0], rel=0.15)
    assert widths[2] < 0.5 * widths[0]


def width(figures: ClipFigures) -> float:
    interval = figures.whole.plain.auc.interval
    assert interval is not None
    return interval[1] - interval[0]


def test_draws_keep_scenes_whole_and_both_classes_present() -> None:
    groups = ["a", "a", "b", "b", "c", "d"]
    fake = np.array([False, True, False, True, False, False])
    draws = group_draws(groups, fake, rounds=300, seed=3)
    assert draws.shape == (300, 6)
    assert (draws[:, 0] == draws[:, 1]).all()
    assert (draws[:, 2] == draws[:, 3]).all()
    assert (draws[:, [0, 2, 4, 5]].sum(axis=1) == 4).all()
    assert (draws @ fake > 0).all()
    assert (draws == group_draws(groups, fake, rounds=300, seed=3)).all()
    with pytest.raises(ValueError, match="two groups of each class"):
        group_draws(["a", "a", "b"], [False, True, False])
    assert percentiles(np.array([np.nan, *np.linspace(0, 1, 101)])) == pytest.approx((0.025, 0.975))


def test_weighted_figures_agree_with_repeated_samples() -> None:
    rng = np.random.default_rng(0)
    fake, scores = rng.random(60) < 0.4, rng.integers(0, 12, 60).astype(float)
    weights = rng.integers(0, 4, (5, 60)).astype(float)
    ranking = Ranking.of(fake, scores)
    for row, auc, rate in zip(weights, ranking.auc(weights), ranking.true_positive_rate(weights, 0.1), strict=True):
        again = np.repeat(np.arange(60), row.astype(int))
        assert auc == pytest.approx(metrics.roc_auc(fake[again], scores[again]))
        assert rate == pytest.approx(metrics.true_positive_rate_at(fake[again], scores[again], 0.1))
    beaten = ranking.beaten(np.ones((1, 60)))[0]
    assert beaten[fake].mean() == pytest.approx(metrics.roc_auc(fake, scores))
    with pytest.raises(ValueError, match="both classes"):
        Ranking.of([True, True], [0.0, 1.0])
    with pytest.raises(ValueError, match="NaN"):
        Ranking.of([True, False], [0.0, np.nan])


def test_a_detector_of_size_or_of_bit_rate_alone_has_no_merit_on_matched_clips() -> None:
    faces = random_set(scenes=300, side=0.7, bytes=-0.5)
    for fact in ("side", "bytes_per_pixel"):
        sign = 1 if fact == "side" else -1
        blind = [replace(face, logit=sign * float(getattr(face, fact))) for face in faces]
        found = measure(blind, rounds=0)
        assert found.whole.plain.auc.value > 0.75
        assert found.whole.matched.auc.value == pytest.approx(0.5, abs=0.01)
        assert found.pairs is not None
        assert found.pairs.won.value > 0.7
        assert found.pairs.won_matched.value == pytest.approx(0.5, abs=0.01)
        assert found.pairs.auc_matched.value == pytest.approx(0.5, abs=0.02)
    whole = measure(faces, rounds=0).whole
    assert whole.facts.side == pytest.approx(0.83, abs=0.05)
    assert whole.facts_matched.side == pytest.approx(0.5, abs=0.01)
    assert whole.effective_real < whole.real
    assert whole.effective_fake < whole.fake
    # what does not come from size or bit rate stays
    assert whole.matched.auc.value == pytest.approx(
        measure(random_set(scenes=300), rounds=0).whole.plain.auc.value, abs=0.05
    )


def test_weights_of_separable_and_of_equal_classes() -> None:
    fake = np.arange(40) >= 20
    apart = class_weights(fake, np.arange(40.0)[:, None], np.ones((1, 40)))
    assert np.isfinite(apart).all()
    assert effective(apart[0, fake]) < 10
    for count in range(30, 400, 7):  # the mean of equal ranks is rounded for some
        equal = class_weights(np.arange(count) % 2 == 1, np.ones((count, 2)), np.ones((1, count)))
        assert equal == pytest.approx(np.full((1, count), 0.5), abs=0.02)
    one_sided = pair_weights(np.full((6, 1), 0.3), np.ones((1, 6)))
    assert np.isfinite(one_sided).all()
    assert effective(np.zeros(3)) == 0


def test_logistic_regression_finds_the_maximum() -> None:
    rng = np.random.default_rng(1)
    x = np.stack([np.ones(400), rng.normal(size=400)], axis=1)
    y = (rng.random(400) < logistic.probability(x, np.array([[-0.5, 1.5]]))[0]).astype(float)
    weights = rng.integers(0, 3, (2, 400)).astype(float)
    found = logistic.fit(x, y, weights, ridge=0.0)
    assert found == pytest.approx(np.array([[-0.5, 1.5]] * 2), abs=0.4)
    residual = weights * (y - logistic.probability(x, found))
    assert residual @ x == pytest.approx(np.zeros((2, 2)), abs=1e-5)


def test_swaps_are_known_by_name() -> None:
    assert is_swap("SimSwap")
    assert is_swap("ReSyncer (swap)")
    assert not is_swap("ReSyncer (lip sync)")
    assert not is_swap("")
    assert all(SWAPS.values())
