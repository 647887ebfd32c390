"""The statistics in the order of the vector: what each is called, its group, and how it is told in a sentence."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

SCALES: Final = 5
"""Levels of the pyramid; each halves the side of the one before."""

CORRELATED: Final = 3
"""Finest scales whose colour channels are compared."""

RESAMPLED: Final = 2
"""Finest scales whose autocorrelation is taken."""

LAGS: Final = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0))
"""Lags of the autocorrelation in pixels, down and to the right."""

SPECTRAL_BANDS: Final = 12
"""Bands of equal width from 0.02 to 0.5 cycles per pixel."""

BORDER_RINGS: Final = 8
"""Rings of equal width across the border of the face, which lies between the fourth and the fifth."""

COMPARED_RINGS: Final = (2, 3, 4, 5)
"""Those whose direction of edges is taken, from 0."""

PLANES: Final = ("luma", "blue chroma", "red chroma")
PAIRS: Final = ("red and green", "green and blue", "red and blue")

PATTERNS: Final = 10
"""Local binary patterns; the last one is whatever is none of the others."""

MIRRORED: Final = (0, 2)
"""Scales whose residuals are compared with their mirror image."""

Form = Literal["level", "ratio", "fisher", "root", "share", "plain"]
Group = Literal[
    "noise",
    "mouth",
    "shape of noise",
    "colour correlation",
    "resampling",
    "spectrum",
    "border",
    "colour",
    "grid",
    "texture",
    "exposure",
    "symmetry",
]

_DETAIL = ("in the finest detail", "in fine detail", "in middling detail", "in coarse detail", "in the coarsest detail")


@dataclass(frozen=True, slots=True)
class Statistic:
    """One number of the vector.

    name: short and unique. sentence: a clause with {} for the number. form: what the number is, which says how it is
    written: `level` the logarithm of a size in steps of 0..255, `ratio` that of a ratio, `fisher` the inverse
    hyperbolic tangent of a correlation, `root` the root of a share, `share` the logarithm of one, `plain` a
    number as it is.
    """

    group: Group
    name: str
    sentence: str
    form: Form = "plain"

    def tell(self, value: float, usual: float) -> str:
        """The clause with the value, and what it is on an average face of the training."""
        write = _WRITERS[self.form]
        return f"{self.sentence.format(write(value))} (usually {write(usual)})"


def _level(value: float) -> str:
    return f"{math.exp(value):.2g} of 255 steps"


def _ratio(value: float) -> str:
    change = 100 * (math.exp(value) - 1)
    if abs(change) < 1:
        return "no more"
    return f"{abs(change):.0f} % {'more' if change > 0 else 'less'}" if change < 100 else f"{math.exp(value):.1f} times"


def _fisher(value: float) -> str:
    return f"{math.tanh(value):.2f}"


_WRITERS: Final[dict[Form, Callable[[float], str]]] = {
    "level": _level,
    "ratio": _ratio,
    "fisher": _fisher,
    "root": lambda value: f"{100 * value * abs(value):.1f} %",
    "share": lambda value: f"{100 * max(0.0, math.exp(value) - 0.001):.1f} %",
    "plain": lambda value: f"{value:.2f}",
}


def _catalogue() -> Iterator[Statistic]:
    for scale in range(SCALES):
        yield from _of_scale(scale)
    for band in range(SPECTRAL_BANDS):
        yield Statistic(
            "spectrum",
            f"power in band {band}",
            f"the face's power at frequency band {band + 1} of 12, on a log scale, is {{}}",
        )
    yield Statistic("spectrum", "slope of the power", "the face's power falls with frequency by an exponent of {}")
    yield Statistic("spectrum", "power across to down", "the log ratio of the face's fine detail across to down is {}")
    yield Statistic(
        "spectrum",
        "power along the axes",
        "the log ratio of the face's fine detail along the axes to between them is {}",
    )
    yield Statistic("spectrum", "highest peak", "the highest single peak of the face's spectrum, on a log scale, is {}")
    for ring in range(BORDER_RINGS):
        place = "inside" if ring < BORDER_RINGS // 2 else "outside"
        yield Statistic(
            "border",
            f"edges in ring {ring}",
            f"ring {ring + 1} of {BORDER_RINGS} across the face's border ({place} it) has {{}} edges than the others",
            "ratio",
        )
    for ring in COMPARED_RINGS:
        yield Statistic(
            "border",
            f"edges along the border in ring {ring}",
            f"the share of edges that run along the face's border in ring {ring + 1} of {BORDER_RINGS} is {{}}",
        )
    for plane in PLANES:
        yield Statistic(
            "colour", f"{plane} step over the border", f"the step of {plane} over the face's border is {{}} (log)"
        )
        yield Statistic(
            "colour", f"{plane} of face to ring", f"{plane} of the face less that of its surroundings is {{}}"
        )
    yield Statistic("colour", "luma contrast", "the contrast of the face is {}", "level")
    for plane in PLANES[1:]:
        yield Statistic("colour", f"{plane} spread", f"the spread of {plane} in the face is {{}}", "level")
    for direction in ("columns", "rows"):
        yield Statistic(
            "grid", f"8-pixel grid in {direction}", f"the contrast of an 8-pixel grid in the {direction} is {{}}"
        )
        yield Statistic(
            "grid",
            f"strongest period in {direction}",
            f"the strongest period in the {direction}, on a log scale, is {{}}",
        )
    for plane in PLANES:
        for pattern in range(PATTERNS):
            kind = f"with {pattern} brighter neighbours in one run" if pattern < PATTERNS - 1 else "of broken patterns"
            yield Statistic(
                "texture",
                f"{plane} pattern {pattern}",
                f"the share of the face's pixels {kind} in {plane} is {{}}",
                "root",
            )
    for place in ("face", "ring"):
        of = "the face" if place == "face" else "the surroundings"
        yield Statistic("exposure", f"dark share, {place}", f"the share of {of} that is next to black is {{}}", "share")
        yield Statistic("exposure", f"bright share, {place}", f"the share of {of} that is blown out is {{}}", "share")
        yield Statistic("exposure", f"colourfulness, {place}", f"the colourfulness of {of} is {{}} of 255 steps")
        yield Statistic("exposure", f"range, {place}", f"the range of {of} is {{}}", "level")


def _of_scale(scale: int) -> Iterator[Statistic]:
    where = _DETAIL[scale]
    for plane in PLANES:
        yield Statistic("noise", f"{plane} noise, scale {scale}", f"the face's {plane} noise {where} is {{}}", "level")
        yield Statistic(
            "noise",
            f"{plane} noise of face to ring, scale {scale}",
            f"the face carries {{}} {plane} noise {where} than its surroundings",
            "ratio",
        )
    for plane in ("luma", "chroma"):
        yield Statistic(
            "mouth",
            f"{plane} noise of lower to upper face, scale {scale}",
            f"the part round the mouth carries {{}} {plane} noise {where} than that round the eyes",
            "ratio",
        )
    yield Statistic(
        "shape of noise", f"skewness, scale {scale}", f"the face's noise {where} is skewed by {{}} (cube root)"
    )
    yield Statistic(
        "shape of noise", f"kurtosis, scale {scale}", f"the log kurtosis of the face's noise {where} is {{}}"
    )
    yield Statistic(
        "shape of noise",
        f"kurtosis of face to ring, scale {scale}",
        f"the log kurtosis of the face's noise {where} less that of its surroundings is {{}}",
    )
    if scale < CORRELATED:
        for pair in PAIRS:
            yield Statistic(
                "colour correlation",
                f"{pair}, scale {scale}",
                f"the residuals of {pair} {where} correlate by {{}} in the face",
                "fisher",
            )
            yield Statistic(
                "colour correlation",
                f"{pair} of face to ring, scale {scale}",
                f"the correlation of the residuals of {pair} {where}, in the face against round it, differs by {{}}",
                "fisher",
            )
    if scale in MIRRORED:
        yield Statistic(
            "symmetry",
            f"mirror correlation, scale {scale}",
            f"the left half of the face {where} correlates with the right one by {{}}",
        )
    if scale < RESAMPLED:
        for down, right in LAGS:
            lag = f"({down}, {right}) pixels"
            yield Statistic(
                "resampling",
                f"autocorrelation {lag}, scale {scale}",
                f"the face's noise {where} correlates with itself {lag} on by {{}}",
            )
            yield Statistic(
                "resampling",
                f"autocorrelation {lag} of face to ring, scale {scale}",
                f"the noise's correlation with itself {lag} on {where}, in the face less that round it, is {{}}",
            )


CATALOGUE: Final = tuple(_catalogue())
"""Every statistic."""

COUNT: Final = len(CATALOGUE)
