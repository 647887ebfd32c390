"""Which run works on which content at the moment, so that scans that share a store share the work.

A run renews its leases while it works, and a verdict ends that of its content in the transaction that stores it. Those
of a run that died run out.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Engine, delete, insert, select, update

from streamwatch.records import Label, ResultKey
from streamwatch.store.database import lock, retried, transaction
from streamwatch.store.tables import leases, verdicts

LEASE = 15.0
"""Seconds for which a run has a content to itself; it renews that several times as often."""


class Leases:
    """The leases of a store. clock: gives the aware "now", which is the same on all machines but for a few seconds."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock

    @retried
    def take(self, run_id: int, key: ResultKey) -> bool:
        """Have a content for this run; False where another one has it, or there is a result by now."""
        now = self._clock()
        values = key._asdict()
        done = select(verdicts.c.id).where(
            *(verdicts.c[name] == value for name, value in values.items()), verdicts.c.label != Label.ERROR.value
        )
        with transaction(self._engine) as connection:
            lock(connection, f"lease {key}")
            if connection.execute(done).first() is not None:
                return False
            mine = [leases.c[name] == value for name, value in values.items()]
            held = connection.execute(select(leases.c.run_id, leases.c.until).where(*mine)).first()
            if held is not None and held.run_id != run_id and held.until > now:
                return False
            connection.execute(delete(leases).where(*mine))
            connection.execute(insert(leases), {**values, "run_id": run_id, "until": self._until(now)})
        return True

    @retried
    def renew(self, run_id: int) -> None:
        """Have all that a run holds for longer."""
        with transaction(self._engine) as connection:
            connection.execute(update(leases).where(leases.c.run_id == run_id), {"until": self._until(self._clock())})

    @retried
    def give_back(self, run_id: int) -> None:
        """End all leases of a run."""
        with transaction(self._engine) as connection:
            connection.execute(delete(leases).where(leases.c.run_id == run_id))

    def _until(self, now: datetime) -> datetime:
        return now + timedelta(seconds=LEASE)
