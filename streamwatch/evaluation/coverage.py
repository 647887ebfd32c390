"""What abstaining buys: errors within and beyond a model's limits, and accuracy against coverage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamwatch.detectors.card import Limits
from streamwatch.evaluation.levels import Proportion
from streamwatch.records import FaceQuality


@dataclass(frozen=True, slots=True, eq=False)
class JudgedFaces:
    """N scored faces whose quality is known: fake (N, bool), probability (N, 0..1), quality of each."""

    fake: NDArray[np.bool_]
    probability: NDArray[np.float64]
    qualities: tuple[FaceQuality, ...]

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Faces on the wrong side of one half."""
        return np.asarray((self.probability >= 0.5) != self.fake)


@dataclass(frozen=True, slots=True)
class Abstention:
    """Share of wrong faces within the limits and beyond each of them; None where no face is."""

    within: Proportion | None
    too_small: Proportion | None
    too_blurred: Proportion | None
    turned_away: Proportion | None


def abstention(faces: JudgedFaces, limits: Limits) -> Abstention:
    """How often faces within and beyond the limits are wrong; a face may lie beyond several."""
    small = np.array([q.short_side < limits.min_face_side for q in faces.qualities])
    blurred = np.array([q.sharpness < limits.min_sharpness for q in faces.qualities])
    turned = np.array([q.pose > limits.max_pose for q in faces.qualities])

    def share(chosen: NDArray[np.bool_]) -> Proportion | None:
        return Proportion.measure(faces.wrong[chosen]) if chosen.any() else None

    return Abstention(share(~(small | blurred | turned)), share(small), share(blurred), share(turned))


def accuracy_by_coverage(wrong: ArrayLike, trust: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coverage (0..1] and the accuracy of the items that are kept when the least trusted are left out first.

    wrong: N, bool. trust: N, higher is kept longer; items of equal trust leave together. (El-Yaniv & Wiener, "On the
    Foundations of Noise-free Selective Classification", JMLR 2010, whose risk is 1 − accuracy.)
    """
    errors, values = np.asarray(wrong, bool), np.asarray(trust, np.float64)
    if errors.shape != values.shape or errors.ndim != 1 or len(errors) == 0:
        raise ValueError(f"wrong {errors.shape} and trust {values.shape} must be 1-D, of equal length and not empty")
    order = np.argsort(-values, kind="stable")
    last = np.append(np.flatnonzero(np.diff(values[order])), len(order) - 1)
    kept = last + 1
    return kept / len(order), 1 - np.cumsum(errors[order])[last] / kept


def trusts(faces: JudgedFaces) -> dict[str, NDArray[np.float64]]:
    """What a face can be trusted by: distance of its score from one half, sharpness, turn to the side, side."""

    def of(values: Sequence[float]) -> NDArray[np.float64]:
        return np.asarray(values, np.float64)

    return {
        "certainty of the score": np.abs(faces.probability - 0.5),
        "sharpness": of([q.sharpness for q in faces.qualities]),
        "frontal pose": of([-q.pose for q in faces.qualities]),
        "size": of([q.short_side for q in faces.qualities]),
    }
