"""The statistics in the order of the vector: what each is called, its group, and its sentence."""

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

Form = Literal[
    "level",
    "step",
    "levels",
    "offset",
    "ratio",
    "halving",
    "correlation",
    "fisher",
    "more",
    "fisher more",
    "root",
    "share",
    "part",
    "kurtosis",
    "cube",
]
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

_DETAIL = ("in the finest detail", "in fine detail", "in medium detail", "in coarse detail", "in the coarsest detail")
_CALLED: Final = {"luma": "brightness", "blue chroma": "blue tint", "red chroma": "red tint", "chroma": "colour"}
_MORE: Final = {"luma": "brighter", "blue chroma": "bluer", "red chroma": "redder"}
_STRIPS: Final = (
    *("far inside", "inside", "a little inside", "just inside"),
    *("just outside", "a little outside", "outside", "far outside"),
)
_ALONG: Final = {"columns": "from left to right", "rows": "from top to bottom"}


@dataclass(frozen=True, slots=True)
class Statistic:
    """One number of the vector.

    name: short and unique, for those who know the code. sentence: a clause for everyone else, with {} for the number.
    form: what the number is, which says how it is written:

    - `level` the logarithm of a size in levels of 0..255, `step` that of a size + 1, `levels` a size as it
      is, `offset` a difference of sizes;
    - `ratio` the logarithm of a ratio ("… more", "… less", "… times as much"), `halving` an exponent, given as the
      ratio for half the size;
    - `correlation` one as it is, `fisher` its inverse hyperbolic tangent, `more` and `fisher more` differences of
      the two;
    - `root` the root of a share, `share` the logarithm of one, `part` a share as it is;
    - `kurtosis` the logarithm of one + 0.1, `cube` the cube root of a number.
    """

    group: Group
    name: str
    sentence: str
    form: Form

    def describe(self, value: float, usual: float) -> str:
        """The clause with the value, and the value of an average face of the training."""
        write = _WRITERS[self.form]
        return f"{self.sentence.format(write(value))} (usually {write(usual)})"


def _number(value: float) -> str:
    """Two digits or a few more, without an exponent where a reader would stumble over it."""
    size = abs(value)
    return f"{value:.0f}" if size >= 10 else f"{value:.1f}" if size >= 1 else f"{value:.2f}"


def _levels(value: float) -> str:
    return f"{_number(value)} of 255 levels"


def _offset(value: float) -> str:
    return f"{_number(abs(value))} of 255 levels {'higher' if value > 0 else 'lower'}"


def _ratio(value: float) -> str:
    times = math.exp(value)
    if times < 0.1:
        return f"{times:.1g} times as much" if times >= 0.001 else "less than 0.001 times as much"
    if times >= 2:
        return f"{_number(times)} times as much"
    return f"{_number(abs(100 * (times - 1)))} % {'more' if times >= 1 else 'less'}"


def _more(value: float) -> str:
    return f"{abs(value):.2f} {'more' if value > 0 else 'less'}"


_WRITERS: Final[dict[Form, Callable[[float], str]]] = {
    "level": lambda value: _levels(math.exp(value)),
    "step": lambda value: _levels(math.expm1(value)),
    "levels": _levels,
    "offset": _offset,
    "ratio": _ratio,
    "halving": lambda value: _ratio(value * math.log(2)),
    "correlation": lambda value: f"{value:.2f}",
    "fisher": lambda value: f"{math.tanh(value):.2f}",
    "more": _more,
    "fisher more": lambda value: _more(math.tanh(value)),
    "root": lambda value: f"{100 * value * abs(value):.1f} %",
    "share": lambda value: f"{100 * max(0.0, math.exp(value) - 0.001):.1f} %",
    "part": lambda value: f"{100 * value:.0f} %",
    "kurtosis": lambda value: _number(max(0.0, math.exp(value) - 0.1)),
    "cube": lambda value: f"{value**3:.2f}",
}


def _catalogue() -> Iterator[Statistic]:
    for scale in range(SCALES):
        yield from _of_scale(scale)
    yield from _spectrum()
    yield from _border()
    for plane in PLANES:
        called = _CALLED[plane]
        yield Statistic(
            "colour", f"{plane} step over the border", f"the {called} steps by {{}} at the outline of the face", "step"
        )
        yield Statistic(
            "colour",
            f"{plane} of face to ring",
            f"compared with its surroundings, the face's {called} is {{}}",
            "offset",
        )
    yield Statistic("colour", "luma contrast", "the contrast within the face is {}", "level")
    for plane in PLANES[1:]:
        yield Statistic("colour", f"{plane} spread", f"the {_CALLED[plane]} varies within the face by {{}}", "level")
    for direction, along in _ALONG.items():
        yield Statistic(
            "grid",
            f"8-pixel grid in {direction}",
            f"blocks of 8 pixels, as compression leaves them, show {along} with a contrast of {{}}",
            "part",
        )
        yield Statistic(
            "grid",
            f"strongest period in {direction}",
            f"compared with all regular patterns {along}, the strongest one has {{}} power",
            "ratio",
        )
    for plane in PLANES:
        for pattern in range(PATTERNS):
            yield Statistic(
                "texture",
                f"{plane} pattern {pattern}",
                f"the share of the face's pixels with {_neighbours(pattern, _MORE[plane])} is {{}}",
                "root",
            )
    for place in ("face", "ring"):
        of = "the face" if place == "face" else "the surroundings"
        yield Statistic("exposure", f"dark share, {place}", f"the share of {of} that is nearly black is {{}}", "share")
        yield Statistic("exposure", f"bright share, {place}", f"the share of {of} that is blown out is {{}}", "share")
        yield Statistic(
            "exposure", f"colourfulness, {place}", f"the colours of {of} differ from grey by {{}}", "levels"
        )
        yield Statistic(
            "exposure", f"range, {place}", f"the darkest and the brightest parts of {of} are {{}} apart", "step"
        )


def _neighbours(pattern: int, more: str) -> str:
    if pattern == PATTERNS - 1:
        return f"{more} neighbours on several sides"
    if pattern == 0:
        return f"no {more} neighbour"
    return (
        f"{more} neighbours all round"
        if pattern == 8
        else f"{pattern} {more} neighbour{'s' * (pattern > 1)} on one side"
    )


def _spectrum() -> Iterator[Statistic]:
    width = (0.5 - 0.02) / SPECTRAL_BANDS
    for band in range(SPECTRAL_BANDS):
        longest, shortest = 1 / (0.02 + band * width), 1 / (0.02 + (band + 1) * width)
        yield Statistic(
            "spectrum",
            f"power in band {band}",
            f"compared with the face's detail of all sizes, detail that repeats every {_number(shortest)} to "
            f"{_number(longest)} pixels has {{}} power",
            "ratio",
        )
    yield Statistic("spectrum", "slope of the power", "for half its size, detail in the face has {} power", "halving")
    yield Statistic(
        "spectrum",
        "power across to down",
        "compared with its fine detail from top to bottom, that of the face from left to right has {} power",
        "ratio",
    )
    yield Statistic(
        "spectrum",
        "power along the axes",
        "compared with its slanted fine detail, the straight fine detail of the face has {} power",
        "ratio",
    )
    yield Statistic(
        "spectrum",
        "highest peak",
        "compared with detail of its size, the strongest regular pattern in the face has {} power",
        "ratio",
    )


def _border() -> Iterator[Statistic]:
    for ring in range(BORDER_RINGS):
        yield Statistic(
            "border",
            f"edges in ring {ring}",
            f"compared with the whole zone along it, the strip {_STRIPS[ring]} the outline of the face has {{}} edges",
            "ratio",
        )
    for ring in COMPARED_RINGS:
        yield Statistic(
            "border",
            f"edges along the border in ring {ring}",
            f"of the edges {_STRIPS[ring]} the outline of the face, the share that follows it is {{}}",
            "part",
        )


def _of_scale(scale: int) -> Iterator[Statistic]:
    yield from _noise(scale)
    yield from _shape_of_noise(scale)
    if scale < CORRELATED:
        yield from _colour_correlation(scale)
    if scale in MIRRORED:
        yield Statistic(
            "symmetry",
            f"mirror correlation, scale {scale}",
            f"the two halves of the face mirror each other {_DETAIL[scale]} by {{}}, where 1 is alike",
            "correlation",
        )
    if scale < RESAMPLED:
        yield from _autocorrelation(scale)


def _noise(scale: int) -> Iterator[Statistic]:
    where = _DETAIL[scale]
    for plane in PLANES:
        called = _CALLED[plane]
        yield Statistic(
            "noise", f"{plane} noise, scale {scale}", f"the face's noise in {called} {where} is {{}}", "level"
        )
        yield Statistic(
            "noise",
            f"{plane} noise of face to ring, scale {scale}",
            f"compared with its surroundings, the face has {{}} noise in {called} {where}",
            "ratio",
        )
    for plane in ("luma", "chroma"):
        yield Statistic(
            "mouth",
            f"{plane} noise of lower to upper face, scale {scale}",
            f"compared with the part round the eyes, that round the mouth has {{}} noise in {_CALLED[plane]} {where}",
            "ratio",
        )


def _shape_of_noise(scale: int) -> Iterator[Statistic]:
    where = _DETAIL[scale]
    yield Statistic(
        "shape of noise",
        f"skewness, scale {scale}",
        f"bright and dark specks of the face's noise {where} are out of balance by {{}}",
        "cube",
    )
    yield Statistic(
        "shape of noise",
        f"kurtosis, scale {scale}",
        f"strong specks make the face's noise {where} uneven by {{}}, where 3 is even grain",
        "kurtosis",
    )
    yield Statistic(
        "shape of noise",
        f"kurtosis of face to ring, scale {scale}",
        f"compared with its surroundings, the face's noise {where} has {{}} strong specks",
        "ratio",
    )


def _colour_correlation(scale: int) -> Iterator[Statistic]:
    where = _DETAIL[scale]
    for pair in PAIRS:
        yield Statistic(
            "colour correlation",
            f"{pair}, scale {scale}",
            f"the noise of {pair} in the face {where} agrees by {{}}, where 1 is alike",
            "fisher",
        )
        yield Statistic(
            "colour correlation",
            f"{pair} of face to ring, scale {scale}",
            f"compared with its surroundings, the noise of {pair} in the face {where} agrees by {{}}",
            "fisher more",
        )


def _autocorrelation(scale: int) -> Iterator[Statistic]:
    for down, right in LAGS:
        moved = _moved(down << scale, right << scale)
        agrees = f"the face's noise {_DETAIL[scale]} agrees with itself {moved} by {{}}"
        lag = f"({down}, {right}) pixels"
        yield Statistic(
            "resampling", f"autocorrelation {lag}, scale {scale}", f"{agrees}, where 1 is alike", "correlation"
        )
        yield Statistic(
            "resampling",
            f"autocorrelation {lag} of face to ring, scale {scale}",
            f"compared with its surroundings, {agrees}",
            "more",
        )


def _moved(down: int, right: int) -> str:
    steps = max(down, right)
    where = "down and to the right" if down and right else "down" if down else "to the right"
    return f"{steps} pixel{'s' * (steps > 1)} {where}"


CATALOGUE: Final = tuple(_catalogue())
"""Every statistic."""

COUNT: Final = len(CATALOGUE)
