"""Fusion: weights, spans, evidence, labels, alerts. Pure numpy on scores that the tests write down."""

from __future__ import annotations

import dataclasses
import itertools
from datetime import datetime, timezone
from typing import cast

import cv2
import numpy as np
import pytest

from streamwatch.detectors.card import Limits
from streamwatch.errors import ConfigError, SourceUnreadable
from streamwatch.fusion import (
    Policy,
    SourceFusion,
    Subject,
    TrackFusion,
    error_verdict,
    face_weight,
    find_spans,
)
from streamwatch.fusion.evidence import EvidenceKeeper, ScoredCandidate
from streamwatch.fusion.quality import FLOOR, Unusable, unusable
from streamwatch.fusion.spans import LOGIT_BOUND, smooth, to_logit
from streamwatch.records import (
    FaceQuality,
    FaceScore,
    FrameCounts,
    Label,
    ModelRef,
    VideoVerdict,
    sigmoid,
)
from tests.support.face_scores import CARD, GOOD, face, policy, scored
from tests.support.present import present

SUBJECT = Subject("clip.mp4", "a" * 64, ModelRef("model", "b" * 64), "c" * 64, "policy")


def track_of(probabilities: list[float], settings: Policy | None = None, fps: float = 2.0) -> TrackFusion:
    fusion = TrackFusion(1, settings or policy())
    for index, probability in enumerate(probabilities):
        fusion.add(scored(probability, index / fps))
    return fusion


def verdict_of(scores: list[FaceScore], settings: Policy | None = None, subject: Subject = SUBJECT) -> VideoVerdict:
    fusion = SourceFusion(settings or policy())
    for score in scores:
        fusion.add(score)
    return fusion.verdict(subject, FrameCounts(sampled=len(scores), analysed=len(scores)), 12.0)


# --- policy


def test_policy_takes_the_cards_thresholds_and_lets_settings_win() -> None:
    assert (policy().fake, policy().real, policy().limits.min_face_side) == (0.8, 0.5, 40.0)
    mine = policy(fake=0.9, real=0.2, min_face_side=10, max_pose=0.5)
    assert (mine.fake, mine.real, mine.limits) == (0.9, 0.2, Limits(10.0, 5.0, 0.5))


def test_policy_name_carries_every_threshold() -> None:
    assert policy(fake=0.75).name.startswith("mean_logit fake>=0.75 real<=0.50 min_faces=4 min_face_side=40")
    assert policy(min_span=2.0).name != policy(min_span=1.0).name


def test_policy_refuses_a_threshold_that_contradicts_the_card() -> None:
    with pytest.raises(ConfigError, match=r"fusion\.real .* above fusion\.fake .* model model"):
        policy(fake=0.4)


# --- weights


@pytest.mark.parametrize("beyond", [{"sharpness": 4.9}, {"pose": 0.91}, {"short_side": 39.0}])
def test_faces_beyond_the_limits_of_the_model_weigh_nothing(beyond: dict[str, float]) -> None:
    assert face_weight(face(quality=dataclasses.replace(GOOD, **beyond)), CARD.limits) == 0.0


def test_a_face_without_weight_has_a_reason() -> None:
    limits = Limits(40.0, 5.0, 0.5)
    for changes, reason in (
        ({}, None),
        ({"short_side": 39.9, "sharpness": 1.0}, Unusable.SMALL),
        ({"sharpness": 4.9}, Unusable.BLURRED),
        ({"pose": 0.51}, Unusable.TURNED),
    ):
        quality = dataclasses.replace(GOOD, **changes)
        assert unusable(quality, limits) is reason
        assert (face_weight(face(quality=quality), limits) == 0) is (reason is not None)


def test_a_track_of_faces_beyond_the_limits_is_inconclusive_and_says_why() -> None:
    turned = dataclasses.replace(GOOD, pose=0.95)
    verdict = verdict_of([scored(0.99, index / 2, quality=turned) for index in range(12)])
    assert verdict.label is Label.INCONCLUSIVE
    assert "turned away" in verdict.reason


def test_a_good_face_weighs_one_and_a_small_one_nothing() -> None:
    assert face_weight(face(), CARD.limits) == 1.0
    assert face_weight(face(quality=dataclasses.replace(GOOD, short_side=39.9)), CARD.limits) == 0.0
    assert face_weight(face(quality=dataclasses.replace(GOOD, short_side=40.0)), CARD.limits) == 0.5
    assert face_weight(face(side=0.0, quality=None), Limits(0)) == 0.0


@pytest.mark.parametrize(
    ("worse", "confidence"),
    [
        (dataclasses.replace(GOOD, short_side=50.0), 1.0),
        (dataclasses.replace(GOOD, sharpness=20.0), 1.0),
        (dataclasses.replace(GOOD, pose=0.7), 1.0),
        (dataclasses.replace(GOOD, upscaling=2.0), 1.0),
        (GOOD, 0.81),
    ],
)
def test_each_factor_lowers_the_weight(worse: FaceQuality, confidence: float) -> None:
    assert 0 < face_weight(face(confidence=confidence, quality=worse), CARD.limits) < 1


def test_no_factor_falls_below_its_floor() -> None:
    worst = FaceQuality(short_side=40.0, sharpness=0.0, pose=1.0, upscaling=50.0)
    assert face_weight(face(confidence=0.0, quality=worst), Limits(40.0)) == pytest.approx(0.5 * FLOOR**4)


def test_downscaled_crops_are_not_rewarded() -> None:
    assert face_weight(face(quality=dataclasses.replace(GOOD, upscaling=0.3)), CARD.limits) == 1.0


# --- spans


def test_logits_are_bounded_and_symmetric() -> None:
    values = to_logit(np.array([0.0, 0.5, 1.0]))
    assert values == pytest.approx([-LOGIT_BOUND, 0.0, LOGIT_BOUND])
    assert to_logit(0.8) == pytest.approx(np.log(4.0))


def test_smoothing_equals_the_written_out_mean() -> None:
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.1, 0.9, 50))
    logits, weights = rng.normal(size=50), rng.uniform(0.1, 1, 50)
    expected = []
    for time in times:
        near = [i for i in range(50) if time - 0.75 <= times[i] <= time + 0.75]
        expected.append(sum(weights[i] * logits[i] for i in near) / sum(weights[i] for i in near))
    assert smooth(times, logits, weights, 1.5) == pytest.approx(expected)


def spans_of(probabilities: list[float], settings: Policy | None = None, fps: float = 2.0) -> list[tuple[float, float]]:
    times = np.arange(len(probabilities)) / fps
    found = find_spans(times, to_logit(np.array(probabilities)), np.ones(len(times)), settings or policy())
    return [(span.start, span.end) for span in found]


def test_a_forged_stretch_is_found_where_it_is() -> None:
    assert spans_of([0.1] * 8 + [0.97] * 8 + [0.1] * 8) == [(4.0, 7.5)]


@pytest.mark.parametrize("level", [0.85, 0.97, 0.9999])
def test_smoothing_does_not_widen_a_span(level: float) -> None:
    ((start, end),) = spans_of([0.3] * 8 + [level] * 8 + [0.3] * 8)
    assert start >= 4.0
    assert end <= 7.5


def test_one_strong_frame_is_no_span() -> None:
    assert spans_of([0.1] * 10 + [0.99999] + [0.1] * 10) == []


def test_a_short_stretch_does_not_hold() -> None:
    settings = policy(min_faces=1, min_span=2.0)
    assert spans_of([0.1] * 8 + [0.97] * 3 + [0.1] * 8, settings) == []
    assert spans_of([0.1] * 8 + [0.97] * 4 + [0.1] * 8, settings) == [(4.0, 5.5)]


def test_a_span_needs_as_many_faces_as_a_verdict() -> None:
    assert spans_of([0.1] * 8 + [0.97] * 3 + [0.1] * 8, policy(min_faces=4, min_span=0)) == []


def test_near_stretches_merge_and_far_ones_do_not() -> None:
    hot, cool = [0.99] * 6, [0.3]
    assert spans_of([0.1] * 4 + hot + cool * 2 + hot + [0.1] * 4) == [(2.0, 8.5)]
    assert len(spans_of([0.1] * 4 + hot + cool * 8 + hot + [0.1] * 4)) == 2


def test_stretches_are_not_merged_over_faces_that_speak_against_it() -> None:
    probabilities = [0.85] * 6 + [0.0001] * 2 + [0.85] * 6
    assert spans_of(probabilities, policy(window=0.4)) == [(0.0, 2.5), (4.0, 6.5)]


def test_weightless_faces_are_left_out_of_spans() -> None:
    times = np.arange(12) / 2
    logits = to_logit(np.full(12, 0.99))
    weights = np.ones(12)
    weights[:6] = 0
    (span,) = find_spans(times, logits, weights, policy())
    assert span.start == 3.0
    assert find_spans(times, logits, np.zeros(12), policy()) == ()


def test_span_peak_and_mean_are_of_its_faces() -> None:
    times = np.arange(6) / 2
    probabilities = np.array([0.9, 0.95, 0.99, 0.9, 0.95, 0.9])
    weights = np.array([1.0, 0.5, 0.5, 1.0, 1.0, 1.0])
    (span,) = find_spans(times, to_logit(probabilities), weights, policy())
    assert span.peak == pytest.approx(0.99)
    assert span.mean == pytest.approx(sigmoid(float(np.average(to_logit(probabilities), weights=weights))))


def test_sparse_sampling_still_finds_spans() -> None:
    assert spans_of([0.1] * 4 + [0.98] * 6 + [0.1] * 4, fps=0.25) == [(16.0, 36.0)]


# --- track


def test_track_score_is_the_mean_of_logits() -> None:
    verdict = track_of([0.2, 0.3, 0.25, 0.1]).verdict()
    expected = sigmoid(float(np.mean(to_logit(np.array([0.2, 0.3, 0.25, 0.1])))))
    assert verdict.score == pytest.approx(expected)
    assert (verdict.label, verdict.faces, verdict.start, verdict.end) == (Label.REAL, 4, 0.0, 1.5)


def test_poor_faces_count_less() -> None:
    poor = dataclasses.replace(GOOD, sharpness=1.0, pose=1.0)
    fusion = TrackFusion(1, policy())
    for index in range(10):
        fusion.add(scored(0.05, index / 2))
        fusion.add(scored(0.9, index / 2 + 0.25, quality=poor))
    assert fusion.verdict().label is Label.REAL


def test_a_track_with_a_forged_span_is_fake_though_its_mean_is_real() -> None:
    verdict = track_of([0.05] * 8 + [0.97] * 8 + [0.05] * 8).verdict()
    (span,) = verdict.spans
    assert verdict.label is Label.FAKE
    assert verdict.score == pytest.approx(span.mean) == pytest.approx(0.97)
    assert (span.start, span.end) == (4.0, 7.5)


@pytest.mark.parametrize(
    ("probability", "label"),
    [(0.5, Label.REAL), (0.51, Label.INCONCLUSIVE), (0.79, Label.INCONCLUSIVE), (0.81, Label.FAKE)],
)
def test_labels_by_threshold(probability: float, label: Label) -> None:
    assert track_of([probability] * 8).verdict().label is label


def test_too_few_faces_are_inconclusive_with_reason() -> None:
    verdict = track_of([0.99] * 3).verdict()
    assert (verdict.label, verdict.spans) == (Label.INCONCLUSIVE, ())
    assert verdict.reason == "usable faces: 3, needed: 4"


def test_faces_below_the_limit_give_no_score() -> None:
    small = dataclasses.replace(GOOD, short_side=30.0)
    fusion = TrackFusion(1, policy())
    for index in range(10):
        fusion.add(scored(0.99, index / 2, quality=small))
    verdict = fusion.verdict()
    assert (verdict.label, verdict.score, verdict.faces) == (Label.INCONCLUSIVE, None, 0)
    assert "smaller than 40 px" in verdict.reason
    assert len(fusion.records) == 10


def test_every_fake_track_says_when() -> None:
    """Hot and cool faces in turn: no stretch holds by itself, the mean does."""
    fusion = track_of([0.999, 0.7] * 4, policy(window=0.1, merge_gap=0.0, min_span=2.0))
    verdict = fusion.verdict()
    assert verdict.label is Label.FAKE
    assert [(span.start, span.end) for span in verdict.spans] == [(0.0, 3.5)]
    assert len(fusion.evidence(verdict.spans[0])) == 3


def test_verdict_may_be_asked_for_at_any_time() -> None:
    fusion = TrackFusion(1, policy())
    labels = []
    for index, probability in enumerate([0.1] * 6 + [0.99] * 12):
        fusion.add(scored(probability, index / 2))
        labels.append(fusion.verdict().label)
    assert labels[0] is Label.INCONCLUSIVE
    assert labels[5] is Label.REAL
    assert labels[-1] is Label.FAKE


def test_fusion_needs_the_crop() -> None:
    with pytest.raises(ValueError, match="crops"):
        TrackFusion(1, policy()).add(FaceScore(0.0, 0.5, np.zeros(1, np.float32), None))
    with pytest.raises(ValueError, match="track ids"):
        SourceFusion(policy()).add(FaceScore(0.0, 0.5, np.zeros(1, np.float32), None))


# --- evidence


def test_evidence_is_of_the_strongest_faces_and_decodes() -> None:
    fusion = TrackFusion(1, policy(evidence=2))
    mask = np.zeros((8, 8), np.uint8)
    mask[2:5, 3:6] = 255
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    for index, probability in enumerate([0.9, 0.99, 0.92, 0.97, 0.91, 0.9]):
        fusion.add(scored(probability, index / 2, image=red, mask=mask))
    verdict = fusion.verdict()
    assert [item.pts for item in verdict.evidence] == [0.5, 1.5]
    assert fusion.evidence(verdict.spans[0]) == verdict.evidence
    first = verdict.evidence[0]
    assert first.mask_png is not None
    picture = np.asarray(cv2.imdecode(np.frombuffer(first.crop_jpeg, np.uint8), cv2.IMREAD_COLOR))[..., ::-1]
    assert np.abs(picture.astype(int) - red).max() < 12
    stored = cv2.imdecode(np.frombuffer(first.mask_png, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(present(stored), mask)


@pytest.mark.parametrize(("threshold", "covered"), [(0.5, 1.0), (0.7, 0.0)])
def test_evidence_says_how_much_of_the_face_its_mask_covers(threshold: float, covered: float) -> None:
    fusion = TrackFusion(1, dataclasses.replace(policy(), mask_threshold=threshold))
    score = scored(0.99, 0.0, mask=np.full((8, 8), 153, np.uint8))
    assert score.crop is not None
    fusion.add(dataclasses.replace(score, crop=dataclasses.replace(score.crop, region=(-30.0, 0.0, 230.0, 260.0))))
    (item,) = fusion.verdict().evidence
    assert item.coverage is not None
    assert (item.coverage.threshold, item.coverage.face) == (threshold, covered)
    assert track_of([0.9] * 5).verdict().evidence[0].coverage is None


def test_no_mask_and_no_evidence_are_allowed() -> None:
    assert track_of([0.9] * 5).verdict().evidence[0].mask_png is None
    fusion = track_of([0.9] * 5, policy(evidence=0))
    assert fusion.verdict().evidence == ()
    assert fusion.evidence(fusion.verdict().spans[0]) == ()


def test_evidence_of_a_long_track_stays_that_of_an_unbounded_memory() -> None:
    """2000 s with forged stretches: after pruning, each span has the faces that keeping all would give."""
    rng = np.random.default_rng(1)
    settings = policy()
    probabilities = np.where((np.arange(4000) // 20) % 3 == 0, 0.97, 0.1) + rng.uniform(-0.02, 0.02, 4000)
    fusion = TrackFusion(1, settings)
    most = 0
    for index, probability in enumerate(probabilities):
        fusion.add(scored(float(probability), index / 2))
        pixels = [kept for kept in fusion._keeper._hot if cast(ScoredCandidate, kept.candidate)._score is not None]
        most = max(most, len(pixels))
    verdict = fusion.verdict()
    assert len(verdict.spans) == 67
    for span in verdict.spans:
        inside = [i for i in range(4000) if span.start <= i / 2 <= span.end]
        best = sorted(inside, key=lambda i: -probabilities[i])[:3]
        assert [item.pts for item in fusion.evidence(span)] == [i / 2 for i in best]
    assert most < 100


def test_a_long_forged_track_keeps_few_pixels() -> None:
    fusion = TrackFusion(1, policy())
    for index in range(4000):
        fusion.add(scored(0.9 + (index % 97) / 1000, index / 2))
        assert len(fusion._keeper._hot) <= 70


# --- source


def test_no_face_is_its_own_label() -> None:
    verdict = verdict_of([])
    assert (verdict.label, verdict.score, verdict.tracks) == (Label.NO_FACE, None, ())


def at(probability: float, count: int, track: int, start: float = 0.0) -> list[FaceScore]:
    return [scored(probability, start + index / 2, track) for index in range(count)]


@pytest.mark.parametrize(
    ("scores", "label", "score"),
    [
        (at(0.1, 8, 1) + at(0.95, 8, 2), Label.FAKE, 0.95),
        (at(0.1, 8, 1) + at(0.65, 8, 2), Label.INCONCLUSIVE, 0.65),
        (at(0.1, 8, 1) + at(0.99, 2, 2), Label.REAL, 0.1),
        (at(0.1, 8, 1) + at(0.2, 8, 2), Label.REAL, 0.2),
        (at(0.9, 2, 1) + at(0.99, 3, 2), Label.INCONCLUSIVE, 0.99),
        (at(0.9, 9, 1) + at(0.97, 9, 2), Label.FAKE, 0.97),
    ],
)
def test_source_label_from_tracks(scores: list[FaceScore], label: Label, score: float) -> None:
    verdict = verdict_of(sorted(scores, key=lambda item: present(item.crop).pts))
    assert verdict.label is label
    assert verdict.score == pytest.approx(score)


def test_small_faces_only_are_inconclusive_without_a_score() -> None:
    small = dataclasses.replace(GOOD, short_side=20.0)
    verdict = verdict_of([scored(0.9, i / 2, quality=small) for i in range(9)])
    assert (verdict.label, verdict.score) == (Label.INCONCLUSIVE, None)


def test_four_forged_seconds_in_twelve_make_one_alert() -> None:
    verdict = verdict_of([scored(p, i / 2) for i, p in enumerate([0.05] * 8 + [0.96] * 8 + [0.05] * 8)])
    (alert,) = verdict.alerts
    assert verdict.label is Label.FAKE
    assert (alert.start, alert.end, alert.label, alert.track_id) == (4.0, 7.5, Label.FAKE, 1)
    assert [item.score for item in alert.evidence] == [0.96] * 3
    assert all(4.0 <= item.pts <= 7.5 for item in alert.evidence)
    assert len(verdict.scores) == 24


def test_scores_are_in_order_of_time() -> None:
    verdict = verdict_of(list(itertools.chain(at(0.1, 5, 1), at(0.2, 5, 2))))
    assert [(r.pts, r.track_id) for r in verdict.scores] == sorted((r.pts, r.track_id) for r in verdict.scores)


def test_alert_ids_say_content_model_config_track_and_start() -> None:
    base = SUBJECT.alert_id(1, 4.0)
    assert base == dataclasses.replace(SUBJECT, source="copy.mp4").alert_id(1, 4.0)
    others = {
        SUBJECT.alert_id(2, 4.0),
        SUBJECT.alert_id(1, 4.5),
        dataclasses.replace(SUBJECT, sha256="d" * 64).alert_id(1, 4.0),
        dataclasses.replace(SUBJECT, model=ModelRef("model", "e" * 64)).alert_id(1, 4.0),
        dataclasses.replace(SUBJECT, config_sha256="e" * 64).alert_id(1, 4.0),
    }
    assert base not in others
    assert len(others) == 5


def test_live_alerts_are_told_apart_by_when_the_capture_began() -> None:
    first = datetime(2024, 5, 1, 12, 0, tzinfo=timezone.utc)
    live = Subject("rtsp://cam/1", None, ModelRef("m", "b" * 64), "c" * 64, "policy", first)
    later = dataclasses.replace(live, started_at=first.replace(hour=13))
    assert live.alert_id(1, 4.0) != later.alert_id(1, 4.0)
    verdict = verdict_of(at(0.95, 10, 1), subject=live)
    (alert,) = verdict.alerts
    assert alert.started_at == first
    assert alert.ended_at is not None
    assert (alert.ended_at - first).total_seconds() == 4.5


def test_the_horizon_bounds_what_a_live_verdict_rests_on() -> None:
    fusion = SourceFusion(policy(), horizon=10.0)
    counts = FrameCounts()
    for score in at(0.97, 10, 1):
        fusion.add(score)
    first = fusion.verdict(SUBJECT, counts, None, now=4.5)
    assert first.label is Label.FAKE
    for score in at(0.1, 60, 2, start=5.0):
        fusion.add(score)
    second = fusion.verdict(SUBJECT, counts, None, now=34.5)
    assert second.label is Label.REAL
    assert [alert.id for alert in second.alerts] == [alert.id for alert in first.alerts]
    third = fusion.verdict(SUBJECT, counts, None, now=35.0)
    assert [track.track_id for track in third.tracks] == [2]
    assert min(record.pts for record in third.scores) >= 24.5


def test_a_source_with_a_horizon_holds_no_more_faces_than_that() -> None:
    fusion = SourceFusion(policy(), horizon=5.0)
    for index, score in enumerate(at(0.97, 600, 1)):
        fusion.add(score)
        verdict = fusion.verdict(SUBJECT, FrameCounts(), None, now=index / 2, alerts=())
    (track,) = verdict.tracks
    assert (track.start, track.end, track.faces, track.label) == (0.0, 299.5, 11, Label.FAKE)
    assert track.spans[0].start >= 294.0
    assert len(fusion._tracks[1]._times) <= 11
    assert verdict.alerts == ()


def test_tracks_that_ended_hold_no_pixels() -> None:
    fusion = SourceFusion(policy())
    for score in [*at(0.95, 10, 1), *at(0.1, 4, 2, start=30.0)]:
        fusion.add(score)
    keeper = fusion._tracks[1]._keeper
    kept = [entry.candidate for entry in (*keeper._hot, *keeper._strongest)]
    assert kept
    assert all(isinstance(candidate, ScoredCandidate) and candidate._score is None for candidate in kept)


def test_error_verdict_has_a_kind_and_no_score() -> None:
    verdict = error_verdict(SUBJECT, SourceUnreadable("clip.mp4: empty file"))
    assert (verdict.label, verdict.score) == (Label.ERROR, None)
    assert verdict.failure is not None
    assert (verdict.failure.kind, verdict.failure.message) == ("SourceUnreadable", "clip.mp4: empty file")


def test_a_recent_forgery_without_a_span_says_when_and_not_since_the_beginning() -> None:
    cold, mixed = [0.01] * 200, [0.9999 if index % 4 == 0 else 0.7 for index in range(120)]
    track = track_of(cold + mixed, policy(window=0.4, min_span=3.0))
    (span,) = track.verdict(since=100.0).spans
    assert (span.start, span.end) == (100.0, 159.5)
    assert span.mean >= 0.8


def test_pruning_never_loses_the_strongest_faces_of_a_span(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = policy(window=1.5, min_span=1.0, merge_gap=1.0, evidence=3)
    compared = 0
    for seed in range(4, 14):
        rng = np.random.default_rng(seed)
        chances = rng.dirichlet(np.ones(6))
        levels = np.repeat(rng.choice([-4, -1, 1.2, 1.5, 3, 5], 300, p=chances), rng.integers(1, 4))[:300]
        probabilities = [sigmoid(logit) for logit in levels + rng.normal(0, 0.3, 300)]
        pruned = track_of(probabilities, settings, fps=5)
        with monkeypatch.context() as patch:
            patch.setattr(EvidenceKeeper, "prune", lambda *given: None)
            whole = track_of(probabilities, settings, fps=5)
        for span in whole.verdict().spans:
            kept, all_of_it = ([e.frame_index for e in track.evidence(span)] for track in (pruned, whole))
            assert kept == all_of_it, (seed, span)
            compared += 1
    assert compared > 50


def test_stretches_as_far_apart_as_may_be_merge_at_any_time() -> None:
    settings = policy(window=0.2, min_span=0.4, merge_gap=1.0)
    hot, cold = [0.999] * 5, [0.6] * 5
    for begin in range(0, 200, 7):
        track = TrackFusion(1, settings)
        for index, probability in enumerate([*hot, *cold, *hot]):
            track.add(scored(probability, (begin + index) / 5))
        assert len(track.verdict().spans) == 1, begin
