"""The store: what the rest of the program reads and writes, in records."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy import URL, Connection, select, update

from streamwatch.config import RetentionSettings, SinkSettings
from streamwatch.errors import StoreError
from streamwatch.records import Alert, EvidenceClip, Label, ModelRef, ResultKey, SegmentResult, VideoVerdict
from streamwatch.sources.states import Transition
from streamwatch.store import schema
from streamwatch.store.abandoned import end_abandoned
from streamwatch.store.clips import ClipRow, load_clip, save_clip
from streamwatch.store.contents import Contents
from streamwatch.store.copies import load_copies, named_source, note_copies
from streamwatch.store.database import (
    create_store_engine,
    parse_url,
    reading,
    retried,
    shown,
    sqlite_file,
    transaction,
)
from streamwatch.store.deliveries import Deliveries
from streamwatch.store.filters import Filters, select_alerts, sources_of, verdict_ids
from streamwatch.store.history import (
    StreamChange,
    StreamStatus,
    load_streams,
    save_transition,
    select_transitions,
    to_change,
)
from streamwatch.store.jobs import JobLedger
from streamwatch.store.leases import Leases
from streamwatch.store.loading import AlertRow, VerdictRow, load_evidence, load_verdicts, to_alert_row
from streamwatch.store.maintenance import vacuum
from streamwatch.store.retention import Pruned, Pruning
from streamwatch.store.reviews import Review, load_reviews, save_review
from streamwatch.store.rows import VerdictRows, clean_json, clean_text, to_alert
from streamwatch.store.saving import VerdictSaver, chunks, insert_row
from streamwatch.store.segments import Segments, save_segment
from streamwatch.store.size import file_bytes
from streamwatch.store.states import ReviewState, RunStatus
from streamwatch.store.tables import alerts, evidence, runs, scores, verdicts

Clock = Callable[[], datetime]


class Store:
    """Results in an SQL database. Safe to use from several processes; each opens its own.

    Use `Store.open` or `Store.open_to_read`, which check the schema. All times are aware UTC datetimes. Every method
    raises StoreError when the database cannot be reached or refuses the data.
    """

    def __init__(self, url: str, *, read_only: bool = False, clock: Clock = lambda: datetime.now(timezone.utc)) -> None:
        """Connect lazily; the schema is taken as it is. clock: gives the aware "now" for times of storing."""
        self._url = parse_url(url)
        self._engine = create_store_engine(self._url, read_only=read_only)
        self._clock = clock

    @classmethod
    def open(cls, url: str, *, create: bool = True, clock: Clock = lambda: datetime.now(timezone.utc)) -> Store:
        """Open a store; an older schema is upgraded.

        url: `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/DATABASE`.
        create: whether to make one where there is none.
        Raises StoreError when it cannot be reached, or when its schema is newer than this version.
        """
        parsed = parse_url(url)
        if not create:
            _check_there(parsed)
        with contextlib.ExitStack() as stack:
            store = stack.enter_context(cls(url, clock=clock))
            revision = schema.current(store._engine)
            if revision is None and not create:
                raise _no_store(parsed)
            if revision != schema.head():
                schema.check_known(parsed, revision)
                schema.upgrade(parsed)
            stack.pop_all()
        return store

    @classmethod
    def open_to_read(cls, url: str, *, clock: Clock = lambda: datetime.now(timezone.utc)) -> Store:
        """Open a store that is there, and change nothing in it: whoever can read it can use it. Methods that write
        raise StoreError.

        Raises StoreError when there is none, when it cannot be reached, or when its schema is not that of this version.
        """
        parsed = parse_url(url)
        _check_there(parsed)
        with contextlib.ExitStack() as stack:
            store = stack.enter_context(cls(url, read_only=True, clock=clock))
            revision = schema.current(store._engine)
            if revision is None:
                raise _no_store(parsed)
            schema.check_known(parsed, revision)
            if revision != schema.head():
                raise StoreError(
                    f"{shown(parsed)}: its schema is {revision}, this version needs {schema.head()}",
                    "run `streamwatch db upgrade`, on a copy where it may not be changed",
                )
            stack.pop_all()
        return store

    def close(self) -> None:
        """Give back all connections."""
        self._engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Store({self.shown!r})"

    # ── runs ──

    @retried
    def begin_run(self, command: str, settings_json: str, config_sha256: str) -> int:
        """Note that a command starts, and return the run's id. Credentials in its URLs are masked."""
        values = {
            "command": clean_text(command),
            "settings": clean_json(settings_json),
            "config_sha256": config_sha256,
            "started_at": self._clock(),
            "status": RunStatus.RUNNING.value,
        }
        with transaction(self._engine) as connection:
            return insert_row(connection, runs, values)

    @retried
    def end_run(self, run_id: int, status: RunStatus | str) -> None:
        """Note how a run ended: `done`, `failed` or `interrupted`."""
        values = {"ended_at": self._clock(), "status": RunStatus(status).value}
        with transaction(self._engine) as connection:
            connection.execute(update(runs).where(runs.c.id == run_id), values)

    # ── writing results ──

    @retried
    def save_verdict(self, run_id: int, verdict: VideoVerdict, sinks: Sequence[SinkSettings] = ()) -> int:
        """Store a verdict with everything under it, in one transaction, and return its id.

        Saving the same again changes nothing. Otherwise, on what is already stored:

        - A file is known by (content, model, configuration). A new result of the same path replaces the old
          one, but an error never replaces a result. The first path stands for copies of the same content, whose
          paths are kept beside it.
        - A live source (no sha256) is known by (run, source). The newer verdict replaces the label, score and
          counts; tracks and alerts are updated by their ids, scores are added, and what the newer one no
          longer carries stays.
        - An alert keeps its id and its review; its revision grows when it changed, and is queued for `sinks`.
        - A verdict on a file's content takes the place of errors on its path from before it could be read.
        """
        new = VerdictRows.of(verdict)
        with transaction(self._engine) as connection:
            return self._save_rows(connection, run_id, new, sinks)

    @retried
    def save(
        self,
        run_id: int,
        items: Sequence[VideoVerdict | Transition | EvidenceClip | SegmentResult],
        sinks: Sequence[SinkSettings] = (),
        clips: Path | None = None,
    ) -> list[str]:
        """Store the results of a run, verdicts as `save_verdict` does, and its heartbeat, in one transaction. Doing it
        again changes nothing else.

        sinks: receive alerts that changed; see `deliveries`. clips: the folder of clips, if another one than
        `FILE.clips` beside an SQLite store. Returns what could not be written beside the database, a line each.
        """
        trouble = []
        rows = [VerdictRows.of(item) if isinstance(item, VideoVerdict) else item for item in items]
        with transaction(self._engine) as connection:
            connection.execute(update(runs).where(runs.c.id == run_id), {"heard_at": self._clock()})
            for item in rows:
                if isinstance(item, VerdictRows):
                    self._save_rows(connection, run_id, item, sinks)
                elif isinstance(item, Transition):
                    save_transition(connection, run_id, item)
                elif isinstance(item, SegmentResult):
                    save_segment(connection, item, self._clock())
                else:
                    trouble.append(save_clip(connection, self._url, clips, item, self._clock()))
        return [line for line in trouble if line is not None]

    def _save_rows(self, connection: Connection, run_id: int, new: VerdictRows, sinks: Sequence[SinkSettings]) -> int:
        before = named_source(connection, new.verdict)
        verdict_id = VerdictSaver(connection, run_id, new, self._clock(), sinks).save()
        if before not in (None, new.verdict["source"]):
            note_copies(connection, verdict_id, (before, new.verdict["source"]))
        return verdict_id

    @retried
    def end_abandoned(self, sinks: Sequence[SinkSettings] = ()) -> int:
        """End the alerts that dead runs have left open, and queue that for `sinks`; how many."""
        with transaction(self._engine) as connection:
            return end_abandoned(connection, self._clock(), sinks)

    def prune(self, settings: RetentionSettings, *, clips: Path | None = None, dry: bool = False) -> Pruned:
        """Delete what exceeds these settings; `dry`: only report what would be deleted.

        clips: the folder that `alerts.clips` names; None: beside an SQLite store. Files elsewhere are not deleted.
        """
        return Pruning(self._engine, settings, self._clock(), clips=clips, dry=dry).run()

    def vacuum(self) -> tuple[int, int]:
        """Give the room of deleted rows back, and renew the statistics; bytes of the database before and after."""
        before = file_bytes(self._engine)
        vacuum(self._engine)
        return before, file_bytes(self._engine)

    @property
    def shown(self) -> str:
        """The URL for people: password masked."""
        return shown(self._url)

    @property
    def contents(self) -> Contents:
        """Hashes of files."""
        return Contents(self._engine, self._clock)

    @property
    def jobs(self) -> JobLedger:
        """Scans with their inputs."""
        return JobLedger(self._engine, self._clock)

    @property
    def leases(self) -> Leases:
        """Which run works on which content."""
        return Leases(self._engine, self._clock)

    @property
    def segments(self) -> Segments:
        """Parts of long files that were done before the whole."""
        return Segments(self._engine)

    @property
    def deliveries(self) -> Deliveries:
        """The queue of deliveries to sinks."""
        return Deliveries(self._engine, self._clock)

    def review(
        self, alert_id: str, label: Label | None = None, comment: str | None = None, by: str | None = None
    ) -> None:
        """Record a person's review of an alert; earlier ones are kept. by: who it is. Raises StoreError for an unknown
        id.
        """
        self._add_review(alert_id, Review(self._clock(), by, ReviewState.REVIEWED, label, comment))

    def reopen(self, alert_id: str, by: str | None = None) -> None:
        """Withdraw the reviews of an alert, which are kept. Raises StoreError for an unknown id."""
        self._add_review(alert_id, Review(self._clock(), by, ReviewState.NEW))

    @retried
    def _add_review(self, alert_id: str, review: Review) -> None:
        with transaction(self._engine) as connection:
            if not save_review(connection, alert_id, review):
                raise _unknown_alert(alert_id)

    # ── reading results ──

    def find_verdict(self, key: ResultKey) -> VideoVerdict | None:
        """The final verdict on a file's content, complete; None if there is none yet, or only an error."""
        found = self.find_row(key)
        return None if found is None else found.verdict

    def find_row(self, key: ResultKey) -> VerdictRow | None:
        """As `find_verdict`, with when it was stored."""
        query = select(verdicts).where(
            *(verdicts.c[name] == value for name, value in key._asdict().items()),
            verdicts.c.label != Label.ERROR.value,
        )
        with reading(self._engine) as connection:
            found = connection.execute(query).mappings().all()
            return next(load_verdicts(connection, found, complete=True), None)

    def verdict(self, verdict_id: int) -> VideoVerdict:
        """A verdict with scores and evidence. Raises StoreError for an unknown id."""
        with reading(self._engine) as connection:
            found = connection.execute(select(verdicts).where(verdicts.c.id == verdict_id)).mappings().all()
            for row in load_verdicts(connection, found, complete=True):
                return row.verdict
        raise _unknown_verdict(verdict_id)

    def verdict_model(self, verdict_id: int) -> ModelRef:
        """The model of a verdict. Raises StoreError for an unknown id."""
        query = select(verdicts.c.model_name, verdicts.c.model_sha256).where(verdicts.c.id == verdict_id)
        with reading(self._engine) as connection:
            row = connection.execute(query).first()
        if row is None:
            raise _unknown_verdict(verdict_id)
        return ModelRef(*row)

    def verdicts(self, filters: Filters | None = None) -> list[VerdictRow]:
        """The verdicts that a filter lets through, newest first."""
        return list(self.iter_verdicts(filters))

    def iter_verdicts(self, filters: Filters | None = None) -> Iterator[VerdictRow]:
        """As `verdicts`, in constant memory but for the ids."""
        with reading(self._engine) as connection:
            ids = verdict_ids(connection, filters or Filters())
            for chunk in chunks(ids):
                found = {
                    row["id"]: row
                    for row in connection.execute(select(verdicts).where(verdicts.c.id.in_(chunk))).mappings()
                }
                yield from load_verdicts(connection, [found[key] for key in chunk], complete=False)

    def alerts(self, filters: Filters | None = None) -> list[AlertRow]:
        """The alerts that a filter lets through, newest first."""
        return list(self.iter_alerts(filters))

    def iter_alerts(self, filters: Filters | None = None) -> Iterator[AlertRow]:
        """As `alerts`, in constant memory but for the ids."""
        wanted = filters or Filters()
        with reading(self._engine) as connection:
            ids = connection.execute(select_alerts(wanted, sources_of(connection, wanted))).scalars().all()
            for chunk in chunks(ids):
                found = {
                    row["id"]: row
                    for row in connection.execute(select(alerts).where(alerts.c.id.in_(chunk))).mappings()
                }
                yield from (to_alert_row(found[key]) for key in chunk)

    def copies(self, verdict_id: int) -> list[str]:
        """Other paths of the content that a verdict is on, in order of their names."""
        with reading(self._engine) as connection:
            return load_copies(connection, [verdict_id]).get(verdict_id, [])

    def alerts_of(self, verdict_id: int) -> list[AlertRow]:
        """The alerts of a verdict, in order of media time."""
        query = select(alerts).where(alerts.c.verdict_id == verdict_id).order_by(alerts.c.start_pts, alerts.c.id)
        with reading(self._engine) as connection:
            return [to_alert_row(row) for row in connection.execute(query).mappings()]

    def iter_scores(self, filters: Filters | None = None) -> Iterator[dict[str, Any]]:
        """A row for each scored face of the verdicts that a filter lets through, in constant memory but for the ids: in
        order of verdicts (the newest ids first), tracks and frames. Instants are ISO 8601.
        """
        names = [column.name for column in scores.c if column.name not in ("verdict_id", "track_id", "frame_index")]
        with reading(self._engine) as connection:
            ids = sorted(verdict_ids(connection, filters or Filters()), reverse=True)
            for chunk in chunks(ids):
                query = (
                    select(scores, verdicts.c.source)
                    .join(verdicts, verdicts.c.id == scores.c.verdict_id)
                    .where(scores.c.verdict_id.in_(chunk))
                    .order_by(scores.c.verdict_id.desc(), scores.c.track_id, scores.c.frame_index)
                    .execution_options(yield_per=1000)
                )
                for row in connection.execute(query).mappings():
                    yield {
                        "verdict_id": row["verdict_id"],
                        "source": row["source"],
                        "track": row["track_id"],
                        "frame": row["frame_index"],
                        **{name: row[name] for name in names},
                        "wall_time": None if row["wall_time"] is None else row["wall_time"].isoformat(),
                    }

    def durations(self, verdict_ids: Sequence[int]) -> dict[int, float | None]:
        """Seconds of the sources of verdicts, None where they are not known."""
        with reading(self._engine) as connection:
            return {
                row[0]: row[1]
                for chunk in chunks(verdict_ids)
                for row in connection.execute(
                    select(verdicts.c.id, verdicts.c.duration).where(verdicts.c.id.in_(chunk))
                )
            }

    def transitions(self, filters: Filters | None = None) -> list[StreamChange]:
        """Changes of state of streams, newest first: those that a filter's source, times and limit let through."""
        with reading(self._engine) as connection:
            return [to_change(row) for row in connection.execute(select_transitions(filters or Filters())).mappings()]

    def streams(self) -> list[StreamStatus]:
        """The state of every stream that was ever watched, in order of their names."""
        with reading(self._engine) as connection:
            return load_streams(connection, self._clock())

    def alert(self, alert_id: str) -> Alert:
        """An alert with its evidence. Raises StoreError for an unknown id."""
        with reading(self._engine) as connection:
            row = connection.execute(select(alerts).where(alerts.c.id == alert_id)).mappings().first()
            if row is None:
                raise _unknown_alert(alert_id)
            return to_alert(row, load_evidence(connection, evidence.c.alert_id == alert_id))

    def reviews(self, alert_id: str) -> list[Review]:
        """Every review of an alert, the first one first."""
        with reading(self._engine) as connection:
            return load_reviews(connection, alert_id)

    def clip(self, alert_id: str) -> ClipRow | None:
        """The clip of an alert; None where none was asked for, or it is still to come."""
        with reading(self._engine) as connection:
            return load_clip(connection, self._url, alert_id)

    def alert_row(self, alert_id: str) -> AlertRow:
        """An alert as in a listing. Raises StoreError for an unknown id."""
        with reading(self._engine) as connection:
            row = connection.execute(select(alerts).where(alerts.c.id == alert_id)).mappings().first()
        if row is None:
            raise _unknown_alert(alert_id)
        return to_alert_row(row)

    def find_alert(self, prefix: str) -> str:
        """The id that begins with `prefix`. Raises StoreError if none does, or several do."""
        query = (
            select(alerts.c.id)
            .where(alerts.c.id.startswith(clean_text(prefix), autoescape=True))
            .order_by(alerts.c.id)
            .limit(4)
        )
        with reading(self._engine) as connection:
            found = connection.execute(query).scalars().all()
        if prefix in found or len(found) == 1:
            return prefix if prefix in found else found[0]
        if not found:
            raise _unknown_alert(prefix)
        raise StoreError(f"several alerts begin with {prefix!r}: {', '.join(found)}", "give more of the id")


def _check_there(url: URL) -> None:
    file = sqlite_file(url)
    if file is not None and not file.exists():
        raise _no_store(url)


def _no_store(url: URL) -> StoreError:
    return StoreError(f"{shown(url)}: there is no store", "`streamwatch scan` makes one, --store names another")


def _unknown_verdict(verdict_id: int) -> StoreError:
    return StoreError(f"no verdict has the id {verdict_id}", "`streamwatch verdicts list` shows them")


def _unknown_alert(alert_id: str) -> StoreError:
    return StoreError(f"no alert has the id {alert_id!r}", "`streamwatch alerts list` shows them")
