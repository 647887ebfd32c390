"""The strongest faces of a track, kept while the track goes by, encoded once."""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from streamwatch.fusion.policy import Policy
from streamwatch.fusion.regions import measure_coverage
from streamwatch.records import Evidence, FaceScore, ImageArray, Span

JPEG_QUALITY = 92
SETTLE_SLACK = 2.0
"""Seconds beyond the window and gaps within which a later face may still change a span."""

MOST_NEW = 32
"""Forged faces of a track that wait, with their pixels, for a look at which of them are needed; an eighth of those that
are kept, where that is more.
"""


class Candidate(Protocol):
    """A scored face that may become evidence."""

    @property
    def probability(self) -> float:
        """Score, 0..1."""

    @property
    def pts(self) -> float:
        """Media time, seconds."""

    def evidence(self) -> Evidence:
        """Encoded crop and mask; pixels are released at the first call."""


class ScoredCandidate:
    """One with its pixels. mask_threshold: 0..1, where its mask begins to count as forged."""

    def __init__(self, score: FaceScore, mask_threshold: float) -> None:
        crop = score.crop
        if crop is None:
            raise ValueError("evidence needs a score with its crop")
        self.probability = score.probability
        self.pts = crop.pts
        self._score: FaceScore | None = score
        self._mask_threshold = mask_threshold
        self._evidence: Evidence | None = None

    def evidence(self) -> Evidence:
        """Encoded crop and mask; the pixels are released at the first call."""
        if self._evidence is None:
            assert self._score is not None
            assert self._score.crop is not None
            crop, coverage = self._score.crop, None
            mask = self._score.mask
            if mask is not None:
                coverage = measure_coverage(mask, self._mask_threshold, crop.face, crop.region)
            self._evidence = Evidence(
                frame_index=crop.frame_index,
                pts=crop.pts,
                box=crop.face.box,
                score=self.probability,
                crop_jpeg=_encode(".jpg", crop.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]),
                mask_png=None if mask is None else _encode(".png", mask, []),
                wall_time=crop.wall_time,
                region=crop.region,
                coverage=coverage,
                track_id=crop.face.track_id,
            )
            self._score = None
        return self._evidence


@dataclass(frozen=True, slots=True)
class EncodedCandidate:
    """One that was encoded elsewhere."""

    picture: Evidence

    @property
    def probability(self) -> float:
        """Score, 0..1."""
        return self.picture.score

    @property
    def pts(self) -> float:
        """Media time, seconds."""
        return self.picture.pts

    def evidence(self) -> Evidence:
        """As it is."""
        return self.picture


class _Kept(NamedTuple):
    """Strongest first where the largest comes first: of equal ones the earlier face, so that a second scan picks the
    same ones.
    """

    probability: float
    earliness: int
    candidate: Candidate


class EvidenceKeeper:
    """Keeps what the evidence of a track and of its spans may need, however long the track is.

    Of the whole track the `policy.evidence` strongest faces; of faces at or above `policy.fake` those that
    are among the strongest of their span, or so recent that a span may still grow around them.

    open_until: seconds; earlier faces may belong to a span that began before the first face, and are all kept.
    """

    def __init__(self, policy: Policy, open_until: float = float("-inf")) -> None:
        self._policy = policy
        self._open_until = open_until
        self._order = itertools.count()
        self._strongest: list[_Kept] = []
        self._hot: list[_Kept] = []
        self._room = MOST_NEW

    def add(self, candidate: Candidate) -> None:
        """Consider a face; faces come in order of time."""
        count = self._policy.evidence
        if count == 0:
            return
        kept = _Kept(candidate.probability, -next(self._order), candidate)
        if len(self._strongest) < count:
            heapq.heappush(self._strongest, kept)
        elif kept > self._strongest[0]:
            heapq.heapreplace(self._strongest, kept)
        if candidate.probability >= self._policy.fake:
            self._hot.append(kept)

    @property
    def full(self) -> bool:
        """Whether it is time to call `prune`."""
        return len(self._hot) >= self._room

    def prune(self, parts: Sequence[tuple[float, float]], now: float) -> None:
        """Drop faces that are not among the strongest of one of the parts of the track (first and last time,
        seconds), given the time of the newest face: parts are the spans so far, and what may yet become one.
        """
        policy = self._policy
        settled = now - settling(policy)
        needed = {kept.earliness for part in parts for kept in self._best(*part)}
        self._hot = [
            kept
            for kept in self._hot
            if kept.candidate.pts >= settled or kept.candidate.pts < self._open_until or kept.earliness in needed
        ]
        for kept in self._hot:
            if kept.candidate.pts < settled:
                kept.candidate.evidence()
        self._room = len(self._hot) + max(MOST_NEW, len(self._hot) // 8)

    def seal(self) -> None:
        """Encode all that is kept, so that no pixels stay behind."""
        for kept in (*self._hot, *self._strongest):
            kept.candidate.evidence()

    def of_span(self, span: Span) -> tuple[Evidence, ...]:
        """Strongest faces within a span, the strongest first."""
        return tuple(kept.candidate.evidence() for kept in self._best(span.start, span.end))

    def of_track(self) -> tuple[Evidence, ...]:
        """Strongest faces of the track, the strongest first."""
        return tuple(kept.candidate.evidence() for kept in sorted(self._strongest, reverse=True))

    def all(self) -> tuple[Evidence, ...]:
        """All that is kept, in order of time."""
        kept = {each.earliness: each.candidate for each in (*self._hot, *self._strongest)}
        return tuple(kept[earliness].evidence() for earliness in sorted(kept, reverse=True))

    def _best(self, start: float, end: float) -> list[_Kept]:
        first = bisect_left(self._hot, start, key=_time)
        last = bisect_right(self._hot, end, key=_time)
        return heapq.nlargest(self._policy.evidence, self._hot[first:last])


def _time(kept: _Kept) -> float:
    return kept.candidate.pts


def settling(policy: Policy) -> float:
    """Seconds after a face within which later ones may still change the span that it is in."""
    return policy.window + policy.merge_gap + policy.min_span + SETTLE_SLACK


def _encode(suffix: str, image: ImageArray, options: list[int]) -> bytes:
    done, data = cv2.imencode(suffix, np.ascontiguousarray(image), options)
    if not done:
        raise ValueError(f"OpenCV could not encode a {image.shape} picture as {suffix}")
    return data.tobytes()
