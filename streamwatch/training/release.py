"""From a trained run to a checkpoint that can be served: calibration, thresholds, measured card."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
from scipy.special import expit

from streamwatch.detectors import Detector, load_detector
from streamwatch.detectors.card import Calibration, InputSpec, Limits, ModelCard, Thresholds, file_sha256
from streamwatch.detectors.checkpoints import save_checkpoint
from streamwatch.detectors.m2tr.imagenet import PIXEL_MEAN, PIXEL_STD
from streamwatch.errors import ConfigError
from streamwatch.evaluation.calibration import fit_platt, threshold_at
from streamwatch.evaluation.datasets.plain import CLASSES
from streamwatch.evaluation.forged_regions import forged_region
from streamwatch.evaluation.frames import (
    FaceResults,
    FaceSample,
    best_ellipse,
    best_mask_threshold,
    frame_metrics,
    mask_metrics,
    score_samples,
)
from streamwatch.evaluation.metrics import expected_calibration_error, roc_auc
from streamwatch.evaluation.web_faces import FoundFace
from streamwatch.faces.crops import crop_face
from streamwatch.faces.quality import measure_quality
from streamwatch.records import Face, FaceQuality, FloatArray, ImageArray
from streamwatch.sources.pictures import read_image
from streamwatch.training.batches import images_seen
from streamwatch.training.forgeries import LEFT_EYE, RIGHT_EYE
from streamwatch.training.prepare import FacePicture, originals
from streamwatch.training.recipe import Recipe
from streamwatch.training.trainer import Trainer
from streamwatch.training.unseen import unseen_self_blend

NOSE_TIP = 4
MOUTH_CORNERS = (61, 291)


def release(
    trainer: Trainer,
    output: Path,
    *,
    min_face_side: float = 48.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ModelCard:
    """Write the best weights of a run to `output` (.safetensors) with their card, and return the card.

    Calibration comes from the recipe's dev sets, or without any from the held-back training sources, which also give
    the mask threshold. The `fake` threshold is the highest that any data set of real faces, held back or dev, asks for
    (`fake_threshold`). The metrics are the figures of the evaluation that chose the weights and, where the recipe's
    data have a `val` part, figures of it through the written file, as it is served. `val` decides nothing.

    Raises ConfigError where what was trained does not score fakes above real faces.
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
        licence=recipe.licence,
    )
    save_checkpoint(output, model, card)
    detector, split = load_detector(output), trainer.split
    held = score_samples(detector, samples(split.held_faces), progress=progress)
    dev = score_samples(detector, dev_samples(split.dev), progress=progress) if split.dev else held
    try:
        temperature, bias = fit_platt(dev.logits, dev.fake)
    except ValueError as error:
        raise ConfigError(f"{trainer.folder}: {error}", "train for longer, or on more") from None
    calibration = Calibration(temperature, bias)
    more = {"dev": dev.logits[~dev.fake]} if split.dev else {}
    fake = fake_threshold(detector, split.held_reals, calibration, recipe.evaluation.false_alarms, more)
    card = replace(
        card,
        calibration=calibration,
        thresholds=Thresholds(real=min(0.5, fake), fake=fake),
        limits=covered_limits(split.held_faces, card, min_face_side),
    )
    save_checkpoint(output, model, card)
    best = trainer.best_evaluation()
    metrics = {f"held_back_{kind}_auc": auc for kind, auc in best.cells().items() if not math.isnan(auc)}
    metrics |= {f"dev_{name}": value for name, value in best.dev.items() if not math.isnan(value)}
    if len({picture.fake for picture in split.reported}) == 2:
        metrics |= _measured(load_detector(output), split.reported, held, progress)
    rounded = {name: round(float(value), 4) for name, value in metrics.items()}
    return save_checkpoint(output, model, replace(card, metrics=rounded))


def _measured(
    detector: Detector, pictures: Sequence[FacePicture], held: FaceResults, progress: Callable[[int, int], None]
) -> dict[str, float]:
    """The card's metrics of `val`; the mask's threshold and the ellipse beside it come from held-back faces."""
    val = score_samples(detector, samples(pictures), progress=progress)
    metrics = {f"val_{name}": value for name, value in frame_metrics(val).items()}
    metrics["val_ece_uncalibrated"] = expected_calibration_error(val.fake, expit(val.logits), balanced=True)
    if val.masks:
        threshold = best_mask_threshold(held)
        masks = mask_metrics(val, threshold, best_ellipse(held.truths))
        metrics |= {f"val_{name}": value for name, value in masks.items()} | {"mask_threshold": threshold}
    blends = unseen_blends(detector, pictures)
    missed = blends.probabilities[blends.fake] <= detector.card.thresholds.real
    return metrics | {
        "val_faces": len(val.fake),
        "unseen_blends_auc": roc_auc(blends.fake, blends.logits),
        "unseen_blends_called_real": float(missed.mean()),
    }


def fake_threshold(
    detector: Detector,
    reals: Mapping[str, Sequence[FacePicture]],
    calibration: Calibration,
    false_alarms: float,
    scored: Mapping[str, FloatArray] = MappingProxyType({}),
) -> float:
    """The lowest probability at which no data set of real faces raises more false alarms than this share.

    scored: logits of further sets. Sets too small to show such a share count together, as one that raises none if they
    still are.
    """
    large = [part for part in reals.values() if len(part) * false_alarms >= 1]
    small = [picture for part in reals.values() if len(part) * false_alarms < 1 for picture in part]
    sets = [*large, small] if small else large
    logits = [*(score_samples(detector, samples(part)).logits for part in sets), *scored.values()]
    return max(threshold_at(calibration.probability(part), false_alarms) for part in logits)


def covered_limits(pictures: Sequence[FacePicture], card: ModelCard, min_face_side: float) -> Limits:
    """The sharpness that one in a hundred of these faces falls short of, and the turn that one in a hundred exceeds."""
    qualities = [quality_of(picture, card) for picture in pictures]
    return Limits(
        min_face_side=min_face_side,
        min_sharpness=round(float(np.quantile([q.sharpness for q in qualities], 0.01)), 2),
        max_pose=round(float(np.quantile([q.pose for q in qualities], 0.99)), 3),
    )


def quality_of(picture: FacePicture, card: ModelCard) -> FaceQuality:
    """Quality of a prepared picture's face, with RetinaFace's five points taken from the mesh."""
    mesh = picture.landmarks.astype(float)
    eyes = [mesh[list(points)].mean(axis=0) for points in (LEFT_EYE, RIGHT_EYE)]
    points = [*eyes, mesh[NOSE_TIP], *(mesh[corner] for corner in MOUTH_CORNERS)]
    eye_a, eye_b, nose, mouth_a, mouth_b = ((float(x), float(y)) for x, y in points)
    face = Face(picture.box, (eye_a, eye_b, nose, mouth_a, mouth_b), 1.0)
    region = card.geometry.region(picture.box)
    return measure_quality(crop_face(read_image(picture.path), region, card.input.size), face, region)


def unseen_blends(detector: Detector, pictures: Sequence[FacePicture], most: int = 300) -> FaceResults:
    """Real faces and their blends of shapes, borders and changes that no recipe trains on, scored."""
    reals = [picture for picture in pictures if not picture.fake][:most]
    blends = [
        unseen_self_blend(read_image(picture.path), picture.landmarks, np.random.default_rng(index))
        for index, picture in enumerate(reals)
    ]
    return score_samples(
        detector,
        [
            FaceSample(partial(_given, image), picture.box, fake)
            for picture, blend in zip(reals, blends, strict=True)
            for image, fake in ((blend.real, False), (blend.fake, True))
        ],
    )


def _given(image: ImageArray) -> ImageArray:
    return image


def dev_samples(faces: Sequence[FoundFace]) -> list[FaceSample]:
    """Faces of dev sets as labelled ones; those of neither class are left out."""
    return [
        FaceSample(partial(read_image, face.picture.path), face.box, face.picture.label == "fake")
        for face in faces
        if face.picture.label in CLASSES
    ]


def samples(pictures: Sequence[FacePicture]) -> list[FaceSample]:
    """Prepared pictures as labelled faces; a fake whose original is among them brings its forged region."""
    reals = originals(pictures)

    def truth(fake: FacePicture, original: FacePicture) -> Callable[[], FloatArray | None]:
        return lambda: forged_region(read_image(fake.path), read_image(original.path))

    def image(picture: FacePicture) -> Callable[[], np.ndarray]:
        return lambda: read_image(picture.path)

    return [
        FaceSample(
            image(picture),
            picture.box,
            picture.fake,
            truth(picture, reals[picture.source]) if picture.fake and picture.source in reals else None,
        )
        for picture in pictures
    ]


def describe_data(recipe: Recipe) -> str:
    """One line for the card: the data sets and the share of each kind of pair."""
    part = recipe.data
    shares = ", ".join(f"{kind} {weight:g}" for kind, weight in part.weights.items())
    names = ", ".join(dict.fromkeys((*part.paired, *part.sources, *part.generated, *part.web)))
    chosen = f"; chosen and calibrated on {', '.join(part.dev)}" if part.dev else ""
    return f"training parts of {names}; kinds of real-fake pairs by share: {shares}{chosen}"


def describe_run(recipe: Recipe, trainer: Trainer) -> str:
    """One line for the card: how long was trained, and which step was kept."""
    options = recipe.optimisation
    images = images_seen(recipe, trainer.state.best_step)
    frozen = "backbone" if options.freeze == "backbone" else f"first {options.freeze} blocks"
    start = "ImageNet" if recipe.start is None else f"weights {file_sha256(recipe.start)[:12]}"
    return (
        f"{recipe.name}: from {start}, seed {recipe.seed}, averaged weights of step {trainer.state.best_step} of "
        f"{options.steps} ({images} pictures), learning rate {options.learning_rate:g}, "
        f"{frozen} frozen"
    )
