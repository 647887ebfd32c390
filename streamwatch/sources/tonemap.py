"""Pictures of high dynamic range or wide gamut as BT.709 of standard range, by the formulas of the standards.

An encoded value becomes light (cd/m²), light above the knee is rolled off as ITU-R BT.2390-11, 5.4.1 has it, towards
the reference white of ITU-R BT.2408 (203 cd/m²); then the primaries are changed (ITU-R BT.2087-0) and the light is
encoded for a display of gamma 2.4 (ITU-R BT.1886). Below the knee, where skin is, light stays as it was.
"""

from __future__ import annotations

import functools
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from streamwatch.enums import StrEnum
from streamwatch.records import FloatArray, ImageArray

WHITE = 203.0
"""Light of diffuse white, cd/m², BT.2408."""

PEAK = 1000.0
"""Light that is mapped to the display's brightest, cd/m²: what HLG is defined for, and most is mastered on."""

GAMMA = 2.4
STRIP = 256
"""Rows that are converted at a time, which bounds the memory for floats."""

STEPS = 65536
_WIDE_LUMA = np.array([[0.2627, 0.6780, 0.0593]], np.float32)
_WIDE_TO_709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
"""BT.2020's primaries to those of BT.709, BT.2087-0."""


class Transfer(StrEnum):
    """How light is encoded."""

    SDR = "SDR"
    PQ = "PQ"
    HLG = "HLG"


def to_standard_range(signal: NDArray[np.uint16], transfer: Transfer, *, wide: bool) -> ImageArray:
    """H×W×3 RGB, full range, as uint8. wide: of BT.2020's primaries, else of BT.709's."""
    result = np.empty(signal.shape, np.uint8)
    for top in range(0, len(signal), STRIP):
        result[top : top + STRIP] = _convert(signal[top : top + STRIP], transfer, wide)
    return result


def _convert(signal: NDArray[np.uint16], transfer: Transfer, wide: bool) -> ImageArray:
    light: NDArray[Any] = _decoding(transfer)[signal]
    if transfer is Transfer.HLG:  # scene light to display light, BT.2100-2: the system gamma of 1.2
        luma = np.maximum(cv2.transform(light, _WIDE_LUMA), 1e-6)
        light *= PEAK * np.power(luma, 0.2, dtype=np.float32)[..., None]
    if transfer is not Transfer.SDR:
        light *= _roll_off(light.max(axis=2))[..., None]
    if wide:
        light = cv2.transform(light, _WIDE_TO_709)
    levels = np.clip(light * np.float32(65535 / WHITE), 0, 65535).astype(np.uint16)
    return np.asarray(_encoding()[levels], np.uint8)


def pq_to_light(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """The EOTF of SMPTE ST 2084 / BT.2100-2: 0..1 to cd/m²."""
    m1, m2, c1, c2, c3 = _PQ
    power = np.power(value, 1 / m2)
    return np.asarray(10000 * np.power(np.maximum(power - c1, 0) / (c2 - c3 * power), 1 / m1))


def light_to_pq(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of `pq_to_light`."""
    m1, m2, c1, c2, c3 = _PQ
    power = np.power(np.asarray(light) / 10000, m1)
    return np.asarray(np.power((c1 + c2 * power) / (1 + c3 * power), m2))


_PQ = (2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32)


def hlg_to_scene(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse OETF of HLG, BT.2100-2: 0..1 to scene light, 0..1."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(value <= 0.5, value**2 / 3, (np.exp((value - c) / a) + b) / 12)


@functools.cache
def _decoding(transfer: Transfer) -> FloatArray:
    """For each of 65,536 values: light, or for HLG scene light."""
    value = np.linspace(0.0, 1.0, 65536)
    light = {
        Transfer.SDR: lambda: WHITE * value**GAMMA,
        Transfer.PQ: lambda: pq_to_light(value),
        Transfer.HLG: lambda: hlg_to_scene(value),
    }[transfer]()
    return np.asarray(light, np.float32)


@functools.cache
def _encoding() -> ImageArray:
    """For each of 65,536 equal steps of light up to white: the value, 0..255."""
    return np.rint(255 * np.linspace(0.0, 1.0, 65536) ** (1 / GAMMA)).astype(np.uint8)


def _roll_off(light: FloatArray) -> FloatArray:
    """What light is to be multiplied by, from the brightest of its three primaries (H×W, cd/m²)."""
    step = np.sqrt(light * np.float32(1 / 10000)) * np.float32(STEPS - 1)
    return np.asarray(_gains()[np.minimum(step, STEPS - 1).astype(np.int32)])


@functools.cache
def _gains() -> FloatArray:
    """For light, in equal steps of its root: the gain. A Hermite spline in PQ above the knee, BT.2390-11, 5.4.1."""
    light = 10000 * np.linspace(0.0, 1.0, STEPS) ** 2
    top = light_to_pq(np.array(PEAK))
    value, white = np.minimum(light_to_pq(light) / top, 1), light_to_pq(np.array(WHITE)) / top
    knee = 1.5 * white - 0.5
    t = np.clip((value - knee) / (1 - knee), 0, None)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * white
    mapped = pq_to_light(np.where(value < knee, value, spline) * top)
    gain = mapped / np.maximum(light, 1e-9)
    gain[0] = 1
    return np.asarray(np.where(value < knee, 1, gain), np.float32)
