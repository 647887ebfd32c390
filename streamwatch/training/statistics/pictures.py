"""The rows that a statistics detector learns from, and how much each of them counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamwatch.detectors.statistics.features import statistics
from streamwatch.detectors.statistics.trees import DoubleArray
from streamwatch.errors import ConfigError
from streamwatch.evaluation.datasets.web import WebPicture, read_pictures
from streamwatch.faces.crops import CropGeometry, crop_face
from streamwatch.records import Box, FloatArray
from streamwatch.sources.pictures import read_image
from streamwatch.training.clips import clip_pictures
from streamwatch.training.data import Kind, MadePairs, PairDataset, Pools, SourcePool
from streamwatch.training.families import Forger
from streamwatch.training.prepare import prepare
from streamwatch.training.resynthesis import load_or_train
from streamwatch.training.split import CLIPS
from streamwatch.training.statistics.recipe import StatisticsRecipe


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """What a recipe trains on. pictures: of both classes, with the face box of each. sources: to forge faces of."""

    pictures: list[WebPicture]
    boxes: list[Box]
    sources: list[SourcePool]
    forger: Forger


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """statistics: N×D. fake, weights: N, the weights' mean is 1."""

    statistics: FloatArray
    fake: NDArray[np.bool_]
    weights: DoubleArray


def load_faces(
    recipe: StatisticsRecipe, cache: Path, landmark_model: Path, report: Callable[[str], None] = lambda line: None
) -> Faces:
    """Find the faces of the recipe's training set, and of its camera clips; both are kept in `cache`.

    Raises SourceNotFound, ConfigError or WeightsError.
    """
    part = recipe.data
    folder = part.root / part.train
    listed = {picture.path: picture for picture in read_pictures(folder)}
    if len({picture.label for picture in listed.values()} & {"real", "fake"}) < 2:
        raise ConfigError(f"{folder}: real and fake pictures are needed")
    found = prepare(folder, cache / f"{part.train}.npz", landmark_model)
    sources: list[SourcePool] = []
    forger = Forger()
    if part.made.pairs:
        reals = [picture for picture in found if not picture.fake]
        sources.append(SourcePool(reals, 1 - part.made.of_clips))
        if part.clips is not None and part.made.of_clips:
            cut = clip_pictures(part.root / part.clips, cache / CLIPS, report=report)
            frames = prepare(cut, cache / f"{CLIPS}.npz", landmark_model)
            sources.append(SourcePool([p for p in frames if p.split == "train"], part.made.of_clips))
        if {"resynthesis", "reenactment"} & set(part.made.kinds):
            forger = Forger(load_or_train(cache, [partial(read_image, p.path) for p in reals], report=report))
    return Faces([listed[p.path] for p in found], [p.box for p in found], sources, forger)


def training_rows(recipe: StatisticsRecipe, faces: Faces, progress: Callable[[int, int], None]) -> Rows:
    """The statistics of the faces, and of as many real faces and forgeries of them as the recipe makes."""
    made, size = recipe.data.made, recipe.geometry.size
    geometry = recipe.geometry.geometry()
    total = len(faces.pictures) + made.pairs
    found = measure_faces(
        zip((p.path for p in faces.pictures), faces.boxes, strict=True), geometry, size, lambda n: progress(n, total)
    )
    fake = np.array([picture.fake for picture in faces.pictures])
    weights = sample_weights(
        faces.pictures, method_power=recipe.data.method_power, most_of_one_origin=recipe.data.most_of_one_origin
    )
    if not made.pairs:
        return Rows(found, fake, weights)
    kinds: dict[Kind, float] = dict(made.kinds.items())
    source = MadePairs(Pools((), faces.sources, forger=faces.forger), kinds, recipe.seed)
    pairs = PairDataset(source, geometry, size, recipe.seed, made.pairs, augment=False)
    real, forged = [], []
    for number in range(made.pairs):
        pair = pairs.pair(number)
        real.append(statistics(pair.real))
        forged.append(statistics(pair.fake))
        progress(len(found) + number + 1, total)
    rows = len(found) + 2 * made.pairs
    each = made.share * rows / (2 * made.pairs)
    return Rows(
        np.concatenate([found, real, forged]),
        np.concatenate([fake, np.zeros(made.pairs, np.bool_), np.ones(made.pairs, np.bool_)]),
        np.concatenate([weights * (1 - made.share) * rows / len(found), np.full(2 * made.pairs, each)]),
    )


def measure_faces(
    faces: Iterable[tuple[Path, Box]],
    geometry: CropGeometry,
    size: int,
    progress: Callable[[int], None] = lambda done: None,
) -> FloatArray:
    """N×D statistics of the faces in some pictures, cut as serving cuts them. Raises SourceError for a bad file."""
    rows = []
    for path, box in faces:
        rows.append(statistics(crop_face(read_image(path), geometry.region(box), size)))
        progress(len(rows))
    return np.stack(rows)


def sample_weights(pictures: Sequence[WebPicture], *, method_power: float, most_of_one_origin: float) -> DoubleArray:
    """How much each picture counts; both classes alike, the mean is 1.

    A class is shared out among its methods (for real pictures: origins) by their number of pictures to the power
    `method_power`, a method's share among its scenes by the root of theirs, a scene's evenly. An origin with more than
    `most_of_one_origin` of a class is cut down towards that.
    """
    weights = np.zeros(len(pictures))
    for fake in (False, True):
        chosen = [i for i, picture in enumerate(pictures) if picture.fake is fake]
        methods: dict[str, list[int]] = {}
        origins: dict[str, list[int]] = {}
        for i in chosen:
            methods.setdefault(pictures[i].method if fake else pictures[i].origin, []).append(i)
            origins.setdefault(pictures[i].origin, []).append(i)
        for members in methods.values():
            scenes = Counter(pictures[i].scene for i in members)
            shares = np.array([scenes[pictures[i].scene] ** -0.5 for i in members])
            weights[members] = shares / shares.sum() * len(members) ** method_power
        for _ in range(_CUTS):
            weights[chosen] /= max(weights[chosen].sum(), 1e-12)
            for members in origins.values():
                share = weights[members].sum()
                weights[members] *= min(1.0, most_of_one_origin / share)
        weights[chosen] *= len(pictures) / 2 / max(weights[chosen].sum(), 1e-12)
    return weights


_CUTS = 5
