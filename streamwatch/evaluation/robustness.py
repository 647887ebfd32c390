"""The losses of quality that a detector is held against, from mild to severe."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from streamwatch.evaluation.degradations import (
    blur,
    brightness,
    colour_cast,
    encode_video,
    jpeg,
    motion_blur,
    noise,
    rescale,
)
from streamwatch.records import ImageArray


@dataclass(frozen=True, slots=True)
class Degradation:
    """One loss of quality of a whole picture (H×W×3, size kept), before faces are looked for in it.

    family: what the plot puts on one axis. strength: a number that orders its members, `label` the same for people.
    """

    family: str
    label: str
    strength: float
    apply: Callable[[ImageArray], ImageArray]

    @property
    def name(self) -> str:
        return f"{self.family} {self.label}"


def protocol() -> list[Degradation]:
    """JPEG, H.264 and HEVC coding, rescaling, blur, motion, noise, brightness, white balance."""
    h264 = [(crf, partial(encode_video, crf=crf, codec="h264")) for crf in (18, 23, 28, 35, 40, 45)]
    return [
        *(Degradation("JPEG", f"quality {q}", q, partial(jpeg, quality=q)) for q in (90, 70, 50, 30, 20)),
        *(Degradation("H.264", f"CRF {crf}", crf, coded) for crf, coded in h264),
        Degradation("HEVC", "CRF 35", 35, partial(encode_video, crf=35, codec="hevc")),
        *(Degradation("scale", f"1/{n}", 1 / n, partial(rescale, factor=n)) for n in (2, 4, 8)),
        *(Degradation("blur", f"σ {sigma}", sigma, partial(blur, sigma=sigma)) for sigma in (1, 2, 3)),
        *(Degradation("motion", f"{n} px", n, partial(motion_blur, length=n)) for n in (5, 9)),
        *(Degradation("noise", f"σ {sigma}", sigma, partial(_noisy, sigma=sigma)) for sigma in (5, 10, 20)),
        *(Degradation("brightness", f"{c:+d} %", c / 100, partial(brightness, change=c / 100)) for c in (-40, 40)),
        *(Degradation("colour", f"{c:+d} %", c / 100, partial(colour_cast, change=c / 100)) for c in (-10, 10)),
    ]


def _noisy(image: ImageArray, sigma: float) -> ImageArray:
    """Noise that depends on the picture alone, so that a second run adds the same."""
    return noise(image, sigma, np.random.default_rng(zlib.crc32(image.tobytes())))
