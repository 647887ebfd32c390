"""The faces in the pictures of a web set: found once, cropped as a model wants them, scored by any callable.

found = find_faces(pictures, load_face_detector(settings), cache=…).found
faces = score_web(lambda crops: …logits…, found, geometry, size)
figures = clips.measure(faces)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from streamwatch.errors import SourceNotFound
from streamwatch.evaluation.clips import ScoredFace
from streamwatch.evaluation.datasets.web import WebPicture
from streamwatch.faces import FaceDetector
from streamwatch.faces.crops import CropGeometry, crop_face
from streamwatch.faces.cutouts import MARGIN, face_of_cutout
from streamwatch.files import replacing
from streamwatch.records import Box, FloatArray, ImageArray
from streamwatch.sources.pictures import read_image

BATCH = 64
"""Crops handed over at once."""

ScoreCrops = Callable[[ImageArray], FloatArray]
"""N×S×S×3 uint8 RGB crops -> N logits, higher = more fake."""


@dataclass(frozen=True, slots=True)
class FoundFace:
    """A picture and its face. box: in its pixels. width, height: of the picture. bytes: of its file."""

    picture: WebPicture
    box: Box
    width: int
    height: int
    bytes: int

    @property
    def side(self) -> float:
        """Longer side of the face box, pixels."""
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])

    @property
    def bytes_per_pixel(self) -> float:
        """Of the picture's file."""
        return self.bytes / (self.width * self.height)

    def scored(self, logit: float) -> ScoredFace:
        """What the figures need to know of it."""
        p = self.picture
        return ScoredFace(
            logit, p.label, p.clip, p.scene, p.frame, p.method, p.aligned, p.source, self.side, self.bytes_per_pixel
        )


@dataclass(frozen=True, slots=True)
class WebFaces:
    """The pictures with a face, and those in which none was found."""

    found: tuple[FoundFace, ...]
    missing: tuple[WebPicture, ...]


def find_faces(
    pictures: Sequence[WebPicture],
    detector: FaceDetector,
    *,
    cache: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> WebFaces:
    """The largest face of every picture, looked for as `face_of_cutout` does.

    cache: an npz file, used again as long as names and sizes of the files are the same; the detector is not compared:
    give another one another file. Raises SourceNotFound for a file that is no picture.
    """
    digest = _digest(pictures)
    table = _cached(cache, digest)
    if table is None:
        table = np.full((len(pictures), _COLUMNS), np.nan)
        for index, picture in enumerate(pictures):
            image = read_image(picture.path)
            face = face_of_cutout(detector, image)
            table[index, 4:] = image.shape[1], image.shape[0], picture.path.stat().st_size
            if face is not None:
                table[index, :4] = face.box
            progress(index + 1, len(pictures))
        if cache is not None:
            cache.parent.mkdir(parents=True, exist_ok=True)
            with replacing(cache, durable=False) as draft, draft.open("wb") as stream:
                np.savez(stream, digest=digest, table=table)
    found = [_face(picture, row) for picture, row in zip(pictures, table, strict=True) if np.isfinite(row).all()]
    missing = [picture for picture, row in zip(pictures, table, strict=True) if not np.isfinite(row).all()]
    return WebFaces(tuple(found), tuple(missing))


_COLUMNS = 7  # box, width, height, bytes


def crops(
    faces: Sequence[FoundFace], geometry: CropGeometry, size: int, batch: int = BATCH
) -> Iterator[tuple[slice, ImageArray]]:
    """The faces as N×size×size×3 RGB crops, `batch` at a time, each with its place in `faces`."""
    for start in range(0, len(faces), batch):
        part = faces[start : start + batch]
        cut = [crop_face(read_image(face.picture.path), geometry.region(face.box), size) for face in part]
        yield slice(start, start + len(part)), np.stack(cut)


def score_web(
    score: ScoreCrops,
    faces: Sequence[FoundFace],
    geometry: CropGeometry,
    size: int,
    *,
    batch: int = BATCH,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[ScoredFace]:
    """Every face with its logit, in order. geometry, size: of the crops that `score` is given, `batch` at a time.

    Raises ValueError where `score` does not give one number per crop.
    """
    scored: list[ScoredFace] = []
    for place, images in crops(faces, geometry, size, batch):
        logits = np.asarray(score(images), np.float64)
        if logits.shape != (len(images),):
            raise ValueError(f"a score for each of {len(images)} crops is needed, not an array of shape {logits.shape}")
        scored += [face.scored(float(logit)) for face, logit in zip(faces[place], logits, strict=True)]
        progress(len(scored), len(faces))
    return scored


def _face(picture: WebPicture, row: FloatArray) -> FoundFace:
    x0, y0, x1, y1, width, height, size = (float(value) for value in row)
    return FoundFace(picture, (x0, y0, x1, y1), int(width), int(height), int(size))


def _digest(pictures: Sequence[WebPicture]) -> str:
    """What a cache is valid for: these files, and this way of finding their boxes."""
    lines = [f"margin {MARGIN}"]
    for picture in pictures:
        try:
            size = picture.path.stat().st_size
        except OSError as error:
            raise SourceNotFound(f"{picture.path}: cannot be read ({error.strerror})") from None
        lines.append(f"{picture.split}/{picture.label}/{picture.path.name} {size}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _cached(cache: Path | None, digest: str) -> np.ndarray | None:
    if cache is None or not cache.is_file():
        return None
    with np.load(cache) as stored:
        return stored["table"] if str(stored["digest"]) == digest else None
