"""From the recipe to weights that can be served: rows, fit, calibration, thresholds, figures, card."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamwatch.allocator import keep_freed_memory
from streamwatch.detectors.card import Calibration, InputSpec, Limits, ModelCard, Thresholds
from streamwatch.detectors.m2tr.config import M2TRConfig
from streamwatch.detectors.m2tr.imagenet import PIXEL_MEAN, PIXEL_STD
from streamwatch.detectors.statistics.config import StatisticsConfig
from streamwatch.detectors.statistics.weights import save_statistics
from streamwatch.errors import ConfigError
from streamwatch.evaluation.calibration import fit_platt, threshold_at
from streamwatch.evaluation.clips import ClipFigures, ScoredClip, clips_of, measure
from streamwatch.evaluation.datasets.web import WebPicture
from streamwatch.evaluation.metrics import expected_calibration_error
from streamwatch.evaluation.web_faces import FoundFace
from streamwatch.evaluation.web_facts import FactFigures, facts_alone
from streamwatch.records import FloatArray
from streamwatch.training.dev import check_apart, dev_faces, dev_figures
from streamwatch.training.fitted.fit import fit
from streamwatch.training.fitted.pictures import Measure, StatisticsRows, load_faces, measure_faces, training_rows
from streamwatch.training.fitted.pictures import measure_crops as measure_statistics
from streamwatch.training.fitted.recipe import FittedRecipe, StatisticsRecipe, TextureRecipe

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True)
class Released:
    """Where the run has put its weights and the logit of every picture of the choosing set."""

    weights: Path
    logits: Path
    card: ModelCard


@dataclass(frozen=True, slots=True, eq=False)
class FittedDetector:
    """A fitted detector. decision: N×D statistics -> N logits. save: writes the weights and their card, and returns the
    card with the digest of the weights. described: one line on the fit.
    """

    preset: M2TRConfig | StatisticsConfig
    input: InputSpec
    decision: Callable[[FloatArray], NDArray[Any]]
    save: Callable[[Path, ModelCard], ModelCard]
    described: str


def train_fitted(
    recipe: StatisticsRecipe | TextureRecipe,
    folder: Path,
    landmark_model: Path,
    *,
    cache: Path | None = None,
    progress: Progress = lambda what, done, total: None,
    report: Callable[[str], None] = lambda line: None,
) -> Released:
    """Fit by the recipe and write `NAME.safetensors`, `NAME.yaml` and `NAME-logits.csv` (file, logit) to `folder`.

    The training set alone is fitted to. The choosing set gives calibration (Platt, on the mean logits of its clips),
    thresholds and the card's figures; its faces are found and cut as serving does. The same recipe and data give the
    same file. cache: folder of face boxes, landmarks and auto-encoders; `prepared` beside `folder` by default.

    Raises SourceNotFound for data that are not there, ConfigError for an index that is wrong, lacks a class or shares
    a clip, scene or method with the other, LibraryMissing without scikit-learn, WeightsError for a landmark model that
    cannot be read or ImageNet weights that are not installed.
    """
    keep_freed_memory()
    part, cache = recipe.data, cache or folder.parent / "prepared"
    seen = load_faces(recipe, cache, landmark_model, report)
    chosen_by = dev_faces([part.root / part.choose], cache)
    if len({face.picture.label for face in chosen_by} & {"real", "fake"}) < 2:
        raise ConfigError(f"{part.root / part.choose}: real and fake pictures are needed")
    check_apart(seen.pictures, chosen_by)
    measure_crops, fit_rows = _learner(recipe)
    rows = training_rows(recipe, seen, measure_crops, lambda done, total: progress(part.train, done, total))
    progress("fit", 0, 1)
    fitted = fit_rows(rows)
    progress("fit", 1, 1)
    chosen_rows = measure_faces(
        ((face.picture.path, face.box) for face in chosen_by),
        recipe.geometry.geometry(),
        recipe.geometry.size,
        measure_crops,
        lambda done: progress(part.choose, done, len(chosen_by)),
    )
    return _release(recipe, fitted, seen.pictures, chosen_by, fitted.decision(chosen_rows), folder, progress)


def _learner(recipe: StatisticsRecipe | TextureRecipe) -> tuple[Measure, Callable[[StatisticsRows], FittedDetector]]:
    """What measures crops, and what fits a detector to the rows."""
    if isinstance(recipe, TextureRecipe):
        from streamwatch.training.fitted.texture import Texture

        texture = Texture(recipe)

        def fit_texture(rows: StatisticsRows) -> FittedDetector:
            texture.fit(rows)
            spec = InputSpec(recipe.geometry.size, mean=(PIXEL_MEAN,) * 3, std=(PIXEL_STD,) * 3)
            return FittedDetector(texture.model.config, spec, texture.decision, texture.save, _linear(recipe))

        return texture.measure, fit_texture

    def fit_statistics(rows: StatisticsRows) -> FittedDetector:
        model = fit(rows.statistics, rows.fake, rows.weights, recipe)
        preset = StatisticsConfig(trees=len(model.trees.feature), depth=model.trees.depth)
        spec = InputSpec(recipe.geometry.size, mean=(0.0,) * 3, std=(1.0,) * 3)
        trees = recipe.trees
        described = (
            f"{_linear(recipe)}, share {recipe.linear.share:g}, and {trees.boosters} × {trees.number} trees "
            f"(depth {trees.depth}, rate {trees.learning_rate:g}, share {trees.share:g})"
        )
        return FittedDetector(
            preset, spec, model.decision, lambda path, card: save_statistics(path, model, card), described
        )

    return measure_statistics, fit_statistics


def _release(
    recipe: FittedRecipe,
    fitted: FittedDetector,
    seen: Sequence[WebPicture],
    chosen_by: Sequence[FoundFace],
    logits: NDArray[Any],
    folder: Path,
    progress: Progress,
) -> Released:
    faces = [face.scored(float(logit)) for face, logit in zip(chosen_by, logits, strict=True)]
    clips = [clip for clip in clips_of(faces) if clip.label != "enhanced"]
    card = _card(recipe, fitted, clips, seen)
    pictures = [face.picture for face in chosen_by]
    facts = facts_alone(pictures, lambda done, total: progress("facts", done, total))
    metrics = card_figures(measure(faces), facts) | _served(clips, card)
    card = replace(card, metrics={name: round(float(value), 4) for name, value in metrics.items()})
    weights = folder / f"{recipe.name}.safetensors"
    card = fitted.save(weights, card)
    table = folder / f"{recipe.name}-logits.csv"
    with table.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["file", "logit"])
        writer.writerows([p.path.name, f"{logit:.5f}"] for p, logit in zip(pictures, logits, strict=True))
    return Released(weights, table, card)


def _card(
    recipe: FittedRecipe, fitted: FittedDetector, clips: Sequence[ScoredClip], seen: Sequence[WebPicture]
) -> ModelCard:
    scores, fake = _scores(clips)
    calibration = Calibration(*fit_platt(scores, fake))
    probabilities = calibration.probability(scores).astype(np.float64)
    alarm = max(0.5, threshold_at(probabilities[~fake], recipe.decision.false_alarms))
    # the same rule with the classes turned round
    missed = 1 - threshold_at(1 - probabilities[fake], recipe.decision.misses)
    part = recipe.data
    methods = len({picture.method for picture in seen if picture.fake})
    return ModelCard(
        name=recipe.name,
        preset=fitted.preset,
        input=fitted.input,
        geometry=recipe.geometry.geometry(),
        calibration=calibration,
        thresholds=Thresholds(real=min(0.5, missed), fake=alarm),
        limits=Limits(min_face_side=recipe.decision.min_face_side),
        data=f"{part.train}: {len(seen)} pictures of {len({p.clip for p in seen})} clips, fakes of {methods} methods; "
        f"calibration and thresholds: {len(clips)} clips of {part.choose}",
        date=datetime.now(timezone.utc).date().isoformat(),
        recipe=describe(recipe, fitted.described),
        metrics={},
        licence=recipe.licence,
    )


def describe(recipe: FittedRecipe, fitted: str) -> str:
    """One line for the card: how it was trained, and where its thresholds come from."""
    decision, pairs = recipe.decision, recipe.data.pairs
    drawn = f"{pairs.count} pairs (share {pairs.share:g})" if pairs.count else "no pairs"
    if pairs.degraded:
        drawn += f", {pairs.degraded} degraded ones (share {pairs.degraded_share:g})"
    return (
        f"{recipe.name}: seed {recipe.seed}, {drawn}, {fitted}; `fake` from the probability that "
        f"{decision.false_alarms:.0%} of the real clips exceed, `real` up to that which {decision.misses:.0%} of the "
        "fake ones do not"
    )


def _linear(recipe: FittedRecipe) -> str:
    return f"logistic regression (C {recipe.linear.strength:g})"


def _scores(clips: Sequence[ScoredClip]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Scores of the clips, and which are forged."""
    return np.array([clip.score for clip in clips]), np.array([clip.label == "fake" for clip in clips], bool)


def _served(clips: Sequence[ScoredClip], card: ModelCard) -> dict[str, float]:
    """What calibration and thresholds make of the clips of both classes."""
    scores, fake = _scores(clips)
    probabilities = card.calibration.probability(scores).astype(np.float64)  # thresholds are not rounded either
    return {
        "called_fake_of_fake": float((probabilities[fake] >= card.thresholds.fake).mean()),
        "called_real_of_fake": float((probabilities[fake] <= card.thresholds.real).mean()),
        "called_fake_of_real": float((probabilities[~fake] >= card.thresholds.fake).mean()),
        "ece": expected_calibration_error(fake, probabilities, balanced=True),
    }


def card_figures(figures: ClipFigures, facts: FactFigures) -> dict[str, float]:
    """The figures of a card: those of `dev_figures`, the intervals of `auc` and `won` (`auc_low`, `auc_high`, …), the
    number of `clips` of both classes and of `pairs`, `won_matched`, what `enhanced` clips do, and the AUC over pictures
    of facts of the files alone (`file_facts`) and of these with sharpness and noise (`picture_facts`).

    What the set has no clips for is left out.
    """
    pairs = figures.pairs
    intervals = {"auc": figures.whole.plain.auc.interval, "won": None if pairs is None else pairs.won.interval}
    found: dict[str, float] = {"clips": figures.whole.real + figures.whole.fake}
    for name, value in dev_figures(figures).items():
        if not math.isnan(value):
            found[name] = value
            if (interval := intervals.get(name)) is not None:
                found |= {f"{name}_low": interval[0], f"{name}_high": interval[1]}
    if pairs is not None:
        found |= {"pairs": pairs.pairs, "won_matched": pairs.won_matched.value}
    if figures.enhanced is not None:
        found["enhanced_above_5_percent"] = figures.enhanced.above_5_percent
        if figures.enhanced.above_original is not None:
            found["enhanced_above_original"] = figures.enhanced.above_original
    for name, probe in (("file_facts", facts.file), ("picture_facts", facts.picture)):
        if probe is not None:
            found[name] = probe.auc.value
    return found
