"""How good a detector is on single pictures of faces, cut and scored exactly as it is served."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from streamwatch.detectors.protocol import Detector
from streamwatch.evaluation.metrics import (
    balanced_accuracy,
    equal_error_rate,
    expected_calibration_error,
    intersection_over_union,
    roc_auc,
    true_positive_rate_at,
)
from streamwatch.faces.crops import crop_face, crop_mask
from streamwatch.fusion.regions import covered
from streamwatch.records import Box, FloatArray, ImageArray


@dataclass(frozen=True, slots=True, eq=False)
class FaceSample:
    """One labelled face: `image()` gives H×W×3, `box` its face, `truth()` the forged region (H×W, 0..1) or None."""

    image: Callable[[], ImageArray]
    box: Box
    fake: bool
    truth: Callable[[], FloatArray | None] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FaceResults:
    """Scores of samples in their order; masks are those of the samples with a known forged region.

    masks: side×side uint8 (255 = forged). truths: side×side in 0..1.
    """

    fake: NDArray[np.bool_]
    logits: FloatArray
    probabilities: FloatArray
    masks: list[ImageArray]
    truths: list[FloatArray]


def score_samples(
    detector: Detector,
    samples: Sequence[FaceSample],
    *,
    batch: int = 16,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> FaceResults:
    """Cut every sample by the card's geometry and score it."""
    logits, probabilities = [], []
    masks: list[ImageArray] = []
    truths: list[FloatArray] = []
    for start in range(0, len(samples), batch):
        part = samples[start : start + batch]
        regions = [detector.geometry.region(sample.box) for sample in part]
        crops = [
            crop_face(sample.image(), region, detector.input_size) for sample, region in zip(part, regions, strict=True)
        ]
        scores = detector.score_arrays(np.stack(crops))
        logits.append(scores.logits)
        probabilities.append(scores.probabilities)
        for index, (sample, region) in enumerate(zip(part, regions, strict=True)):
            truth = None if sample.truth is None or scores.masks is None else sample.truth()
            if truth is not None and scores.masks is not None:
                masks.append(scores.masks[index])
                truths.append(crop_mask(truth, region, scores.masks.shape[-1]))
        progress(min(start + batch, len(samples)), len(samples))
    fake = np.array([sample.fake for sample in samples])
    return FaceResults(fake, np.concatenate(logits), np.concatenate(probabilities), masks, truths)


def frame_metrics(results: FaceResults) -> dict[str, float]:
    """AUC, EER, true positives at 1 % and 5 % false alarms, balanced accuracy at ½ and calibration error (balanced).

    The calibration error weights both classes alike, as the calibration does: few data sets have the share of fakes
    that a user meets.
    """
    fake, p = results.fake, results.probabilities
    return {
        "auc": roc_auc(fake, results.logits),
        "eer": equal_error_rate(fake, results.logits),
        "tpr_at_1_percent_fpr": true_positive_rate_at(fake, results.logits, 0.01),
        "tpr_at_5_percent_fpr": true_positive_rate_at(fake, results.logits, 0.05),
        "balanced_accuracy": balanced_accuracy(fake, p, 0.5),
        "ece": expected_calibration_error(fake, p, balanced=True),
    }


def mask_metrics(results: FaceResults, threshold: float, ellipse: FloatArray) -> dict[str, float]:
    """Mean IoU and pixel AUC of the masks, beside the IoU of a constant `ellipse` (side×side, 0 or 1)."""
    pairs = list(zip(results.masks, results.truths, strict=True))
    ours = [intersection_over_union(covered(mask, threshold), truth >= 0.5) for mask, truth in pairs]
    plain = [intersection_over_union(ellipse >= 0.5, truth >= 0.5) for _, truth in pairs]
    areas = [
        roc_auc((truth >= 0.5).ravel(), mask.ravel())
        for mask, truth in pairs
        if (truth >= 0.5).any() and (truth < 0.5).any()
    ]
    return {
        "mask_iou": float(np.mean(ours)),
        "mask_iou_of_centred_ellipse": float(np.mean(plain)),
        "mask_pixel_auc": float(np.mean(areas)),
    }


def best_mask_threshold(results: FaceResults) -> float:
    """The threshold, in steps of 0.05, at which the masks agree best with the truth (mean IoU)."""

    def mean_iou(threshold: float) -> float:
        return float(
            np.mean(
                [
                    intersection_over_union(covered(mask, threshold), truth >= 0.5)
                    for mask, truth in zip(results.masks, results.truths, strict=True)
                ]
            )
        )

    return max((round(0.05 * step, 2) for step in range(1, 19)), key=mean_iou)


def best_ellipse(truths: Sequence[FloatArray]) -> FloatArray:
    """The centred ellipse (0 or 1) with the best mean IoU over `truths`: the mask of a detector that sees nothing."""
    side = truths[0].shape[0]

    def ellipse(width: float, height: float) -> FloatArray:
        picture = np.zeros((side, side), np.float32)
        axes = (round(width * side / 2), round(height * side / 2))
        cv2.ellipse(picture, (side // 2, side // 2), axes, 0, 0, 360, 1.0, -1)
        return picture

    candidates = [ellipse(w / 20, h / 20) for w in range(8, 21, 2) for h in range(8, 21, 2)]
    return max(candidates, key=lambda c: np.mean([intersection_over_union(c >= 0.5, t >= 0.5) for t in truths]))
