"""Tiny pictures and clips with a face."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from streamwatch.records import ImageArray
from streamwatch.sources.pictures import read_image
from tests.support.media import encode
from tests.support.paths import PORTRAIT


@lru_cache(maxsize=1)
def _portrait() -> ImageArray:
    image = read_image(PORTRAIT)
    return np.asarray(cv2.resize(image, (256, 256), interpolation=cv2.INTER_AREA), np.uint8)


def face_picture(number: int, width: int = 256, height: int = 192) -> ImageArray:
    """A portrait that sways a few pixels."""
    left = round(6 + 6 * np.sin(number / 8))
    canvas = np.full((height, width, 3), 40, np.uint8)
    part = _portrait()[:height, : width - left]
    canvas[: part.shape[0], left : left + part.shape[1]] = part
    return canvas


def face_clip(
    path: Path, seconds: float = 3.0, fps: int = 10, start: int = 0, still: bool = False, **options: Any
) -> Path:
    """A clip with one face all the time; `start` makes its content another one. still: the picture does not move."""
    images = (face_picture(start + (0 if still else number)) for number in range(round(seconds * fps)))
    return encode(path, fps=fps, frames=round(seconds * fps), images=images, width=256, height=192, **options)
