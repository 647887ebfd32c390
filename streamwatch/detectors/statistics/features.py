"""The statistics of a wide face crop, none of which knows what a face looks like.

A forged region was resampled, synthesised or blended, so that its noise, its colour channels and its fine detail
follow other laws than the camera's picture round it. What is measured, in groups:

- `noise`, `mouth`: residuals against a Gaussian blur at five scales (a pyramid), of luma and chroma, in the face and
  against a ring round it; and in the lower part of the face against the upper one;
- `shape of noise`: skewness and kurtosis of the luma's residuals;
- `colour correlation`: of the residuals of red, green and blue with each other;
- `resampling`: autocorrelation of the residuals over one and two pixels, which interpolation raises (Popescu and
  Farid, "Exposing digital forgeries by detecting traces of resampling", IEEE TSP 2005, section II);
- `spectrum`: mean logarithmic power of the face by spatial frequency (Durall et al., "Watch your up-convolution",
  CVPR 2020, section 3), its direction and its highest peak;
- `border`: strength and direction of edges in rings across the face's border;
- `colour`: steps of colour over the border, and between face and surroundings;
- `symmetry`: likeness of the residuals to their mirror image;
- `texture`: local binary patterns of the face;
- `exposure`: how far the values of face and surroundings use their range;
- `grid`: the 8×8 grid of block codecs, and whichever period in the columns and rows is strongest.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Final

import cv2
import numpy as np

from streamwatch.detectors.statistics.catalogue import (
    COMPARED_RINGS,
    CORRELATED,
    LAGS,
    MIRRORED,
    RESAMPLED,
    SCALES,
    SPECTRAL_BANDS,
)
from streamwatch.detectors.statistics.regions import Margins, border, regions
from streamwatch.detectors.statistics.texture import exposure, texture
from streamwatch.records import FloatArray, ImageArray

LEAST_SIDE: Final = 96
"""Smaller crops leave too few pixels at the coarsest scale."""

_TINY: Final = 1e-4
_FLOOR: Final = 0.02
"""Added to variances (in steps of 0..255, squared) before logarithms: below it rounding is all that is left."""

_REPEATED: Final = 0.3
"""Mean difference between two columns, in steps of 0..255, under which one repeats the other."""

_LUMA_CHROMA: Final = np.array(  # ITU-R BT.601
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)
_FACE, _RING, _LOWER, _UPPER = range(4)
_PAIRS: Final = ((0, 1), (1, 2), (0, 2))


def statistics(crop: ImageArray) -> FloatArray:
    """The COUNT statistics of an S×S×3 RGB uint8 crop (S ≥ LEAST_SIDE) of 1.8 × the face box, float32, finite.

    Noise is in logarithms of steps of 0..255. Columns and rows at the crop's border that repeat their neighbours,
    as where a crop reaches out of its frame, count for nothing in the surroundings.
    """
    pixels = crop.astype(np.float32)
    margins = _margins(pixels)
    found: list[float] = []
    levels: list[np.ndarray] = [pixels]
    for scale in range(SCALES):
        level = levels[scale]
        low = cv2.GaussianBlur(level, (5, 5), 1.0)
        found += _residuals(level - low, scale, _at(scale, margins))
        half = level.shape[0] // 2
        levels.append(np.asarray(cv2.resize(low, (half, half), interpolation=cv2.INTER_AREA)))
    found += _spectrum(cv2.transform(pixels, _LUMA_CHROMA[:1]))
    found += _border(cv2.transform(levels[1], _LUMA_CHROMA[:1]), _at(1, margins))
    found += _colour(cv2.transform(levels[2], _LUMA_CHROMA), _at(2, margins))
    found += _grid(cv2.transform(pixels, _LUMA_CHROMA[:1]))
    half = crop.shape[0] // 2
    shrunk = cv2.resize(pixels, (half, half), interpolation=cv2.INTER_AREA)
    found += texture(cv2.transform(shrunk, _LUMA_CHROMA))
    found += exposure(crop, margins)
    return np.nan_to_num(np.asarray(found, np.float32), nan=0.0, posinf=0.0, neginf=0.0)


def _at(scale: int, margins: Margins) -> Margins:
    """The margins in a level of the pyramid, rounded up."""
    left, top, right, bottom = (-(-margin // 2**scale) for margin in margins)
    return left, top, right, bottom


def _residuals(residual: np.ndarray, scale: int, margins: Margins) -> list[float]:
    places = regions(residual.shape[0], margins)
    chosen = residual.reshape(-1, 3).take(places.order, axis=0)
    luma = chosen @ _LUMA_CHROMA[0]
    squared = luma * luma
    sums, covariances = [], []
    shifted: list[np.ndarray] = []
    whole = cv2.transform(residual, _LUMA_CHROMA[:1]).ravel()
    if scale < RESAMPLED:
        shifted = [whole.take(lagged) for lagged in places.lagged]
    for part in places.parts:
        y, y2 = luma[part], squared[part]
        sums.append([y @ y2, y2 @ y2, *(y @ moved[part] for moved in shifted)])
        covariances.append(chosen[part].T @ chosen[part])
    counts = np.array([part.stop - part.start for part in places.parts], np.float64)
    totals, products = np.array(sums, np.float64), np.array(covariances, np.float64)
    regional = np.array([[1, 1, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 1, 0]], np.float64)
    size = np.maximum(regional @ counts, 1)
    means = (regional @ totals) / size[:, np.newaxis]
    covariance = np.einsum("rp,pij->rij", regional, products) / size[:, np.newaxis, np.newaxis]
    variance = np.einsum("pi,rij,pj->rp", _LUMA_CHROMA, covariance, _LUMA_CHROMA)  # regions × planes
    noise = 0.5 * np.log(np.maximum(variance, 0) + _FLOOR)
    found: list[float] = []
    for plane in range(3):
        found += [noise[_FACE, plane], noise[_FACE, plane] - noise[_RING, plane]]
    lower = noise[_LOWER] - noise[_UPPER]
    found += [lower[0], (lower[1] + lower[2]) / 2]
    spread = np.maximum(variance[:, 0], 0) + _FLOOR
    kurtosis = np.log(np.maximum(means[:, 1] / spread**2, 0) + 0.1)
    found += [np.cbrt(means[_FACE, 0] / spread[_FACE] ** 1.5), kurtosis[_FACE], kurtosis[_FACE] - kurtosis[_RING]]
    if scale < CORRELATED:
        for i, j in _PAIRS:
            scaled = covariance[:, i, j] / np.sqrt((covariance[:, i, i] + _FLOOR) * (covariance[:, j, j] + _FLOOR))
            linear = np.arctanh(np.clip(scaled, -0.999, 0.999))
            found += [linear[_FACE], linear[_FACE] - linear[_RING]]
    if scale in MIRRORED:
        face = slice(0, places.upper.stop)
        likeness = float(luma[face] @ whole.take(places.mirrored[face])) / size[_FACE]
        found.append(likeness / spread[_FACE])
    if scale < RESAMPLED:
        correlation = means[:, 2:] / spread[:, np.newaxis]
        for lag in range(len(LAGS)):
            found += [correlation[_FACE, lag], correlation[_FACE, lag] - correlation[_RING, lag]]
    return found


def _margins(pixels: np.ndarray) -> Margins:
    """Columns and rows at each border that repeat their neighbour, up to a fifth of the side, in steps of 8."""
    green = pixels[..., 1]
    most = len(green) // 5

    def count(lines: np.ndarray) -> int:
        differ = np.abs(np.diff(lines, axis=0)).mean(axis=1) >= _REPEATED
        repeated = int(np.argmax(differ)) if differ.any() else most
        return min(most, (repeated + 8) // 8 * 8) if repeated > 1 else 0

    return (
        count(green[:, : most + 2].T),
        count(green[: most + 2]),
        count(green[:, : -most - 3 : -1].T),
        count(green[: -most - 3 : -1]),
    )


@lru_cache(maxsize=8)
def _spectral_bins(side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of a side×side picture's half spectrum: the Hann window, the radial bands' weights, and those of directions."""
    down, across = np.meshgrid(np.fft.fftfreq(side), np.fft.rfftfreq(side), indexing="ij")
    radius = np.hypot(down, across)
    edges = np.linspace(0.02, 0.5, SPECTRAL_BANDS + 1)
    bands = [((radius >= a) & (radius < b)).ravel() for a, b in pairwise(edges)]
    angle = np.arctan2(np.abs(down), np.abs(across))
    outer = (radius > 0.2) & (radius < 0.5)
    sectors = [
        outer & (angle < np.pi / 8),
        outer & (angle > 3 * np.pi / 8),
        outer & (angle >= np.pi / 8) & (angle <= 3 * np.pi / 8),
    ]
    rows = np.stack([*bands, *(sector.ravel() for sector in sectors)]).astype(np.float32)
    window = np.hanning(side)
    weights = rows / rows.sum(axis=1, keepdims=True)
    number = np.clip(np.digitize(radius.ravel(), edges) - 1, -1, SPECTRAL_BANDS)
    return np.outer(window, window).astype(np.float32), weights, number


def _spectrum(luma: np.ndarray) -> list[float]:
    side = luma.shape[0] // 4 * 2
    start = (luma.shape[0] - side) // 2
    window, weights, number = _spectral_bins(side)
    face = luma[start : start + side, start : start + side]
    power = np.log(np.abs(np.fft.rfft2((face - face.mean()) * window).astype(np.complex64)).ravel() ** 2 + 1.0)
    means = weights @ power
    bands, sectors = means[:SPECTRAL_BANDS], means[SPECTRAL_BANDS:]
    slope = np.polyfit(np.log(np.arange(1, SPECTRAL_BANDS + 1)), bands, 1)[0]
    inside = (number >= 3) & (number < SPECTRAL_BANDS)
    peak = float((power[inside] - bands[number[inside]]).max())
    directions = [sectors[0] - sectors[1], (sectors[0] + sectors[1]) / 2 - sectors[2]]
    return [*(bands - bands.mean()), slope, *directions, peak]


def _border(luma: np.ndarray, margins: Margins) -> list[float]:
    places = border(luma.shape[0], margins)
    across = cv2.Sobel(luma, cv2.CV_32F, 1, 0).ravel()
    down = cv2.Sobel(luma, cv2.CV_32F, 0, 1).ravel()
    outward = across * places.normal_x + down * places.normal_y
    energy = across * across + down * down
    means = places.weights @ np.stack([np.sqrt(energy), energy, outward * outward], axis=1)
    strength = np.log(means[:, 0] + 1.0)
    share = means[:, 2] / (means[:, 1] + 1.0)
    return [*(strength - strength.mean()), *share[list(COMPARED_RINGS)]]


def _colour(planes: np.ndarray, margins: Margins) -> list[float]:
    side, flat = planes.shape[0], planes.reshape(-1, 3)
    rings = border(side, margins).weights @ flat
    places = regions(side, margins)
    chosen = flat.take(places.order, axis=0)
    face, ring = chosen[: places.upper.stop], chosen[places.ring]
    step = np.abs(rings[2:4].mean(axis=0) - rings[4:6].mean(axis=0))
    apart = face.mean(axis=0) - (ring.mean(axis=0) if len(ring) else face.mean(axis=0))
    found: list[float] = []
    for plane in range(3):
        found += [np.log1p(step[plane]), apart[plane]]
    return [*found, *np.log(face.std(axis=0) + 0.5)]


def _grid(luma: np.ndarray) -> list[float]:
    found: list[float] = []
    for axis in (1, 0):
        steps = np.abs(np.diff(luma, n=2, axis=axis)).mean(axis=1 - axis)
        smooth = cv2.blur(steps.reshape(1, -1), (17, 1)).ravel()
        relative = steps / (smooth + 0.1) - 1
        length = len(relative) // 8 * 8
        phases = relative[:length].reshape(-1, 8).mean(axis=0)
        power = np.abs(np.fft.rfft(relative * np.hanning(len(relative)))) ** 2
        first = len(relative) // 20
        found += [float(np.ptp(phases)), float(np.log(power[first:].max() / (power[first:].mean() + _TINY) + _TINY))]
    return found
