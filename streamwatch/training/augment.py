"""What a camera, an encoder and a player do to a picture, drawn once and applied alike to a real face and its fake."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from streamwatch.evaluation.degradations import (
    VideoCodec,
    blur,
    brightness,
    colour_cast,
    encode_video,
    jpeg,
    motion_blur,
    noise,
    rescale,
    sharpen,
)
from streamwatch.records import ImageArray
from streamwatch.training.forgeries import draw_colour

_KERNELS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST)
_CODECS: tuple[VideoCodec, ...] = ("h264", "hevc")


def degrade(images: Sequence[ImageArray], rng: np.random.Generator) -> list[ImageArray]:
    """The same draw of colour, light, resolution, blur, sharpening, noise and coding on every image of a group (each
    H×W×3).

    Blur is that of a lens or of a movement, in shares of the side, up to where little is left to tell a forgery by:
    softness alone must not say "fake". Coding is JPEG, H.264 or HEVC. Noise is as strong on all; half of the time its
    pixels are the same too, so that what differs is the forgery alone, and half of the time drawn for each, as two
    shots of a camera have it. A share of groups stays as it is: fine traces are learnt where they are whole.
    """
    out = list(images)
    if rng.random() < 0.2:
        return out
    if rng.random() < 0.4:
        colour = draw_colour(rng)
        out = [colour(image) for image in out]
    if rng.random() < 0.1:
        out = [_grey(image) for image in out]
    if rng.random() < 0.15:
        change, cast = float(rng.uniform(-0.5, 0.5)), float(rng.uniform(-0.12, 0.12))
        out = [colour_cast(brightness(image, change), cast) for image in out]
    if rng.random() < 0.2:
        factor = float(rng.uniform(1.2, 2.5))
        down, up = int(rng.choice(_KERNELS[:3])), int(rng.choice(_KERNELS[1:]))
        out = [rescale(image, factor, down, up) for image in out]
    soft = rng.random()
    if soft < 0.12:
        sigma = float(rng.uniform(0.002, 0.016))
        out = [blur(image, sigma * len(image)) for image in out]
    elif soft < 0.27:
        length, angle = float(rng.uniform(0.01, 0.07)), float(rng.uniform(0, 180))
        out = [motion_blur(image, length * len(image), angle) for image in out]
    if rng.random() < 0.1:
        amount = float(rng.uniform(0.2, 1.0))
        out = [sharpen(image, amount) for image in out]
    if rng.random() < 0.25:
        sigma = float(rng.uniform(1, 10))
        same, seed = rng.random() < 0.5, int(rng.integers(2**32))
        out = [noise(image, sigma, np.random.default_rng([seed, 0 if same else i])) for i, image in enumerate(out)]
    coding = rng.random()
    if coding < 0.4:
        quality = int(rng.integers(30, 101))
        out = [jpeg(image, quality) for image in out]
    elif coding < 0.75:
        crf, codec = int(rng.integers(16, 41)), _CODECS[int(rng.random() < 0.25)]
        out = [encode_video(image, crf, codec) for image in out]
    return out


def code_again(images: Sequence[ImageArray], rng: np.random.Generator) -> list[ImageArray]:
    """A share of groups through JPEG of one quality, as whole pictures, before anything is cut from them.

    Pictures that come as JPEG are then quantised twice on one grid, as passing a picture on does; coding what was cut
    and scaled never shows that.
    """
    if rng.random() >= 0.15:
        return list(images)
    quality = int(rng.integers(30, 101))
    return [jpeg(image, quality) for image in images]


def _grey(image: ImageArray) -> ImageArray:
    return np.asarray(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)
