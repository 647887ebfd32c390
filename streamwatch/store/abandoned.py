"""Alerts that were left open by a run that died: nobody is there to end them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select, update

from streamwatch.config import SinkSettings
from streamwatch.store.deliveries import enqueue
from streamwatch.store.history import is_watched
from streamwatch.store.rows import to_alert
from streamwatch.store.tables import alerts, runs, verdicts

ENDED = "the watch that reported it ended"


def end_abandoned(connection: Connection, now: datetime, sinks: Sequence[SinkSettings]) -> int:
    """End the open alerts of live sources whose run is dead, with their newest evidence; how many."""
    query = (
        select(alerts, runs.c.status, runs.c.heard_at, runs.c.settings)
        .join(verdicts, verdicts.c.id == alerts.c.verdict_id)
        .join(runs, runs.c.id == verdicts.c.run_id)
        .where(alerts.c.end_pts.is_(None), func.coalesce(verdicts.c.sha256, "") == "")
    )
    left = [row for row in connection.execute(query).mappings().all() if not is_watched(row, now)]
    for row in left:
        end = row["start_pts"] if row["seen_pts"] is None else row["seen_pts"]
        began = row["started_at"]
        values = {
            "end_pts": end,
            "ended_at": None if began is None else began + timedelta(seconds=end - row["start_pts"]),
            "reason": f"{row['reason']}; {ENDED}" if row["reason"] else ENDED,
            "revision": row["revision"] + 1,
            "digest": "",
        }
        connection.execute(update(alerts).where(alerts.c.id == row["id"]), values)
        ended = connection.execute(select(alerts).where(alerts.c.id == row["id"])).mappings().one()
        enqueue(connection, sinks, to_alert(ended, ()), ended["revision"], now)
    return len(left)
