"""t-SNE: van der Maaten & Hinton, "Visualizing data using t-SNE" (JMLR 2008), by scikit-learn."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamwatch.evaluation.extra import load_sklearn

LEAST_POINTS = 4
EXAGGERATION = 12.0


def tsne(points: ArrayLike, perplexity: float = 30.0) -> NDArray[np.float64]:
    """A map of N points of any dimension (N×D): N×2, without a unit. The same points always give the same map.

    perplexity: about how many neighbours each point has; never more than (N − 1) / 3 are taken. The start is the
    first two principal components rather than noise (Kobak & Berens, Nature Communications 2019), the learning rate
    N / EXAGGERATION (Belkina et al., Nature Communications 2019): with scikit-learn's floor of 50 few points fly apart.
    The gradient is exact: the approximate one sums in an order that depends on the threads. For up to some thousand
    points.
    Raises ValueError for fewer than LEAST_POINTS points, LibraryMissing without scikit-learn.
    """
    x = np.asarray(points, np.float64)
    if len(x) < LEAST_POINTS:
        raise ValueError(f"a map needs at least {LEAST_POINTS} points, not {len(x)}")
    if (x == x[0]).all():  # without a principal component to begin with
        return np.zeros((len(x), 2))
    mapper = load_sklearn("manifold").TSNE(
        perplexity=effective_perplexity(len(x), perplexity),
        early_exaggeration=EXAGGERATION,
        learning_rate=max(len(x) / EXAGGERATION, 1.0),
        method="exact",
        random_state=0,
    )
    return np.asarray(mapper.fit_transform(x), np.float64)


def effective_perplexity(points: int, perplexity: float = 30.0) -> float:
    """The perplexity that `tsne` uses for a number of points."""
    return min(perplexity, (points - 1) / 3)
