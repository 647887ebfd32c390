"""Logits of several detectors."""

from __future__ import annotations

import numpy as np
import pytest

from streamwatch.detectors.card import Calibration
from streamwatch.detectors.joining import joined_logit


def test_calibrated_logits_are_averaged() -> None:
    first, second = np.array([2.0, 0.0], np.float32), np.array([1.0, -3.0], np.float32)
    joined = joined_logit([(first, Calibration(2.0, 0.5)), (second, Calibration(1.0, 0.0))])
    np.testing.assert_allclose(joined, [1.25, -1.25])
    assert joined.dtype == np.float32


def test_parts_of_other_lengths_or_none_are_refused() -> None:
    with pytest.raises(ValueError, match="one logit a face"):
        joined_logit([])
    with pytest.raises(ValueError, match="one logit a face"):
        joined_logit(
            [(np.zeros(2, np.float32), Calibration(1.0, 0.0)), (np.zeros(3, np.float32), Calibration(1.0, 0.0))]
        )
