"""Small face data sets for the tests of training, made from the portrait that ships with the project."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from streamwatch.records import Box, FloatArray, ImageArray
from streamwatch.sources.pictures import read_image
from streamwatch.training.forgeries import self_blend
from streamwatch.training.prepare import list_digest, list_pictures
from tests.support.paths import PORTRAIT

FACE = (166, 46, 290, 200)  # a generous face box in the portrait
SIDE = 128


@cache
def _whole_portrait() -> ImageArray:
    return read_image(PORTRAIT)


def portrait(shift: int = 0) -> ImageArray:
    """The face of the portrait as a SIDE×SIDE picture, moved sideways by `shift` pixels of the portrait."""
    x0, y0, x1, y1 = FACE
    return np.asarray(cv2.resize(_whole_portrait()[y0:y1, x0 + shift : x1 + shift], (SIDE, SIDE)), np.uint8)


def mesh() -> FloatArray:
    """468 points spread over the face of `portrait()`: the mesh's numbering without its exact anatomy."""
    rng = np.random.default_rng(0)
    angle, radius = rng.uniform(0, 2 * np.pi, 468), np.sqrt(rng.uniform(0, 1, 468))
    points = np.stack([0.5 + 0.36 * radius * np.cos(angle), 0.5 + 0.42 * radius * np.sin(angle)], axis=1)
    return np.asarray(points * SIDE, np.float32)


@cache
def _pair(*seed: int) -> tuple[bytes, bytes]:
    """A portrait and a self-blend of it, as PNG files; every test of a process asks for the same ones."""
    rng = np.random.default_rng(seed)
    real = portrait(int(rng.integers(-12, 13)))
    fake = self_blend(real, mesh(), rng).fake
    first, second = (cv2.imencode(".png", image[..., ::-1])[1].tobytes() for image in (real, fake))
    return first, second


def tiny_recipe(root: Path) -> dict[str, Any]:
    """A recipe of one step, on pictures of 64 px, of the data set of `make_data`."""
    return {
        "name": "tiny",
        "preset": "m2tr-lite",
        "switches": {"input_size": 64},
        "data": {
            "root": str(root),
            "paired": ["faces"],
            "sources": {"faces": {}},
            "weights": {"paired": 0.5, "hull": 0.25, "whole_face": 0.25},
            "held_back": 0.3,
        },
        "optimisation": {"steps": 1, "pairs": 4, "freeze": 5, "workers": 0},
        "evaluation": {"every": 1, "forgeries": 8, "limit": 8},
    }


def make_data(root: Path, count: int = 24) -> tuple[Path, Path]:
    """A data set `faces` with an index and its prepared cache: (data root, cache folder)."""
    folder, cache = root / "data" / "faces", root / "prepared"
    rows = []
    for split in ("train", "val"):
        for label in ("real", "fake"):
            (folder / split / label).mkdir(parents=True)
        for index in range(count):
            source = f"{split}{index:03d}"
            for label, data in zip(("real", "fake"), _pair(split == "val", index), strict=True):
                name = f"{label}-{source}.png"
                (folder / split / label / name).write_bytes(data)
                rows.append({"split": split, "label": label, "file": name, "source_video": source})
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    prepared(folder, cache)
    return root / "data", cache


def make_web(root: Path, name: str, split: str, scenes: int = 6) -> Path:
    """A set of the kind `web` under `root`/data with its prepared cache: scenes of an honest and a forged clip each,
    two aligned pictures a clip, and as many forged clips without footage. Names start with the set's; returns its
    folder.
    """
    folder = root / "data" / name
    rows = []
    for label in ("real", "fake"):
        (folder / split / label).mkdir(parents=True)
    for scene in range(2 * scenes):
        for frame in range(2):
            for label, data in zip(("real", "fake"), _pair(len(name), scene, frame), strict=True):
                if label == "real" and scene >= scenes:
                    continue
                clip = f"{name}{scene}{label}"
                (folder / split / label / f"{clip}-{frame}.png").write_bytes(data)
                rows.append(
                    {
                        "split": split,
                        "label": label,
                        "file": f"{clip}-{frame}.png",
                        "source_video": f"{name}{scene}#{frame}",
                        "clip": clip,
                        "scene": f"{name}{scene}",
                        "frame": str(frame),
                        "aligned": str(int(label == "fake")),
                        "method": f"{name}-method{scene % 2}" if label == "fake" else "",
                        "origin": name,
                    }
                )
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    prepared(folder, root / "prepared")
    return folder


def prepared(folder: Path, cache: Path, box: Box | None = None, points: FloatArray | None = None) -> None:
    """What preparation would find in the pictures of a set, the same in each; of `portrait()` by default."""
    listed = list_pictures(folder)
    cache.mkdir(exist_ok=True)
    box = box or (0.1 * SIDE, 0.02 * SIDE, 0.9 * SIDE, 0.98 * SIDE)
    np.savez(
        cache / f"{folder.name}.npz",
        digest=list_digest(folder, listed),
        found=np.arange(len(listed)),
        boxes=np.tile(np.array(box, np.float32), (len(listed), 1)),
        landmarks=np.tile(mesh() if points is None else points, (len(listed), 1, 1)),
    )
