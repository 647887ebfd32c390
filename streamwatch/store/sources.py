"""Each source once, for those who look for one by a part of its name: far fewer rows than what is said of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Select, delete, exists, or_, select, text
from sqlalchemy.dialects import postgresql, sqlite

from streamwatch.store.tables import alerts, copies, sources, transitions, verdicts


def note_sources(connection: Connection, names: Iterable[str]) -> None:
    """Have these among the names, in the transaction that stores something of them."""
    rows = [{"name": name, "folded": name.casefold()} for name in sorted(set(names))]
    if rows:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        connection.execute(dialect.insert(sources).on_conflict_do_nothing(), rows)


def names_with(part: str, others: Sequence[str] = ()) -> Select[Any]:
    """The names that have this in them, upper and lower case alike, and these others."""
    wanted = sources.c.folded.contains(part.casefold(), autoescape=True)
    return select(sources.c.name).where(or_(wanted, sources.c.name.in_(others)) if others else wanted)


def drop_unused(connection: Connection, names: Sequence[str]) -> None:
    """Delete those of these names that nothing is stored of any more."""
    if connection.dialect.name == "postgresql":
        # Waits for those who are about to store something of a name, and lets nobody note one meanwhile.
        connection.execute(text("LOCK TABLE sources IN SHARE ROW EXCLUSIVE MODE"))
    unused = (~exists().where(table.c.source == sources.c.name) for table in (verdicts, alerts, copies, transitions))
    connection.execute(delete(sources).where(sources.c.name.in_(names), *unused))
