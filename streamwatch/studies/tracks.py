"""Tracks with a known answer: real clips, and the same clips forged throughout by one forgery that drifts."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamwatch.detectors import Detector
from streamwatch.errors import ConfigError
from streamwatch.evaluation.bootstrap import bootstrap_interval
from streamwatch.evaluation.metrics import roc_auc
from streamwatch.evaluation.weighted import Ranking
from streamwatch.faces.crops import CropGeometry, crop_face
from streamwatch.records import FloatArray, ImageArray
from streamwatch.sources.pictures import read_image
from streamwatch.training.augment import degrade
from streamwatch.training.families import LEAST_CHANGE, FaceImage, Family, Forger, visible_change
from streamwatch.training.forgeries import Forgery
from streamwatch.training.prepare import FacePicture
from streamwatch.training.recipe import Recipe
from streamwatch.training.split import CLIPS, prepare_set, split_data

JITTER = 0.004
"""Standard deviation of a landmark's tremble from picture to picture, in sizes of the face."""
DRIFT = 0.7
"""Share of the last picture's displacement that is still there in the next (first-order autoregression)."""


@dataclass(frozen=True, slots=True, eq=False)
class TrackScores:
    """T scored faces of one track. source: its clip. kind: family of forgery, for both of a pair.

    logits: T, calibrated. features: T×D.
    """

    source: str
    kind: str
    fake: bool
    logits: FloatArray
    features: FloatArray


@dataclass(frozen=True, slots=True)
class TrackComparison:
    """AUC of one way of judging tracks, with its 95 % interval over clips.

    gain: AUC minus that of the way it is compared with, on the same tracks; NaN where there is none.
    """

    name: str
    auc: float
    low: float
    high: float
    gain: float = math.nan
    gain_low: float = math.nan
    gain_high: float = math.nan


def compared(
    name: str,
    tracks: Sequence[TrackScores],
    values: NDArray[np.float64],
    reference: NDArray[np.float64] | None = None,
) -> TrackComparison:
    """values, reference: one per track, higher for fake. Raises ValueError without tracks of both classes."""
    fake, clips = np.array([track.fake for track in tracks]), [track.source for track in tracks]
    own = Ranking.of(fake, values)
    auc, interval = roc_auc(fake, values), bootstrap_interval(own.auc, fake, clips)
    if reference is None:
        return TrackComparison(name, auc, *interval)
    other = Ranking.of(fake, reference)
    gains = bootstrap_interval(lambda weights: own.auc(weights) - other.auc(weights), fake, clips)
    return TrackComparison(name, auc, *interval, auc - roc_auc(fake, reference), *gains)


def clip_faces(
    recipe: Recipe, cache: Path, landmark_model: Path, report: Callable[[str], None]
) -> tuple[list[FacePicture], Forger]:
    """The faces of the recipe's camera clips, and the forger that held-back faces are forged with.

    Raises ConfigError for a recipe without clips or with too few of them, SourceNotFound and WeightsError as training
    does.
    """
    if recipe.data.clips is None:
        raise ConfigError(f"recipe {recipe.name}: names no camera clips (data.clips), and only they have tracks")
    forger = split_data(recipe, cache, landmark_model, report).held_pools.forger
    pictures = prepare_set(recipe.data, CLIPS, cache, landmark_model, report)
    if {picture.split for picture in pictures} != {"train", "val"}:
        raise ConfigError(
            f"{recipe.data.root / recipe.data.clips}: too few clips show a face; every fourth clip is kept out of "
            "training, and both parts need one"
        )
    return pictures, forger


def clips_of(pictures: Sequence[FacePicture]) -> dict[str, list[FacePicture]]:
    """Pictures by clip, in order of time (of name)."""
    clips: dict[str, list[FacePicture]] = defaultdict(list)
    for picture in sorted(pictures, key=lambda p: p.path.name):
        clips[picture.source].append(picture)
    return dict(clips)


def forge_track(
    forger: Forger, family: Family, faces: Sequence[FaceImage], partner: Callable[[], FaceImage], seed: int
) -> list[tuple[ImageArray, ImageArray]]:
    """(real, fake) of every picture of a track, one forgery throughout: the same draw, on landmarks that tremble.

    Of a few draws, the first that shows in the first picture.
    """
    draws = [[seed, 0, number] for number in range(5)]
    first = (d for d in draws if _shows(forger.forge(family, faces[0], partner, np.random.default_rng(d))))
    draw = next(first, draws[-1])
    trembling = np.random.default_rng([seed, 1])
    displacement = np.zeros_like(faces[0].landmarks)
    found = []
    for face in faces:
        noise = trembling.normal(0, JITTER * face.size, displacement.shape).astype(np.float32)
        displacement = DRIFT * displacement + noise
        moved = FaceImage(face.image, face.landmarks + displacement)
        forgery = forger.forge(family, moved, partner, np.random.default_rng(draw))
        found.append((forgery.real, forgery.fake))
    return found


def _shows(forgery: Forgery) -> bool:
    return visible_change(forgery) >= LEAST_CHANGE


def score_tracks(
    detector: Detector,
    pictures: Sequence[FacePicture],
    forger: Forger,
    families: Sequence[Family],
    *,
    seed: int,
    geometry: CropGeometry | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[TrackScores]:
    """A real and a forged track of every clip and family, each pair under one draw of lost quality.

    Clips of a single picture are passed over. The next clip lends the partner. geometry: how crops are cut, where not
    as the detector's card says.
    """
    geometry = geometry or detector.geometry
    clips = {source: part for source, part in clips_of(pictures).items() if len(part) > 1}
    names = list(clips)
    for number, source in enumerate(names):
        part = clips[source]
        faces = [FaceImage(read_image(p.path), p.landmarks) for p in part]
        lender = clips[names[(number + 1) % len(names)]][0]
        partner = FaceImage(read_image(lender.path), lender.landmarks)
        for index, family in enumerate(families):
            draw = int(np.random.default_rng([seed, number, index]).integers(2**31))
            pairs = forge_track(forger, family, faces, lambda lent=partner: lent, draw)  # type: ignore[misc]
            crops: tuple[list[ImageArray], list[ImageArray]] = ([], [])
            for picture, pair in zip(part, pairs, strict=True):
                region = geometry.region(picture.box)
                cut = [crop_face(image, region, detector.input_size) for image in pair]
                for crop, into in zip(degrade(cut, np.random.default_rng(draw)), crops, strict=True):
                    into.append(crop)
            for fake, images in enumerate(crops):
                scores = detector.score_arrays(np.stack(images))
                p = scores.probabilities.clip(1e-6, 1 - 1e-6)
                logits = np.log(p / (1 - p)).astype(np.float32)
                yield TrackScores(source, family, bool(fake), logits, scores.features)
        progress(number + 1, len(names))
