"""Why a crop has its score, in words."""

from __future__ import annotations

from itertools import groupby

import numpy as np

from streamwatch.detectors.protocol import Reason
from streamwatch.detectors.statistics.catalogue import CATALOGUE
from streamwatch.detectors.statistics.trees import DoubleArray
from streamwatch.records import FloatArray

LEAST = 0.05
"""Groups that move the logit by less are left out."""


def strongest_reasons(row: FloatArray, contributions: DoubleArray, usual: DoubleArray) -> tuple[Reason, ...]:
    """One reason a group of statistics, the strongest first.

    row: D statistics of a crop. contributions: D, how far each moved the logit. usual: D, the training's mean.
    A group's weight is the sum of its statistics' contributions; the one that moved it furthest that way is shown.
    """
    order = sorted(range(len(CATALOGUE)), key=lambda i: CATALOGUE[i].group)
    found = []
    for group, members in groupby(order, key=lambda i: CATALOGUE[i].group):
        chosen = list(members)
        total = float(contributions[chosen].sum())
        if abs(total) < LEAST:
            continue
        shown = max(chosen, key=lambda i: float(contributions[i] * np.sign(total)))
        found.append(Reason(group, CATALOGUE[shown].describe(float(row[shown]), float(usual[shown])), total))
    return tuple(sorted(found, key=lambda reason: -abs(reason.logit)))
