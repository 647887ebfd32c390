"""Logistic regression by Newton's method, for many weightings of the same samples at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RIDGE = 1e-4
"""Penalty on the coefficients ÷ total weight: holds them finite where the classes can be separated."""

_STEPS = 60
_LONGEST_STEP = 2.0
_CLOSE = 1e-7


def fit(x: Array, y: Array, weights: Array, *, ridge: float = RIDGE, free: int | None = None) -> Array:
    """Coefficients R×D that maximise Σᵢ wᵢ·log-likelihood − ridge·Σw·‖β‖²/2 for each of R rows of weights.

    x: N×D, columns of like scale (a column of ones for an intercept). y: N, 0..1. weights: R×N, ≥ 0.
    free: a column without penalty, the intercept's.
    """
    rounds, width = len(weights), x.shape[1]
    penalty = np.full(width, ridge)
    if free is not None:
        penalty[free] = 0.0
    total = weights.sum(axis=1, keepdims=True)
    shares = weights / np.where(total > 0, total, 1.0)
    products = (x[:, :, None] * x[:, None, :]).reshape(len(x), width * width)
    coefficients = np.zeros((rounds, width))
    jitter = 1e-10 * np.eye(width)
    for _ in range(_STEPS):
        p = probability(x, coefficients)
        gradient = (shares * (y - p)) @ x - penalty * coefficients
        curvature = ((shares * p * (1 - p)) @ products).reshape(rounds, width, width) + np.diag(penalty) + jitter
        step = np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0]
        longest = np.abs(step).max(axis=1, keepdims=True)
        coefficients += step * np.minimum(1.0, _LONGEST_STEP / np.maximum(longest, _CLOSE))
        if longest.max() < _CLOSE:
            break
    return coefficients


def probability(x: Array, coefficients: Array) -> Array:
    """R×N probabilities of y = 1 for samples N×D under coefficients R×D."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * (coefficients @ x.T))), np.float64)
