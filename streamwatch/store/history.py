"""What happened to streams: one row for every change of state."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, RowMapping, Select, insert, select

from streamwatch.sources.states import Cause, StreamState, Transition
from streamwatch.store.filters import Filters
from streamwatch.store.rows import clean_text
from streamwatch.store.tables import transitions


def save_transition(connection: Connection, run_id: int, transition: Transition) -> None:
    """Store a change of state; doing it again changes nothing."""
    key = {
        "run_id": run_id,
        "source": clean_text(transition.source),
        "at": transition.at,
        "state": transition.state.value,
    }
    known = select(transitions.c.id).where(*(transitions.c[name] == value for name, value in key.items()))
    if connection.execute(known).first() is None:
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
        query = query.where(transitions.c.source.icontains(filters.source, autoescape=True))
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
