"""One face over time: from scored crops to a track verdict."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import deque
from dataclasses import replace

import numpy as np

from streamwatch.fusion.evidence import Candidate, EvidenceKeeper, ScoredCandidate
from streamwatch.fusion.policy import Policy
from streamwatch.fusion.quality import face_weight
from streamwatch.fusion.spans import Array, find_spans, mean_score, open_stretches, to_logit
from streamwatch.records import (
    Evidence,
    FaceQuality,
    FaceScore,
    FrameRecord,
    Label,
    Span,
    TrackVerdict,
    sigmoid,
)


class TrackFusion:
    """Gathers the scores of one track; `verdict()` may be asked for at any time.

    The rule `mean_logit`: the score of a track is the probability at the mean of its calibrated logits,
    weighted by `face_weight`; or that of its strongest span where it is higher, because a face that is forged
    for some seconds is forged, however long it is genuine before and after. The label is

    - inconclusive with fewer than `policy.min_faces` usable faces,
    - fake at a score ≥ `policy.fake`, which a span that holds always reaches (see `find_spans`),
    - real at a score ≤ `policy.real`,
    - inconclusive in between.

    A track that is fake as a whole but in no shorter stretch is one span over all the faces that were judged, so that
    every fake track says when.

    open_until: see `EvidenceKeeper`.
    """

    def __init__(self, track_id: int, policy: Policy, open_until: float = float("-inf")) -> None:
        self.track_id = track_id
        self.policy = policy
        self.records: deque[FrameRecord] = deque()
        self._start: float | None = None
        self._times = array("d")
        self._logits = array("d")
        self._weights = array("d")
        self._keeper = EvidenceKeeper(policy, open_until)

    @property
    def last(self) -> float:
        """Media time of the newest face, seconds."""
        return self._times[-1]

    def add(self, score: FaceScore) -> None:
        """Add the next face of the track. Faces come in order of media time, each with its crop."""
        record = replace(frame_record(score), track_id=self.track_id)
        assert score.crop is not None
        weight = face_weight(score.crop.face, self.policy.limits)
        self.add_record(record, weight, ScoredCandidate(score, self.policy.mask_threshold))

    def add_record(self, record: FrameRecord, weight: float, candidate: Candidate | None) -> None:
        """As `add`. weight: see `face_weight`. candidate: the face as evidence; None where it will never be."""
        if self._start is None:
            self._start = record.pts
        self._times.append(record.pts)
        self._logits.append(float(to_logit(record.probability)))
        self._weights.append(weight)
        self.records.append(record)
        if weight > 0 and candidate is not None:
            self._keeper.add(candidate)
            if self._keeper.full:
                self._prune()

    def pictures(self) -> tuple[Evidence, ...]:
        """Every face that the evidence of this track, or of a longer one that it is a part of, may need."""
        self._prune()
        return self._keeper.all()

    def _prune(self) -> None:
        columns = self._columns()
        spans = [(span.start, span.end) for span in find_spans(*columns, self.policy)]
        self._keeper.prune([*spans, *open_stretches(*columns, self.policy)], self.last)

    def seal(self) -> None:
        """Encode the evidence kept so far: for tracks that have ended, so that they hold no pixels."""
        self._keeper.seal()

    def forget(self, before: float) -> None:
        """Drop faces earlier than `before` (seconds): no later verdict will use them."""
        while self.records and self.records[0].pts < before:
            self.records.popleft()
        gone = bisect_left(self._times, before)
        for column in (self._times, self._logits, self._weights):
            del column[:gone]

    def verdict(self, since: float = -np.inf) -> TrackVerdict:
        """The verdict on the faces so far. At least one face must have been added.

        since: media time (seconds); the label and the score rest on what is not older, spans on all that was not
        forgotten.
        """
        times, logits, weights = self._columns()
        spans = find_spans(times, logits, weights, self.policy)
        used = (weights > 0) & (times >= since)
        faces = int(used.sum())
        mean = mean_score(logits[used], weights[used]) if faces else None
        recent = [span for span in spans if span.end >= since]
        label, score, reason = self._judge(mean, faces, recent)
        if label is Label.FAKE and not recent:
            spans += (_whole(times[used], logits[used], weights[used]),)
        return TrackVerdict(
            track_id=self.track_id,
            start=float(times[0]) if self._start is None else self._start,
            end=float(times[-1]),
            label=label,
            score=score,
            faces=faces,
            spans=spans,
            evidence=self._keeper.of_track(),
            reason=reason,
        )

    def evidence(self, span: Span) -> tuple[Evidence, ...]:
        """Strongest faces within a span of this track, the strongest first; those of the track if it has
        none.
        """
        return self._keeper.of_span(span) or self._keeper.of_track()

    def _judge(self, mean: float | None, faces: int, spans: list[Span]) -> tuple[Label, float | None, str]:
        policy = self.policy
        if mean is None:
            side = policy.limits.min_face_side
            return Label.INCONCLUSIVE, None, f"every face is smaller than {side:g} px, too blurred or turned away"
        score = max([mean, *(span.mean for span in spans)])
        if faces < policy.min_faces:
            return Label.INCONCLUSIVE, score, f"usable faces: {faces}, needed: {policy.min_faces}"
        if score >= policy.fake:
            return Label.FAKE, score, "forged span" if mean < policy.fake else "forged as a whole"
        if score <= policy.real:
            return Label.REAL, score, ""
        return Label.INCONCLUSIVE, score, f"score between {policy.real:.2f} and {policy.fake:.2f}"

    def _columns(self) -> tuple[Array, Array, Array]:
        """Times, logits, weights. Copies: a view would forbid the arrays to grow."""
        return np.array(self._times), np.array(self._logits), np.array(self._weights)


def _whole(times: Array, logits: Array, weights: Array) -> Span:
    return Span(
        start=float(times[0]),
        end=float(times[-1]),
        peak=sigmoid(float(logits.max())),
        mean=mean_score(logits, weights),
    )


def frame_record(score: FaceScore) -> FrameRecord:
    """What is stored of a scored face, which has its crop and its track id."""
    crop = score.crop
    if crop is None:
        raise ValueError("fusion needs scores with their crops")
    face = crop.face
    return FrameRecord(
        track_id=face.track_id or 0,
        frame_index=crop.frame_index,
        pts=crop.pts,
        box=face.box,
        confidence=face.confidence,
        logit=score.logit,
        probability=score.probability,
        quality=face.quality or FaceQuality(face.short_side, 0.0, 0.0, 1.0),
        wall_time=crop.wall_time,
    )
