"""An evaluation from the folder of a data set to its report and its files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from streamwatch.config import Settings
from streamwatch.detectors import load_detector
from streamwatch.errors import ConfigError
from streamwatch.evaluation import plots
from streamwatch.evaluation.datasets.catalogue import list_clips
from streamwatch.evaluation.datasets.clip import ClipSelection, Kind, balanced_subset
from streamwatch.evaluation.report import (
    EvaluationReport,
    EvaluationScope,
    build_report,
    judged_faces,
    scores_by_level,
    write_videos,
)
from streamwatch.evaluation.robustness import protocol
from streamwatch.evaluation.scoring import ClipOutcome, Evaluator
from streamwatch.pipeline.plan import Plan


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The report, and the outcome of every clip as it is (without degradation)."""

    report: EvaluationReport
    outcomes: tuple[ClipOutcome, ...]


def evaluate(
    folder: Path,
    settings: Settings,
    *,
    kind: Kind = "auto",
    wanted: ClipSelection | None = None,
    frames: int = 16,
    limit: int | None = None,
    robustness: bool = False,
    crop_scale: float | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Measure the detector of `settings` on a data set.

    crop_scale: side of the crop ÷ longer side of the face box, instead of the model card's.
    Raises SourceNotFound, ConfigError and WeightsError.
    """
    wanted = wanted or ClipSelection()
    found, clips = list_clips(folder, kind, wanted)
    if limit is not None:
        clips = balanced_subset(clips, limit)
    plan = Plan.resolve(settings)
    if crop_scale is not None:
        plan = with_crop_scale(plan, crop_scale)
    chosen = settings.detector
    detector = load_detector(chosen.model, chosen.device, threads=chosen.threads, precision=chosen.precision)
    degradations = protocol() if robustness else []
    evaluator = Evaluator(plan, detector, frames=frames)
    results = evaluator.run(clips, degradations, lambda done: progress(done, len(clips)))
    scope = EvaluationScope(
        dataset=str(folder),
        kind=found,
        split=clips[0].split,
        compression=wanted.compression if found == "ffpp" else None,
        frames=frames,
    )
    report = build_report(scope, plan, results, degradations, evaluator.costs, detector.device)
    return Evaluation(report, tuple(results[0]))


def with_crop_scale(plan: Plan, scale: float) -> Plan:
    """The plan with crops of another width about the same place of the face."""
    return replace(plan, card=replace(plan.card, geometry=replace(plan.card.geometry, scale=scale)))


def write(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write `report.json`, `videos.csv` and the plots that the data allow; the paths written.

    Raises ConfigError where the folder cannot be written to, LibraryMissing without the extra `evaluate`.
    """
    report = evaluation.report
    try:
        folder.mkdir(parents=True, exist_ok=True)
        document, table = folder / "report.json", folder / "videos.csv"
        document.write_text(json.dumps(report.to_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        write_videos(evaluation.outcomes, table)
        return [document, table, *_draw(evaluation, folder)]
    except OSError as error:
        raise ConfigError(f"--out {folder}: cannot be written ({error.strerror})", "name another place") from None


def _draw(evaluation: Evaluation, folder: Path) -> list[Path]:
    report = evaluation.report
    scores = {
        level: part
        for level, part in scores_by_level(evaluation.outcomes).items()
        if part.fake.any() and not part.fake.all()
    }
    if not scores:
        return []
    names = ("roc", "reliability", "coverage", "robustness")
    roc, reliability, coverage, robustness = (folder / f"{name}.png" for name in names)
    plots.draw_roc(scores, report.thresholds.fake, roc)
    plots.draw_reliability(scores, reliability)
    written = [roc, reliability]
    if (faces := judged_faces(evaluation.outcomes)) is not None:
        plots.draw_coverage(faces, coverage)
        written.append(coverage)
    if report.robustness:
        plots.draw_robustness(report.robustness, list(scores)[-1], robustness)
        written.append(robustness)
    return written
