"""The event that sinks receive of an alert, as a JSON object."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from streamwatch.fusion.regions import describe
from streamwatch.records import Alert


def alert_fields(alert: Alert) -> dict[str, Any]:
    """An alert without its source and evidence."""
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
        "started_at": instant(alert.started_at),
        "ended_at": instant(alert.ended_at),
        "revision": alert.revision,
    }


def alert_event(alert: Alert) -> dict[str, Any]:
    """The event of one revision of an alert: its phase, the alert with its source, and its evidence without pixels.

    A receiver that keeps the highest revision of each id drops what it receives twice.
    """
    return {
        "event": f"alert.{alert.phase}",
        "source": alert.source,
        "alert": alert_fields(alert),
        "evidence": [
            {
                "frame": item.frame_index,
                "pts": item.pts,
                "wall_time": instant(item.wall_time),
                "track": alert.track_id if item.track_id is None else item.track_id,
                "box": item.box,
                "score": item.score,
                "covered": None if item.coverage is None else describe(item.coverage),
            }
            for item in alert.evidence
        ],
    }


def instant(value: datetime | None) -> str | None:
    """ISO 8601, None where there is none."""
    return None if value is None else value.isoformat()
