"""The fit: a logistic regression and boosted trees by scikit-learn, whose numbers become arrays of our own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamwatch.detectors.statistics.model import CLIP, StatisticsModel
from streamwatch.detectors.statistics.trees import DoubleArray, Trees
from streamwatch.distribution import install_extra
from streamwatch.errors import LibraryMissing
from streamwatch.records import FloatArray
from streamwatch.training.fitted.recipe import LinearPart, StatisticsRecipe, TreesPart

_ITERATIONS = 1000
_LEAST_SCALE = 1e-6


def fit(rows: FloatArray, fake: NDArray[np.bool_], weights: DoubleArray, recipe: StatisticsRecipe) -> StatisticsModel:
    """The model of N×D statistics with their labels (True = fake) and weights; the same for the same seed.

    Raises LibraryMissing without scikit-learn, ValueError where a class is missing.
    """
    mean, scale = standardisation(rows, weights, _LEAST_SCALE)
    standardised = np.clip((rows - mean) / scale, -CLIP, CLIP)
    coefficients, intercept = fit_linear(standardised, fake, weights, recipe.linear)
    return StatisticsModel(
        mean=mean,
        scale=scale,
        coefficients=coefficients,
        intercept=intercept,
        trees=fit_trees(rows, fake, weights, recipe.trees, recipe.seed),
        linear_share=recipe.linear.share,
        tree_share=recipe.trees.share,
    )


def standardisation(rows: FloatArray, weights: DoubleArray, least: float) -> tuple[DoubleArray, DoubleArray]:
    """Weighted mean and standard deviation of each of D columns; `least` is added to the latter."""
    mean = np.average(rows, axis=0, weights=weights).astype(np.float64)
    return mean, np.sqrt(np.average((rows - mean) ** 2, axis=0, weights=weights)) + least


def fit_trees(rows: FloatArray, fake: NDArray[np.bool_], weights: DoubleArray, part: TreesPart, seed: int) -> Trees:
    """Boosted trees as arrays. Raises LibraryMissing without scikit-learn."""
    try:
        from sklearn.ensemble import GradientBoostingClassifier
    except ImportError:
        raise _missing() from None
    boosters = [
        GradientBoostingClassifier(
            n_estimators=part.number,
            max_depth=part.depth,
            learning_rate=part.learning_rate,
            subsample=part.subsample,
            max_features=part.columns,
            min_samples_leaf=part.least_leaf,
            init="zero",
            random_state=seed + number,
        ).fit(rows, fake, sample_weight=weights)
        for number in range(part.boosters)
    ]
    return trees_of(boosters, rows.shape[1])


def trees_of(boosters: Sequence[Any], columns: int) -> Trees:
    """The arrays of fitted scikit-learn GradientBoostingClassifiers of two classes with `init="zero"`.

    Of several the mean logit.
    """
    grown = [
        (estimator.tree_, booster.learning_rate) for booster in boosters for estimator in booster.estimators_[:, 0]
    ]
    nodes = max(tree.node_count for tree, _ in grown)
    shape = (len(grown), nodes)
    own = np.tile(np.arange(nodes, dtype=np.int32), (len(grown), 1))
    feature, left, right = np.zeros(shape, np.int32), own.copy(), own.copy()
    threshold, value = np.zeros(shape), np.zeros(shape)
    for number, (tree, rate) in enumerate(grown):
        inner = np.flatnonzero(tree.children_left >= 0)
        feature[number, inner] = tree.feature[inner]
        threshold[number, inner] = tree.threshold[inner]
        left[number, inner], right[number, inner] = tree.children_left[inner], tree.children_right[inner]
        value[number, : tree.node_count] = rate * tree.value[:, 0, 0] / len(boosters)
        for node in inner[::-1]:  # children stand behind their parents
            children = [tree.children_left[node], tree.children_right[node]]
            share = tree.weighted_n_node_samples[children]
            value[number, node] = np.average(value[number, children], weights=share)
    depth = max(1, *(int(tree.max_depth) for tree, _ in grown))
    return Trees(feature, threshold, left, right, value, depth, base=0.0, columns=columns)


def fit_linear(
    standardised: NDArray[Any], fake: NDArray[np.bool_], weights: DoubleArray, part: LinearPart
) -> tuple[DoubleArray, float]:
    """Coefficients D and intercept of a logistic regression. Raises LibraryMissing without scikit-learn."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise _missing() from None
    fitted = LogisticRegression(C=part.strength, max_iter=_ITERATIONS).fit(standardised, fake, sample_weight=weights)
    return np.asarray(fitted.coef_[0], np.float64), float(fitted.intercept_[0])


def _missing() -> LibraryMissing:
    return LibraryMissing("training a statistics detector needs scikit-learn", install_extra("train"))
