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

from streamwatch.detectors.card import Calibration, InputSpec, Limits, ModelCard, Thresholds
from streamwatch.detectors.statistics.config import StatisticsConfig
from streamwatch.detectors.statistics.model import StatisticsModel
from streamwatch.detectors.statistics.trees import DoubleArray
from streamwatch.detectors.statistics.weights import save_statistics
from streamwatch.errors import ConfigError
from streamwatch.evaluation.calibration import fit_platt, threshold_at
from streamwatch.evaluation.clips import Clip, ClipFigures, clips_of, measure
from streamwatch.evaluation.datasets.web import WebPicture, read_pictures
from streamwatch.evaluation.metrics import expected_calibration_error
from streamwatch.evaluation.web_facts import FactFigures, facts_alone
from streamwatch.heap import keep_freed_memory
from streamwatch.records import FloatArray
from streamwatch.training.dev import dev_figures
from streamwatch.training.statistics.fit import fit
from streamwatch.training.statistics.pictures import measure_copies, measure_rows, sample_weights, scored_faces
from streamwatch.training.statistics.recipe import StatisticsRecipe

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True)
class Released:
    """Where the run has put its weights and the logit of every picture of the choosing set."""

    weights: Path
    logits: Path
    card: ModelCard


def train_statistics(
    recipe: StatisticsRecipe, folder: Path, *, progress: Progress = lambda what, done, total: None
) -> Released:
    """Train by the recipe and write `NAME.safetensors`, `NAME.yaml` and `NAME-logits.csv` (file, logit) to `folder`.

    The training set alone is fitted to. The choosing set gives calibration (Platt, on the mean logits of its clips),
    thresholds and the card's figures. The same recipe and data give the same file.

    Raises SourceNotFound for data that are not there, ConfigError for an index that is wrong or lacks a class,
    LibraryMissing without scikit-learn.
    """
    keep_freed_memory()
    part = recipe.data
    seen = [p for p in read_pictures(part.root / part.train) if p.label in ("real", "fake")]
    chosen_by = read_pictures(part.root / part.choose)
    for name, pictures in ((part.train, seen), (part.choose, chosen_by)):
        if len({picture.label for picture in pictures} & {"real", "fake"}) < 2:
            raise ConfigError(f"{part.root / name}: real and fake pictures are needed")
    model = _fit(recipe, seen, progress)
    rows = measure_rows(chosen_by, recipe.geometry.size, progress=_counter(progress, part.choose, len(chosen_by)))
    logits = model.decision(rows)
    faces = scored_faces(chosen_by, logits, recipe.geometry.scale)
    clips = [clip for clip in clips_of(faces) if clip.label != "enhanced"]
    card = _card(recipe, model, clips, seen)
    facts = facts_alone(chosen_by, lambda done, total: progress("facts", done, total))
    metrics = card_figures(measure(faces), facts) | _served(clips, card)
    card = replace(card, metrics={name: round(float(value), 4) for name, value in metrics.items()})
    weights = folder / f"{recipe.name}.safetensors"
    card = save_statistics(weights, model, card)
    table = folder / f"{recipe.name}-logits.csv"
    with table.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["file", "logit"])
        writer.writerows([p.path.name, f"{logit:.5f}"] for p, logit in zip(chosen_by, logits, strict=True))
    return Released(weights, table, card)


def training_rows(
    recipe: StatisticsRecipe, pictures: Sequence[WebPicture], progress: Progress
) -> tuple[FloatArray, DoubleArray]:
    """Statistics of the pictures and of their degraded copies, and what each row counts."""
    part, size = recipe.data, recipe.geometry.size
    count = _counter(progress, part.train, len(pictures) * (1 + part.copies))
    blocks = [measure_rows(pictures, size, progress=count)]
    blocks += [measure_copies(pictures, size, copy, recipe.seed, progress=count) for copy in range(part.copies)]
    weights = sample_weights(pictures, method_power=part.method_power, most_of_one_origin=part.most_of_one_origin)
    return np.concatenate(blocks), np.tile(weights / len(blocks), len(blocks))


def _fit(recipe: StatisticsRecipe, pictures: Sequence[WebPicture], progress: Progress) -> StatisticsModel:
    rows, weights = training_rows(recipe, pictures, progress)
    progress("fit", 0, 1)
    fake = np.tile(np.array([picture.fake for picture in pictures]), len(rows) // len(pictures))
    return fit(rows, fake, weights, recipe)


def _card(
    recipe: StatisticsRecipe, model: StatisticsModel, clips: Sequence[Clip], seen: Sequence[WebPicture]
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
        preset=StatisticsConfig(trees=len(model.trees.feature), depth=model.trees.depth),
        input=InputSpec(recipe.geometry.size, mean=(0.0,) * 3, std=(1.0,) * 3),
        geometry=recipe.geometry.geometry(),
        calibration=calibration,
        thresholds=Thresholds(real=min(0.5, missed), fake=alarm),
        limits=Limits(min_face_side=recipe.decision.min_face_side),
        data=f"{part.train}: {len(seen)} pictures of {len({p.clip for p in seen})} clips, fakes of {methods} methods; "
        f"calibration and thresholds: {len(clips)} clips of {part.choose}",
        date=datetime.now(timezone.utc).date().isoformat(),
        recipe=describe(recipe),
        metrics={},
        licence=recipe.licence,
    )


def describe(recipe: StatisticsRecipe) -> str:
    """One line for the card: how it was trained, and where its thresholds come from."""
    linear, trees, decision = recipe.linear, recipe.trees, recipe.decision
    return (
        f"{recipe.name}: seed {recipe.seed}, {recipe.data.copies} degraded copies of every picture, logistic "
        f"regression (C {linear.strength:g}, share {linear.share:g}) and {trees.boosters} × {trees.number} trees "
        f"(depth {trees.depth}, rate {trees.learning_rate:g}, share {trees.share:g}); `fake` from the probability that "
        f"{decision.false_alarms:.0%} of the real clips exceed, `real` up to that which {decision.misses:.0%} of the "
        "fake ones do not"
    )


def _scores(clips: Sequence[Clip]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Scores of the clips, and which are forged."""
    return np.array([clip.score for clip in clips]), np.array([clip.label == "fake" for clip in clips], bool)


def _served(clips: Sequence[Clip], card: ModelCard) -> dict[str, float]:
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


def _counter(progress: Progress, what: str, total: int) -> Callable[[], None]:
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        progress(what, done, total)

    return count
