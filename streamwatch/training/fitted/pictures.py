"""The rows that a statistics detector learns from, and how much each of them counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamwatch.detectors.statistics.features import statistics
from streamwatch.detectors.statistics.trees import DoubleArray
from streamwatch.errors import ConfigError
from streamwatch.evaluation.datasets.web import WebPicture, read_pictures
from streamwatch.faces.crops import CropGeometry, crop_face
from streamwatch.records import Box, FloatArray, ImageArray
from streamwatch.sources.pictures import read_image
from streamwatch.training.clips import clip_pictures
from streamwatch.training.data import MadePairs, PairDataset, Pools, SourcePool
from streamwatch.training.families import FAMILIES, Forger
from streamwatch.training.fitted.recipe import FittedRecipe
from streamwatch.training.prepare import prepare
from streamwatch.training.resynthesis import load_or_train
from streamwatch.training.split import CLIPS
from streamwatch.training.web import web_pairs

Measure = Callable[[ImageArray], FloatArray]
"""N×S×S×3 uint8 RGB crops -> their N×D statistics."""

BATCH = 8
"""Crops that are measured at once."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainingFaces:
    """What a recipe trains on. pictures: of both classes, with the face box of each. pools: what pairs are drawn of."""

    pictures: list[WebPicture]
    boxes: list[Box]
    pools: Pools


@dataclass(frozen=True, slots=True, eq=False)
class StatisticsRows:
    """statistics: N×D. fake, weights: N, the weights' mean is 1."""

    statistics: FloatArray
    fake: NDArray[np.bool_]
    weights: DoubleArray


def load_faces(
    recipe: FittedRecipe, cache: Path, landmark_model: Path, report: Callable[[str], None] = lambda line: None
) -> TrainingFaces:
    """Find the faces of the recipe's training set, and of its camera clips; both are kept in `cache`.

    Raises SourceNotFound, ConfigError or WeightsError.
    """
    part = recipe.data
    folder = part.root / part.train
    listed = {picture.path: picture for picture in read_pictures(folder)}
    if len({picture.label for picture in listed.values()} & {"real", "fake"}) < 2:
        raise ConfigError(f"{folder}: real and fake pictures are needed")
    found = prepare(folder, cache / f"{part.train}.npz", landmark_model)
    drawn = part.pairs.count or part.pairs.degraded
    kinds = {kind for kind, weight in part.pairs.kinds.items() if weight > 0 and drawn}
    sources: list[SourcePool] = []
    forger = Forger()
    if kinds & set(FAMILIES):
        reals = [picture for picture in found if not picture.fake]
        sources.append(SourcePool(reals, 1 - part.pairs.of_clips))
        if part.clips is not None and part.pairs.of_clips:
            cut = clip_pictures(part.root / part.clips, cache / CLIPS, report=report)
            frames = prepare(cut, cache / f"{CLIPS}.npz", landmark_model)
            sources.append(SourcePool([p for p in frames if p.split == "train"], part.pairs.of_clips))
        if {"resynthesis", "reenactment"} & kinds:
            forger = Forger(load_or_train(cache, [partial(read_image, p.path) for p in reals], report=report))
    related, unrelated = web_pairs(found)
    for kind, web in (("web", related), ("web_unpaired", unrelated)):
        if kind in kinds and not web:
            raise ConfigError(f"{folder}: no pictures for the pairs {kind!r} of data.pairs.kinds")
    pools = Pools((), sources, web=related, web_unpaired=unrelated, forger=forger)
    return TrainingFaces([listed[p.path] for p in found], [p.box for p in found], pools)


def training_rows(
    recipe: FittedRecipe,
    faces: TrainingFaces,
    measure: Measure,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> StatisticsRows:
    """The statistics of the faces, of pairs as they are, and of pairs degraded as in training, in their shares."""
    part, size = recipe.data.pairs, recipe.geometry.size
    geometry = recipe.geometry.geometry()
    drawn = [(part.count, part.share, False), (part.degraded, part.degraded_share, True)]
    drawn = [(count, share, degraded) for count, share, degraded in drawn if count]
    total = len(faces.pictures) + 2 * sum(count for count, _, _ in drawn)
    before = 0

    def report(done: int) -> None:
        progress(before + done, total)

    found = zip((p.path for p in faces.pictures), faces.boxes, strict=True)
    blocks = [measure_faces(found, geometry, size, measure, report)]
    fake = [np.array([picture.fake for picture in faces.pictures])]
    own = sample_weights(
        faces.pictures, method_power=recipe.data.method_power, most_of_one_origin=recipe.data.most_of_one_origin
    )
    weights = [own / own.sum() * (1 - sum(share for _, share, _ in drawn))]
    for number, (count, share, degraded) in enumerate(drawn):
        before = sum(map(len, blocks))
        seed = recipe.seed + number
        source = MadePairs(faces.pools, part.kinds, seed)
        pairs = PairDataset(source, geometry, size, seed, count, augment=degraded)
        blocks.append(measured(_crops(pairs), measure, report))
        fake.append(np.tile([False, True], count))
        weights.append(np.full(2 * count, share / (2 * count)))
    return StatisticsRows(np.concatenate(blocks), np.concatenate(fake), np.concatenate(weights) * total)


def _crops(pairs: PairDataset) -> Iterator[ImageArray]:
    """Real and forged crops in turn."""
    for index in range(len(pairs)):
        pair = pairs.pair(index)
        yield pair.real
        yield pair.fake


def measure_faces(
    faces: Iterable[tuple[Path, Box]],
    geometry: CropGeometry,
    size: int,
    measure: Measure,
    progress: Callable[[int], None] = lambda done: None,
) -> FloatArray:
    """N×D statistics of the faces in some pictures, cut as serving cuts them. Raises SourceError for a bad file."""
    crops = (crop_face(read_image(path), geometry.region(box), size) for path, box in faces)
    return measured(crops, measure, progress)


def measured(
    crops: Iterable[ImageArray], measure: Measure, progress: Callable[[int], None] = lambda done: None
) -> FloatArray:
    """N×D statistics of N crops (S×S×3), `BATCH` at a time."""
    remaining, rows = iter(crops), list[FloatArray]()
    done = 0
    while batch := list(islice(remaining, BATCH)):
        rows.append(measure(np.stack(batch)))
        done += len(batch)
        progress(done)
    return np.concatenate(rows)


def measure_crops(crops: ImageArray) -> FloatArray:
    """The statistics of the detector `statistics`; a `Measure`."""
    return np.stack([statistics(crop) for crop in crops])


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
