"""What a camera, an encoder and a player do to a picture, drawn once and applied alike to a real face and its fake."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

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


UNTOUCHED = 0.2
"""Share of groups that `degrade` leaves as they are: fine traces are learnt where they are whole."""


def degrade(images: Sequence[ImageArray], rng: np.random.Generator, untouched: float = UNTOUCHED) -> list[ImageArray]:
    """The same draw of colour, light, resolution, blur, sharpening, noise and coding on every image of a group (each
    H×W×3).

    Blur is that of a lens or of a movement, in shares of the side, up to where little of a forgery is left to see:
    softness alone must not say "fake". Coding is JPEG, H.264 or HEVC. Noise is as strong on all; half of the time its
    pixels are the same too, so that what differs is the forgery alone, and half of the time drawn for each, as two
    shots of a camera have it.

    untouched: share of groups that stays as it is.
    """
    out = list(images)
    if rng.random() < untouched:
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
        out = code_as_video(out, rng)
    return out


def code_as_video(images: Sequence[ImageArray], rng: np.random.Generator) -> list[ImageArray]:
    """All images through H.264 or, one time in four, HEVC at one constant rate factor from 16 to 40."""
    crf, codec = int(rng.integers(16, 41)), _CODECS[int(rng.random() < 0.25)]
    return [encode_video(image, crf, codec) for image in images]


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


def mix_amplitudes(images: Sequence[ImageArray], look: ImageArray, share: float) -> list[ImageArray]:
    """The low frequencies of every image (H×W×3) with amplitudes `share` of the way from the first one's to the look's.

    Xu et al., "A Fourier-based Framework for Domain Generalization" (CVPR 2021): phases stay, and with them the face.
    All images are changed by the same factors, found on the first.
    """
    height, width = images[0].shape[:2]
    theirs = np.abs(np.fft.rfft2(cv2.resize(look, (width, height), interpolation=cv2.INTER_AREA), axes=(0, 1)))
    own = np.abs(np.fft.rfft2(images[0], axes=(0, 1)))
    factors = np.clip(1 + share * (theirs / np.maximum(own, 1.0) - 1), *_AMPLITUDE_FACTORS)

    def change(image: ImageArray) -> ImageArray:
        rows, columns = np.fft.fftfreq(image.shape[0]), np.fft.rfftfreq(image.shape[1])
        low = np.hypot(rows[:, None], columns[None, :]) < _LOW_FREQUENCIES
        sized = factors if image.shape == images[0].shape else _sized(factors, low.shape)
        spectrum = np.fft.rfft2(image, axes=(0, 1)) * np.where(low[..., None], sized, 1.0)
        pixels = np.fft.irfft2(spectrum, s=image.shape[:2], axes=(0, 1))
        return np.asarray(np.clip(np.rint(pixels), 0, 255), np.uint8)

    return [change(image) for image in images]


_LOW_FREQUENCIES = 0.05  # cycles per pixel: colour, light and large shapes
_AMPLITUDE_FACTORS = (0.5, 2.0)


def _sized(factors: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Factors of a spectrum for a picture of another size: by place, the lowest frequency of each first."""
    rows = np.rint(np.fft.fftfreq(shape[0]) * factors.shape[0]).astype(int) % factors.shape[0]
    columns = np.rint(np.linspace(0, factors.shape[1] - 1, shape[1])).astype(int)
    sized: NDArray[np.float64] = factors[rows[:, None], columns[None, :]]
    return sized
