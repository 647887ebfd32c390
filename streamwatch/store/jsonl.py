"""Results as JSON objects: the lines of `results.jsonl`, of `--json` and of exports."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from streamwatch.fusion.regions import describe
from streamwatch.records import Alert, FrameCounts, Span, TrackVerdict, VideoVerdict
from streamwatch.sources.states import Transition

if TYPE_CHECKING:
    from streamwatch.store.history import StreamStatus
    from streamwatch.store.loading import AlertRow


def verdict_line(verdict: VideoVerdict) -> dict[str, Any]:
    """One line of `results.jsonl`. Times are media seconds; instants are ISO 8601 in UTC."""
    failure = verdict.failure
    return {
        "source": verdict.source,
        "sha256": verdict.sha256,
        "label": verdict.label.value,
        "score": verdict.score,
        "reason": verdict.reason,
        "duration": verdict.duration,
        "started_at": _instant(verdict.started_at),
        "frames": _frames(verdict.frames),
        "tracks": [_track(track) for track in verdict.tracks],
        "alerts": [_alert(alert) for alert in verdict.alerts],
        "model": {"name": verdict.model.name, "sha256": verdict.model.sha256},
        "config_sha256": verdict.config_sha256,
        "policy": verdict.policy,
        "error": None if failure is None else {"kind": failure.kind, "message": failure.message},
    }


def _frames(frames: FrameCounts) -> dict[str, Any]:
    return {
        "decoded": frames.decoded,
        "sampled": frames.sampled,
        "analysed": frames.analysed,
        "dropped": frames.dropped,
        "dropped_by": {reason.value: count for reason, count in frames.dropped_by.items()},
        "corrupt": frames.corrupt,
    }


def transition_line(transition: Transition) -> dict[str, Any]:
    """One change of state of a stream, as `streams history --json` gives it."""
    return {
        "at": _instant(transition.at),
        "source": transition.source,
        "previous": transition.previous.value,
        "state": transition.state.value,
        "cause": None if transition.cause is None else transition.cause.value,
        "message": transition.message,
        "retry_in": transition.retry_in,
    }


def stream_line(stream: StreamStatus) -> dict[str, Any]:
    """How one stream stands, as `streams list --json` gives it."""
    verdict = None if stream.verdict is None else stream.verdict.verdict
    change = transition_line(stream.change)
    return {
        "source": change.pop("source"),
        "watched": stream.watched,
        "heard_at": _instant(stream.heard_at),
        "state": change["state"],
        "cause": change["cause"],
        "since": change["at"],
        "message": change["message"],
        "failures_last_hour": stream.failures,
        "fps_decoded": None if stream.fps is None else stream.fps[0],
        "fps_analysed": None if stream.fps is None else stream.fps[1],
        "lag": stream.lag,
        "label": None if verdict is None else verdict.label.value,
        "score": None if verdict is None else verdict.score,
        "reason": None if verdict is None else verdict.reason,
        "frames": None if verdict is None else _frames(verdict.frames),
    }


def alert_line(alert: AlertRow) -> dict[str, Any]:
    """One alert with its source and its review, as `alerts list --json` and `alerts export` give it."""
    return {
        "id": alert.id,
        "verdict_id": alert.verdict_id,
        "source": alert.source,
        "kind": alert.kind.value,
        "reason": alert.reason,
        "track": alert.track_id,
        "label": alert.label.value,
        "start": alert.start,
        "end": alert.end,
        "peak": alert.peak,
        "mean": alert.mean,
        "faces": alert.faces,
        "started_at": _instant(alert.started_at),
        "ended_at": _instant(alert.ended_at),
        "stored_at": _instant(alert.stored_at),
        "revision": alert.revision,
        "state": alert.state.value,
        "review_label": None if alert.review_label is None else alert.review_label.value,
        "review_comment": alert.review_comment,
        "reviewed_at": _instant(alert.reviewed_at),
    }


def _track(track: TrackVerdict) -> dict[str, Any]:
    return {
        "id": track.track_id,
        "start": track.start,
        "end": track.end,
        "faces": track.faces,
        "label": track.label.value,
        "score": track.score,
        "reason": track.reason,
        "spans": [_span(span) for span in track.spans],
    }


def _span(span: Span) -> dict[str, float]:
    return {"start": span.start, "end": span.end, "peak": span.peak, "mean": span.mean}


def _alert(alert: Alert) -> dict[str, Any]:
    return {
        "id": alert.id,
        "kind": alert.kind.value,
        "reason": alert.reason,
        "track": alert.track_id,
        "label": alert.label.value,
        "start": alert.start,
        "end": alert.end,
        "peak": alert.peak,
        "mean": alert.mean,
        "faces": alert.faces,
        "started_at": _instant(alert.started_at),
        "ended_at": _instant(alert.ended_at),
        "revision": alert.revision,
    }


def alert_event(alert: Alert) -> dict[str, Any]:
    """What is told of an alert as it goes on: its phase, the alert with its source, and its evidence without pixels.

    A receiver that keeps the highest revision of each id drops what it hears twice.
    """
    return {
        "event": f"alert.{alert.phase}",
        "source": alert.source,
        "alert": _alert(alert),
        "evidence": [
            {
                "frame": item.frame_index,
                "pts": item.pts,
                "wall_time": _instant(item.wall_time),
                "track": alert.track_id if item.track_id is None else item.track_id,
                "box": item.box,
                "score": item.score,
                "covered": None if item.coverage is None else describe(item.coverage),
            }
            for item in alert.evidence
        ],
    }


def _instant(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()
