"""Faces of camera clips as a data set of pictures: wide crops that keep the surroundings of the face."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path

import cv2

from streamwatch.config import FaceSettings, SamplingSettings
from streamwatch.errors import SourceError, SourceNotFound
from streamwatch.faces import load_face_detector
from streamwatch.faces.crops import CropGeometry, crop_face
from streamwatch.faces.retinaface import FaceDetector
from streamwatch.sources.video import VideoSource

WIDE = CropGeometry(scale=1.8)
_MOST = 320  # pixels of a crop's side; smaller crops keep their own pixels
_KEPT_OUT = 4  # every so many clips one is never trained on


def clip_pictures(
    folder: Path, output: Path, *, frames: int = 12, report: Callable[[str], None] = lambda line: None
) -> Path:
    """Write `frames` wide face crops of every clip in `folder` (all real) as PNG, with an `index.csv`.

    Every fourth clip, in order of name, is split `val`: no gradient ever sees it. Clips without a face or that
    cannot be decoded are reported and left out. Does nothing where `output` was made from the same list of
    clips. Returns `output`. Raises SourceNotFound for a folder without files.
    """
    if not folder.is_dir() or not (clips := sorted(p for p in folder.iterdir() if p.is_file())):
        raise SourceNotFound(f"{folder}: no clips in it", "check data.clips of the recipe")
    made_from = "\n".join([f"frames {frames}, one clip of {_KEPT_OUT} kept out", *(clip.name for clip in clips)])
    stamp = output / "made-from.txt"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == made_from:
        return output
    detector = load_face_detector(FaceSettings(threads=1))
    rows: list[dict[str, str]] = []
    for number, clip in enumerate(clips):
        split = "train" if (number + 1) % _KEPT_OUT else "val"
        target = output / split / "real"
        target.mkdir(parents=True, exist_ok=True)
        try:
            names = _write_crops(clip, target, frames, detector)
        except SourceError as error:
            report(f"left out: {error}")
            continue
        if not names:
            report(f"left out: {clip}: no face found")
        rows += [{"split": split, "label": "real", "file": name, "source_video": clip.name} for name in names]
    with (output / "index.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["split", "label", "file", "source_video"])
        writer.writeheader()
        writer.writerows(rows)
    stamp.write_text(made_from, encoding="utf-8")
    return output


def _write_crops(clip: Path, target: Path, frames: int, detector: FaceDetector) -> list[str]:
    names = []
    sampling = SamplingSettings(fps=0.5, min_frames=frames)
    with VideoSource(str(clip), sampling=sampling) as source:
        sampled = [frame.image for frame in source.frames()]
    step = max(1.0, len(sampled) / frames)
    for index in range(min(frames, len(sampled))):
        image = sampled[int(index * step)]
        faces = detector.detect([image])[0]
        if not faces:
            continue
        region = WIDE.region(max(faces, key=lambda face: face.width * face.height).box)
        side = min(_MOST, math.ceil(region[2] - region[0]))
        names.append(f"{clip.stem}-{index:02d}.png")
        cv2.imwrite(str(target / names[-1]), cv2.cvtColor(crop_face(image, region, side), cv2.COLOR_RGB2BGR))
    return names
