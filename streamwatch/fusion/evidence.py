"""The strongest faces of a track, kept while the track goes by, encoded once."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from streamwatch.fusion.policy import Policy
from streamwatch.fusion.regions import measure_coverage
from streamwatch.records import Evidence, FaceScore, ImageArray, Span

JPEG_QUALITY = 92
SETTLE_SLACK = 2.0
"""Seconds beyond the window and gaps within which a later face may still change a span."""


class Candidate:
    """A scored face that may become evidence. `probability` and `pts` order and place it.

    mask_threshold: 0..1, where its mask begins to count as forged.
    """

    def __init__(self, score: FaceScore, order: int, mask_threshold: float) -> None:
        crop = score.crop
        if crop is None:
            raise ValueError("evidence needs a score with its crop")
        self.probability = score.probability
        self.pts = crop.pts
        self.order = order
        self._image = crop.image
        self._mask = None if score.mask is None else mask_to_bytes(score.mask)
        self._mask_threshold = mask_threshold
        self._place = (crop.frame_index, crop.pts, crop.face, crop.wall_time, crop.region)
        self._evidence: Evidence | None = None

    @property
    def strength(self) -> tuple[float, int]:
        """Probability first, then the earlier face, so that a second scan picks the same ones."""
        return (self.probability, -self.order)

    def evidence(self) -> Evidence:
        """Encoded crop and mask; the pixels are let go of at the first call."""
        if self._evidence is None:
            index, pts, face, wall_time, region = self._place
            coverage = None
            if self._mask is not None:
                coverage = measure_coverage(self._mask, self._mask_threshold, face, region)
            self._evidence = Evidence(
                frame_index=index,
                pts=pts,
                box=face.box,
                score=self.probability,
                crop_jpeg=_encode(".jpg", self._image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]),
                mask_png=None if self._mask is None else _encode(".png", self._mask, []),
                wall_time=wall_time,
                region=region,
                coverage=coverage,
                track_id=face.track_id,
            )
            del self._image, self._mask
        return self._evidence


class EvidenceKeeper:
    """Keeps what the evidence of a track and of its spans may need, however long the track is.

    Of the whole track the `policy.evidence` strongest faces; of faces at or above `policy.fake` those that
    are among the strongest of their span, or so recent that a span may still grow around them.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._order = itertools.count()
        self._strongest: list[tuple[tuple[float, int], Candidate]] = []
        self._hot: list[Candidate] = []
        self._room = 32

    def add(self, score: FaceScore) -> None:
        """Consider a face; faces come in order of time."""
        count = self._policy.evidence
        if count == 0:
            return
        rank = (score.probability, -next(self._order))
        strong = len(self._strongest) < count or rank > self._strongest[0][0]
        hot = score.probability >= self._policy.fake
        if not (strong or hot):
            return
        candidate = Candidate(score, -rank[1], self._policy.mask_threshold)
        if strong:
            entry = (candidate.strength, candidate)
            if len(self._strongest) < count:
                heapq.heappush(self._strongest, entry)
            else:
                heapq.heapreplace(self._strongest, entry)
        if hot:
            self._hot.append(candidate)

    @property
    def full(self) -> bool:
        """Whether it is time to call `prune`."""
        return len(self._hot) >= self._room

    def prune(self, parts: Sequence[tuple[float, float]], now: float) -> None:
        """Let go of faces that are not among the strongest of one of the parts of the track (first and last time,
        seconds), given the time of the newest face: parts are the spans so far, and what may yet become one.
        """
        policy = self._policy
        settled = now - (policy.window + policy.merge_gap + policy.min_span + SETTLE_SLACK)
        needed = {id(candidate) for part in parts for candidate in self._best(*part)}
        self._hot = [c for c in self._hot if c.pts >= settled or id(c) in needed]
        for candidate in self._hot:
            if candidate.pts < settled:
                candidate.evidence()
        self._room = 2 * len(self._hot) + 32

    def seal(self) -> None:
        """Encode all that is kept, so that no pixels stay behind."""
        for candidate in (*self._hot, *(entry[1] for entry in self._strongest)):
            candidate.evidence()

    def of_span(self, span: Span) -> tuple[Evidence, ...]:
        """Strongest faces within a span, the strongest first."""
        return tuple(candidate.evidence() for candidate in self._best(span.start, span.end))

    def of_track(self) -> tuple[Evidence, ...]:
        """Strongest faces of the track, the strongest first."""
        return tuple(entry[1].evidence() for entry in sorted(self._strongest, reverse=True))

    def _best(self, start: float, end: float) -> list[Candidate]:
        inside = [c for c in self._hot if start <= c.pts <= end]
        return heapq.nlargest(self._policy.evidence, inside, key=lambda c: c.strength)


def mask_to_bytes(mask: NDArray[Any]) -> ImageArray:
    """A mask in 0..1, or already in 0..255, as uint8."""
    if mask.dtype == np.uint8:
        return mask
    return np.asarray(np.clip(mask * 255.0 + 0.5, 0, 255), dtype=np.uint8)


def _encode(suffix: str, image: ImageArray, options: list[int]) -> bytes:
    done, data = cv2.imencode(suffix, np.ascontiguousarray(image), options)
    if not done:
        raise ValueError(f"OpenCV could not encode a {image.shape} picture as {suffix}")
    return data.tobytes()
