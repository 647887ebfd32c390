"""Deliveries of alerts to sinks: written together with the alert, pending until the sink has accepted them.

Every revision of an alert is a row per sink, which leaves the database only with its alert. A sink receives the
revisions of an alert in their order, each at least once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Select, exists, insert, select, update

from streamwatch.config import SinkSettings
from streamwatch.records import Alert
from streamwatch.store.database import reading, retried, transaction
from streamwatch.store.events import alert_event
from streamwatch.store.rows import clean_text
from streamwatch.store.tables import deliveries


@dataclass(frozen=True, slots=True)
class Delivery:
    """A revision of an alert on its way to a sink. payload: a JSON document. failure: of the last attempt."""

    id: int
    sink: str
    alert_id: str
    revision: int
    payload: str
    created_at: datetime
    attempts: int
    failure: str | None
    delivered_at: datetime | None


def enqueue(connection: Connection, sinks: Sequence[SinkSettings], alert: Alert, revision: int, now: datetime) -> None:
    """Queue the alert for every sink that wants its kind; in the transaction that stores the alert."""
    wanted = [sink for sink in sinks if sink.wants(alert.kind)]
    if wanted:
        event = {"at": now.isoformat(), **alert_event(replace(alert, revision=revision))}
        row = {
            "alert_id": alert.id,
            "revision": revision,
            "payload": json.dumps(event),
            "created_at": now,
            "due_at": now,
            "attempts": 0,
        }
        connection.execute(insert(deliveries), [{**row, "sink": sink.name} for sink in wanted])


class Deliveries:
    """The queue in a store. clock: gives the aware "now"."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock

    def due(self, sink: str, limit: int = 50) -> list[Delivery]:
        """The oldest that are due for a sink: none whose alert has an earlier revision that is still pending."""
        earlier = deliveries.alias()
        before = exists().where(
            earlier.c.sink == deliveries.c.sink,
            earlier.c.alert_id == deliveries.c.alert_id,
            earlier.c.delivered_at.is_(None),
            earlier.c.revision < deliveries.c.revision,
        )
        query = (
            select(deliveries)
            .where(
                deliveries.c.sink == sink,
                deliveries.c.delivered_at.is_(None),
                deliveries.c.due_at <= self._clock(),
                ~before,
            )
            .order_by(deliveries.c.id)
            .limit(limit)
        )
        return self._select(query)

    def of_alert(self, alert_id: str) -> list[Delivery]:
        """Those of an alert, in order of their revisions."""
        query = select(deliveries).where(deliveries.c.alert_id == alert_id)
        return self._select(query.order_by(deliveries.c.revision, deliveries.c.sink))

    def delivered(self, delivery: Delivery) -> None:
        """The sink has accepted it."""
        self._update(delivery, delivered_at=self._clock(), failure=None)

    def failed(self, delivery: Delivery, failure: str, due_at: datetime) -> None:
        """The sink has not accepted it; it is retried at `due_at`."""
        self._update(delivery, failure=clean_text(failure), due_at=due_at)

    def _select(self, query: Select[Any]) -> list[Delivery]:
        with reading(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
        return [Delivery(**{name: row[name] for name in Delivery.__slots__}) for row in rows]

    @retried
    def _update(self, delivery: Delivery, **values: object) -> None:
        with transaction(self._engine) as connection:
            connection.execute(
                update(deliveries).where(deliveries.c.id == delivery.id), {"attempts": delivery.attempts + 1, **values}
            )
