"""Faces of whole web clips as a set of web pictures: many moments of each, as they are and after coding once more.

The clips lie below a folder with an `index.csv` (columns split, label, file, clip, scene, method, crop), at
`split/label/file`; those of the split `train` alone are opened. All clips of a scene are cut in the same places and
coded by the same draw, so that neither says anything of the class.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from streamwatch.config import FaceSettings, SamplingSettings
from streamwatch.errors import ConfigError, SourceError, SourceNotFound
from streamwatch.evaluation.datasets.plain import COLUMNS, INDEX, WEB_COLUMNS
from streamwatch.evaluation.degradations import VideoCodec, encode_clip
from streamwatch.faces import load_face_detector
from streamwatch.faces.crops import crop_face
from streamwatch.faces.retinaface import FaceDetector
from streamwatch.files import replacing
from streamwatch.records import Box, ImageArray
from streamwatch.sources.video import VideoSource
from streamwatch.training.clips import WIDE

FRAMES = 24
"""Moments of a clip, evenly spread."""

SECONDS = 10.0
"""Of a clip that are decoded, from its start."""

_NEEDED = ("split", "label", "file", "clip", "scene", "method", "crop")
_LONGEST = 720  # pixels of a picture's longer side; larger ones are scaled down
_MOST = 288  # pixels of a crop's side
_QUALITY = 95


@dataclass(frozen=True, slots=True)
class WebClip:
    """One clip of the index. crop: x, y, width, height of the part of its pictures that shows it; None for all."""

    path: Path
    label: str
    name: str
    scene: str
    method: str
    crop: tuple[int, int, int, int] | None


@dataclass(frozen=True, slots=True)
class Coding:
    """How the clips of a scene are coded once more: constant rate factor, and the size against the original's."""

    codec: VideoCodec
    crf: int
    scale: float


def web_clip_pictures(
    folder: Path,
    output: Path,
    *,
    frames: int = FRAMES,
    report: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write wide crops of every training clip below `folder` to `output`, as a set of the kind `web`; returns `output`.

    Every moment with a face gives two pictures: of the clip as it is, and coded once more (H.264 or HEVC, CRF 18 to 40,
    at full or at half to three quarters of the size). Where a scene has real footage of the same size, its fakes are
    cut where the real face lies. Clips without a face or that cannot be decoded are reported and left out. What was
    written before is kept: a call that was cut off goes on. Raises SourceNotFound, ConfigError.
    """
    scenes = _scenes(folder)
    rows = output / "scenes"
    rows.mkdir(parents=True, exist_ok=True)
    detector = load_face_detector(FaceSettings(threads=1))
    listed: list[dict[str, str]] = []
    for number, (scene, clips) in enumerate(scenes.items()):
        note = rows / f"{hashlib.sha256(f'{scene} {frames}'.encode()).hexdigest()[:16]}.json"
        if not note.is_file():
            written = list(_write_scene(clips, output, frames, detector, report))
            with replacing(note) as draft:
                draft.write_text(json.dumps(written), encoding="utf-8")
        listed += json.loads(note.read_text(encoding="utf-8"))
        progress(number + 1, len(scenes))
    with (output / INDEX).open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [*COLUMNS, *WEB_COLUMNS])
        writer.writeheader()
        writer.writerows(listed)
    return output


def draw_coding(scene: str) -> Coding:
    """The coding of a scene, by its name alone."""
    rng = np.random.default_rng(list(hashlib.sha256(scene.encode()).digest()[:8]))
    scale = 1.0 if rng.random() < 0.5 else float(rng.uniform(0.5, 0.75))
    return Coding("hevc" if rng.random() < 0.25 else "h264", int(rng.integers(18, 41)), scale)


def code_clip(images: Sequence[ImageArray], coding: Coding) -> list[ImageArray]:
    """The pictures (each H×W×3, of one size) after coding as one clip, 4:2:0, scaled by `coding.scale`."""
    height, width = (max(16, round(side * coding.scale / 2) * 2) for side in images[0].shape[:2])
    sized = [cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) for image in images]
    return encode_clip([np.asarray(image, np.uint8) for image in sized], coding.crf, coding.codec)


def _scenes(folder: Path) -> dict[str, list[WebClip]]:
    """Training clips by scene, the real ones of each first. Raises SourceNotFound, ConfigError."""
    path = folder / INDEX
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except OSError as error:
        raise SourceNotFound(
            f"{path}: cannot be read ({error.strerror})", "check data.web_clips of the recipe"
        ) from None
    missing = [name for name in _NEEDED if not rows or name not in rows[0]]
    if missing:
        raise ConfigError(f"{path}: needs the columns {', '.join(missing)}, and a line per clip")
    scenes: dict[str, list[WebClip]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["label"] != "real"):
        if row["split"] == "train" and row["label"] in ("real", "fake"):
            place = folder / row["split"] / row["label"] / row["file"]
            crop = None
            if row["crop"]:
                x, y, width, height = (int(part) for part in row["crop"].split(":"))
                crop = (x, y, width, height)
            scenes[row["scene"]].append(WebClip(place, row["label"], row["clip"], row["scene"], row["method"], crop))
    return scenes


def _write_scene(
    clips: Sequence[WebClip], output: Path, frames: int, detector: FaceDetector, report: Callable[[str], None]
) -> Iterator[dict[str, str]]:
    """Write the pictures of one scene's clips; their lines of the index."""
    coding = draw_coding(clips[0].scene)
    known: tuple[tuple[int, ...], dict[int, Box]] | None = None
    for clip in clips:
        try:
            images = _decoded(clip)
        except SourceError as error:
            report(f"left out: {error}")
            continue
        places = sorted({round(place) for place in np.linspace(0, len(images) - 1, frames)})
        regions = {place: region for place in places if (region := _region(detector, images[place]))}
        if known is not None and known[0] == images[0].shape:
            regions = {place: known[1].get(place, region) for place, region in regions.items()}
        elif clip.label == "real":
            known = (images[0].shape, regions)
        if not regions:
            report(f"left out: {clip.path}: no face found")
            continue
        coded = code_clip(images, coding)
        for order, (place, region) in enumerate(sorted(regions.items())):
            pictures = [images[place]] + ([coded[place]] if place < len(coded) else [])
            for version, picture in enumerate(pictures):
                scale = picture.shape[1] / images[place].shape[1]
                name = f"{clip.name}-{place:03d}-{version}.jpg"
                _write(output / "train" / clip.label / name, picture, region, scale)
                yield {
                    "split": "train",
                    "label": clip.label,
                    "file": name,
                    "source_video": f"{clip.scene}#{place}-{version}",
                    "clip": clip.name,
                    "scene": clip.scene,
                    "frame": str(2 * order + version),
                    "aligned": str(int(clip.label == "fake" and known is not None)),
                    "method": clip.method if clip.label == "fake" else "",
                    "origin": "",
                }


def _decoded(clip: WebClip) -> list[ImageArray]:
    """The pictures of the first `SECONDS`, cropped, none of them longer than `_LONGEST`. Raises SourceError."""
    images = []
    with VideoSource(str(clip.path), sampling=SamplingSettings(fps=120, max_frames=round(SECONDS * 60))) as source:
        for frame in source.frames():
            if frame.pts > SECONDS:
                break
            image = frame.image
            if clip.crop is not None:
                x, y, width, height = clip.crop
                image = image[y : y + height, x : x + width]
            scale = min(1.0, _LONGEST / max(image.shape[:2]))
            if scale < 1:
                image = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
            images.append(np.ascontiguousarray(image))
    return images


def _region(detector: FaceDetector, image: ImageArray) -> Box | None:
    faces = detector.detect([image])[0]
    return WIDE.region(max(faces, key=lambda face: face.width * face.height).box) if faces else None


def _write(path: Path, picture: ImageArray, region: Box, scale: float) -> None:
    x0, y0, x1, y1 = (value * scale for value in region)
    side = max(16, min(_MOST, round(x1 - x0)))
    path.parent.mkdir(parents=True, exist_ok=True)
    crop = crop_face(picture, (x0, y0, x1, y1), side)
    cv2.imwrite(str(path), cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
