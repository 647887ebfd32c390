"""Writing one verdict so that doing it again changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection, RowMapping, Table, bindparam, delete, func, insert, select, update

from streamwatch.config import SinkSettings
from streamwatch.errors import StoreError
from streamwatch.records import Label, ResultKey
from streamwatch.store.bulk import insert_rows
from streamwatch.store.database import lock
from streamwatch.store.deliveries import enqueue
from streamwatch.store.rows import Values, VerdictRows
from streamwatch.store.segments import drop_segments
from streamwatch.store.sources import note_sources
from streamwatch.store.states import ReviewState
from streamwatch.store.tables import alerts, evidence, leases, scores, spans, tracks, verdicts

T = TypeVar("T")

_CHUNK = 500
_ROWS = 2000
_NONE = object()


class VerdictSaver:
    """One verdict on its way into the database, inside one transaction."""

    def __init__(
        self, connection: Connection, run_id: int, new: VerdictRows, now: datetime, sinks: Sequence[SinkSettings] = ()
    ) -> None:
        self._sinks = sinks
        self._connection = connection
        self._run_id = run_id
        self._new = new
        self._now = now

    def save(self) -> int:
        stored = self._stored()
        if self._of_file:
            self._end_work()
        if stored is not None and self._stands(stored):
            return int(stored["id"])
        if self._of_file:
            self._drop_unhashed_errors()
        note_sources(self._connection, [self._new.verdict["source"], *(alert["source"] for alert in self._new.alerts)])
        if stored is None:
            verdict_id = self._insert_verdict()
        else:
            verdict_id = int(stored["id"])
            self._update_verdict(verdict_id, since=stored["occurred_at"])
            if self._of_file:
                self._clear(verdict_id)
        self._save_tracks(verdict_id)
        self._save_scores(verdict_id)
        self._save_alerts(verdict_id)
        self._save_evidence(verdict_id)
        return verdict_id

    @property
    def _of_file(self) -> bool:
        return self._new.verdict["sha256"] is not None

    def _stored(self) -> RowMapping | None:
        """The row with the same key. Writers of the same key wait for each other from here on."""
        values = self._new.verdict
        key = self._key if self._of_file else {"run_id": self._run_id, "source": values["source"], "sha256": None}
        lock(self._connection, f"verdict {key}")
        query = select(verdicts).where(*(verdicts.c[name] == value for name, value in key.items()))
        return self._connection.execute(query).mappings().first()

    @property
    def _key(self) -> Values:
        return {name: self._new.verdict[name] for name in ResultKey._fields}

    def _end_work(self) -> None:
        """End the lease on the content; what was found in parts of it is deleted, unless the rest failed."""
        key = (leases.c[name] == value for name, value in self._key.items())
        self._connection.execute(delete(leases).where(leases.c.run_id == self._run_id, *key))
        if self._new.verdict["label"] != Label.ERROR.value:
            drop_segments(self._connection, ResultKey(**self._key))

    def _stands(self, stored: RowMapping) -> bool:
        """Whether what is stored stays as it is."""
        new = self._new.verdict
        if stored["digest"] == new["digest"]:
            return True
        if not self._of_file or stored["label"] == Label.ERROR.value:
            return False
        return bool(new["label"] == Label.ERROR.value or new["source"] != stored["source"])

    def _drop_unhashed_errors(self) -> None:
        self._connection.execute(
            delete(verdicts).where(
                verdicts.c.source == self._new.verdict["source"],
                # Not the bare columns: the source alone leads to few rows, but planners do not know.
                func.coalesce(verdicts.c.sha256, "") == "",
                verdicts.c.label + "" == Label.ERROR.value,
            )
        )

    def _insert_verdict(self) -> int:
        occurred_at = self._new.verdict["started_at"] or self._now
        return insert_row(self._connection, verdicts, {**self._stamped(), "occurred_at": occurred_at})

    def _update_verdict(self, verdict_id: int, since: datetime) -> None:
        occurred_at = (self._new.verdict["started_at"] or self._now) if self._of_file else since
        self._connection.execute(
            update(verdicts).where(verdicts.c.id == verdict_id),
            {**self._stamped(), "occurred_at": occurred_at},
        )

    def _stamped(self) -> Values:
        return {**self._new.verdict, "run_id": self._run_id, "stored_at": self._now}

    def _clear(self, verdict_id: int) -> None:
        """Take away what an older result of a file left; alerts that the new one has too keep their rows."""
        for table in (tracks, scores, evidence):
            self._connection.execute(delete(table).where(table.c.verdict_id == verdict_id))
        kept = {alert["id"] for alert in self._new.alerts}
        stored = self._connection.execute(select(alerts.c.id).where(alerts.c.verdict_id == verdict_id)).scalars()
        gone = [{"gone": alert_id} for alert_id in stored if alert_id not in kept]
        if gone:
            self._connection.execute(delete(alerts).where(alerts.c.id == bindparam("gone")), gone)

    def _save_tracks(self, verdict_id: int) -> None:
        old = [{"verdict": verdict_id, "track": track["track_id"]} for track in self._new.tracks]
        if old:
            self._connection.execute(
                delete(tracks).where(
                    tracks.c.verdict_id == bindparam("verdict"), tracks.c.track_id == bindparam("track")
                ),
                old,
            )
        self._insert_all(tracks, verdict_id, self._new.tracks)
        self._insert_all(spans, verdict_id, self._new.spans)

    def _save_scores(self, verdict_id: int) -> None:
        first = min((score["frame_index"] for score in self._new.scores), default=0)
        query = select(scores.c.track_id, scores.c.frame_index).where(
            scores.c.verdict_id == verdict_id, scores.c.frame_index >= first
        )
        stored = {tuple(row) for row in self._connection.execute(query)}
        self._insert_all(
            scores,
            verdict_id,
            [score for score in self._new.scores if (score["track_id"], score["frame_index"]) not in stored],
        )

    def _save_alerts(self, verdict_id: int) -> None:
        ids = [alert["id"] for alert in self._new.alerts]
        stored = {
            row["id"]: row
            for chunk in chunks(ids)
            for row in self._connection.execute(select(alerts).where(alerts.c.id.in_(chunk))).mappings()
        }
        fresh = []
        changed: list[tuple[str, int]] = []
        for alert in self._new.alerts:
            old = stored.get(alert["id"])
            if old is None:
                changed.append((alert["id"], alert["revision"]))
                fresh.append(
                    {
                        **alert,
                        "stored_at": self._now,
                        "occurred_at": alert["started_at"] or self._now,
                        "state": ReviewState.NEW.value,
                    }
                )
            elif old["verdict_id"] != verdict_id:
                raise StoreError(f"alert {alert['id']} is already stored for another result, on {old['source']}")
            elif old["digest"] != alert["digest"]:
                revision = max(alert["revision"], old["revision"] + 1)
                changed.append((alert["id"], revision))
                self._connection.execute(
                    update(alerts).where(alerts.c.id == alert["id"]), {**alert, "revision": revision}
                )
        self._insert_all(alerts, verdict_id, fresh)
        for alert_id, revision in changed:
            enqueue(self._connection, self._sinks, self._new.records[alert_id], revision, self._now)

    def _save_evidence(self, verdict_id: int) -> None:
        """Bring the evidence of the tracks and alerts available up to date; that of earlier alerts stays.

        A face that is stored already for the same alert is the same face, and is not written again.
        """
        new_alerts = {alert["id"] for alert in self._new.alerts}
        new_tracks = {track["track_id"] for track in self._new.tracks}
        wanted = {(item["track_id"], item["frame_index"]): item["alert_id"] for item in self._new.evidence}
        query = select(evidence.c.track_id, evidence.c.frame_index, evidence.c.alert_id).where(
            evidence.c.verdict_id == verdict_id
        )
        kept = set()
        gone = []
        for track_id, frame_index, alert_id in self._connection.execute(query):
            at_hand = alert_id in new_alerts or (alert_id is None and track_id in new_tracks)
            if at_hand and wanted.get((track_id, frame_index), _NONE) != alert_id:
                gone.append({"verdict": verdict_id, "track": track_id, "frame": frame_index})
            else:
                kept.add((track_id, frame_index))
        if gone:
            self._connection.execute(
                delete(evidence).where(
                    evidence.c.verdict_id == bindparam("verdict"),
                    evidence.c.track_id == bindparam("track"),
                    evidence.c.frame_index == bindparam("frame"),
                ),
                gone,
            )
        self._insert_all(
            evidence,
            verdict_id,
            [item for item in self._new.evidence if (item["track_id"], item["frame_index"]) not in kept],
        )

    def _insert_all(self, table: Table, verdict_id: int, values: Sequence[Values]) -> None:
        for chunk in chunks(values, _ROWS):
            insert_rows(self._connection, table, [{**row, "verdict_id": verdict_id} for row in chunk])


def insert_row(connection: Connection, table: Table, values: Values) -> int:
    key = connection.execute(insert(table), values).inserted_primary_key
    assert key is not None
    return int(key[0])


def chunks(items: Sequence[T], size: int = _CHUNK) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
