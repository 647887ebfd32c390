"""A second look at the faces of an alert: what a detector sees in the stored crops today, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from streamwatch.detectors import Detector, ExplainingDetector, Reason, ReasoningDetector
from streamwatch.drawing.evidence import decode_crop, file_stem, masked_crop, write_png
from streamwatch.errors import DetectorError
from streamwatch.files import make_private_folder
from streamwatch.fusion.regions import describe
from streamwatch.records import Alert, Evidence, FloatArray, ImageArray, ModelRef

TILE = 320
"""Side of one picture of a panel, pixels."""

_FONT = cv2.FONT_HERSHEY_DUPLEX
_SIZE = 0.45
_LINE = 22
_PAD = 8
_PAPER = (24, 26, 30)
_INK = (235, 235, 235)
_HEAT_STRENGTH = 0.55
"""Opacity of the Grad-CAM map: the face stays visible under it."""

MOST_REASONS = 5
"""Reasons that a panel and a listing show."""


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """One face of an alert, scored again.

    score: calibrated probability of "fake" of the stored crop, which JPEG has changed a little since the verdict.
    heat: S×S in 0..1, what speaks for "fake" in the S×S×3 crop; 0 everywhere where nothing does, None for a detector
        that cannot say where.
    reasons: what the score rests on in words, the strongest first; empty for a detector that cannot say.
    """

    evidence: Evidence
    crop: ImageArray
    score: float
    heat: FloatArray | None
    reasons: tuple[Reason, ...] = ()


def explain(alert: Alert, detector: Detector) -> list[Explanation]:
    """Score the stored crops of an alert again and say what raised each score, in the order of the evidence.

    Raises DetectorError for a detector that cannot say, or whose crops are of another size than the stored ones,
    and StoreError for a stored picture that is damaged.
    """
    if not isinstance(detector, (ExplainingDetector, ReasoningDetector)):
        raise DetectorError(f"{detector.name} cannot explain its scores", "name a model that can with --model")
    crops = [decode_crop(item, f"alert {alert.id}") for item in alert.evidence]
    side = detector.input_size
    for crop in crops:
        if crop.shape != (side, side, 3):
            raise DetectorError(
                f"alert {alert.id}: its crops are {crop.shape[1]}×{crop.shape[0]} pixels and {detector.name} takes "
                f"{side}×{side}",
                "name the model of the verdict with --model",
            )
    if not crops:
        return []
    stack = np.stack(crops)
    scores = detector.score_arrays(stack).probabilities
    heat = detector.explain(stack) if isinstance(detector, ExplainingDetector) else [None] * len(stack)
    reasons = detector.reasons(stack) if isinstance(detector, ReasoningDetector) else [()] * len(stack)
    return [
        Explanation(item, crop, float(score), warm, why)
        for item, crop, score, warm, why in zip(alert.evidence, crops, scores, heat, reasons, strict=True)
    ]


def reason_lines(reasons: Sequence[Reason]) -> list[str]:
    """The strongest reasons, a line each."""
    return [reason.line for reason in reasons[:MOST_REASONS]]


def write_panels(
    alert: Alert, explanations: Sequence[Explanation], folder: Path, *, used: ModelRef, verdict: ModelRef
) -> list[Path]:
    """Write a panel per face, `ID-1-explain.png`: crop, mask and Grad-CAM side by side (the last where the
    detector has one), and what they say in words.

    used: the model that explained. verdict: the model of the verdict, whose mask is shown; where the two are not
    the same, the panel says so. Makes the folder. Raises StoreError for a damaged picture, OSError if writing fails.
    """
    make_private_folder(folder)
    stem = file_stem(alert)
    written = []
    for number, item in enumerate(explanations, start=1):
        masked = masked_crop(item.evidence, f"alert {alert.id}")
        tiles = [
            _tile(f"face, score {item.evidence.score:.3f}", item.crop),
            _tile("mask" if masked is not None else "no mask", item.crop if masked is None else masked),
        ]
        if item.heat is not None:
            title = "Grad-CAM" if item.heat.any() else "Grad-CAM: nothing speaks for fake"
            tiles.append(_tile(title, warm(item.crop, item.heat)))
        lines = [f"Score of the stored crop, again: {item.score:.3f}, by {_named(used)}."]
        if item.evidence.coverage is not None:
            words = describe(item.evidence.coverage)
            lines.insert(0, f"{words[0].upper()}{words[1:]}.")
        lines += reason_lines(item.reasons)
        if used.sha256 != verdict.sha256:
            lines.append(f"NOT the model of the verdict, {_named(verdict)}: all but face and mask is another's.")
        panel = np.vstack([np.hstack(tiles), _text(lines, TILE * len(tiles))])
        written.append(write_png(folder / f"{stem}-{number}-explain.png", panel))
    return written


def warm(crop: ImageArray, heat: FloatArray) -> ImageArray:
    """The S×S×3 crop under its S×S map (0..1), each pixel tinted in proportion to it."""
    levels = np.asarray(np.rint(np.clip(heat, 0, 1) * 255), np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    share = _HEAT_STRENGTH * heat[..., np.newaxis]
    return np.asarray(np.rint(crop * (1 - share) + colours * share), np.uint8)


def _named(model: ModelRef) -> str:
    return f"{model.name} {model.sha256[:8]}"


def _tile(title: str, picture: ImageArray) -> ImageArray:
    enlarged = np.asarray(cv2.resize(picture, (TILE, TILE), interpolation=cv2.INTER_CUBIC), np.uint8)
    return np.vstack([_text([title], TILE), enlarged])


def _text(lines: Sequence[str], width: int) -> ImageArray:
    """Lines of text on a strip; one that is too long for `width` is written smaller."""
    strip = np.full((_LINE * len(lines) + _PAD, width, 3), _PAPER, np.uint8)
    for number, line in enumerate(lines, start=1):
        text = line.encode("ascii", "replace").decode()
        (length, _), _ = cv2.getTextSize(text, _FONT, _SIZE, 1)
        size = _SIZE * min(1.0, (width - 2 * _PAD) / length)
        cv2.putText(strip, text, (_PAD, _LINE * number - _PAD // 2), _FONT, size, _INK, 1, cv2.LINE_AA)
    return strip
