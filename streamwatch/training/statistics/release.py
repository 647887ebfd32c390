"""From the recipe to weights that can be served: rows, fit, calibration, thresholds, figures, card."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from scipy.special import expit

from streamwatch.detectors.card import Calibration, InputSpec, Limits, ModelCard, Thresholds
from streamwatch.detectors.statistics.config import StatisticsConfig
from streamwatch.detectors.statistics.model import StatisticsModel
from streamwatch.detectors.statistics.trees import DoubleArray
from streamwatch.detectors.statistics.weights import save_statistics
from streamwatch.errors import ConfigError
from streamwatch.evaluation.bootstrap import bootstrap_interval
from streamwatch.evaluation.calibration import fit_platt, threshold_at
from streamwatch.evaluation.metrics import expected_calibration_error, roc_auc, true_positive_rate_at
from streamwatch.heap import keep_freed_memory
from streamwatch.records import FloatArray
from streamwatch.training.statistics.fit import fit, fit_trees
from streamwatch.training.statistics.measure import (
    Clip,
    clip_auc,
    file_facts,
    gather_clips,
    labels_of,
    matched_clips,
    only_methods,
    pairs_won,
)
from streamwatch.training.statistics.pictures import (
    WebPicture,
    list_web_pictures,
    measure_copies,
    measure_rows,
    sample_weights,
)
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

    Raises ConfigError for data that are not there or lack a class, LibraryMissing without scikit-learn.
    """
    keep_freed_memory()
    part = recipe.data
    seen = [p for p in list_web_pictures(part.root / part.train) if p.label in ("real", "fake")]
    chosen_by = list_web_pictures(part.root / part.choose)
    for name, pictures in ((part.train, seen), (part.choose, chosen_by)):
        if len({picture.label for picture in pictures} & {"real", "fake"}) < 2:
            raise ConfigError(f"{part.root / name}: real and fake pictures are needed")
    model = _fit(recipe, seen, progress)
    rows = measure_rows(chosen_by, recipe.geometry.size, progress=_counter(progress, part.choose, len(chosen_by)))
    logits = model.decision(rows)
    clips = gather_clips(chosen_by, logits)
    card = _card(recipe, model, clips, seen)
    metrics = _metrics(clips, chosen_by, logits, card, part.swaps) | _nuisances(
        recipe, seen, chosen_by, clips, progress
    )
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
    fake = np.tile(labels_of(pictures), len(rows) // len(pictures))
    return fit(rows, fake, weights, recipe)


def _card(
    recipe: StatisticsRecipe, model: StatisticsModel, clips: Sequence[Clip], seen: Sequence[WebPicture]
) -> ModelCard:
    scores = np.array([clip.score for clip in clips])
    fake = np.array([clip.fake for clip in clips], bool)
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


def _metrics(
    clips: Sequence[Clip], pictures: Sequence[WebPicture], logits: DoubleArray, card: ModelCard, swaps: Sequence[str]
) -> dict[str, float]:
    """Figures of the choosing set's clips, faces and pairs."""
    fake, scores = np.array([clip.fake for clip in clips], bool), np.array([clip.score for clip in clips])
    low, high = bootstrap_interval(roc_auc, fake, scores, [clip.scene for clip in clips])
    judged = np.array([picture.label in ("real", "fake") for picture in pictures])
    share, number = pairs_won(clips)
    probabilities = card.calibration.probability(scores).astype(np.float64)  # thresholds are not rounded either
    metrics = {
        "clip_auc": clip_auc(clips),
        "clip_auc_low": low,
        "clip_auc_high": high,
        "clips": len(clips),
        "face_auc": roc_auc(labels_of(pictures)[judged], logits[judged]),
        "clip_tpr_at_5_percent_fpr": true_positive_rate_at(fake, scores, 0.05),
        "clip_called_fake_of_fake": (probabilities[fake] >= card.thresholds.fake).mean(),
        "clip_called_real_of_fake": (probabilities[fake] <= card.thresholds.real).mean(),
        "clip_called_fake_of_real": (probabilities[~fake] >= card.thresholds.fake).mean(),
        "clip_ece": expected_calibration_error(fake, probabilities, balanced=True),
        "pairs": number,
    }
    if number:
        metrics["pairs_won"] = share
    swapped = only_methods(clips, swaps)
    if any(clip.fake for clip in swapped):
        metrics["swap_clip_auc"] = clip_auc(swapped)
    enhanced = np.array([picture.label == "enhanced" for picture in pictures])
    if enhanced.any():
        metrics["enhanced_mean_probability"] = expit(
            logits[enhanced] / card.calibration.temperature + card.calibration.bias
        ).mean()
    return metrics


def _nuisances(
    recipe: StatisticsRecipe,
    seen: Sequence[WebPicture],
    chosen_by: Sequence[WebPicture],
    clips: Sequence[Clip],
    progress: Progress,
) -> dict[str, float]:
    """What a classifier of file facts alone reaches, and the detector on clips of which these facts are alike."""
    count = _counter(progress, "file facts", len(seen) + len(chosen_by))

    def facts(pictures: Sequence[WebPicture]) -> FloatArray:
        rows = []
        for picture in pictures:
            rows.append(file_facts(picture.path))
            count()
        return np.stack(rows)

    part = recipe.data
    weights = sample_weights(seen, method_power=part.method_power, most_of_one_origin=part.most_of_one_origin)
    probe = fit_trees(
        facts(seen), labels_of(seen), weights, recipe.trees.model_copy(update={"columns": 0.5}), recipe.seed
    )
    known = facts(chosen_by)
    found = {"file_facts_clip_auc": clip_auc(gather_clips(chosen_by, probe.decision(known)))}
    matched = matched_clips(clips, known)
    if matched:
        found |= {"matched_clip_auc": clip_auc(matched), "matched_clips": len(matched)}
    return found


def _counter(progress: Progress, what: str, total: int) -> Callable[[], None]:
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        progress(what, done, total)

    return count
