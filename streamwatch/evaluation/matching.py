"""Weights under which honest and forged clips are alike in size of face and bit rate.

In footage from the web the two classes differ in both: whoever forges publishes other files than whoever films. A
detector that reads only the size of a face then has an AUC well above one half, and no merit. The weights here take
that away: they are the overlap weights of Li, Morgan & Zaslavsky ("Balancing covariates via propensity score
weighting", JASA 2018). A logistic regression estimates the chance e that a clip is forged given its size and bit rate
alone; forged clips weigh 1 − e, honest ones e. At the maximum of the likelihood the weighted means of every column of
the regression are the same for both classes (their theorem 3). So no caliper or number of bins has to be chosen, no
clip is thrown away, a clip of a kind that only one class has weighs next to nothing, and no weight exceeds 1. Strata
would leave the differences within a stratum; 1:1 matching depends on the order in which it goes, and cannot be found
again in every draw of a bootstrap as cheaply.

Forging itself can change the bit rate (a smoother face takes fewer bytes), so figures on matched clips are cautious.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from streamwatch.evaluation import logistic

Array = NDArray[np.float64]

KNOTS = (0.2, 0.4, 0.6, 0.8)
"""Quantiles at which the regression's lines may bend."""

_EQUAL = 1e-9  # spread of ranks, 0..1, that is rounding alone


def class_weights(fake: NDArray[np.bool_], facts: Array, multiplicity: Array) -> Array:
    """Overlap weights of N samples, R×N, for R rows of multiplicities (how often a sample was drawn), in which they
    are contained.

    facts: N×F, any scale: only their order counts. The regression has a straight line in the rank of each fact, bends
    at its quintiles, and the product of each two.
    """
    ranks = [(rankdata(fact) - 0.5) / len(fact) for fact in facts.T]
    bends = [np.maximum(rank - knot, 0) for rank in ranks for knot in KNOTS if (rank > knot).any()]
    products = [a * b for i, a in enumerate(ranks) for b in ranks[i + 1 :]]
    columns = [column / column.std() for column in (*ranks, *bends, *products) if column.std() > _EQUAL]
    x = np.stack([np.ones(len(fake)), *columns], axis=1)
    forged = logistic.probability(x, logistic.fit(x, fake.astype(np.float64), multiplicity, free=0))
    return np.asarray(multiplicity * np.where(fake, 1 - forged, forged), np.float64)


def pair_weights(differences: Array, multiplicity: Array) -> Array:
    """The same for N pairs of a forged and an honest clip, R×N: no fact alone shows which of the two is forged.

    differences: N×F, fact of the forged clip − fact of the honest one, e.g. of logarithms. The regression is the
    conditional one of matched pairs (Breslow & Day, "Statistical Methods in Cancer Research" I, 1980, chapter 7): e is
    the chance, given the facts of both clips, that the forged one of them is the one that is; the pair weighs 1 − e.
    Its columns are the sign of each difference and its bounded size, so that "the larger one is forged" holds for half
    of the weight.
    """
    signs = np.sign(differences)
    spread = np.maximum(np.abs(differences).mean(axis=0), 1e-12)
    x = np.concatenate([signs, np.tanh(differences / spread)], axis=1)
    right = logistic.probability(x, logistic.fit(x, np.ones(len(x)), multiplicity))
    return np.asarray(multiplicity * (1 - right), np.float64)


def effective(weights: Array) -> float:
    """How many samples of equal weight say as much: (Σw)² ÷ Σw² (Kish, "Survey Sampling", 1965). weights: N."""
    square = float((weights**2).sum())
    return float(weights.sum()) ** 2 / square if square > 0 else 0.0
