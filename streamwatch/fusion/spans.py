"""Where in time a track looked forged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamwatch.fusion.policy import Policy
from streamwatch.records import Span, sigmoid

Array = NDArray[np.float64]


LOGIT_BOUND = 9.0
"""Calibrated logits are held within ± this (p = 0.00012 … 0.99988): no single face outvotes a long track."""

_TINY = 1e-6
"""Seconds that lengths and gaps may differ by from their limits: differences of times are rounded."""


def to_logit(probability: Array | float) -> Array:
    """Calibrated logit log(p ÷ (1 − p)), held within ±`LOGIT_BOUND`."""
    p = np.asarray(probability, dtype=np.float64)
    edge = sigmoid(-LOGIT_BOUND)
    p = np.clip(p, edge, 1.0 - edge)
    return np.asarray(np.log(p) - np.log1p(-p))


def mean_score(logits: Array, weights: Array) -> float:
    """Probability at the weighted mean of calibrated logits. The weights must not all be 0."""
    return sigmoid(float(np.average(logits, weights=weights)))


def smooth(times: Array, logits: Array, weights: Array, window: float) -> Array:
    """Weighted mean of the logits within ± window/2 of each time. `times` ascend; every weight is above 0."""
    first = np.searchsorted(times, times - window / 2, side="left")
    last = np.searchsorted(times, times + window / 2, side="right")
    mass = np.concatenate(([0.0], np.cumsum(weights)))
    moment = np.concatenate(([0.0], np.cumsum(weights * logits)))
    return np.asarray((moment[last] - moment[first]) / (mass[last] - mass[first]))


def sampling_interval(times: Array) -> float:
    """Median distance of neighbouring faces, seconds; 0 for fewer than two."""
    return float(np.median(np.diff(times))) if len(times) > 1 else 0.0


def find_spans(times: Array, logits: Array, weights: Array, policy: Policy) -> tuple[Span, ...]:
    """Stretches of a track that look forged, in order of time.

    times: seconds, ascending. logits: calibrated. weights: those of `face_weight`; faces without weight are
    left out. The rule:

    1. smooth the logits over `policy.window`; a stretch is a run of faces whose smoothed score is ≥
       `policy.fake`;
    2. its ends move in or out to where the faces themselves cross `policy.fake`, so that smoothing neither
       widens nor narrows it;
    3. stretches that lie closer than `policy.merge_gap` become one, where the mean of the whole stays ≥
       `policy.fake`;
    4. what is shorter than `policy.min_span` or has fewer than `policy.min_faces` faces does not hold and is
       left out.

    A span reaches from its first face to its last: what was seen, not what lies between samples. Where
    lengths and gaps are compared, each face stands for one sampling interval. Peak and mean are
    probabilities; the mean is that of the weighted logits.
    """
    usable = weights > 0
    times, logits, weights = times[usable], logits[usable], weights[usable]
    if len(times) < policy.min_faces:
        return ()
    threshold = float(to_logit(policy.fake))
    interval = sampling_interval(times)

    def holds_together(first: int, last: int) -> bool:
        part = slice(first, last + 1)
        return float(np.average(logits[part], weights=weights[part])) >= threshold

    merged: list[tuple[int, int]] = []
    for first, last in _stretches(times, logits, weights, policy):
        near = merged and times[first] - times[merged[-1][1]] - interval <= policy.merge_gap + _TINY
        if near and holds_together(merged[-1][0], last):
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))

    spans = []
    for first, last in merged:
        part = slice(first, last + 1)
        too_short = times[last] - times[first] + interval < policy.min_span - _TINY
        if too_short or last - first + 1 < policy.min_faces or not holds_together(first, last):
            continue
        spans.append(
            Span(
                start=float(times[first]),
                end=float(times[last]),
                peak=sigmoid(float(logits[part].max())),
                mean=mean_score(logits[part], weights[part]),
            )
        )
    return tuple(spans)


def open_stretches(times: Array, logits: Array, weights: Array, policy: Policy) -> list[tuple[float, float]]:
    """First and last time of the newest stretches that lie within `policy.merge_gap` of one another.

    Only these may still be merged into a span, or come apart again, as further faces follow. Arguments as of
    `find_spans`.
    """
    usable = weights > 0
    times, logits, weights = times[usable], logits[usable], weights[usable]
    interval = sampling_interval(times)
    newest: list[tuple[float, float]] = []
    for first, last in _stretches(times, logits, weights, policy):
        if newest and times[first] - newest[-1][1] - interval > policy.merge_gap + _TINY:
            newest = []
        newest.append((float(times[first]), float(times[last])))
    return newest


def _stretches(times: Array, logits: Array, weights: Array, policy: Policy) -> list[tuple[int, int]]:
    """First and last index of each stretch before any are merged: steps 1 and 2 of `find_spans`."""
    threshold = float(to_logit(policy.fake))
    hot_runs = np.array(_runs(logits >= threshold)).reshape(-1, 2)
    found = []
    for first, last in _runs(smooth(times, logits, weights, policy.window) >= threshold):
        own = hot_runs[np.searchsorted(hot_runs[:, 1], first) : np.searchsorted(hot_runs[:, 0], last, side="right")]
        if len(own):
            found.append((int(own[0, 0]), int(own[-1, 1])))
    return found


def _runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last index of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], mask.astype(np.int8), [0]))))
    return [(int(first), int(last) - 1) for first, last in zip(edges[::2], edges[1::2], strict=True)]
