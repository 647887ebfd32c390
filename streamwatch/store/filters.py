"""What a listing may be narrowed to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, exists, select

from streamwatch.records import AlertKind, Label
from streamwatch.store.states import ReviewState
from streamwatch.store.tables import alerts, verdicts


@dataclass(frozen=True)
class Filters:
    """Conditions that all must hold; None means any.

    source: part of the path or URL, upper and lower case alike.
    since, until: aware datetimes; `since` ≤ instant < `until`. The instant is the start of the alert or of
    the source's capture, or for files the time of storing.
    min_score: least peak of an alert, least score of a verdict.
    state, kind: of the alert; for verdicts, of at least one of their alerts.
    limit: the newest so many.

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

    def __post_init__(self) -> None:
        for name in ("since", "until"):
            value: datetime | None = getattr(self, name)
            if value is not None and value.utcoffset() is None:
                raise ValueError(f"{name} needs a time zone: {value.isoformat()}")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit must be at least 1, not {self.limit}")


def select_verdicts(filters: Filters) -> Select[Any]:
    """Ids of the verdicts that a filter lets through, newest first."""
    query = select(verdicts.c.id).where(*_common(filters, verdicts, verdicts.c.score))
    of_alerts = _of_alerts(filters)
    if of_alerts:
        query = query.where(exists().where(alerts.c.verdict_id == verdicts.c.id, *of_alerts))
    return query.order_by(verdicts.c.occurred_at.desc(), verdicts.c.id.desc()).limit(filters.limit)


def select_alerts(filters: Filters) -> Select[Any]:
    """The alerts that a filter lets through, newest first; those of one instant in order of media time."""
    query = select(alerts).where(*_common(filters, alerts, alerts.c.peak), *_of_alerts(filters))
    return query.order_by(alerts.c.occurred_at.desc(), alerts.c.start_pts, alerts.c.id).limit(filters.limit)


def _of_alerts(filters: Filters) -> list[ColumnElement[bool]]:
    given = {"state": filters.state, "kind": filters.kind}
    return [alerts.c[name] == value.value for name, value in given.items() if value is not None]


def _common(filters: Filters, table: Table, score: ColumnElement[float]) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if filters.source is not None:
        conditions.append(table.c.source.icontains(filters.source, autoescape=True))
    if filters.label is not None:
        conditions.append(table.c.label == filters.label.value)
    if filters.since is not None:
        conditions.append(table.c.occurred_at >= filters.since)
    if filters.until is not None:
        conditions.append(table.c.occurred_at < filters.until)
    if filters.min_score is not None:
        conditions.append(score >= filters.min_score)
    return conditions
