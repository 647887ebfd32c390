"""What both RetinaFace networks share: preparing frames, priors, decoding, suppression of doubles.

RetinaFace (Deng et al., CVPR 2020) predicts, for every prior box, offsets of a face box and of five landmarks
in the SSD parametrisation, and the probability that a face is there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Protocol

import cv2
import numpy as np

from streamwatch.config import FaceSettings
from streamwatch.records import Face, FloatArray, ImageArray

STRIDES = (8, 16, 32)
PRIOR_SIDES = ((16, 32), (64, 128), (256, 512))
CENTER_VARIANCE = 0.1
SIZE_VARIANCE = 0.2


class FaceDetector(Protocol):
    """Finds the faces in pictures."""

    def detect(self, images: Sequence[ImageArray]) -> list[list[Face]]:
        """Faces of each H×W×3 RGB image, largest first, in the pixels of that image.

        Boxes and landmarks are sub-pixel and may reach outside of the image.
        """
        ...


class RawFaces(Protocol):
    """A network of the RetinaFace family."""

    def __call__(self, batch: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """N×3×H×W normalised to box offsets N×P×4, probabilities N×P×2 (none, face), landmarks N×P×10."""
        ...


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Per-channel (value − mean) ÷ std in 0..255, in the channel order that the network was trained with."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    bgr: bool = False


class RetinaFace:
    """Face detection with a RetinaFace network: frames in, faces in frame pixels out.

    Frames are scaled down to `settings.long_side` (never up) and padded to a multiple of the largest stride;
    equally sized frames share a call of the network, `settings.batch` at a time.
    """

    def __init__(self, network: RawFaces, normalisation: Normalisation, settings: FaceSettings) -> None:
        self._network = network
        self._normalisation = normalisation
        self._settings = settings

    def detect(self, images: Sequence[ImageArray]) -> list[list[Face]]:
        by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, image in enumerate(images):
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
                raise ValueError(f"face detection needs H×W×3 uint8 images, not {image.shape} {image.dtype}")
            by_shape[image.shape].append(index)
        found: list[list[Face]] = [[] for _ in images]
        for indices in by_shape.values():
            for start in range(0, len(indices), self._settings.batch):
                batch = indices[start : start + self._settings.batch]
                for index, faces in zip(batch, self._detect_batch([images[i] for i in batch]), strict=True):
                    found[index] = faces
        return found

    def _detect_batch(self, images: Sequence[ImageArray]) -> list[list[Face]]:
        height, width = images[0].shape[:2]
        shrink = min(1.0, self._settings.long_side / max(height, width))
        scaled = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        blob = prepare(images, scaled, self._normalisation)
        boxes, probabilities, landmarks = self._network(blob)
        to_frame = np.array([width / scaled[0], height / scaled[1]], dtype=np.float32)
        candidates = decode(boxes, probabilities, landmarks, blob.shape[2:], self._settings.threshold)
        return [self._select(each, to_frame) for each in candidates]

    def _select(self, candidates: Candidates, to_frame: FloatArray) -> list[Face]:
        boxes = candidates.boxes * np.tile(to_frame, 2)
        landmarks = candidates.landmarks * to_frame
        sides = boxes[:, 2:] - boxes[:, :2]
        kept = [
            i
            for i in suppress(boxes, candidates.confidences, self._settings.nms)
            if sides[i].min() >= self._settings.min_side
        ]
        kept.sort(key=lambda i: -float(sides[i].prod()))
        return [_face(boxes[i], landmarks[i], candidates.confidences[i]) for i in kept]


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Faces of one picture before suppression: boxes K×4 (corners), landmarks K×5×2, confidences K."""

    boxes: FloatArray
    landmarks: FloatArray
    confidences: FloatArray


def prepare(images: Sequence[ImageArray], size: tuple[int, int], normalisation: Normalisation) -> FloatArray:
    """Scale equally sized RGB images to `size` (width, height), normalise, pad right and below: N×3×H×W."""
    width, height = size
    stride = STRIDES[-1]
    padded = (-(-height // stride) * stride, -(-width // stride) * stride)
    blob = np.zeros((len(images), 3, *padded), dtype=np.float32)
    for image, planes in zip(images, blob, strict=True):
        if image.shape[:2] != (height, width):
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        for plane in range(3):
            channel = image[..., 2 - plane if normalisation.bgr else plane]
            target = planes[plane, :height, :width]
            np.subtract(channel, np.float32(normalisation.mean[plane]), out=target)
            if normalisation.std[plane] != 1.0:
                target /= normalisation.std[plane]
    return blob


@lru_cache(maxsize=8)
def priors(height: int, width: int) -> FloatArray:
    """Prior boxes (centre x, centre y, side) in pixels of an H×W input: P×3, finest stride first."""
    levels = []
    for stride, sides in zip(STRIDES, PRIOR_SIDES, strict=True):
        rows, columns = -(-height // stride), -(-width // stride)
        y, x, side = np.meshgrid(
            (np.arange(rows) + 0.5) * stride, (np.arange(columns) + 0.5) * stride, sides, indexing="ij"
        )
        levels.append(np.stack([x, y, side], axis=-1).reshape(-1, 3))
    table = np.concatenate(levels).astype(np.float32)
    table.setflags(write=False)
    return table


def decode(
    boxes: FloatArray, probabilities: FloatArray, landmarks: FloatArray, size: Sequence[int], threshold: float
) -> list[Candidates]:
    """Turn the raw outputs of a batch into faces in pixels of the network's input.

    boxes N×P×4, probabilities N×P×2, landmarks N×P×10 as the network gives them; size is (height, width) of
    its input. Only priors whose face probability reaches `threshold` are decoded.
    """
    table = priors(size[0], size[1])
    picture, prior = np.nonzero(probabilities[..., 1] >= threshold)
    center, side = table[prior, :2], table[prior, 2:]
    offsets = boxes[picture, prior]
    middle = center + CENTER_VARIANCE * side * offsets[:, :2]
    half = side * np.exp(SIZE_VARIANCE * offsets[:, 2:]) / 2
    corners = np.concatenate([middle - half, middle + half], axis=1)
    points = center[:, None] + CENTER_VARIANCE * side[:, None] * landmarks[picture, prior].reshape(-1, 5, 2)
    confidences = probabilities[picture, prior, 1]
    bounds = np.searchsorted(picture, np.arange(len(boxes) + 1))
    return [Candidates(corners[a:b], points[a:b], confidences[a:b]) for a, b in pairwise(bounds)]


def suppress(boxes: FloatArray, confidences: FloatArray, overlap: float) -> list[int]:
    """Greedy non-maximum suppression: indices kept, most confident first; IoU > overlap drops the weaker."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.argsort(-confidences, kind="stable")
    kept: list[int] = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        common = np.clip(high - low, 0, None).prod(axis=1)
        order = rest[common <= overlap * (areas[best] + areas[rest] - common)]
    return kept


def _face(box: FloatArray, landmarks: FloatArray, confidence: np.float32) -> Face:
    x0, y0, x1, y1 = map(float, box)
    a, b, c, d, e = ((float(x), float(y)) for x, y in landmarks)
    return Face(box=(x0, y0, x1, y1), landmarks=(a, b, c, d, e), confidence=float(confidence))
