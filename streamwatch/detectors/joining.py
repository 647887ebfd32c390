"""One logit of several detectors that looked at the same faces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streamwatch.detectors.card import Calibration
from streamwatch.records import FloatArray


def joined_logit(parts: Sequence[tuple[FloatArray, Calibration]]) -> FloatArray:
    """Mean of the calibrated logits of N faces, float32.

    parts: of each detector its N logits and its calibration. The mean neither assumes that detectors err independently
    (a sum would) nor that one is better; calibrate it again before its probability is read off.

    Raises ValueError without parts, or for parts of other lengths.
    """
    if not parts or len({logits.shape for logits, _ in parts}) != 1:
        raise ValueError("one logit a face is needed of every detector, and at least one detector")
    calibrated = [logits / calibration.temperature + calibration.bias for logits, calibration in parts]
    return np.asarray(np.mean(calibrated, axis=0), np.float32)
