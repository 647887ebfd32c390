"""All faces of a source: the video verdict and its alerts."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from streamwatch.errors import StreamwatchError
from streamwatch.fusion.evidence import Candidate
from streamwatch.fusion.policy import Policy
from streamwatch.fusion.track import TrackFusion
from streamwatch.fusion.unseen import Unseen, qualify
from streamwatch.records import (
    Alert,
    Evidence,
    FaceScore,
    Failure,
    FrameCounts,
    FrameRecord,
    Label,
    ModelRef,
    Span,
    TrackVerdict,
    VideoVerdict,
)

IDLE = 10.0
"""Seconds of media time after which a track that got no face drops its pixels. It may still get faces."""

ALERTS = uuid.UUID("6f2f3c0e-5b0f-5d2a-9b53-6f1c5c9a7d11")
"""Name space of alert ids."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a verdict is about, and what made it.

    `started_at`: UTC start of capture of a live source, None for files. `scan`: tells scans of a source apart whose
    content is not known; empty for a content.
    """

    source: str
    sha256: str | None
    model: ModelRef
    config_sha256: str
    policy: str
    started_at: datetime | None = None
    scan: str = ""

    def alert_id(self, track_id: int, start: float) -> str:
        """The same for the same content, model, configuration, track and start: a second scan makes no second
        alert.

        A live source is identified by its name and the instant at which its capture began, a URL of unknown content by
        its name and its scan.
        """
        began = self.started_at.isoformat() if self.started_at else self.scan
        content = self.sha256 or f"{self.source} {began}"
        parts = (content, self.model.sha256, self.config_sha256, str(track_id), f"{start:.3f}")
        return str(uuid.uuid5(ALERTS, "|".join(parts)))


class SourceFusion:
    """Gathers the scores of all tracks of a source.

    horizon: seconds; None (files): everything counts. Else (live): labels and scores rest on the newest
    `horizon` seconds, and what is older is dropped once a verdict has carried it. open_until: see `EvidenceKeeper`.
    """

    def __init__(self, policy: Policy, horizon: float | None = None, *, open_until: float = float("-inf")) -> None:
        self.policy = policy
        self.horizon = horizon
        self._open_until = open_until
        self._tracks: dict[int, TrackFusion] = {}
        self._awake: set[int] = set()

    def add(self, score: FaceScore) -> None:
        """Take in a scored face; its crop's face must have a track id."""
        if score.crop is None or score.crop.face.track_id is None:
            raise ValueError("fusion needs scores with their crops and track ids")
        self._track(score.crop.face.track_id, score.crop.pts).add(score)

    def add_record(self, record: FrameRecord, weight: float, candidate: Candidate | None) -> None:
        """As `add`; see `TrackFusion.add_record`."""
        self._track(record.track_id, record.pts).add_record(record, weight, candidate)

    def pictures(self) -> list[Evidence]:
        """Every face that the evidence of these tracks, or of longer ones that they are parts of, may need."""
        return [picture for track in self._tracks.values() for picture in track.pictures()]

    def _track(self, track_id: int, now: float) -> TrackFusion:
        track = self._tracks.get(track_id)
        if track is None:
            track = self._tracks[track_id] = TrackFusion(track_id, self.policy, self._open_until)
            self._rest(now)
        self._awake.add(track_id)
        return track

    def verdict(
        self,
        subject: Subject,
        frames: FrameCounts,
        duration: float | None,
        now: float | None = None,
        alerts: Sequence[Alert] | None = None,
        unseen: Sequence[Unseen] = (),
    ) -> VideoVerdict:
        """The verdict on the faces so far.

        duration: media seconds, None if unknown. now: newest media time, for sources with a horizon. alerts: those of a
        live source (see `SourceAlerts`); None: every forged span is one. unseen: what the verdict does not rest on.
        """
        since = float("-inf") if self.horizon is None or now is None else now - self.horizon
        tracks: list[TrackVerdict] = []
        of_spans: list[Alert] = []
        records: list[FrameRecord] = []
        for fusion in self._tracks.values():
            track = fusion.verdict(since)
            tracks.append(track)
            if alerts is None:
                of_spans.extend(self._alert(subject, fusion, track, span) for span in track.spans)
            records.extend(fusion.records)
        label, score, reason = judge([track for track in tracks if track.end >= since], self.policy)
        label, reason = qualify(label, reason, unseen, self.policy.unseen_share)
        self._forget(since)
        return VideoVerdict(
            source=subject.source,
            sha256=subject.sha256,
            label=label,
            score=score,
            duration=duration,
            frames=frames,
            tracks=tuple(tracks),
            alerts=tuple(of_spans if alerts is None else alerts),
            model=subject.model,
            config_sha256=subject.config_sha256,
            policy=subject.policy,
            reason="; ".join(filter(None, (reason, *sorted(frames.remarks)))),
            scores=tuple(sorted(records, key=lambda record: (record.pts, record.track_id))),
            started_at=subject.started_at,
        )

    def _alert(self, subject: Subject, fusion: TrackFusion, track: TrackVerdict, span: Span) -> Alert:
        began = subject.started_at
        return Alert(
            id=subject.alert_id(track.track_id, span.start),
            source=subject.source,
            track_id=track.track_id,
            start=span.start,
            end=span.end,
            peak=span.peak,
            mean=span.mean,
            label=Label.FAKE,
            evidence=fusion.evidence(span),
            started_at=None if began is None else began + timedelta(seconds=span.start),
            ended_at=None if began is None else began + timedelta(seconds=span.end),
        )

    def _rest(self, now: float) -> None:
        for track_id in [i for i in self._awake if self._tracks[i].last < now - IDLE]:
            self._tracks[track_id].seal()
            self._awake.discard(track_id)

    def _forget(self, since: float) -> None:
        for track_id, track in list(self._tracks.items()):
            if track.last < since:
                del self._tracks[track_id]
                self._awake.discard(track_id)
            else:
                track.forget(since)


def judge(tracks: Sequence[TrackVerdict], policy: Policy) -> tuple[Label, float | None, str]:
    """Label, score and reason of a source from those of its tracks.

    One fake track makes the source fake. Else a track whose score lies between the thresholds makes it
    inconclusive;
    else one real track makes it real: tracks with too few usable faces decide nothing beside those that have
    enough, and only where there are no others they leave the source inconclusive. The score is the highest
    among the tracks that decide. No track at all is `no_face`.
    """
    if not tracks:
        return Label.NO_FACE, None, "no face was found"
    sufficient = [track for track in tracks if track.faces >= policy.min_faces]
    for label in (Label.FAKE, Label.INCONCLUSIVE, Label.REAL):
        deciding = [track for track in sufficient if track.label is label]
        if deciding:
            strongest = max(deciding, key=_strength)
            return label, strongest.score, strongest.reason
    strongest = max(tracks, key=_strength)
    return Label.INCONCLUSIVE, strongest.score, strongest.reason


def _strength(track: TrackVerdict) -> float:
    return -1.0 if track.score is None else track.score


def error_verdict(
    subject: Subject,
    error: StreamwatchError,
    frames: FrameCounts | None = None,
    duration: float | None = None,
    alerts: Sequence[Alert] = (),
) -> VideoVerdict:
    """The verdict `error`: no score, and the failure's kind and message."""
    return VideoVerdict(
        source=subject.source,
        sha256=subject.sha256,
        label=Label.ERROR,
        score=None,
        duration=duration,
        frames=frames or FrameCounts(),
        tracks=(),
        alerts=tuple(alerts),
        model=subject.model,
        config_sha256=subject.config_sha256,
        policy=subject.policy,
        failure=Failure(type(error).__name__, str(error)),
        started_at=subject.started_at,
    )
