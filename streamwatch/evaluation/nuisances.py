"""How far facts of a picture alone separate honest from forged: size, coding, sharpness, noise, and nothing of the
face.

Where a small classifier of these facts does well, a detector's figures on the same pictures say little, and a detector
trained on them may learn the facts instead of the forgery.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from streamwatch.errors import SourceNotFound
from streamwatch.evaluation import logistic
from streamwatch.evaluation.bootstrap import ROUNDS, group_draws, percentiles
from streamwatch.evaluation.clips import Estimate
from streamwatch.evaluation.weighted import Ranking
from streamwatch.faces.quality import sharpness
from streamwatch.records import ImageArray

Array = NDArray[np.float64]
Statistic = Callable[[Array], Array]

IMAGE_FACTS = ("side", "aspect", "sharpness", "noise")
FILE_FACTS = ("bytes per pixel", "JPEG quality", "JPEG quality of colour", "colour subsampled")

FOLDS = 5
RIDGE = 1e-3

_NOISE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float64)

# of the tables K.1 (luminance) and K.2 (chrominance) of ITU-T T.81
_STANDARD_MEANS = (57.625, 86.015625)


@dataclass(frozen=True, slots=True)
class Probe:
    """How well facts separate fake from real on groups that the classifier did not see.

    auc: of all facts together, over the samples, with its interval over draws of whole groups. alone: AUC of each fact
    by itself, by name; below 0.5: fakes have less of it. won: share of pairs in which a classifier of the differences
    names the forged picture, ties counted half; None where the samples are no pairs.
    """

    samples: int
    groups: int
    auc: Estimate
    alone: dict[str, float]
    won: Estimate | None = None


def image_facts(image: ImageArray) -> tuple[float, float, float, float]:
    """Of an H×W×3 RGB picture: longer side in pixels, width ÷ height, sharpness and noise (see the functions)."""
    height, width = image.shape[:2]
    return float(max(height, width)), width / height, sharpness(image), noise_floor(image)


def file_facts(path: Path) -> tuple[float, float, float, float]:
    """Of a picture's file: bytes per pixel; JPEG quality of luminance and of colour, 1..100, and whether colour has
    fewer samples (1 or 0). Files that are no JPEG have quality 100 and full colour.

    Raises SourceNotFound where it cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SourceNotFound(f"{path}: cannot be read ({error.strerror})") from None
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) if content else None
    if image is None:
        raise SourceNotFound(f"{path}: not a readable picture")
    return (len(content) / (image.shape[0] * image.shape[1]), *jpeg_facts(content))


def jpeg_facts(content: bytes) -> tuple[float, float, float]:
    """Quality of luminance and of colour as libjpeg counts it (1..100), and whether colour is subsampled (1 or 0).

    The quality is the one whose scaling of the standard tables gives the mean of the file's tables; for other tables
    it is the nearest thing. (100, 100, 0) for content that is no JPEG.
    """
    tables, components = _jpeg_headers(content)
    if not tables or not components:
        return 100.0, 100.0, 0.0
    qualities = []
    for place, standard in enumerate(_STANDARD_MEANS):
        _, table = components[min(place, len(components) - 1)]
        mean = tables.get(table, 0.0)
        qualities.append(_quality(100.0 * mean / standard) if mean else 100.0)
    samples = [sampling for sampling, _ in components]
    return qualities[0], qualities[1], float(len(samples) > 1 and samples[0] > samples[1])


def noise_floor(image: ImageArray) -> float:
    """Standard deviation of the noise of an H×W×3 RGB picture in grey levels (Immerkær, "Fast noise variance
    estimation", CVIU 1996); 0 for pictures of less than 3 pixels a side.
    """
    height, width = image.shape[:2]
    if min(height, width) < 3:
        return 0.0
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float64)
    inner = cv2.filter2D(grey, cv2.CV_64F, _NOISE)[1:-1, 1:-1]
    return float(np.sqrt(np.pi / 2) * np.abs(inner).mean() / 6)


def probe_images(
    real: Sequence[ImageArray],
    fake: Sequence[ImageArray],
    groups: Sequence[str],
    *,
    facts: tuple[Array, Array] | None = None,
    names: Sequence[str] = (),
    rounds: int = ROUNDS,
    seed: int = 0,
) -> Probe:
    """How far facts alone separate pairs of uint8 H×W×3 RGB pictures: fake[i] belongs to real[i], groups[i] to both.

    facts: N×F more facts of the real and of the fake pictures (e.g. `file_facts`), with their names. groups: what is
    independent (scenes, sources); pairs of one group are never in training and test at once. Raises ValueError as
    `probe` does.
    """
    if not len(real) == len(fake) == len(groups):
        raise ValueError(
            f"{len(real)} real, {len(fake)} fake pictures and {len(groups)} groups: as many of each needed"
        )
    columns = [np.array([image_facts(image) for image in images], np.float64) for images in (real, fake)]
    if facts is not None:
        columns = [np.concatenate([own, more], axis=1) for own, more in zip(columns, facts, strict=True)]
    table = np.concatenate(columns)
    labels = np.arange(len(table)) >= len(real)
    return probe(table, labels, [*groups, *groups], (*IMAGE_FACTS, *names), paired=True, rounds=rounds, seed=seed)


def probe(
    facts: Array,
    fake: NDArray[np.bool_],
    groups: Sequence[str],
    names: Sequence[str],
    *,
    paired: bool = False,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> Probe:
    """Cross-validated logistic regression of the class on facts.

    facts: N×F, any scale: only their ranks count, and how far these are from the middle. fake: N. groups: N; a group is
    in one fold of five only. names: of the F facts. paired: sample i of the first half (real) and sample i of the
    second (fake) are a pair. rounds: draws of groups for the intervals.

    Raises ValueError where a class has fewer than two groups, or a fact is not finite.
    """
    if facts.shape != (len(fake), len(names)) or len(groups) != len(fake):
        raise ValueError(f"facts {facts.shape} do not fit {len(fake)} labels, {len(groups)} groups, {len(names)} names")
    if not np.isfinite(facts).all():
        raise ValueError("a fact is not a finite number")
    draws = group_draws(groups, fake, rounds=rounds or 1, seed=seed)
    ranks = np.stack([rankdata(column) / len(column) - 0.5 for column in facts.T], axis=1)
    x = np.concatenate([ranks, np.abs(ranks) - 0.25], axis=1) * np.sqrt(12)
    fold = _folds(groups, fake, seed)
    scores = np.zeros(len(fake))
    for index in range(fold.max() + 1):
        _fit_and_score(x, fake, fold == index, scores)
    ranking = Ranking.of(fake, scores)
    ones = np.ones((1, len(fake)))
    won = None
    if paired:
        half = len(fake) // 2
        right = _pairs_won(x[half:] - x[:half], fold[half:])
        won = _estimate(lambda weights: weights[:, half:] @ right / weights[:, half:].sum(axis=1), ones, draws, rounds)
    alone = {name: float(Ranking.of(fake, column).auc(ones)[0]) for name, column in zip(names, facts.T, strict=True)}
    return Probe(len(fake), len(set(groups)), _estimate(ranking.auc, ones, draws, rounds), alone, won)


def _estimate(statistic: Statistic, ones: Array, draws: Array, rounds: int) -> Estimate:
    return Estimate(float(statistic(ones)[0]), percentiles(statistic(draws)) if rounds else None)


def _fit_and_score(x: Array, fake: NDArray[np.bool_], held: NDArray[np.bool_], scores: Array) -> None:
    """Fill in the scores of the samples held out, from a regression on all others in which both classes weigh alike.

    Where the others are of one class there is nothing to learn, and the scores stay.
    """
    if not ((fake & ~held).any() and (~fake & ~held).any()):
        return
    weights = np.where(held, 0.0, np.where(fake, 1 / (fake & ~held).sum(), 1 / (~fake & ~held).sum()))[None]
    design = np.concatenate([np.ones((len(x), 1)), x], axis=1)
    coefficients = logistic.fit(design, fake.astype(np.float64), weights, ridge=RIDGE, free=0)
    scores[held] = design[held] @ coefficients[0]


def _pairs_won(differences: Array, fold: NDArray[np.intp]) -> Array:
    """1 for every pair whose forged picture a conditional regression on the other folds names, one half for ties."""
    won = np.empty(len(differences))
    for index in np.unique(fold):
        held = fold == index
        coefficients = logistic.fit(differences, np.ones(len(differences)), (~held).astype(float)[None], ridge=RIDGE)
        won[held] = 0.5 + 0.5 * np.sign(differences[held] @ coefficients[0])
    return won


def _folds(groups: Sequence[str], fake: NDArray[np.bool_], seed: int) -> NDArray[np.intp]:
    """The fold of every sample: groups dealt out in a random order, those with fakes first: no fold gets them all."""
    names = sorted(set(groups))
    with_fakes = {group for group, forged in zip(groups, fake, strict=True) if forged}
    order = np.random.default_rng(seed).permutation(len(names))
    dealt = sorted((names[place] for place in order), key=lambda name: name not in with_fakes)
    count = min(FOLDS, len(with_fakes), len(set(groups)))
    place = {name: index % count for index, name in enumerate(dealt)}
    return np.array([place[group] for group in groups], np.intp)


def _quality(scale: float) -> float:
    """Inverse of libjpeg's scaling of the standard tables by a quality; scale: per cent of them."""
    return float(np.clip((200 - scale) / 2 if scale <= 100 else 5000 / scale, 1, 100))


def _jpeg_headers(content: bytes) -> tuple[dict[int, float], list[tuple[int, int]]]:
    """Mean of each quantisation table by its number, and (samples in a block, table) of each component, in order."""
    tables: dict[int, float] = {}
    components: list[tuple[int, int]] = []
    if not content.startswith(b"\xff\xd8"):
        return tables, components
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker, length = content[at + 1], int.from_bytes(content[at + 2 : at + 4], "big")
        body = content[at + 4 : at + 2 + length]
        if marker == _DQT:
            _read_tables(body, tables)
        elif marker in _FRAMES and len(body) >= 6:
            parts = [body[i : i + 3] for i in range(6, 6 + 3 * body[5], 3)]
            components = [((part[1] >> 4) * (part[1] & 15), part[2]) for part in parts if len(part) == 3]
        elif marker == _SCAN:
            break
        at += 2 + length
    return tables, components


_DQT, _SCAN = 0xDB, 0xDA
_FRAMES = (0xC0, 0xC1, 0xC2)


def _read_tables(body: bytes, tables: dict[int, float]) -> None:
    while body:
        width = 2 if body[0] >> 4 else 1
        values = np.frombuffer(body[1 : 1 + 64 * width], ">u2" if width == 2 else np.uint8)
        if len(values) < 64:
            return
        tables[body[0] & 15] = float(values.mean())
        body = body[1 + 64 * width :]
