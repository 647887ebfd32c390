"""How well logits of pictures tell clips apart, and what of that facts of the files alone would do."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamwatch.evaluation.metrics import roc_auc
from streamwatch.records import FloatArray
from streamwatch.sources.pictures import read_image
from streamwatch.training.statistics.pictures import WebPicture

FACTS = ("side", "aspect", "bytes per pixel", "JPEG table", "sharpness", "noise floor")
"""What `file_facts` gives."""

CALIPER = 0.25
"""Greatest distance of two clips that count as alike, in standard deviations of each fact."""


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A clip's score: the mean logit of its pictures. logits: by the frame that they show (`source`)."""

    fake: bool
    scene: str
    method: str
    aligned: bool
    score: float
    logits: dict[str, float]
    members: tuple[int, ...]


def gather_clips(pictures: Sequence[WebPicture], logits: ArrayLike) -> list[Clip]:
    """The clips of real and fake pictures, in order of appearance; `enhanced` ones are left out."""
    values = np.asarray(logits, np.float64)
    members: dict[str, list[int]] = {}
    for i, picture in enumerate(pictures):
        if picture.label in ("real", "fake"):
            members.setdefault(picture.clip, []).append(i)
    return [
        Clip(
            fake=pictures[chosen[0]].fake,
            scene=pictures[chosen[0]].scene,
            method=pictures[chosen[0]].method,
            aligned=pictures[chosen[0]].aligned,
            score=float(values[chosen].mean()),
            logits={pictures[i].source: float(values[i]) for i in chosen},
            members=tuple(chosen),
        )
        for chosen in members.values()
    ]


def clip_auc(clips: Sequence[Clip]) -> float:
    """AUC over clips. Raises ValueError where a class is missing."""
    return roc_auc([clip.fake for clip in clips], [clip.score for clip in clips])


def pairs_won(clips: Sequence[Clip]) -> tuple[float, int]:
    """Share of pairs of a fake and a real clip of one scene in which the fake scores higher, and their number.

    Ties count half. Of an aligned fake only the frames that the real clip shows as well are compared, and those of the
    real clip that the fake shows, where there are any. NaN without a pair.
    """
    won, number = 0.0, 0
    for fake in (clip for clip in clips if clip.fake):
        for real in (clip for clip in clips if not clip.fake and clip.scene == fake.scene):
            common = [frame for frame in fake.logits if frame in real.logits] if fake.aligned else []
            a, b = (
                (np.mean([clip.logits[frame] for frame in common]) for clip in (fake, real))
                if common
                else (fake.score, real.score)
            )
            won += 1.0 if a > b else 0.5 if a == b else 0.0
            number += 1
    return (won / number if number else math.nan), number


def only_methods(clips: Sequence[Clip], methods: Collection[str]) -> list[Clip]:
    """All real clips, and the fakes of these methods."""
    return [clip for clip in clips if not clip.fake or clip.method in methods]


def file_facts(path: Path) -> FloatArray:
    """What a file tells without a look at its face: see FACTS. Sizes and levels in natural logarithms."""
    image = read_image(path)
    height, width = image.shape[:2]
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    detail = cv2.Laplacian(luma, cv2.CV_32F)
    content = path.read_bytes()
    return np.asarray(
        [
            math.log(max(height, width)),
            math.log(width / height),
            math.log(len(content) / (height * width)),
            math.log(1 + jpeg_table_mean(content)),
            math.log(1 + float(detail.var())),
            math.log(0.1 + float(np.median(np.abs(detail)))),
        ],
        np.float32,
    )


def jpeg_table_mean(content: bytes) -> float:
    """Mean of the first quantisation table of a JPEG file (ITU-T T.81, B.2.4.1), 0 where there is none."""
    place = 2
    while content[:2] == b"\xff\xd8" and place + 4 <= len(content) and content[place] == 0xFF:
        marker, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4], "big")
        if marker == 0xDB:
            wide = content[place + 4] >> 4
            table = content[place + 5 : place + 5 + 64 * (1 + wide)]
            return float(np.frombuffer(table, ">u2" if wide else np.uint8).mean())
        if marker == 0xDA:
            return 0.0
        place += 2 + length
    return 0.0


def matched_clips(clips: Sequence[Clip], facts: FloatArray, columns: Sequence[int] = (0, 2)) -> list[Clip]:
    """As many real as fake clips, each fake with a real one of its own that is alike in the chosen facts.

    facts: N×6 of the pictures. Greedy from the closest pair on, within CALIPER.
    """
    chosen = np.array([facts[list(clip.members)][:, list(columns)].mean(axis=0) for clip in clips])
    chosen = chosen / np.maximum(chosen.std(axis=0), 1e-6)
    fakes = [i for i, clip in enumerate(clips) if clip.fake]
    reals = [i for i, clip in enumerate(clips) if not clip.fake]
    apart = np.abs(chosen[fakes][:, np.newaxis] - chosen[reals]).max(axis=2)
    kept: list[int] = []
    taken: set[int] = set()
    for flat in np.argsort(apart, axis=None, kind="stable"):
        row, column = divmod(int(flat), len(reals))
        if apart[row, column] > CALIPER:
            break
        pair = {fakes[row], reals[column]}
        if not pair & taken:
            taken |= pair
            kept += sorted(pair)
    return [clips[i] for i in kept]


def labels_of(pictures: Sequence[WebPicture]) -> NDArray[np.bool_]:
    """N, True = fake."""
    return np.array([picture.fake for picture in pictures], bool)
