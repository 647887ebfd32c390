"""What the residuals against a blur show of a crop: noise and its shape, colour correlation, resampling, symmetry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from streamwatch.detectors.statistics.catalogue import CORRELATED, LAGS, MIRRORED, RESAMPLED
from streamwatch.detectors.statistics.colours import LUMA_CHROMA
from streamwatch.detectors.statistics.regions import Margins, Regions, regions
from streamwatch.detectors.statistics.trees import DoubleArray
from streamwatch.records import FloatArray

_FLOOR: Final = 0.02
"""Added to variances (in steps of 0..255, squared) before logarithms: below it rounding is all that is left."""

_FACE, _RING, _LOWER, _UPPER = range(4)
_PAIRS: Final = ((0, 1), (1, 2), (0, 2))
_REGIONAL: Final = np.array([[1, 1, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 1, 0]], np.float64)
"""Face, ring, lower and upper face as sums of `Regions.parts`."""

_MANY: Final = 4096
"""Columns from which on BLAS is faster at single products of rows than at the matrix product of three of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Mean products of the residuals of one scale, in face, ring, lower and upper face.

    covariance: 4×3×3, of red, green and blue. third, fourth: 2 each, powers of luma in face and ring. lagged: 2×L, luma
    times itself at each of LAGS; L is 0 at scales where these are not asked for. mirrored: luma of the face times that
    of its mirror image, 0 where it is not asked for.
    """

    covariance: DoubleArray
    third: DoubleArray
    fourth: DoubleArray
    lagged: DoubleArray
    mirrored: float


def moments(residual: FloatArray, scale: int, margins: Margins) -> Moments:
    """Of the 3×S×S residuals of a level of the pyramid, whose `margins` count for nothing."""
    side = residual.shape[1]
    places = regions(side, margins)
    planes = residual.reshape(3, -1)
    chosen = np.empty((3, len(places.order)), np.float32)
    for plane, row in zip(planes, chosen, strict=True):
        plane.take(places.order, mode="clip", out=row)
    luma = LUMA_CHROMA[0] @ chosen
    squared = luma * luma
    products = np.array([_products(chosen[:, part]) for part in places.parts], np.float64)
    counts = np.array([part.stop - part.start for part in places.parts], np.float64)
    size = np.maximum(_REGIONAL @ counts, 1)
    wide = (places.face, places.ring)
    lagged, mirrored = _with_itself(planes, scale, places)
    return Moments(
        covariance=np.tensordot(_REGIONAL, products, 1) / size[:, np.newaxis, np.newaxis],
        third=np.array([luma[part] @ squared[part] for part in wide], np.float64) / size[:2],
        fourth=np.array([squared[part] @ squared[part] for part in wide], np.float64) / size[:2],
        lagged=lagged / size[:2, np.newaxis],
        mirrored=mirrored / size[_FACE],
    )


def _products(rows: FloatArray) -> DoubleArray:
    """3×3 of 3×N."""
    if rows.shape[1] < _MANY:
        return np.asarray(rows @ rows.T, np.float64)
    found = np.empty((3, 3))
    for i in range(3):
        for j in range(i, 3):
            found[i, j] = found[j, i] = rows[i] @ rows[j]
    return found


def _with_itself(planes: FloatArray, scale: int, places: Regions) -> tuple[DoubleArray, float]:
    """Sums of the luma of 3×S² times itself at the lags in face and ring, and times its mirror image in the face."""
    if scale not in MIRRORED and scale >= RESAMPLED:
        return np.empty((2, 0)), 0.0
    side, count = places.side, planes.shape[1]
    beyond = np.empty(count + 2 * side + 2, np.float32)  # the first rows again behind the last ones
    whole = np.dot(LUMA_CHROMA[0], planes, out=beyond[:count])
    weighted = [(start, whole[start : start + len(mask)] * mask) for start, mask in (places.in_face, places.in_ring)]
    mirrored = 0.0
    if scale in MIRRORED:
        start, face = weighted[0]
        mirror = cv2.flip(whole.reshape(side, side), 1).ravel()
        mirrored = float(face @ mirror[start : start + len(face)])
    if scale >= RESAMPLED:
        return np.empty((2, 0)), mirrored
    beyond[count:] = whole[: 2 * side + 2]
    offsets = [down * side + right for down, right in LAGS]
    return np.array(
        [[part @ beyond[start + by : start + by + len(part)] for by in offsets] for start, part in weighted]
    ), mirrored


def residual_statistics(scales: Sequence[Moments]) -> list[float]:
    """The statistics of `noise`, `mouth`, `shape of noise`, `colour correlation`, `symmetry` and `resampling`, scale
    after scale, in the order of the catalogue.
    """
    covariance = np.stack([found.covariance for found in scales])
    variance = np.einsum("pi,srij,pj->srp", LUMA_CHROMA, covariance, LUMA_CHROMA)  # scales × regions × planes
    noise = 0.5 * np.log(np.maximum(variance, 0) + _FLOOR)
    spread = np.maximum(variance[..., 0], 0) + _FLOOR
    fourth = np.stack([found.fourth for found in scales]) / spread[:, :2] ** 2
    kurtosis = np.log(np.maximum(fourth, 0) + 0.1)
    skewness = np.cbrt([found.third[_FACE] for found in scales] / spread[:, _FACE] ** 1.5)
    correlation = _correlation(covariance[:CORRELATED])
    found: list[float] = []
    for scale, (levels, peaked, skewed) in enumerate(
        zip(noise.tolist(), kurtosis.tolist(), skewness.tolist(), strict=True)
    ):
        face, ring, lower, upper = levels
        for own, beside in zip(face, ring, strict=True):
            found += [own, own - beside]
        found += [lower[0] - upper[0], (lower[1] - upper[1] + lower[2] - upper[2]) / 2]
        found += [skewed, peaked[_FACE], peaked[_FACE] - peaked[_RING]]
        if scale < CORRELATED:
            found += _against_ring(correlation[scale])
        if scale in MIRRORED:
            found.append(scales[scale].mirrored / float(spread[scale, _FACE]))
        if scale < RESAMPLED:
            found += _against_ring(scales[scale].lagged / spread[scale, :2, np.newaxis])
    return found


def _correlation(covariance: NDArray[np.float64]) -> DoubleArray:
    """Inverse hyperbolic tangent of the correlation of each of the pairs of colours: S×2×3, of face and ring."""
    first, second = (list(side) for side in zip(*_PAIRS, strict=True))
    own = np.einsum("srii->sri", covariance) + _FLOOR
    scaled = covariance[:, :2, first, second] / np.sqrt(own[:, :2, first] * own[:, :2, second])
    return np.asarray(np.arctanh(np.clip(scaled, -0.999, 0.999)), np.float64)


def _against_ring(values: DoubleArray) -> list[float]:
    """Of 2×K values in face and ring: each of the face, and less that of the ring."""
    face, ring = values.tolist()
    return [number for own, beside in zip(face, ring, strict=True) for number in (own, own - beside)]
