"""How well scored face pictures separate forged web clips from honest ones: over clips, over pairs, by method.

Knows nothing of detectors or files: what it needs of a picture stands in its `ScoredFace`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from streamwatch.evaluation.bootstrap import ROUNDS, group_draws, percentiles
from streamwatch.evaluation.matching import class_weights, effective, pair_weights
from streamwatch.evaluation.swaps import is_swap
from streamwatch.evaluation.weighted import Ranking

FaceLabel = Literal["real", "fake", "enhanced"]
"""`enhanced`: honest footage after a restoration of its faces, neither class."""

Array = NDArray[np.float64]
Statistic = Callable[[Array], Array]
"""R×N multiplicities of N samples -> R values."""


@dataclass(frozen=True, slots=True)
class ScoredFace:
    """One face picture and what a detector said of it.

    logit: higher = more fake. scene: joins a fake with the footage that it came from. frame: place in the clip.
    aligned, source: an aligned fake shows the same frame in the same crop as the real pictures with its `source`.
    side: of the face, pixels. bytes_per_pixel: of the picture's file. Both > 0.
    """

    logit: float
    label: FaceLabel
    clip: str
    scene: str
    frame: int
    method: str
    aligned: bool
    source: str
    side: float
    bytes_per_pixel: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval over draws of whole scenes; None where a class has fewer than two of them."""

    value: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class ClipSeparation:
    """How well honest and forged clips are separated; a clip's score is the mean logit of its pictures.

    auc: over clips. auc_faces: over single pictures. The others: share of forged clips found when 1 or 5 in 100 honest
    clips are called fake.
    """

    auc: Estimate
    auc_faces: Estimate
    tpr_at_1_percent_fpr: Estimate
    tpr_at_5_percent_fpr: Estimate


@dataclass(frozen=True, slots=True)
class Facts:
    """What "detectors" reach that see one fact alone, the size of the face or the bytes per pixel: AUC over clips, or
    the share of pairs won. 0.5: the fact does not help.
    """

    side: float
    bytes_per_pixel: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Honest clips against forged ones, as they are and weighted so that size and bit rate are alike in both classes.

    real, fake, scenes: numbers of clips and of their scenes. effective_real, effective_fake: how many clips of equal
    weight the weighted ones are worth.
    """

    real: int
    fake: int
    scenes: int
    plain: ClipSeparation
    matched: ClipSeparation
    effective_real: float
    effective_fake: float
    facts: Facts
    facts_matched: Facts


@dataclass(frozen=True, slots=True)
class PairFigures:
    """Forged clips against the honest clips of their own scene.

    won: share of forged clips that score above the mean of the honest ones, ties counted half; where a fake is
    aligned, both are means over the frames in common. auc: over the clips of scenes that hold both. effective: how many
    pairs of equal weight the matched ones are worth. facts: share of pairs that one fact alone wins, unmatched.
    """

    pairs: int
    scenes: int
    won: Estimate
    auc: Estimate
    won_matched: Estimate
    auc_matched: Estimate
    effective: float
    facts: Facts


@dataclass(frozen=True, slots=True)
class MethodFigures:
    """One method of forgery against all honest clips. won: None without a pair."""

    method: str
    swap: bool
    clips: int
    scenes: int
    auc: Estimate
    pairs: int
    won: float | None


@dataclass(frozen=True, slots=True)
class EnhancedFigures:
    """Honest clips after a restoration of their faces, and their own originals.

    mean_logit: over clips. pairs: clips with honest clips of their scene; the mean logits of both sides of the pairs,
    and above_original, the share of pairs in which the enhanced clip scores higher (ties counted half), are None
    without any. above_5_percent: share of all enhanced clips above the score that at most 5 % of the honest clips
    exceed. called_fake: share at or above the threshold, None without one.
    """

    clips: int
    mean_logit: float
    pairs: int
    mean_logit_paired: float | None
    mean_logit_originals: float | None
    above_original: float | None
    above_5_percent: float
    called_fake: float | None


@dataclass(frozen=True, slots=True)
class ClipFigures:
    """Everything measured on one set of scored pictures.

    pairs, swaps, enhanced: None where there are none. methods: the worst first. over_methods, worst_quarter: mean AUC
    of all methods, each weighing alike, and of the worst quarter of them (rounded up; found again in every draw).
    called_fake: share of the honest and of the forged clips at or above the threshold; None without one.
    """

    pictures: int
    clips: int
    scenes: int
    whole: Comparison
    pairs: PairFigures | None
    swaps: Comparison | None
    swap_pairs: PairFigures | None
    methods: tuple[MethodFigures, ...]
    over_methods: Estimate
    worst_quarter: Estimate
    enhanced: EnhancedFigures | None
    called_fake: tuple[float, float] | None


@dataclass(frozen=True, slots=True, eq=False)
class ScoredClip:
    """The pictures of one clip. means: of logit, log side and log bytes per pixel."""

    name: str
    label: FaceLabel
    scene: str
    method: str
    faces: tuple[ScoredFace, ...]
    means: Array

    @property
    def score(self) -> float:
        """Mean logit."""
        return float(self.means[0])


@dataclass(frozen=True, slots=True, eq=False)
class ClipPair:
    """A clip and the mean of the honest clips of its scene: logit, log side, log bytes per pixel of each."""

    clip: ScoredClip
    own: Array
    original: Array

    @property
    def won(self) -> float:
        """1 where the clip scores above its original, one half where they are equal, else 0."""
        return 0.5 + 0.5 * float(np.sign(self.own[0] - self.original[0]))


def measure(
    faces: Sequence[ScoredFace], *, threshold: float | None = None, rounds: int = ROUNDS, seed: int = 0
) -> ClipFigures:
    """All figures of scored pictures.

    threshold: logit from which a clip is called fake. rounds: draws of scenes for the intervals, 0 for none.

    Raises ValueError where a class is missing, a logit is not finite, a size is not positive, or the pictures of a clip
    contradict each other.
    """
    clips = clips_of(faces)
    real = [clip for clip in clips if clip.label == "real"]
    fake = [clip for clip in clips if clip.label == "fake"]
    enhanced = [clip for clip in clips if clip.label == "enhanced"]
    if not real or not fake:
        raise ValueError("both classes are needed: clips labelled real and clips labelled fake")
    swaps = [clip for clip in fake if is_swap(clip.method)]
    pairs = pairs_of(fake, real)
    swap_pairs = [pair for pair in pairs if is_swap(pair.clip.method)]
    methods, over, worst = _methods(real, fake, pairs, rounds, seed)
    return ClipFigures(
        pictures=len(faces),
        clips=len(clips),
        scenes=len({clip.scene for clip in clips}),
        whole=_compare(real, fake, rounds, seed),
        pairs=_pair_figures(pairs, real, rounds, seed) if pairs else None,
        swaps=_compare(real, swaps, rounds, seed) if swaps else None,
        swap_pairs=_pair_figures(swap_pairs, real, rounds, seed) if swap_pairs else None,
        methods=methods,
        over_methods=over,
        worst_quarter=worst,
        enhanced=_enhanced(enhanced, real, threshold) if enhanced else None,
        called_fake=None if threshold is None else (_called(real, threshold), _called(fake, threshold)),
    )


def clips_of(faces: Sequence[ScoredFace]) -> list[ScoredClip]:
    """The clips in the order of their first pictures. Raises ValueError as `measure` does."""
    members: dict[str, list[ScoredFace]] = defaultdict(list)
    for face in faces:
        if not np.isfinite(face.logit):
            raise ValueError(f"clip {face.clip}, frame {face.frame}: the logit is {face.logit}, not a finite number")
        if not (face.side > 0 and face.bytes_per_pixel > 0):
            raise ValueError(f"clip {face.clip}, frame {face.frame}: side and bytes per pixel must be positive")
        members[face.clip].append(face)
    clips = []
    for name, own in members.items():
        kinds = {(face.label, face.scene, face.method) for face in own}
        if len(kinds) > 1:
            raise ValueError(f"clip {name}: its pictures differ in label, scene or method: {sorted(kinds)}")
        clips.append(ScoredClip(name, own[0].label, own[0].scene, own[0].method, tuple(own), _means(own)))
    return clips


def pairs_of(clips: Sequence[ScoredClip], real: Sequence[ScoredClip]) -> list[ClipPair]:
    """Each of `clips` whose scene has honest clips, with their mean."""
    of_scene: dict[str, list[ScoredClip]] = defaultdict(list)
    for clip in real:
        of_scene[clip.scene].append(clip)
    return [_pair(clip, of_scene[clip.scene]) for clip in clips if of_scene.get(clip.scene)]


def _pair(clip: ScoredClip, originals: Sequence[ScoredClip]) -> ClipPair:
    own, theirs = (defaultdict[str, list[ScoredFace]](list) for _ in range(2))
    for face in clip.faces:
        if face.aligned:
            own[face.source].append(face)
    for original in originals:
        for face in original.faces:
            theirs[face.source].append(face)
    common = [source for source in own if source in theirs]
    if common:
        ours, honest = (np.mean([_means(side[source]) for source in common], axis=0) for side in (own, theirs))
        return ClipPair(clip, ours, honest)
    return ClipPair(clip, clip.means, np.mean([original.means for original in originals], axis=0))


def _means(faces: Sequence[ScoredFace]) -> Array:
    rows = [(face.logit, np.log(face.side), np.log(face.bytes_per_pixel)) for face in faces]
    return np.asarray(np.mean(np.array(rows, np.float64), axis=0), np.float64)


def _called(clips: Sequence[ScoredClip], threshold: float) -> float:
    return float(np.mean([clip.score >= threshold for clip in clips]))


def _draws(scenes: Sequence[str], fake: NDArray[np.bool_], rounds: int, seed: int) -> Array | None:
    if not rounds:
        return None
    try:
        return group_draws(scenes, fake, rounds=rounds, seed=seed)
    except ValueError:
        return None


def _estimate(statistic: Statistic, count: int, draws: Array | None) -> Estimate:
    value = float(statistic(np.ones((1, count)))[0])
    return Estimate(value, None if draws is None else percentiles(statistic(draws)))


def _compare(real: Sequence[ScoredClip], fake: Sequence[ScoredClip], rounds: int, seed: int) -> Comparison:
    clips = [*real, *fake]
    forged = np.array([clip.label == "fake" for clip in clips])
    means = np.array([clip.means for clip in clips])
    draws = _draws([clip.scene for clip in clips], forged, rounds, seed)

    def matched(multiplicity: Array) -> Array:
        return class_weights(forged, means[:, 1:], multiplicity)

    once = np.ones((1, len(clips)))
    weights = matched(once)
    return Comparison(
        real=len(real),
        fake=len(fake),
        scenes=len({clip.scene for clip in clips}),
        plain=_separation(clips, once, draws),
        matched=_separation(clips, weights, None if draws is None else matched(draws)),
        effective_real=effective(weights[0, ~forged]),
        effective_fake=effective(weights[0, forged]),
        facts=_facts(forged, means, once),
        facts_matched=_facts(forged, means, weights),
    )


def _facts(forged: NDArray[np.bool_], means: Array, weights: Array) -> Facts:
    side, size = (float(Ranking.of(forged, means[:, column]).auc(weights)[0]) for column in (1, 2))
    return Facts(side, size)


def _separation(clips: Sequence[ScoredClip], weights: Array, drawn: Array | None) -> ClipSeparation:
    """weights: 1×N; drawn: the weights in each draw, R×N."""
    forged = np.array([clip.label == "fake" for clip in clips])
    owner = np.repeat(np.arange(len(clips)), [len(clip.faces) for clip in clips])
    whole = Ranking.of(forged, [clip.score for clip in clips])
    single = Ranking.of(forged[owner], [face.logit for clip in clips for face in clip.faces])

    def figure(statistic: Statistic) -> Estimate:
        value = float(statistic(weights)[0])
        return Estimate(value, None if drawn is None else percentiles(statistic(drawn)))

    return ClipSeparation(
        auc=figure(whole.auc),
        auc_faces=figure(lambda given: single.auc(given[:, owner])),
        tpr_at_1_percent_fpr=figure(lambda given: whole.true_positive_rate(given, 0.01)),
        tpr_at_5_percent_fpr=figure(lambda given: whole.true_positive_rate(given, 0.05)),
    )


def _pair_figures(pairs: Sequence[ClipPair], real: Sequence[ScoredClip], rounds: int, seed: int) -> PairFigures:
    """The honest clips of the pairs' scenes, then the forged ones."""
    scenes = {pair.clip.scene for pair in pairs}
    honest = [clip for clip in real if clip.scene in scenes]
    clips = [*honest, *(pair.clip for pair in pairs)]
    forged = np.array([clip.label == "fake" for clip in clips])
    draws = _draws([clip.scene for clip in clips], forged, rounds, seed)
    won = np.array([pair.won for pair in pairs])
    facts = np.array([clip.means[1:] for clip in clips])
    differences = np.array([pair.own[1:] - pair.original[1:] for pair in pairs])
    ranking = Ranking.of(forged, [clip.score for clip in clips])

    def share(weights: Array) -> Array:
        return np.asarray(weights @ won / weights.sum(axis=1), np.float64)

    def matched_share(multiplicity: Array) -> Array:
        return share(pair_weights(differences, multiplicity[:, len(honest) :]))

    return PairFigures(
        pairs=len(pairs),
        scenes=len(scenes),
        won=_estimate(lambda given: share(given[:, len(honest) :]), len(clips), draws),
        auc=_estimate(ranking.auc, len(clips), draws),
        won_matched=_estimate(matched_share, len(clips), draws),
        auc_matched=_estimate(lambda given: ranking.auc(class_weights(forged, facts, given)), len(clips), draws),
        effective=effective(pair_weights(differences, np.ones((1, len(pairs))))[0]),
        facts=Facts(*(float(value) for value in (0.5 + 0.5 * np.sign(differences)).mean(axis=0))),
    )


def _methods(
    real: Sequence[ScoredClip], fake: Sequence[ScoredClip], pairs: Sequence[ClipPair], rounds: int, seed: int
) -> tuple[tuple[MethodFigures, ...], Estimate, Estimate]:
    clips = [*real, *fake]
    forged = np.array([clip.label == "fake" for clip in clips])
    draws = _draws([clip.scene for clip in clips], forged, rounds, seed)
    names = sorted({clip.method for clip in fake})
    member = np.array([[clip.label == "fake" and clip.method == name for clip in clips] for name in names], np.float64)
    ranking = Ranking.of(forged, [clip.score for clip in clips])

    def areas(weights: Array) -> Array:
        """R×M; NaN where a draw holds no clip of a method."""
        mass = weights @ member.T
        with np.errstate(invalid="ignore"):
            return np.asarray((weights * ranking.beaten(weights)) @ member.T / mass, np.float64)

    values = areas(np.ones((1, len(clips))))
    spread = None if draws is None else areas(draws)
    rows = []
    for index, name in enumerate(names):
        own = [clip for clip in fake if clip.method == name]
        scenes = len({clip.scene for clip in own})
        won = [pair.won for pair in pairs if pair.clip.method == name]
        interval = percentiles(spread[:, index]) if spread is not None and scenes > 1 else None
        rows.append(
            MethodFigures(
                method=name,
                swap=is_swap(name),
                clips=len(own),
                scenes=scenes,
                auc=Estimate(float(values[0, index]), interval),
                pairs=len(won),
                won=float(np.mean(won)) if won else None,
            )
        )
    rows.sort(key=lambda row: (row.auc.value, row.method))
    over, worst = (
        Estimate(float(summary(values)[0]), None if spread is None else percentiles(summary(spread)))
        for summary in (_mean, _worst_quarter)
    )
    return tuple(rows), over, worst


def _mean(areas: Array) -> Array:
    return np.asarray(np.nanmean(areas, axis=1), np.float64)


def _worst_quarter(areas: Array) -> Array:
    """Mean of the lowest quarter (rounded up) of the values of each row that are no NaN."""
    ordered = np.sort(areas, axis=1)
    taken = -(-np.isfinite(areas).sum(axis=1) // 4)
    kept = np.arange(areas.shape[1])[None, :] < taken[:, None]
    return np.asarray(np.where(kept, ordered, 0.0).sum(axis=1) / taken, np.float64)


def _enhanced(enhanced: Sequence[ScoredClip], real: Sequence[ScoredClip], threshold: float | None) -> EnhancedFigures:
    scores = np.array([clip.score for clip in enhanced])
    pairs = pairs_of(enhanced, real)
    bound = _score_at(np.array([clip.score for clip in real]), 0.05)
    return EnhancedFigures(
        clips=len(enhanced),
        mean_logit=float(scores.mean()),
        pairs=len(pairs),
        mean_logit_paired=float(np.mean([pair.own[0] for pair in pairs])) if pairs else None,
        mean_logit_originals=float(np.mean([pair.original[0] for pair in pairs])) if pairs else None,
        above_original=float(np.mean([pair.won for pair in pairs])) if pairs else None,
        above_5_percent=float((scores > bound).mean()),
        called_fake=None if threshold is None else _called(enhanced, threshold),
    )


def _score_at(real: Array, false_positive_rate: float) -> float:
    """The lowest score that no more than this share of the honest scores exceeds."""
    ordered = np.sort(real)[::-1]
    return float(ordered[min(int(false_positive_rate * len(real) + 1e-9), len(real) - 1)])
