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

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from streamwatch.detectors.statistics.catalogue import (
    COMPARED_RINGS,
    SCALES,
    SPECTRAL_BANDS,
)
from streamwatch.detectors.statistics.colours import LUMA_CHROMA
from streamwatch.detectors.statistics.regions import Margins, border, regions
from streamwatch.detectors.statistics.residuals import moments, residual_statistics
from streamwatch.detectors.statistics.texture import exposure, texture
from streamwatch.detectors.statistics.trees import DoubleArray
from streamwatch.records import FloatArray, ImageArray

LEAST_SIDE: Final = 96
"""Smaller crops leave too few pixels at the coarsest scale."""

_TINY: Final = 1e-4
_REPEATED: Final = 0.3
"""Mean difference between two columns, in steps of 0..255, under which one repeats the other."""


def statistics(crop: ImageArray) -> FloatArray:
    """The COUNT statistics of an S×S×3 RGB uint8 crop (S ≥ LEAST_SIDE) of 1.8 × the face box, float32, finite.

    Noise is in logarithms of steps of 0..255. Columns and rows at the crop's border that repeat their neighbours,
    as where a crop reaches out of its frame, count for nothing in the surroundings.
    """
    channels = [np.asarray(channel, np.uint8) for channel in cv2.split(crop)]
    planes = np.empty((3, *crop.shape[:2]), np.float32)
    for plane, channel in zip(planes, channels, strict=True):
        plane[...] = channel
    margins = _margins(planes[1])
    levels = [planes]
    scales = []
    for scale in range(SCALES):
        residual, half = _halved(levels[scale])
        scales.append(moments(residual, scale, _at(scale, margins)))
        levels.append(half)
    luma = _luma(planes)
    found = residual_statistics(scales)
    found += _spectrum(luma)
    found += _border(_luma(levels[1]), _at(1, margins))
    found += _colour(cv2.transform(cv2.merge(list(levels[2])), LUMA_CHROMA), _at(2, margins))
    found += _grid(luma)
    found += texture(crop)
    found += exposure(channels, margins)
    return np.nan_to_num(np.asarray(found, np.float32), nan=0.0, posinf=0.0, neginf=0.0)


def _halved(level: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Residuals of a 3×S×S level of the pyramid against its blur, and the next level."""
    half = level.shape[1] // 2
    residual, smaller = np.empty_like(level), np.empty((3, half, half), np.float32)
    for number, plane in enumerate(level):
        low = cv2.GaussianBlur(plane, (5, 5), 1.0)
        cv2.subtract(plane, low, dst=residual[number])
        cv2.resize(low, (half, half), dst=smaller[number], interpolation=cv2.INTER_AREA)
    return residual, smaller


def _luma(planes: FloatArray) -> FloatArray:
    """S×S of 3×S×S."""
    return np.asarray(LUMA_CHROMA[0] @ planes.reshape(3, -1), np.float32).reshape(planes.shape[1:])


def _at(scale: int, margins: Margins) -> Margins:
    """The margins in a level of the pyramid, rounded up."""
    left, top, right, bottom = (-(-margin // 2**scale) for margin in margins)
    return left, top, right, bottom


def _margins(green: FloatArray) -> Margins:
    """Columns and rows at each border that repeat their neighbour, up to a fifth of the side, in steps of 8."""
    most = len(green) // 5

    def differ(lines: FloatArray) -> NDArray[np.bool_]:
        return np.asarray(np.abs(lines[..., 1:, :] - lines[..., :-1, :]).mean(axis=-1) >= _REPEATED)

    def count(lines: FloatArray) -> int:
        apart = differ(lines[: most + 2])
        return min(most, (int(np.argmax(apart)) + 8) // 8 * 8) if apart.any() else most

    sides = (green.T, green, green[:, ::-1].T, green[::-1])
    # two lines that repeat are no margin yet
    differing = np.any(differ(np.stack([lines[:3] for lines in sides])), axis=1).tolist()
    if all(differing):
        return 0, 0, 0, 0
    left, top, right, bottom = (0 if apart else count(lines) for apart, lines in zip(differing, sides, strict=True))
    return left, top, right, bottom


@dataclass(frozen=True, slots=True, eq=False)
class _Bins:
    """Of a side×side picture's half spectrum, flattened to M places.

    window: side×side, Hann's. weights: (SPECTRAL_BANDS + 3)×M, means over the bands and over three directions. fine:
    places of the bands from the fourth on; band: the band of each.
    """

    window: FloatArray
    weights: FloatArray
    fine: NDArray[np.intp]
    band: NDArray[np.intp]


@lru_cache(maxsize=8)
def _spectral_bins(side: int) -> _Bins:
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
    number = np.digitize(radius.ravel(), edges) - 1
    fine = np.flatnonzero((number >= 3) & (number < SPECTRAL_BANDS))
    return _Bins(
        window=np.outer(_hanning(side), _hanning(side)).astype(np.float32),
        weights=rows / rows.sum(axis=1, keepdims=True),
        fine=fine,
        band=number[fine],
    )


@lru_cache(maxsize=16)
def _hanning(length: int) -> DoubleArray:
    return np.hanning(length)


def _slope_weights(places: DoubleArray) -> DoubleArray:
    """What a least-squares line's slope over these places weighs each value with."""
    apart = places - places.mean()
    return np.asarray(apart / (apart @ apart), np.float64)


_SLOPE: Final = _slope_weights(np.log(np.arange(1, SPECTRAL_BANDS + 1)))


def _spectrum(luma: np.ndarray) -> list[float]:
    side = luma.shape[0] // 4 * 2
    start = (luma.shape[0] - side) // 2
    bins = _spectral_bins(side)
    face = luma[start : start + side, start : start + side]
    spectrum = np.fft.rfft2((face - face.mean()) * bins.window).astype(np.complex64).ravel()
    power = np.log(spectrum.real * spectrum.real + spectrum.imag * spectrum.imag + np.float32(1))
    means = bins.weights @ power
    bands, sectors = means[:SPECTRAL_BANDS], means[SPECTRAL_BANDS:]
    slope = _SLOPE @ bands
    peak = float((power.take(bins.fine) - bands.take(bins.band)).max())
    directions = [sectors[0] - sectors[1], (sectors[0] + sectors[1]) / 2 - sectors[2]]
    return [*(bands - bands.mean()), slope, *directions, peak]


def _border(luma: np.ndarray, margins: Margins) -> list[float]:
    places = border(luma.shape[0], margins)
    across = cv2.Sobel(luma, cv2.CV_32F, 1, 0).ravel().take(places.order)
    down = cv2.Sobel(luma, cv2.CV_32F, 0, 1).ravel().take(places.order)
    outward = across * places.normal_x + down * places.normal_y
    energy = across * across + down * down
    size, squared, along = (places.weights @ values for values in (np.sqrt(energy), energy, outward * outward))
    strength = np.log(size + 1.0)
    share = along / (squared + 1.0)
    return [*(strength - strength.mean()), *share[list(COMPARED_RINGS)]]


def _colour(planes: np.ndarray, margins: Margins) -> list[float]:
    side, flat = planes.shape[0], planes.reshape(-1, 3)
    zone = border(side, margins)
    rings = zone.weights @ flat.take(zone.order, axis=0)
    places = regions(side, margins)
    chosen = flat.take(places.order, axis=0)
    face, ring = chosen[: places.upper.stop], chosen[places.ring]
    step = np.abs(rings[2:4].mean(axis=0) - rings[4:6].mean(axis=0))
    mean, spread = (moment.ravel() for moment in cv2.meanStdDev(face[np.newaxis]))
    apart = mean - (cv2.mean(ring[np.newaxis])[:3] if len(ring) else mean)
    found: list[float] = []
    for plane in range(3):
        found += [np.log1p(step[plane]), apart[plane]]
    return [*found, *np.log(spread + 0.5)]


def _grid(luma: np.ndarray) -> list[float]:
    found: list[float] = []
    for axis in (1, 0):
        first, second = (luma[:, 1:], luma[:, :-1]) if axis else (luma[1:], luma[:-1])
        slopes = cv2.subtract(first, second)
        bends = cv2.absdiff(slopes[:, 1:], slopes[:, :-1]) if axis else cv2.absdiff(slopes[1:], slopes[:-1])
        steps = cv2.reduce(bends, 1 - axis, cv2.REDUCE_AVG).ravel()
        smooth = cv2.blur(steps.reshape(1, -1), (17, 1)).ravel()
        relative = steps / (smooth + 0.1) - 1
        length = len(relative) // 8 * 8
        phases = relative[:length].reshape(-1, 8).mean(axis=0)
        power = (np.abs(np.fft.rfft(relative * _hanning(len(relative)))) ** 2)[len(relative) // 20 :]
        found += [float(np.ptp(phases)), float(np.log(power.max() / (power.mean() + _TINY) + _TINY))]
    return found
