"""What training needs to know of every picture, found once and cached in one file: face box and mesh landmarks."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from streamwatch.config import FaceSettings
from streamwatch.errors import SourceNotFound
from streamwatch.evaluation.datasets.plain import ENHANCED, INDEX, has_web_columns, index_rows, place
from streamwatch.evaluation.datasets.web import read_pictures
from streamwatch.faces import load_face_detector
from streamwatch.faces.cutouts import MARGIN, face_of_cutout
from streamwatch.records import Box, FloatArray
from streamwatch.sources.inputs import IMAGE_SUFFIXES
from streamwatch.sources.pictures import read_image
from streamwatch.training.landmarks import MeshLandmarks


@dataclass(frozen=True, slots=True, eq=False)
class FacePicture:
    """One picture of one face. `source` groups pictures of the same origin, so that splits never share one.

    box: pixels. landmarks: 468×2, pixels. Of web clips also: method ("" where real), clip, and the moment: pictures of
    one source and moment show the same frame in the same crop.
    """

    path: Path
    fake: bool
    split: str
    source: str
    box: Box
    landmarks: FloatArray
    method: str = ""
    clip: str = ""
    moment: str = ""

    @property
    def side(self) -> float:
        """Longer side of the face box, pixels."""
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])


@dataclass(frozen=True, slots=True)
class ListedPicture:
    path: Path
    fake: bool
    split: str
    source: str
    method: str = ""
    clip: str = ""
    moment: str = ""


def list_pictures(folder: Path) -> list[ListedPicture]:
    """Pictures of a data set folder.

    Either an `index.csv` with the columns split, label, file, source_video and files at `split/label/file`, or
    `real/` and `fake/` folders, or pictures lying flat (all real). Of the kind `web` (`evaluation.datasets.web`) the
    scene is the source, and pictures labelled `enhanced` are left out. Raises SourceNotFound, ConfigError.
    """
    if has_web_columns(folder):
        return [
            ListedPicture(p.path, p.label == "fake", p.split, p.scene, p.method, p.clip, p.source)
            for p in read_pictures(folder)
            if p.label != ENHANCED
        ]
    if (folder / INDEX).is_file():
        return [
            ListedPicture(place(folder, row), row["label"] == "fake", row["split"], row["source_video"])
            for row in index_rows(folder)
        ]
    if not folder.is_dir():
        raise SourceNotFound(f"{folder}: no such folder", "check the data paths of the recipe")
    named = [(folder / "real", False), (folder / "fake", True)]
    parts = [(p, fake) for p, fake in named if p.is_dir()] or [(folder, False)]
    found = [
        ListedPicture(path, fake, "train", path.stem if not fake else f"fake-{path.stem}")
        for part, fake in parts
        for path in sorted(part.iterdir())
        if path.suffix.lower() in IMAGE_SUFFIXES
    ]
    if not found:
        raise SourceNotFound(f"{folder}: no pictures in it ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return found


def prepare(
    folder: Path,
    cache: Path,
    landmark_model: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[FacePicture]:
    """Pictures of `folder` with the box and the landmarks of their largest face, cached in `cache` (npz).

    Pictures without a face are left out. The cache is used again as long as the list of files is the same.
    """
    listed = list_pictures(folder)
    digest = list_digest(folder, listed)
    if cache.is_file():
        with np.load(cache) as stored:
            if str(stored["digest"]) == digest:
                return list(_pictures(listed, stored["found"], stored["boxes"], stored["landmarks"]))
    found, boxes, meshes = _measure(listed, landmark_model, progress)
    cache.parent.mkdir(parents=True, exist_ok=True)
    np.savez(cache, digest=digest, found=found, boxes=boxes, landmarks=meshes)
    return list(_pictures(listed, found, boxes, meshes))


def list_digest(folder: Path, listed: Iterable[ListedPicture]) -> str:
    """What a cache is valid for: these files, and this way of finding their boxes."""
    names = [f"margin {MARGIN}", *(p.path.relative_to(folder).as_posix() for p in listed)]
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def _measure(
    listed: list[ListedPicture], landmark_model: Path, progress: Callable[[int, int], None]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    detector = load_face_detector(FaceSettings(min_side=16, threads=1))
    mesh = MeshLandmarks(landmark_model)
    found, boxes, meshes = [], [], []
    for index, picture in enumerate(listed):
        image = read_image(picture.path)
        face = face_of_cutout(detector, image)
        if face is not None:
            found.append(index)
            boxes.append(face.box)
            meshes.append(mesh.find(image, face.box))
        progress(index + 1, len(listed))
    return (
        np.array(found, np.int64),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(meshes, np.float32).reshape(-1, 468, 2),
    )


def _pictures(
    listed: list[ListedPicture], found: np.ndarray, boxes: np.ndarray, meshes: np.ndarray
) -> Iterator[FacePicture]:
    for index, box, mesh in zip(found, boxes, meshes, strict=True):
        p = listed[int(index)]
        x0, y0, x1, y1 = (float(v) for v in box)
        yield FacePicture(p.path, p.fake, p.split, p.source, (x0, y0, x1, y1), mesh, p.method, p.clip, p.moment)


def originals(pictures: Iterable[FacePicture]) -> dict[str, FacePicture]:
    """The real picture of each source that has exactly one: among several nothing says which a fake was made from."""
    found: dict[str, list[FacePicture]] = defaultdict(list)
    for picture in pictures:
        if not picture.fake:
            found[picture.source].append(picture)
    return {source: reals[0] for source, reals in found.items() if len(reals) == 1}


def hold_back(pictures: Iterable[FacePicture], share: float) -> tuple[list[FacePicture], list[FacePicture]]:
    """Split by source (a hash of its name, so that the split never changes): (kept, held back)."""
    kept: list[FacePicture] = []
    held: list[FacePicture] = []
    for picture in pictures:
        draw = int.from_bytes(hashlib.sha256(picture.source.encode()).digest()[:4], "big") / 2**32
        (held if draw < share else kept).append(picture)
    return kept, held
