"""From logits to probabilities that mean what they say, and from probabilities to thresholds."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import expit


def fit_platt(logits: ArrayLike, labels: ArrayLike) -> tuple[float, float]:
    """(temperature, bias) that minimise the log-loss of sigmoid(logit / temperature + bias), classes weighted alike.

    Platt, "Probabilistic outputs for support vector machines" (1999), with both classes at a prior of one half.
    labels: 1 = fake. Raises ValueError if a class is missing or the scores do not rise with the label.
    """
    z = np.asarray(logits, np.float64)
    y = np.asarray(labels, bool)
    if y.all() or not y.any():
        raise ValueError("calibration needs both classes")
    weight = np.where(y, 0.5 / y.sum(), 0.5 / (~y).sum())
    sign = np.where(y, 1.0, -1.0)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        slope, bias = parameters
        margin = sign * (slope * z + bias)
        residual = -weight * sign * expit(-margin)
        return float(weight @ np.logaddexp(0, -margin)), np.array([residual @ z, residual.sum()])

    slope, bias = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B").x
    if slope <= 0:
        raise ValueError("the scores do not rise with the label; this detector cannot be calibrated")
    return float(1 / slope), float(bias)


def threshold_at(real_probabilities: ArrayLike, false_alarm_rate: float) -> float:
    """Least probability from which at most `false_alarm_rate` of the real samples are called fake."""
    p = np.sort(np.asarray(real_probabilities, np.float64))
    if len(p) == 0:
        raise ValueError("a threshold needs real samples")
    allowed = int(np.floor(false_alarm_rate * len(p)))
    return float(np.nextafter(p[len(p) - 1 - allowed], 1.0))
