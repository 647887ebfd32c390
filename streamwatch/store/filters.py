"""What a listing may be narrowed to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, exists, false, or_, select

from streamwatch.errors import StoreError
from streamwatch.records import AlertKind, Label
from streamwatch.store.cursors import Cursor
from streamwatch.store.sources import names_with
from streamwatch.store.states import ReviewState
from streamwatch.store.tables import alerts, copies, verdicts

FEW = 100
"""So many sources are looked for by their names."""

NEAR = 5_000
"""Verdicts among which a page of those with certain alerts is looked for first."""

_ALL = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Sources:
    """What has a certain text in its name: sources, and verdicts some of whose copies have; None: no copy."""

    names: list[str] | Select[Any]
    copied: list[int] | Select[Any] | None


@dataclass(frozen=True)
class Filters:
    """Conditions that all must hold; None means any.

    source: part of the path or URL, upper and lower case alike, of a source or of a copy of the same content.
    since, until: aware datetimes; `since` ≤ instant < `until`. The instant is the start of the alert or of
    the source's capture, or for files the time of storing.
    min_score: least peak of an alert, least score of a verdict.
    state, kind: of the alert; for verdicts, of at least one of their alerts.
    limit: at most so many, the newest.
    named: sources that `source` means besides, such as streams that are called so.
    after: only what comes after this place in the listing.

    Raises ValueError for naive datetimes and for a limit below 1.
    """

    source: str | None = None
    label: Label | None = None
    since: datetime | None = None
    until: datetime | None = None
    min_score: float | None = None
    state: ReviewState | None = None
    limit: int | None = None
    kind: AlertKind | None = None
    after: Cursor | None = None
    named: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("since", "until"):
            value: datetime | None = getattr(self, name)
            if value is not None and value.utcoffset() is None:
                raise ValueError(f"{name} needs a time zone: {value.isoformat()}")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit must be at least 1, not {self.limit}")


def select_verdicts(filters: Filters, sources: Sources | None = None, among: int | None = None) -> Select[Any]:
    """Ids of the verdicts that a filter lets through, newest first. sources: see `sources_of`.

    among: where state or kind of alerts are asked for, look at the newest so many alone that the rest lets through.
    """
    conditions = _common(filters, verdicts, verdicts.c.score)
    if filters.after is not None:
        at, key = filters.after.at, filters.after.id
        if not key.isdecimal():
            raise StoreError(f"{filters.after} is a cursor of a listing of alerts", "give one of verdicts")
        earlier = or_(verdicts.c.occurred_at < at, verdicts.c.id < int(key))
        conditions += [verdicts.c.occurred_at <= at, earlier]
    named = _of_sources(verdicts.c.source, verdicts.c.id, sources)
    order = (verdicts.c.occurred_at.desc(), verdicts.c.id.desc())
    query = select(verdicts.c.id).where(*conditions).order_by(*order)
    of_alerts = _of_alerts(filters)
    if not of_alerts:
        return query.where(*named).limit(filters.limit)
    if among is None:
        # Found once, and not again for each verdict: the limit keeps planners from turning it round.
        with_alerts = select(alerts.c.verdict_id).where(*of_alerts).limit(_ALL)
        return query.where(verdicts.c.id.in_(with_alerts), *named).limit(filters.limit)
    newest = query.where(*named).add_columns(verdicts.c.occurred_at).limit(among).subquery()
    # Not the bare columns: the index to use is that of verdict_id.
    bare = [alerts.c[name] + "" == value for name, value in _wanted_alerts(filters).items()]
    return (
        select(newest.c.id)
        .where(exists().where(alerts.c.verdict_id == newest.c.id, *bare))
        .order_by(newest.c.occurred_at.desc(), newest.c.id.desc())
        .limit(filters.limit)
    )


def select_alerts(filters: Filters, sources: Sources | None = None) -> Select[Any]:
    """Ids of the alerts that a filter lets through, newest first; those of one instant in order of media time.

    sources: see `sources_of`.
    """
    conditions = [*_common(filters, alerts, alerts.c.peak), *_of_alerts(filters)]
    if filters.after is not None:
        at, start, alert_id = filters.after.at, filters.after.start, filters.after.id
        later = or_(
            alerts.c.occurred_at < at,
            alerts.c.start_pts > start,
            and_(alerts.c.start_pts == start, alerts.c.id > alert_id),
        )
        conditions += [alerts.c.occurred_at <= at, later]
    query = select(alerts.c.id).where(*conditions, *_of_sources(alerts.c.source, alerts.c.verdict_id, sources))
    return query.order_by(alerts.c.occurred_at.desc(), alerts.c.start_pts, alerts.c.id).limit(filters.limit)


def sources_of(connection: Connection, filters: Filters) -> Sources | None:
    """How the sources that a filter names are looked for: a few by their names, in an index; so many that they will be
    met soon, along the way. None where it names none.
    """
    if filters.source is None:
        return None
    wanted = names_with(filters.source, filters.named)
    few = list(connection.execute(wanted.limit(FEW + 1)).scalars())
    copied = select(copies.c.verdict_id).where(copies.c.source.in_(wanted if len(few) > FEW else few))
    if len(few) > FEW:
        return Sources(wanted, copied if connection.execute(copied.limit(1)).first() else None)
    return Sources(few, list(connection.execute(copied).scalars()) if few else None)


def verdict_ids(connection: Connection, filters: Filters) -> Sequence[int]:
    """Ids of the verdicts that a filter lets through, newest first."""
    sources = sources_of(connection, filters)
    if filters.limit is not None and _of_alerts(filters):
        near = connection.execute(select_verdicts(filters, sources, NEAR)).scalars().all()
        if len(near) == filters.limit:
            return near
    return connection.execute(select_verdicts(filters, sources)).scalars().all()


def _wanted_alerts(filters: Filters) -> dict[str, str]:
    given = {"state": filters.state, "kind": filters.kind}
    return {name: value.value for name, value in given.items() if value is not None}


def _of_alerts(filters: Filters) -> list[ColumnElement[bool]]:
    return [alerts.c[name] == value for name, value in _wanted_alerts(filters).items()]


def _common(filters: Filters, table: Table, score: ColumnElement[float]) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if filters.label is not None:
        conditions.append(table.c.label == filters.label.value)
    if filters.since is not None:
        conditions.append(table.c.occurred_at >= filters.since)
    if filters.until is not None:
        conditions.append(table.c.occurred_at < filters.until)
    if filters.min_score is not None:
        conditions.append(score >= filters.min_score)
    return conditions


def _of_sources(
    source: ColumnElement[str], verdict_id: ColumnElement[int], sources: Sources | None
) -> list[ColumnElement[bool]]:
    """To be the last condition, which is evaluated last: comparing texts takes longest."""
    if sources is None:
        return []
    if isinstance(sources.names, Select):
        # Not the bare column: no planner may look for these one by one.
        named: ColumnElement[bool] = (source + "").in_(sources.names)
    else:
        named = source.in_(sources.names) if sources.names else false()
    if not isinstance(sources.copied, Select) and not sources.copied:
        return [named]
    return [or_(named, verdict_id.in_(sources.copied))]
