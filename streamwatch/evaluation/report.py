"""The report of an evaluation: figures by level and method, failures, masks, speed, robustness; and its files."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from streamwatch.detectors.card import Thresholds
from streamwatch.evaluation.coverage import Abstention, JudgedFaces, abstention
from streamwatch.evaluation.datasets.clip import LabelledClip
from streamwatch.evaluation.levels import Level, LevelScores, measure
from streamwatch.evaluation.robustness import Degradation
from streamwatch.evaluation.scoring import ClipOutcome, Costs, MaskAgreement
from streamwatch.pipeline.plan import Plan
from streamwatch.records import Label

LEVELS = ("frame", "track", "video")


@dataclass(frozen=True, slots=True)
class FailedClip:
    """A clip without a score, and why."""

    path: str
    label: str
    error: str


@dataclass(frozen=True, slots=True)
class MaskFigures:
    """Means over the faces whose forged region is known; threshold: of the mask, for the IoU."""

    faces: int
    iou: float
    pixel_auc: float | None
    threshold: float


@dataclass(frozen=True, slots=True)
class Speed:
    """Of this run on this machine, one stage after another. ms_per_face: wall milliseconds by stage."""

    faces: int
    pictures: int
    faces_per_second: float
    ms_per_face: dict[str, float]
    device: str


@dataclass(frozen=True, slots=True)
class Robustness:
    """One degradation (its family, label and strength), or "none".

    levels: with their figures at the served thresholds. without_score: number of clips.
    """

    family: str
    label: str
    strength: float | None
    levels: tuple[Level, ...]
    faces: int
    without_score: int

    @property
    def auc(self) -> dict[str, float]:
        """By level, where both classes have scores."""
        return {level.level: level.separation.auc for level in self.levels if level.separation is not None}


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """Everything that was measured. outcomes: clips by verdict label. thresholds: by which items are called."""

    dataset: str
    kind: str
    split: str
    compression: str | None
    clips: int
    frames_per_video: int
    model: str
    model_sha256: str
    policy: str
    thresholds: Thresholds
    outcomes: dict[str, int]
    levels: tuple[Level, ...]
    masks: MaskFigures | None
    abstention: Abstention | None
    speed: Speed | None
    failures: tuple[FailedClip, ...]
    robustness: tuple[Robustness, ...]

    def to_json(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class EvaluationScope:
    """What was asked: data set, its kind and the part of it, frames per video."""

    dataset: str
    kind: str
    split: str
    compression: str | None
    frames: int


def scores_by_level(outcomes: Sequence[ClipOutcome]) -> dict[str, LevelScores]:
    """Scores of every level that has any. Single pictures have frame scores only.

    Faces and tracks carry the label of their clip, also where only one of several people in it was forged.
    """

    def rows(clip: LabelledClip, values: Sequence[float]) -> list[tuple[bool, float, str, str]]:
        return [(clip.fake, value, clip.group, clip.method) for value in values]

    faces = [row for o in outcomes for row in rows(o.clip, o.faces)]
    tracks = [row for o in outcomes for row in rows(o.clip, o.tracks)]
    moving = [o for o in outcomes if o.clip.is_video or len(o.clip.paths) > 1]
    videos = [row for o in moving if o.score is not None for row in rows(o.clip, [o.score])]
    found = dict(zip(LEVELS, (faces, tracks, videos), strict=True))
    return {level: LevelScores.of(items) for level, items in found.items() if items}


def judged_faces(outcomes: Sequence[ClipOutcome]) -> JudgedFaces | None:
    """All faces with their quality, or None without any."""
    faces = [(o.clip.fake, p, q) for o in outcomes for p, q in zip(o.faces, o.qualities, strict=True)]
    if not faces:
        return None
    fake, probability, qualities = zip(*faces, strict=True)
    return JudgedFaces(np.array(fake, bool), np.array(probability, np.float64), qualities)


def build_report(
    scope: EvaluationScope,
    plan: Plan,
    results: Sequence[Sequence[ClipOutcome]],
    degradations: Sequence[Degradation],
    costs: Costs,
    device: str,
) -> EvaluationReport:
    """From the outcomes of `Evaluator.run`."""
    clean = results[0]
    scores = scores_by_level(clean)
    thresholds = Thresholds(real=plan.policy.real, fake=plan.policy.fake)
    levels = [measure(part, level, thresholds) for level, part in scores.items()]
    for level, part in scores.items():
        methods = sorted({m for fake, m in zip(part.fake, part.methods, strict=True) if fake and m})
        if len(methods) > 1:
            levels += [measure(part.against(method), level, thresholds, method=method) for method in methods]
    return EvaluationReport(
        dataset=scope.dataset,
        kind=scope.kind,
        split=scope.split,
        compression=scope.compression,
        clips=len(clean),
        frames_per_video=scope.frames,
        model=plan.model.name,
        model_sha256=plan.model.sha256,
        policy=plan.policy.name,
        thresholds=thresholds,
        outcomes=dict(Counter(str(outcome.label) for outcome in clean)),
        levels=tuple(levels),
        masks=mask_figures([mask for outcome in clean for mask in outcome.masks], plan.card.mask_threshold),
        abstention=None if (judged := judged_faces(clean)) is None else abstention(judged, plan.policy.limits),
        speed=speed_of(costs, device),
        failures=tuple(_failed(outcome) for outcome in clean if outcome.score is None),
        robustness=_robustness(results, degradations, thresholds),
    )


def write_videos(outcomes: Sequence[ClipOutcome], path: Path) -> None:
    """`videos.csv`: a line per clip; score and error are empty where there is none."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("path", "label", "method", "score", "verdict", "faces", "error"))
        for o in outcomes:
            score = "" if o.score is None else f"{o.score:.6f}"
            error = "" if o.failure is None else f"{o.failure.kind}: {o.failure.message}"
            writer.writerow((o.clip.name, _truth(o.clip), o.clip.method, score, str(o.label), len(o.faces), error))


def _truth(clip: LabelledClip) -> str:
    return str(Label.FAKE if clip.fake else Label.REAL)


def _failed(outcome: ClipOutcome) -> FailedClip:
    failure = outcome.failure
    why = outcome.reason if failure is None else f"{failure.kind}: {failure.message}"
    return FailedClip(outcome.clip.name, str(outcome.label), why)


def mask_figures(masks: Sequence[MaskAgreement], threshold: float) -> MaskFigures | None:
    """Means over masks whose truth is known, or None without any. threshold: the one they were compared at."""
    if not masks:
        return None
    areas = [mask.pixel_auc for mask in masks if mask.pixel_auc is not None]
    iou = float(np.mean([mask.iou for mask in masks]))
    return MaskFigures(len(masks), iou, float(np.mean(areas)) if areas else None, threshold)


def speed_of(costs: Costs, device: str) -> Speed | None:
    """What a face took, or None where none was scored."""
    if costs.faces == 0:
        return None
    total = sum(costs.seconds.values())
    each = {stage: 1000 * seconds / costs.faces for stage, seconds in costs.seconds.items()}
    return Speed(costs.faces, costs.pictures, costs.faces / total, each, device)


def _robustness(
    results: Sequence[Sequence[ClipOutcome]], degradations: Sequence[Degradation], thresholds: Thresholds
) -> tuple[Robustness, ...]:
    if not degradations:
        return ()
    named = [("none", "", None), *((d.family, d.label, d.strength) for d in degradations)]
    return tuple(
        Robustness(
            family,
            label,
            strength,
            levels=tuple(measure(part, level, thresholds) for level, part in scores_by_level(outcomes).items()),
            faces=sum(len(outcome.faces) for outcome in outcomes),
            without_score=sum(outcome.score is None for outcome in outcomes),
        )
        for (family, label, strength), outcomes in zip(named, results, strict=True)
    )
