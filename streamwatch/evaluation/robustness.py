"""The losses of quality that a detector is held against, from mild to severe."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from streamwatch.evaluation.degradations import VideoCodec, blur, brightness, encode_video, jpeg, noise, rescale
from streamwatch.records import ImageArray


@dataclass(frozen=True, slots=True)
class Degradation:
    """One loss of quality of a whole picture (H×W×3, size kept), before faces are looked for in it.

    family: what the plot puts on one axis. strength: in the unit that `unit` names.
    """

    family: str
    unit: str
    strength: float
    apply: Callable[[ImageArray], ImageArray]

    @property
    def name(self) -> str:
        return f"{self.family} {self.unit} {self.strength:g}"


def protocol() -> list[Degradation]:
    """JPEG, H.264 and HEVC coding, rescaling, blur, noise, brightness."""
    return [
        *(Degradation("JPEG", "quality", q, partial(jpeg, quality=q)) for q in (90, 70, 50, 30, 20)),
        *(Degradation("H.264", "CRF", crf, partial(_coded, crf=crf, codec="h264")) for crf in (18, 23, 28, 35, 40, 45)),
        Degradation("HEVC", "CRF", 35, partial(_coded, crf=35, codec="hevc")),
        *(Degradation("scale", "1/", factor, partial(rescale, factor=factor)) for factor in (2, 4, 8)),
        *(Degradation("blur", "σ", sigma, partial(blur, sigma=sigma)) for sigma in (1, 2, 3)),
        *(Degradation("noise", "σ", sigma, partial(_noisy, sigma=sigma)) for sigma in (5, 10, 20)),
        *(Degradation("brightness", "%", change, partial(brightness, change=change / 100)) for change in (-40, 40)),
    ]


def _coded(image: ImageArray, crf: int, codec: VideoCodec) -> ImageArray:
    return encode_video([image], crf, codec)[0]


def _noisy(image: ImageArray, sigma: float) -> ImageArray:
    """Noise that depends on the picture alone, so that a second run adds the same."""
    return noise(image, sigma, np.random.default_rng(zlib.crc32(image.tobytes())))
