"""What is deleted, by age, by label and by the size of the store; what a person has reviewed stays.

Rows go in transactions of a fraction of a second, with a pause as long after each, so that a run that writes at the
same time waits no longer than that. A prune that is cut off has done part of its work, and the next one goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, Engine, Table, and_, delete, exists, func, or_, select, tuple_, update

from streamwatch.config import RetentionSettings
from streamwatch.records import Label
from streamwatch.store.clips import clip_folder, place_of
from streamwatch.store.database import reading, transaction
from streamwatch.store.saving import chunks
from streamwatch.store.size import bytes_in_use
from streamwatch.store.sources import drop_unused
from streamwatch.store.states import ReviewState
from streamwatch.store.tables import (
    alerts,
    clips,
    contents,
    copies,
    deliveries,
    evidence,
    leases,
    runs,
    scores,
    segments,
    tracks,
    transitions,
    verdicts,
)

Condition = ColumnElement[bool]

ROWS = 2_000
"""Rows that go in one transaction; of pictures a twentieth."""
VERDICTS = 200
"""Verdicts that are read together."""
STEPS = 50
"""Steps in which the time of a store that is too large is divided."""
LONGEST_PAUSE = 0.5
"""Seconds."""
LEASES = timedelta(days=1)
"""After its end, how long a lease is kept."""

_REVIEWED = alerts.c.state == ReviewState.REVIEWED.value
_HAS_REVIEWED = exists().where(alerts.c.verdict_id == verdicts.c.id, _REVIEWED)
_OF_REVIEWED = exists().where(alerts.c.id == evidence.c.alert_id, _REVIEWED)
_LIVE = and_(verdicts.c.sha256.is_(None), verdicts.c.started_at.is_not(None))


@dataclass(slots=True)
class Pruned:
    """What went, or would go. rows: by table, but for the light ones that go with their verdict or alert. files,
    file_bytes: clips beside the database. trouble: what could not be removed, a line each.

    in_use, limit: bytes of the store afterwards, where a limit is set; see `bytes_in_use`.
    """

    rows: dict[str, int] = field(default_factory=dict)
    files: int = 0
    file_bytes: int = 0
    in_use: int | None = None
    limit: int | None = None
    trouble: list[str] = field(default_factory=list)

    @property
    def over(self) -> int:
        """Bytes above the limit that are left, or in a dry run those that would have to go."""
        return 0 if self.in_use is None or self.limit is None else max(0, self.in_use - self.limit)


class Pruning:
    """One prune of a store. now: aware. clips: the folder that the settings name. dry: count, change nothing. sleep:
    for the pauses, in seconds.
    """

    def __init__(
        self,
        engine: Engine,
        settings: RetentionSettings,
        now: datetime,
        *,
        clips: Path | None = None,
        dry: bool = False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._now = now
        self._clips = clip_folder(engine.url, clips)
        self._dry = dry
        self._sleep = sleep
        self._done = Pruned(limit=settings.max_bytes)
        self._names: set[str] = set()
        self._unlinked: set[str] = set()
        self._spared: list[Condition] = []

    def run(self) -> Pruned:
        """Delete what exceeds the settings. Raises StoreError."""
        settings = self._settings
        if settings.results is not None or settings.labels:
            self._prune_results()
        # Nothing outlives the verdict that it is under.
        days = [settings.scores, settings.evidence]
        for limit, prune in zip(days, (self._prune_scores, self._prune_evidence), strict=True):
            if limit is not None:
                prune(self._before(limit))
        if settings.history is not None:
            self._prune_history(self._before(settings.history))
        self._remove(leases, leases.c.until < self._now - LEASES)
        if settings.max_bytes is not None:
            self._prune_size(settings.max_bytes)
        self._drop_names()
        return self._done

    def _before(self, days: float) -> datetime:
        return self._now - timedelta(days=days)

    # ── by age ──

    def _prune_results(self) -> None:
        settings = self._settings
        for label in Label:
            days = (settings.labels or {}).get(label, settings.results)
            if days is not None:
                before = self._before(days)
                wanted = (verdicts.c.label == label.value, ~_HAS_REVIEWED)
                for batch in self._old(before, *wanted):
                    self._remove_verdicts(batch)
                if self._dry:  # they are still there, and are not to be counted again
                    self._spared.append(~and_(*wanted, verdicts.c.occurred_at < before, verdicts.c.stored_at < before))
        if settings.results is not None:
            before = self._before(settings.results)
            for verdict_id, started_at in self._going_on(before):
                self._remove_alerts(
                    alerts.c.verdict_id == verdict_id,
                    ~_REVIEWED,
                    alerts.c.end_pts.is_not(None),
                    func.coalesce(alerts.c.ended_at, alerts.c.occurred_at) < before,
                )
                if settings.scores is None or settings.scores > settings.results:
                    self._prune_scores_of(verdict_id, before, started_at)
                self._remove(tracks, tracks.c.verdict_id == verdict_id, _ended(before, started_at))

    def _prune_scores(self, before: datetime) -> None:
        has = exists().where(scores.c.verdict_id == verdicts.c.id)
        for batch in self._old(before, has, *self._spared):
            self._remove(scores, scores.c.verdict_id.in_(batch))
        for verdict_id, started_at in self._going_on(before):
            self._prune_scores_of(verdict_id, before, started_at)

    def _prune_scores_of(self, verdict_id: int, before: datetime, started_at: datetime) -> None:
        """Of a stream that is still watched: track ids grow with time, so that few scores need to be read."""
        last = select(func.max(tracks.c.track_id)).where(tracks.c.verdict_id == verdict_id, _ended(before, started_at))
        mine = (scores.c.verdict_id == verdict_id, scores.c.track_id <= last.scalar_subquery())
        self._remove(scores, *mine, scores.c.wall_time < before)

    def _prune_evidence(self, before: datetime) -> None:
        has = exists().where(evidence.c.verdict_id == verdicts.c.id)
        for batch in self._old(before, has, *self._spared):
            self._remove(evidence, evidence.c.verdict_id.in_(batch), ~_OF_REVIEWED, rows=ROWS // 20)
        for verdict_id, _ in self._going_on(before):
            mine = (evidence.c.verdict_id == verdict_id, evidence.c.wall_time < before)
            self._remove(evidence, *mine, ~_OF_REVIEWED, rows=ROWS // 20)
        self._prune_clips(before)

    def _prune_clips(self, before: datetime) -> None:
        kept = exists().where(alerts.c.id == clips.c.alert_id, _REVIEWED)
        old = (clips.c.path.is_not(None), clips.c.stored_at < before, ~kept)
        query = select(clips.c.alert_id, clips.c.path, clips.c.bytes).where(*old)
        with reading(self._engine) as connection:
            found = connection.execute(query).all()
        gone = {"path": None, "sha256": None, "bytes": None, "failure": "it was removed after its time"}
        for chunk in chunks(found):
            ids = [row.alert_id for row in chunk]
            if not self._dry:
                with self._turn() as connection:
                    connection.execute(update(clips).where(clips.c.alert_id.in_(ids), *old).values(gone))
            self._unlink([(row.path, row.bytes) for row in chunk])

    def _prune_history(self, before: datetime) -> None:
        newer = transitions.alias()
        superseded = exists().where(newer.c.source == transitions.c.source, newer.c.at > transitions.c.at)
        self._remove(transitions, func.coalesce(transitions.c.last_at, transitions.c.at) < before, superseded)
        self._remove(deliveries, deliveries.c.delivered_at < before)
        used = (exists().where(table.c.run_id == runs.c.id) for table in (verdicts, transitions, leases))
        last_seen = func.coalesce(runs.c.ended_at, runs.c.heard_at, runs.c.started_at)
        self._remove(runs, last_seen < before, ~or_(*used))
        self._remove(contents, contents.c.seen_on < before.date())
        self._remove(segments, segments.c.stored_at < before)

    # ── by size ──

    def _prune_size(self, limit: int) -> None:
        """Scores, then pictures and clips, the oldest first, until the store is below its limit."""
        self._done.in_use = bytes_in_use(self._engine)
        if self._dry or self._done.in_use <= limit:
            return
        with reading(self._engine) as connection:
            oldest = connection.execute(select(func.min(verdicts.c.occurred_at))).scalar()
        if oldest is None:
            return
        for prune in (self._prune_scores, self._prune_evidence):
            for step in range(1, STEPS + 1):
                before = sum(self._done.rows.values())
                prune(oldest + (self._now - oldest) * step / STEPS)
                if sum(self._done.rows.values()) == before:
                    continue
                self._done.in_use = bytes_in_use(self._engine)
                if self._done.in_use <= limit:
                    return

    # ── how ──

    def _old(self, before: datetime, *wanted: Condition) -> Iterator[Sequence[int]]:
        """Ids of verdicts that were last stored before then, the oldest first, some at a time."""
        place: tuple[datetime, int] | None = None
        while True:
            query = select(verdicts.c.id, verdicts.c.occurred_at).where(
                verdicts.c.occurred_at < before, verdicts.c.stored_at < before, *wanted
            )
            if place is not None:
                at, key = place
                query = query.where(verdicts.c.occurred_at >= at, or_(verdicts.c.occurred_at > at, verdicts.c.id > key))
            with reading(self._engine) as connection:
                found = connection.execute(query.order_by(verdicts.c.occurred_at, verdicts.c.id).limit(VERDICTS)).all()
            if not found:
                return
            place = found[-1].occurred_at, found[-1].id
            yield [row.id for row in found]

    def _going_on(self, before: datetime) -> list[tuple[int, datetime]]:
        """Streams that began before then and were still watched: the ids of their verdicts, and when they began."""
        query = select(verdicts.c.id, verdicts.c.started_at).where(
            verdicts.c.occurred_at < before, verdicts.c.stored_at >= before, _LIVE
        )
        with reading(self._engine) as connection:
            return [(row.id, row.started_at) for row in connection.execute(query)]

    def _remove_verdicts(self, ids: Sequence[int]) -> None:
        """With all under them; what weighs goes first, and by itself."""
        self._remove(scores, scores.c.verdict_id.in_(ids))
        self._remove(evidence, evidence.c.verdict_id.in_(ids), ~_OF_REVIEWED, rows=ROWS // 20)
        self._remove_alerts(alerts.c.verdict_id.in_(ids), ~_REVIEWED)
        with reading(self._engine) as connection:
            self._names.update(connection.execute(select(verdicts.c.source).where(verdicts.c.id.in_(ids))).scalars())
            self._names.update(
                connection.execute(select(copies.c.source).where(copies.c.verdict_id.in_(ids))).scalars()
            )
        self._remove(verdicts, verdicts.c.id.in_(ids), ~_HAS_REVIEWED)

    def _remove_alerts(self, *which: Condition) -> None:
        query = select(clips.c.path, clips.c.bytes).join(alerts, alerts.c.id == clips.c.alert_id)
        with reading(self._engine) as connection:
            files = connection.execute(query.where(clips.c.path.is_not(None), *which)).all()
        self._remove(alerts, *which)
        self._unlink([(row.path, row.bytes) for row in files])

    def _remove(self, table: Table, *which: Condition, rows: int = ROWS) -> None:
        """Delete rows, so many in a transaction."""
        if self._dry:
            with reading(self._engine) as connection:
                count = select(func.count()).select_from(table).where(*which)
                self._count(table, connection.execute(count).scalar_one())
            return
        key = list(table.primary_key.columns)
        chosen = select(*key).where(*which).limit(rows)
        gone = rows
        while gone == rows:
            with self._turn() as connection:
                gone = connection.execute(delete(table).where(tuple_(*key).in_(chosen), *which)).rowcount
            self._count(table, gone)

    def _count(self, table: Table, gone: int) -> None:
        if gone:
            self._done.rows[table.name] = self._done.rows.get(table.name, 0) + gone

    @contextmanager
    def _turn(self) -> Iterator[Connection]:
        """A transaction, and a pause in which others have theirs."""
        begun = time.perf_counter()
        with transaction(self._engine) as connection:
            yield connection
        self._sleep(min(LONGEST_PAUSE, time.perf_counter() - begun))

    def _unlink(self, files: Sequence[tuple[str, int | None]]) -> None:
        """Remove clips, once nothing in the database names them."""
        for path, size in files:
            if path in self._unlinked:
                continue
            self._unlinked.add(path)
            place = place_of(self._engine.url, path)
            if self._clips is None or place.parent.resolve() != self._clips.resolve():  # a store may say anything
                self._done.trouble.append(f"{path}: not in the folder of the clips ({self._clips}): left alone")
                continue
            try:
                if not self._dry:
                    place.unlink(missing_ok=True)
            except OSError as error:
                self._done.trouble.append(f"{path}: the clip cannot be removed ({error.strerror})")
            else:
                self._done.files += 1
                self._done.file_bytes += size or 0

    def _drop_names(self) -> None:
        for chunk in chunks(sorted(self._names)):
            if not self._dry:
                with self._turn() as connection:
                    drop_unused(connection, chunk)


def _ended(before: datetime, started_at: datetime) -> Condition:
    """Tracks of a stream that began at `started_at` which ended before then."""
    return tracks.c.end_pts < (before - started_at).total_seconds()
