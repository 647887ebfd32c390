"""The wide crops that a statistics detector learns from and is judged by, and how much each of them counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike

from streamwatch.detectors.statistics.features import statistics
from streamwatch.detectors.statistics.trees import DoubleArray
from streamwatch.evaluation.clips import ScoredFace
from streamwatch.evaluation.datasets.web import WebPicture
from streamwatch.evaluation.degradations import encode_video, jpeg, rescale
from streamwatch.evaluation.web_faces import FoundFace
from streamwatch.faces.crops import crop_face
from streamwatch.records import Box, FloatArray, ImageArray
from streamwatch.sources.pictures import read_image


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


def measure_rows(
    pictures: Sequence[WebPicture], size: int, *, progress: Callable[[], None] = lambda: None
) -> FloatArray:
    """N×D statistics of the pictures, cut to size×size as serving cuts the frame. Raises SourceError for a bad file."""
    rows = []
    for picture in pictures:
        image = read_image(picture.path)
        rows.append(statistics(crop_face(image, whole(image), size)))
        progress()
    return np.stack(rows)


def measure_copies(
    pictures: Sequence[WebPicture], size: int, copy: int, seed: int, *, progress: Callable[[], None] = lambda: None
) -> FloatArray:
    """N×D statistics of one degraded copy of each picture; the copy's number and the seed decide how."""
    rows = []
    for number, picture in enumerate(pictures):
        rng = np.random.default_rng((seed, copy, number))
        image, region = degrade(read_image(picture.path), rng)
        rows.append(statistics(crop_face(image, region, size)))
        progress()
    return np.stack(rows)


def scored_faces(pictures: Sequence[WebPicture], logits: ArrayLike, scale: float) -> list[ScoredFace]:
    """The pictures with their logits (N), for the figures; the face of a picture that is a crop of `scale` × the face
    box is taken to be that box in its middle. Raises SourceError for a bad file.
    """
    return [
        _centred(picture, scale).scored(logit)
        for picture, logit in zip(pictures, np.ravel(logits).tolist(), strict=True)
    ]


def _centred(picture: WebPicture, scale: float) -> FoundFace:
    height, width = read_image(picture.path).shape[:2]
    reach = max(width, height) / scale / 2
    box = (width / 2 - reach, height / 2 - reach, width / 2 + reach, height / 2 + reach)
    return FoundFace(picture, box, width, height, picture.path.stat().st_size)


def whole(image: ImageArray) -> Box:
    """The region of a picture that is a crop already: all of it."""
    return (0.0, 0.0, float(image.shape[1]), float(image.shape[0]))


def degrade(image: ImageArray, rng: np.random.Generator) -> tuple[ImageArray, Box]:
    """What a face may have been through on its way, drawn alike for real and fake, and a region that is a little off.

    Mirrored in half of the cases; none, one or two of JPEG (quality 40 to 95), H.264 (CRF 16 to 33), shrinking and
    enlarging back (by up to 2), and shrinking (by up to 1.7). The region keeps 90 to 100 % of the side.
    """
    if rng.random() < 0.5:
        image = np.ascontiguousarray(image[:, ::-1])
    kept, across, down = rng.uniform(0.9, 1.0), rng.random(), rng.random()
    for _ in range(int(rng.choice([0, 1, 2], p=[0.3, 0.5, 0.2]))):
        image = _LOSSES[int(rng.integers(len(_LOSSES)))](image, rng)
    length = float(image.shape[0])
    side = kept * length
    left, top = across * (length - side), down * (length - side)
    return image, (left, top, left + side, top + side)


def _jpeg(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    return jpeg(image, int(rng.integers(40, 96)))


def _h264(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    return encode_video(image, int(rng.integers(16, 34)))


def _rescale(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    kernel = cv2.INTER_LINEAR if rng.random() < 0.5 else cv2.INTER_CUBIC
    return rescale(image, float(rng.uniform(1.05, 2.0)), up=kernel)


def _shrink(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    side = max(100, round(image.shape[0] / rng.uniform(1.0, 1.7)))
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


_LOSSES = (_jpeg, _h264, _rescale, _shrink)
