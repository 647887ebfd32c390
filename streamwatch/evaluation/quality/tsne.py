"""t-SNE, exact: van der Maaten & Hinton, "Visualizing data using t-SNE" (JMLR 2008). For up to some thousand points."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import pdist, squareform

Array = NDArray[np.float64]

LEAST_POINTS = 4
EXAGGERATION, EXAGGERATED_STEPS = 12.0, 250
_BISECTIONS = 64
_TINY = 1e-12


def tsne(points: ArrayLike, perplexity: float = 30.0, steps: int = 1000) -> Array:
    """A map of N points of any dimension (N×D): N×2, without a unit. The same points always give the same map.

    perplexity: about how many neighbours each point has; never more than (N − 1) / 3 are taken. The start is the
    first two principal components rather than noise (Kobak & Berens, Nature Communications 2019), the learning
    rate N / EXAGGERATION (Belkina et al., Nature Communications 2019): with a fixed one, few points fly apart.
    Raises ValueError for fewer than LEAST_POINTS points.
    """
    x = np.asarray(points, np.float64)
    if len(x) < LEAST_POINTS:
        raise ValueError(f"a map needs at least {LEAST_POINTS} points, not {len(x)}")
    joint = joint_probabilities(x, effective_perplexity(len(x), perplexity))
    y = _principal_components(x)
    rate = max(len(x) / EXAGGERATION, 1.0)
    velocity, gains = np.zeros_like(y), np.ones_like(y)
    for step in range(steps):
        early = step < EXAGGERATED_STEPS
        gradient = _gradient(joint * EXAGGERATION if early else joint, y)
        against = np.sign(gradient) != np.sign(velocity)
        gains = np.maximum(np.where(against, gains + 0.2, gains * 0.8), 0.01)
        velocity = (0.5 if early else 0.8) * velocity - rate * gains * gradient
        y = y + velocity
        y -= y.mean(axis=0)
    return y


def effective_perplexity(points: int, perplexity: float = 30.0) -> float:
    """The perplexity that `tsne` takes for so many points."""
    return min(perplexity, (points - 1) / 3)


def joint_probabilities(points: Array, perplexity: float) -> Array:
    """N×N similarities p_ij, symmetric, of sum 1 (Section 2 and Equation 12)."""
    distances = squareform(pdist(points, "sqeuclidean"))
    distances /= distances.mean() or 1.0
    conditional = _conditional_probabilities(distances, perplexity)
    joint: Array = (conditional + conditional.T) / (2 * len(points))
    return joint


def _conditional_probabilities(distances: Array, perplexity: float) -> Array:
    """p_j|i, row by row with the Gaussian width that gives the perplexity, found by bisection of log precision."""
    low, high = np.full((len(distances), 1), -50.0), np.full((len(distances), 1), 50.0)
    nearest = np.where(np.eye(len(distances), dtype=bool), np.inf, distances)
    nearest -= nearest.min(axis=1, keepdims=True)
    p = np.zeros_like(distances)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        p = np.exp(-nearest * np.exp(middle))
        p /= p.sum(axis=1, keepdims=True)
        entropy = -(p * np.log(p + _TINY)).sum(axis=1, keepdims=True)
        too_wide = entropy > np.log(perplexity)
        low, high = np.where(too_wide, middle, low), np.where(too_wide, high, middle)
    return p


def _gradient(joint: Array, y: Array) -> Array:
    """Of the Kullback–Leibler divergence by the map points (Equation 5)."""
    weights = 1 / (1 + squareform(pdist(y, "sqeuclidean")))
    np.fill_diagonal(weights, 0)
    pull = (joint - weights / weights.sum()) * weights
    gradient: Array = 4 * (pull.sum(axis=1, keepdims=True) * y - pull @ y)
    return gradient


def _principal_components(points: Array) -> Array:
    """Projections on the first two, N×2, the first with a standard deviation of 1e-4."""
    u, s, _ = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    y = np.zeros((len(points), 2))
    y[:, : min(2, len(s))] = u[:, :2] * s[:2]
    spread: Array = 1e-4 * y / (y[:, 0].std() or 1.0)
    return spread
