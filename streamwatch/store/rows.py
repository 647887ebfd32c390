"""Between records and table rows: plain dictionaries that the tables take, and back."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping

from streamwatch.records import (
    Alert,
    AlertKind,
    Box,
    DropReason,
    Evidence,
    FaceQuality,
    Failure,
    FrameCounts,
    FrameRecord,
    Label,
    MaskCoverage,
    ModelRef,
    Span,
    TrackVerdict,
    VideoVerdict,
)
from streamwatch.sources import redact
from streamwatch.store.tables import COVERAGE

Values = dict[str, Any]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")


def clean_text(text: str) -> str:
    """Text that both databases take: credentials in URLs masked, NUL and undecodable bytes escaped."""
    masked = _URL.sub(lambda match: redact(match.group()), text) if "://" in text else text
    return masked.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def clean_json(document: str) -> str:
    """A JSON document with the credentials in its strings masked."""

    def cleaned(value: Any) -> Any:
        if isinstance(value, str):
            return clean_text(redact(value) if "://" in value else value)
        if isinstance(value, list):
            return [cleaned(item) for item in value]
        if isinstance(value, dict):
            return {key: cleaned(item) for key, item in value.items()}
        return value

    return json.dumps(cleaned(json.loads(document)))


@dataclass(frozen=True)
class VerdictRows:
    """A verdict as rows of each table, without the keys that the database gives."""

    verdict: Values
    tracks: list[Values]
    spans: list[Values]
    scores: list[Values]
    alerts: list[Values]
    evidence: list[Values]
    records: Mapping[str, Alert]
    """The records of the alerts, by their ids."""

    @classmethod
    def of(cls, verdict: VideoVerdict) -> VerdictRows:
        # A face that proves an alert is stored there once, and not again for its track.
        evidence = {
            (_track(item, alert), item.frame_index): _evidence_values(item, _track(item, alert), alert.id)
            for alert in verdict.alerts
            for item in alert.evidence
        }
        for track in verdict.tracks:
            for item in track.evidence:
                key = (track.track_id, item.frame_index)
                evidence.setdefault(key, _evidence_values(item, track.track_id, None))
        rows = cls(
            verdict=_verdict_values(verdict),
            tracks=[_track_values(track) for track in verdict.tracks],
            spans=[
                _span_values(span, track.track_id, position)
                for track in verdict.tracks
                for position, span in enumerate(track.spans)
            ],
            scores=[_score_values(score) for score in verdict.scores],
            alerts=[_alert_values(alert) for alert in verdict.alerts],
            evidence=list(evidence.values()),
            records={alert.id: alert for alert in verdict.alerts},
        )
        for alert in rows.alerts:
            proofs = [item for item in rows.evidence if item["alert_id"] == alert["id"]]
            alert["digest"] = _digest(_without(alert, "revision"), proofs)
        rows.verdict["digest"] = _digest(
            _without(rows.verdict, "started_at"),
            rows.tracks,
            rows.spans,
            rows.scores,
            [alert["digest"] for alert in rows.alerts],
            rows.evidence,
        )
        return rows


def to_verdict(
    row: RowMapping,
    tracks: Iterable[TrackVerdict],
    alerts: Iterable[Alert],
    scores: Iterable[FrameRecord] = (),
) -> VideoVerdict:
    failure = None
    if row["failure_kind"] is not None:
        failure = Failure(row["failure_kind"], row["failure_message"])
    return VideoVerdict(
        source=row["source"],
        sha256=row["sha256"],
        label=Label(row["label"]),
        score=row["score"],
        duration=row["duration"],
        frames=FrameCounts(**{name: row[name] for name in _COUNTS}, dropped_by=_drops(row["dropped_by"])),
        tracks=tuple(tracks),
        alerts=tuple(alerts),
        model=ModelRef(row["model_name"], row["model_sha256"]),
        config_sha256=row["config_sha256"],
        policy=row["policy"],
        failure=failure,
        reason=row["reason"],
        scores=tuple(scores),
        started_at=row["started_at"],
    )


def to_track(row: RowMapping, spans: Iterable[Span], evidence: Iterable[Evidence]) -> TrackVerdict:
    return TrackVerdict(
        track_id=row["track_id"],
        start=row["start_pts"],
        end=row["end_pts"],
        label=Label(row["label"]),
        score=row["score"],
        faces=row["faces"],
        spans=tuple(spans),
        evidence=tuple(evidence),
        reason=row["reason"],
    )


def to_span(row: RowMapping) -> Span:
    return Span(row["start_pts"], row["end_pts"], row["peak"], row["mean"])


def to_alert(row: RowMapping, evidence: Iterable[Evidence]) -> Alert:
    return Alert(
        id=row["id"],
        source=row["source"],
        track_id=row["track_id"],
        start=row["start_pts"],
        end=row["end_pts"],
        peak=row["peak"],
        mean=row["mean"],
        label=Label(row["label"]),
        revision=row["revision"],
        evidence=tuple(evidence),
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        kind=AlertKind(row["kind"]),
        reason=row["reason"],
        faces=row["faces"],
        seen=row["seen_pts"],
    )


def to_evidence(row: RowMapping) -> Evidence:
    region = None
    if row["region_x0"] is not None:
        region = (row["region_x0"], row["region_y0"], row["region_x1"], row["region_y1"])
    return Evidence(
        frame_index=row["frame_index"],
        pts=row["pts"],
        box=(row["x0"], row["y0"], row["x1"], row["y1"]),
        score=row["score"],
        crop_jpeg=row["crop_jpeg"],
        mask_png=row["mask_png"],
        wall_time=row["wall_time"],
        region=region,
        coverage=None if row["mask_face"] is None else MaskCoverage(*(row[f"mask_{name}"] for name in COVERAGE)),
        track_id=row["track_id"],
    )


def to_score(row: RowMapping) -> FrameRecord:
    return FrameRecord(
        track_id=row["track_id"],
        frame_index=row["frame_index"],
        pts=row["pts"],
        box=(row["x0"], row["y0"], row["x1"], row["y1"]),
        confidence=row["confidence"],
        logit=row["logit"],
        probability=row["probability"],
        quality=FaceQuality(row["short_side"], row["sharpness"], row["pose"], row["upscaling"]),
        wall_time=row["wall_time"],
    )


_COUNTS = ("decoded", "sampled", "analysed", "dropped", "corrupt")


def _drops(document: str) -> dict[DropReason, int]:
    return {DropReason(reason): count for reason, count in json.loads(document).items()}


def _verdict_values(verdict: VideoVerdict) -> Values:
    return {
        "source": clean_text(verdict.source),
        "sha256": verdict.sha256,
        "model_name": clean_text(verdict.model.name),
        "model_sha256": verdict.model.sha256,
        "config_sha256": verdict.config_sha256,
        "policy": clean_text(verdict.policy),
        "label": verdict.label.value,
        "score": _number(verdict.score),
        "reason": clean_text(verdict.reason),
        "failure_kind": None if verdict.failure is None else verdict.failure.kind,
        "failure_message": None if verdict.failure is None else clean_text(verdict.failure.message),
        "duration": _number(verdict.duration),
        "started_at": verdict.started_at,
        **{name: int(getattr(verdict.frames, name)) for name in _COUNTS},
        "dropped_by": json.dumps({reason.value: int(n) for reason, n in sorted(verdict.frames.dropped_by.items())}),
    }


def _track_values(track: TrackVerdict) -> Values:
    return {
        "track_id": int(track.track_id),
        "start_pts": float(track.start),
        "end_pts": float(track.end),
        "label": track.label.value,
        "score": _number(track.score),
        "faces": int(track.faces),
        "reason": clean_text(track.reason),
    }


def _span_values(span: Span, track_id: int, position: int) -> Values:
    return {
        "track_id": int(track_id),
        "position": position,
        "start_pts": float(span.start),
        "end_pts": float(span.end),
        "peak": float(span.peak),
        "mean": float(span.mean),
    }


def _alert_values(alert: Alert) -> Values:
    return {
        "id": alert.id,
        "source": clean_text(alert.source),
        "track_id": None if alert.track_id is None else int(alert.track_id),
        "start_pts": float(alert.start),
        "end_pts": _number(alert.end),
        "started_at": alert.started_at,
        "ended_at": alert.ended_at,
        "peak": _number(alert.peak),
        "mean": _number(alert.mean),
        "label": alert.label.value,
        "revision": int(alert.revision),
        "kind": alert.kind.value,
        "reason": clean_text(alert.reason),
        "faces": alert.faces,
        "seen_pts": _number(alert.seen),
    }


def _track(item: Evidence, alert: Alert) -> int:
    track_id = alert.track_id if item.track_id is None else item.track_id
    if track_id is None:
        raise ValueError(f"alert {alert.id} has a face that belongs to no track")
    return track_id


def _evidence_values(item: Evidence, track_id: int, alert_id: str | None) -> Values:
    region = item.region if item.region is not None else (None, None, None, None)
    return {
        "track_id": int(track_id),
        "frame_index": int(item.frame_index),
        "alert_id": alert_id,
        "pts": float(item.pts),
        "wall_time": item.wall_time,
        **_box_values(item.box),
        **{f"region_{name}": _number(side) for name, side in zip(_BOX, region, strict=True)},
        "score": float(item.score),
        "crop_jpeg": item.crop_jpeg,
        "mask_png": item.mask_png,
        **{
            f"mask_{name}": None if item.coverage is None else _number(getattr(item.coverage, name))
            for name in COVERAGE
        },
    }


def _score_values(score: FrameRecord) -> Values:
    return {
        "track_id": int(score.track_id),
        "frame_index": int(score.frame_index),
        "pts": float(score.pts),
        "wall_time": score.wall_time,
        **_box_values(score.box),
        "confidence": float(score.confidence),
        "logit": float(score.logit),
        "probability": float(score.probability),
        "short_side": float(score.quality.short_side),
        "sharpness": float(score.quality.sharpness),
        "pose": float(score.quality.pose),
        "upscaling": float(score.quality.upscaling),
    }


_BOX = ("x0", "y0", "x1", "y1")


def _box_values(box: Box) -> dict[str, float]:
    return {name: float(side) for name, side in zip(_BOX, box, strict=True)}


def _number(value: float | None) -> float | None:
    # float() also turns numpy's scalars, which SQLite would store as bytes, into Python's
    return None if value is None else float(value)


def _without(values: Mapping[str, Any], *names: str) -> Values:
    return {name: value for name, value in values.items() if name not in names}


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=_plain).encode()).hexdigest()


def _plain(value: Any) -> str:
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} cannot be stored")
