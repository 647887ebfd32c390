"""The history of streams, a row for every change of state, and their current state."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, func, insert, select, update

from streamwatch.sources.states import DOWN, Cause, StreamState, Transition
from streamwatch.store.filters import Filters
from streamwatch.store.loading import VerdictRow, load_verdicts
from streamwatch.store.rows import clean_text
from streamwatch.store.sources import names_with, note_sources
from streamwatch.store.states import RunStatus
from streamwatch.store.tables import runs, scores, transitions, verdicts

_LAST_AT = func.coalesce(transitions.c.last_at, transitions.c.at)

MISSED = 3
"""Verdicts that a run may be late with before nobody is taken to watch its streams any more."""


@dataclass(frozen=True, slots=True)
class StreamChange:
    """A change of state, with what repeated it: the retries of a stream that failed again for the same cause.

    last_at: when the last of them failed; None where there was none.
    """

    change: Transition
    retries: int = 0
    last_at: datetime | None = None


@dataclass(frozen=True, slots=True, eq=False)
class StreamStatus:
    """The state of a stream.

    change: its last change of state. watched: whether the run that reported it still sends heartbeats; where it does
    not, nothing is known of the stream after `heard_at`, its last one. failures: within the last hour. verdict: the
    run's on it, None before the first one. captured_at: when the newest frame that it rests on was captured, None where
    that is not known.
    """

    change: Transition
    watched: bool
    heard_at: datetime | None
    failures: int
    verdict: VerdictRow | None
    captured_at: datetime | None = None

    @property
    def fps(self) -> tuple[float, float] | None:
        """Frames per second that were decoded and analysed, over the run so far; None before the first verdict."""
        verdict = None if self.verdict is None else self.verdict.verdict
        if verdict is None or not verdict.duration:
            return None
        return verdict.frames.decoded / verdict.duration, verdict.frames.analysed / verdict.duration

    @property
    def lag(self) -> float | None:
        """Seconds from the capture of the newest frame that was analysed to the storing of the verdict on it; None
        where they are not known, as of a stream whose own time runs ahead of the clock.
        """
        if self.verdict is None or self.captured_at is None:
            return None
        seconds = (self.verdict.stored_at - self.captured_at).total_seconds()
        return seconds if seconds > 0 else None


def save_transition(connection: Connection, run_id: int, transition: Transition) -> None:
    """Store a change of state; doing it again changes nothing.

    A stream that is down is retried again and again: one row says since when and for which cause, and counts.
    """
    key: dict[str, Any] = {
        "run_id": run_id,
        "source": clean_text(transition.source),
        "at": transition.at,
        "state": transition.state.value,
    }
    known = select(transitions.c.id).where(*(transitions.c[name] == value for name, value in key.items()))
    if connection.execute(known).first() is None and not _continues(connection, key, transition):
        note_sources(connection, [key["source"]])
        values = {
            "previous": transition.previous.value,
            "cause": None if transition.cause is None else transition.cause.value,
            "message": clean_text(transition.message),
            "retry_in": transition.retry_in,
        }
        connection.execute(insert(transitions), {**key, **values})


def _continues(connection: Connection, key: dict[str, Any], new: Transition) -> bool:
    """Whether a change belongs to an outage that has a row, which then counts it."""
    newest = (
        select(transitions)
        .where(transitions.c.run_id == key["run_id"], transitions.c.source == key["source"])
        .order_by(transitions.c.at.desc(), transitions.c.id.desc())
        .limit(1)
    )
    row = connection.execute(newest).mappings().first()
    if row is None or StreamState(row["state"]) not in DOWN:
        return False
    if new.state is StreamState.CONNECTING:
        return True
    cause = None if new.cause is None else new.cause.value
    if new.previous is not StreamState.CONNECTING or (row["state"], row["cause"]) != (new.state.value, cause):
        return False
    if new.at > (row["last_at"] or row["at"]):
        values = {"last_at": new.at, "message": clean_text(new.message), "retry_in": new.retry_in}
        counted = {**values, "retries": row["retries"] + 1}
        connection.execute(update(transitions).where(transitions.c.id == row["id"]), counted)
    return True


def select_transitions(filters: Filters) -> Select[Any]:
    """Those that a filter's source, times and limit let through, newest first."""
    query = select(transitions)
    if filters.source is not None:
        query = query.where(transitions.c.source.in_(names_with(filters.source, filters.named)))
    if filters.since is not None:
        query = query.where(filters.since <= _LAST_AT)
    if filters.until is not None:
        query = query.where(transitions.c.at < filters.until)
    return query.order_by(transitions.c.at.desc(), transitions.c.id.desc()).limit(filters.limit)


def to_change(row: RowMapping) -> StreamChange:
    """A row of `transitions`."""
    return StreamChange(_to_transition(row), row["retries"], row["last_at"])


def _to_transition(row: RowMapping) -> Transition:
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
    rows = connection.execute(query).mappings().all()
    failures = _failures(connection, now - timedelta(hours=1))
    found = _verdicts(connection, rows)
    captured = {key: _captured_at(connection, row) for key, row in found.items()}
    return [
        StreamStatus(
            change=_to_transition(row),
            watched=is_watched(row, now),
            heard_at=row["heard_at"],
            failures=failures[row["source"]],
            verdict=found.get((row["run_id"], row["source"])),
            captured_at=captured.get((row["run_id"], row["source"])),
        )
        for row in rows
    ]


def _failures(connection: Connection, since: datetime) -> Counter[str]:
    """How often each stream has failed since then; the retries of one outage count as evenly spread over it."""
    down = select(transitions).where(transitions.c.state.in_([state.value for state in DOWN]), since <= _LAST_AT)
    found: Counter[str] = Counter()
    for row in connection.execute(down).mappings():
        if row["at"] >= since:
            found[row["source"]] += 1 + row["retries"]
        else:
            share = (row["last_at"] - since) / (row["last_at"] - row["at"])
            found[row["source"]] += max(1, round(row["retries"] * share))
    return found


def _captured_at(connection: Connection, row: VerdictRow) -> datetime | None:
    """When the newest analysed frame was captured: by the newest face of the newest track, which has an instant and a
    media time; where there was none yet, by the beginning of the stream.
    """
    verdict = row.verdict
    if verdict.duration is None:
        return None
    track = select(func.max(scores.c.track_id)).where(scores.c.verdict_id == row.id).scalar_subquery()
    newest = (
        select(scores.c.wall_time, scores.c.pts)
        .where(scores.c.verdict_id == row.id, scores.c.track_id == track)
        .order_by(scores.c.frame_index.desc())
        .limit(1)
    )
    face = connection.execute(newest).first()
    if face is not None and face.wall_time is not None:
        instant: datetime = face.wall_time
        return instant + timedelta(seconds=verdict.duration - face.pts)
    return None if verdict.started_at is None else verdict.started_at + timedelta(seconds=verdict.duration)


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
