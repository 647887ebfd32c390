"""Results as JSON objects: the lines of `results.jsonl`, of `--json` and of exports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamwatch.records import FrameCounts, Span, TrackVerdict, VideoVerdict
from streamwatch.sources.states import Transition
from streamwatch.store.events import alert_fields, instant

if TYPE_CHECKING:
    from streamwatch.store.history import StreamChange, StreamStatus
    from streamwatch.store.loading import AlertRow
    from streamwatch.store.reviews import Review


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
        "started_at": instant(verdict.started_at),
        "frames": _frames(verdict.frames),
        "tracks": [_track(track) for track in verdict.tracks],
        "alerts": [alert_fields(alert) for alert in verdict.alerts],
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
    """One change of state of a stream, as `watch --json` gives it."""
    return {
        "at": instant(transition.at),
        "source": transition.source,
        "previous": transition.previous.value,
        "state": transition.state.value,
        "cause": None if transition.cause is None else transition.cause.value,
        "message": transition.message,
        "retry_in": transition.retry_in,
    }


def change_line(row: StreamChange) -> dict[str, Any]:
    """As `transition_line`, with the retries that failed for the same cause."""
    return {**transition_line(row.change), "retries": row.retries, "last_at": instant(row.last_at)}


def stream_line(stream: StreamStatus) -> dict[str, Any]:
    """The state of one stream, as `streams list --json` gives it."""
    verdict = None if stream.verdict is None else stream.verdict.verdict
    change = transition_line(stream.change)
    return {
        "source": change.pop("source"),
        "watched": stream.watched,
        "heard_at": instant(stream.heard_at),
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
        "started_at": instant(alert.started_at),
        "ended_at": instant(alert.ended_at),
        "stored_at": instant(alert.stored_at),
        "revision": alert.revision,
        "state": alert.state.value,
        "review_label": None if alert.review_label is None else alert.review_label.value,
        "review_comment": alert.review_comment,
        "reviewed_at": instant(alert.reviewed_at),
        "reviewed_by": alert.reviewed_by,
    }


def review_line(review: Review) -> dict[str, Any]:
    """One review of an alert, as `alerts show --json` gives it."""
    return {
        "at": instant(review.at),
        "by": review.by,
        "state": review.state.value,
        "label": None if review.label is None else review.label.value,
        "comment": review.comment,
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
