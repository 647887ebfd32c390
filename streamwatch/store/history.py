"""The history of streams, a row for every change of state, and their current state."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, func, insert, select

from streamwatch.sources.states import DOWN, Cause, StreamState, Transition
from streamwatch.store.filters import Filters
from streamwatch.store.loading import VerdictRow, load_verdicts
from streamwatch.store.rows import clean_text
from streamwatch.store.sources import names_with, note_sources
from streamwatch.store.states import RunStatus
from streamwatch.store.tables import runs, transitions, verdicts

MISSED = 3
"""Verdicts that a run may be late with before nobody is taken to watch its streams any more."""


@dataclass(frozen=True, slots=True, eq=False)
class StreamStatus:
    """The state of a stream.

    change: its last change of state. watched: whether the run that reported it still sends heartbeats; where it does
    not, nothing is known of the stream after `heard_at`, its last one. failures: within the last hour. verdict: the
    run's on it, None before the first one.
    """

    change: Transition
    watched: bool
    heard_at: datetime | None
    failures: int
    verdict: VerdictRow | None

    @property
    def fps(self) -> tuple[float, float] | None:
        """Frames per second that were decoded and analysed, over the run so far; None before the first verdict."""
        verdict = None if self.verdict is None else self.verdict.verdict
        if verdict is None or not verdict.duration:
            return None
        return verdict.frames.decoded / verdict.duration, verdict.frames.analysed / verdict.duration

    @property
    def lag(self) -> float | None:
        """Seconds from the capture of the newest frame that was analysed to the storing of the verdict on it."""
        if self.verdict is None or self.verdict.verdict.started_at is None or self.verdict.verdict.duration is None:
            return None
        newest = self.verdict.verdict.started_at + timedelta(seconds=self.verdict.verdict.duration)
        return max(0.0, (self.verdict.stored_at - newest).total_seconds())


def save_transition(connection: Connection, run_id: int, transition: Transition) -> None:
    """Store a change of state; doing it again changes nothing."""
    key: dict[str, Any] = {
        "run_id": run_id,
        "source": clean_text(transition.source),
        "at": transition.at,
        "state": transition.state.value,
    }
    known = select(transitions.c.id).where(*(transitions.c[name] == value for name, value in key.items()))
    if connection.execute(known).first() is None:
        note_sources(connection, [key["source"]])
        values = {
            "previous": transition.previous.value,
            "cause": None if transition.cause is None else transition.cause.value,
            "message": clean_text(transition.message),
            "retry_in": transition.retry_in,
        }
        connection.execute(insert(transitions), {**key, **values})


def select_transitions(filters: Filters) -> Select[Any]:
    """Those that a filter's source, times and limit let through, newest first."""
    query = select(transitions)
    if filters.source is not None:
        query = query.where(transitions.c.source.in_(names_with(filters.source)))
    if filters.since is not None:
        query = query.where(transitions.c.at >= filters.since)
    if filters.until is not None:
        query = query.where(transitions.c.at < filters.until)
    return query.order_by(transitions.c.at.desc(), transitions.c.id.desc()).limit(filters.limit)


def to_transition(row: RowMapping) -> Transition:
    """A row of `transitions`."""
    return Transition(
        row["at"],
        row["source"],
        StreamState(row["previous"]),
        StreamState(row["state"]),
        None if row["cause"] is None else Cause(row["cause"]),
        row["message"],
        row["retry_in"],
    )


def load_streams(connection: Connection, now: datetime) -> list[StreamStatus]:
    """The state of every stream at the instant `now`, in order of their names."""
    newest = func.row_number().over(
        partition_by=transitions.c.source, order_by=(transitions.c.at.desc(), transitions.c.id.desc())
    )
    ranked = select(transitions.c.id, newest.label("place")).subquery()
    query = (
        select(transitions, runs.c.status, runs.c.heard_at, runs.c.settings)
        .join(ranked, (ranked.c.id == transitions.c.id) & (ranked.c.place == 1))
        .join(runs, runs.c.id == transitions.c.run_id)
        .order_by(transitions.c.source)
    )
    lately = (
        select(transitions.c.source, func.count())
        .where(transitions.c.state.in_([state.value for state in DOWN]), transitions.c.at >= now - timedelta(hours=1))
        .group_by(transitions.c.source)
    )
    failures = {row[0]: int(row[1]) for row in connection.execute(lately)}
    rows = connection.execute(query).mappings().all()
    found = _verdicts(connection, rows)
    return [
        StreamStatus(
            change=to_transition(row),
            watched=is_watched(row, now),
            heard_at=row["heard_at"],
            failures=failures.get(row["source"], 0),
            verdict=found.get((row["run_id"], row["source"])),
        )
        for row in rows
    ]


def is_watched(row: RowMapping, now: datetime) -> bool:
    """Whether a run is still active, by its status, settings and last heartbeat."""
    if row["status"] != RunStatus.RUNNING.value or row["heard_at"] is None:
        return False
    every: float = json.loads(row["settings"]).get("live", {}).get("verdict_every", 5.0)
    return bool(now - row["heard_at"] <= timedelta(seconds=MISSED * max(every, 5.0)))


def _verdicts(connection: Connection, rows: Sequence[RowMapping]) -> dict[tuple[int, str], VerdictRow]:
    """What their runs said of these streams, by run and source."""
    query = select(verdicts).where(
        func.coalesce(verdicts.c.sha256, "") == "",  # the bare column has planners go through all streams there were
        verdicts.c.run_id.in_({row["run_id"] for row in rows}),
        verdicts.c.source.in_([row["source"] for row in rows]),
    )
    loaded = load_verdicts(connection, connection.execute(query).mappings().all(), complete=False)
    return {(row.run_id, row.verdict.source): row for row in loaded}
