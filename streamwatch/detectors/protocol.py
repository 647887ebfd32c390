"""What every forgery detector offers to the stages around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from streamwatch.detectors.card import ModelCard
from streamwatch.faces.crops import CropGeometry
from streamwatch.records import FaceCrop, FaceScore, FloatArray, ImageArray

Precision = Literal["auto", "fp32", "bf16"]
"""Of a network's arithmetic; `auto`: bf16 where the hardware has it."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoreArrays:
    """Scores of N crops, as they travel between processes.

    logits: (N,) float32, z_fake − z_real. probabilities: (N,) float32, calibrated, 1 = fake. features: (N, D) float32.
    masks: (N, h, w) uint8 in 0..255 (255 = forged), the forged region in crop coordinates; None for a model without a
    mask decoder.
    """

    logits: FloatArray
    probabilities: FloatArray
    features: FloatArray
    masks: ImageArray | None

    def __len__(self) -> int:
        return len(self.logits)

    def part(self, start: int, stop: int) -> ScoreArrays:
        """Those of crops start … stop − 1."""
        masks = None if self.masks is None else self.masks[start:stop]
        return ScoreArrays(self.logits[start:stop], self.probabilities[start:stop], self.features[start:stop], masks)

    def scores(self, crops: Sequence[FaceCrop] | None = None) -> list[FaceScore]:
        """One record per crop, with a mask of its own: it may outlive the batch. crops: for the records to hold, in the
        order of the scores.
        """
        return [
            FaceScore(
                logit=float(self.logits[index]),
                probability=float(self.probabilities[index]),
                feature=self.features[index],
                mask=None if self.masks is None else self.masks[index].copy(),
                crop=None if crops is None else crops[index],
            )
            for index in range(len(self))
        ]


class Detector(Protocol):
    """Crops in, scores out. Crops are N×S×S×3 RGB uint8 with S = `input_size`, cut by `geometry`; N may be 0.

    A crop's score does not depend on its batch mates (beyond rounding). Raises DetectorError for crops of
    another shape, and when the model fails on them, of these DetectorExhausted where fewer at once may do.
    """

    name: str
    card: ModelCard
    input_size: int
    geometry: CropGeometry
    device: str

    def score(self, crops: ImageArray) -> list[FaceScore]:
        """One record per crop."""
        ...

    def score_arrays(self, crops: ImageArray) -> ScoreArrays:
        """The same as arrays."""
        ...


class LoadableDetector(Protocol):
    """What `DETECTORS` holds: a class of detectors that are made from a file.

    One of another distribution may have an attribute `weights`, the path of the file that it comes with.
    """

    @classmethod
    def load(cls, weights: Path, *, device: str, threads: int | None, precision: Precision) -> Detector:
        """The detector of a file with its card beside it; the arguments are those of `load_detector`.

        Raises WeightsError for a missing or damaged file, DetectorError for a device that is not there.
        """
        ...


@runtime_checkable
class ExplainingDetector(Detector, Protocol):
    """A detector that can say which parts of a crop raised its score."""

    def explain(self, crops: ImageArray) -> FloatArray:
        """N×S×S maps in 0..1 of what speaks for "fake" in each crop; 1 is each map's maximum, 0 everywhere
        where nothing does.

        Raises DetectorError for crops of another shape.
        """
        ...


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that moved a crop's score.

    group: what kind of trace it is, in a word or two. text: what was found, a clause in English with its numbers.
    logit: how far it moved the calibrated logit; above 0 it speaks for "fake", below for "real".
    """

    group: str
    text: str
    logit: float

    @property
    def line(self) -> str:
        """A line of a listing: how far it moved the logit, what it speaks for, and what was found."""
        return f"{self.logit:+.2f} ({'fake' if self.logit > 0 else 'real'}): {self.text}"


@runtime_checkable
class ReasoningDetector(Detector, Protocol):
    """A detector that can say in words what its score rests on."""

    def reasons(self, crops: ImageArray) -> list[tuple[Reason, ...]]:
        """Of each crop what moved its score, one reason a group, the strongest first.

        Raises DetectorError for crops of another shape.
        """
        ...
