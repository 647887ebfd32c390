"""Paths that share their content with the one that a verdict names: each can be looked for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from streamwatch.records import ResultKey
from streamwatch.store.rows import Values
from streamwatch.store.sources import note_sources
from streamwatch.store.tables import copies, items, jobs, verdicts


def named_source(connection: Connection, verdict: Values) -> str | None:
    """The path that the stored verdict on the same content names; None where there is none, and for a stream."""
    if verdict["sha256"] is None:
        return None
    key = (verdicts.c[name] == verdict[name] for name in ResultKey._fields)
    return connection.execute(select(verdicts.c.source).where(*key)).scalar()


def note_copies(connection: Connection, verdict_id: int, sources: Iterable[str | None]) -> None:
    """Have those of these paths that the verdict does not name among its copies; doing it again changes nothing."""
    named = connection.execute(select(verdicts.c.source).where(verdicts.c.id == verdict_id)).scalar()
    _insert(connection, [(verdict_id, source) for source in sources if source is not None and source != named])


def note_copies_of_job(connection: Connection, job_id: int, numbers: Sequence[int]) -> None:
    """Have the paths of these inputs of a job found by the verdicts on their contents."""
    query = (
        select(verdicts.c.id, items.c.source)
        .select_from(items)
        .join(jobs, jobs.c.id == items.c.job_id)
        .join(
            verdicts,
            (verdicts.c.sha256 == items.c.sha256)
            & (verdicts.c.model_sha256 == jobs.c.model_sha256)
            & (verdicts.c.config_sha256 == jobs.c.config_sha256),
        )
        .where(items.c.job_id == job_id, items.c.number.in_(numbers), items.c.source != verdicts.c.source)
    )
    _insert(connection, [(row[0], row[1]) for row in connection.execute(query)])


def load_copies(connection: Connection, ids: Sequence[int]) -> dict[int, list[str]]:
    """The other paths of verdicts, in order of their names."""
    found: dict[int, list[str]] = defaultdict(list)
    query = select(copies).where(copies.c.verdict_id.in_(ids)).order_by(copies.c.verdict_id, copies.c.source)
    for verdict_id, source in connection.execute(query):
        found[verdict_id].append(source)
    return found


def _insert(connection: Connection, pairs: Sequence[tuple[int, str]]) -> None:
    if pairs:
        note_sources(connection, [source for _, source in pairs])
        rows = [{"verdict_id": verdict_id, "source": source} for verdict_id, source in pairs]
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        connection.execute(dialect.insert(copies).on_conflict_do_nothing(), rows)
