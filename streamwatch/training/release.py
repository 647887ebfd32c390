"""From a trained run to a checkpoint that can be served: calibration, thresholds, measured card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from streamwatch.detectors import load_detector
from streamwatch.detectors.card import Calibration, InputSpec, Limits, ModelCard, Thresholds, file_sha256
from streamwatch.detectors.checkpoints import save_checkpoint
from streamwatch.detectors.m2tr.imagenet import PIXEL_MEAN, PIXEL_STD
from streamwatch.evaluation.calibration import fit_platt, threshold_at
from streamwatch.evaluation.frames import (
    FaceSample,
    best_ellipse,
    best_mask_threshold,
    frame_metrics,
    mask_metrics,
    score_samples,
)
from streamwatch.evaluation.truth import forged_region
from streamwatch.records import FloatArray
from streamwatch.sources.pictures import read_image
from streamwatch.training.prepare import Picture
from streamwatch.training.recipe import Recipe
from streamwatch.training.trainer import Trainer, images_seen

LICENCE = (
    "Apache-2.0 for the weights file. Trained on DFDC, UTKFace and FFHQ/StyleGAN pictures, whose terms allow research "
    "use only: clear the use of these weights with those terms before any other use."
)


def release(
    trainer: Trainer,
    output: Path,
    *,
    min_face_side: float = 48.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ModelCard:
    """Write the best weights of a run to `output` (.safetensors) with their card, and return the card.

    Calibration, thresholds and the mask threshold come from the held-back training sources: the `fake` threshold is
    the highest that any data set of real faces asks for, so that none of them raises more false alarms than the recipe
    allows (sets too small to show that rate are passed over). The metrics are measured on the `val` pictures through
    the written file, as it is served. `val` decides nothing.
    """
    recipe, model = trainer.recipe, trainer.best_model()
    size = model.config.input_size
    card = ModelCard(
        name=recipe.name,
        preset=model.config,
        input=InputSpec(size=size, mean=(PIXEL_MEAN,) * 3, std=(PIXEL_STD,) * 3),
        geometry=recipe.geometry.geometry(),
        calibration=Calibration(temperature=1.0, bias=0.0),
        thresholds=Thresholds(real=0.5, fake=0.5),
        limits=Limits(min_face_side=min_face_side),
        data=describe_data(recipe),
        date=datetime.now(timezone.utc).date().isoformat(),
        recipe=describe_run(recipe, trainer),
        metrics={},
        licence=LICENCE,
    )
    save_checkpoint(output, model, card)
    held = score_samples(load_detector(output), samples(trainer.held_back.all_faces), progress=progress)
    temperature, bias = fit_platt(held.logits, held.fake)
    calibration = Calibration(temperature, bias)
    rate = recipe.evaluation.false_alarms
    fake = max(
        threshold_at(calibration.probability(score_samples(load_detector(output), samples(reals)).logits), rate)
        for reals in trainer.held_back.reals.values()
        if len(reals) * rate >= 1
    )
    card = replace(card, calibration=calibration, thresholds=Thresholds(real=min(0.5, fake), fake=fake))
    save_checkpoint(output, model, card)
    val = score_samples(load_detector(output), samples(trainer.reported), progress=progress)
    metrics = {f"val_{name}": value for name, value in frame_metrics(val).items()}
    if val.masks:
        threshold = best_mask_threshold(held)
        masks = mask_metrics(val, threshold, best_ellipse(held.truths))
        metrics |= {f"val_{name}": value for name, value in masks.items()} | {"mask_threshold": threshold}
    metrics["val_faces"] = len(val.fake)
    rounded = {name: round(float(value), 4) for name, value in metrics.items()}
    return save_checkpoint(output, model, replace(card, metrics=rounded))


def samples(pictures: Sequence[Picture]) -> list[FaceSample]:
    """Prepared pictures as labelled faces; a fake whose original is among them brings its forged region."""
    originals = {picture.source: picture for picture in pictures if not picture.fake}

    def truth(fake: Picture, original: Picture) -> Callable[[], FloatArray | None]:
        return lambda: forged_region(read_image(fake.path), read_image(original.path))

    def image(picture: Picture) -> Callable[[], np.ndarray]:
        return lambda: read_image(picture.path)

    return [
        FaceSample(
            image(picture),
            picture.box,
            picture.fake,
            truth(picture, originals[picture.source]) if picture.fake and picture.source in originals else None,
        )
        for picture in pictures
    ]


def describe_data(recipe: Recipe) -> str:
    """One line for the card: the data sets and the share of each kind of pair."""
    part = recipe.data
    shares = ", ".join(f"{kind} {weight:g}" for kind, weight in part.weights.items())
    names = ", ".join(dict.fromkeys((*part.paired, *part.sources, *part.generated)))
    return f"training parts of {names}; kinds of real-fake pairs by share: {shares}"


def describe_run(recipe: Recipe, trainer: Trainer) -> str:
    """One line for the card: how long was trained, and which step was kept."""
    options = recipe.optimisation
    images = images_seen(recipe, trainer.best_step)
    start = "ImageNet" if recipe.start is None else f"weights {file_sha256(recipe.start)[:12]}"
    return (
        f"{recipe.name}: from {start}, seed {recipe.seed}, averaged weights of step {trainer.best_step} of "
        f"{options.steps} ({images} pictures), learning rate {options.learning_rate:g}, "
        f"first {options.freeze} blocks frozen"
    )
