"""How fast a store takes results and answers listings, at any size.

A synthetic store is filled (`synthetic_store`), verdicts with many faces are saved as a run saves them, and each
combination of the filters of `alerts list` and `verdicts list` is asked several times, as the commands ask. Values of
filters: a source that is one of many, nearly all of them, or none; a common and a rare label; the newest week, the
oldest month, a day in the middle, a page from the middle on; scores that many have, few have and none has.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, Table, delete, func, select, text

from streamwatch.bench.synthetic_store import FillResult, StoreShape, fill
from streamwatch.errors import StoreError
from streamwatch.records import AlertKind, FaceQuality, FrameCounts, FrameRecord, Label, ModelRef, VideoVerdict
from streamwatch.store import Filters, ReviewState, RunStatus, Store
from streamwatch.store.cursors import Cursor
from streamwatch.store.database import create_store_engine, parse_url, reading, shown, transaction
from streamwatch.store.maintenance import analyse
from streamwatch.store.size import file_bytes
from streamwatch.store.tables import alerts, metadata, runs, verdicts

SYNTHETIC = "synthetic"
"""The command of the runs of synthetic stores."""

SAVED_VERDICTS, SAVED_SCORES = 10, 5_000
"""What is saved as a run saves it: verdicts, and the scores of each."""


@dataclass(frozen=True, slots=True)
class Case:
    """A listing with its filters, in words, and the milliseconds that it took; rows: how many it gave."""

    listing: str
    filters: dict[str, str]
    rows: int
    median_ms: float
    worst_ms: float


@dataclass(frozen=True, slots=True)
class StoreResult:
    """What `bench_store` measured. rows: by table. bytes: of the database. filled: None where nothing was added.

    saved_scores: per second, through `Store.save`.
    """

    store: str
    database: str
    rows: dict[str, int]
    bytes: int
    filled: FillResult | None
    saved_scores: float
    cases: list[Case]

    def slowest(self, listing: str, count: int) -> list[Case]:
        """The slowest cases of a listing, by their worst."""
        return sorted(self.of(listing), key=lambda case: -case.worst_ms)[:count]

    def of(self, listing: str) -> list[Case]:
        """The cases of a listing."""
        return [case for case in self.cases if case.listing == listing]


def bench_store(
    url: str,
    shape: StoreShape,
    *,
    repeats: int = 3,
    limit: int = 50,
    progress: Callable[[str], None] = lambda what: None,
) -> StoreResult:
    """Add synthetic rows to an empty or synthetic store, and measure it.

    shape.verdicts: 0 measures what is there. Raises StoreError for a store with results of its own.
    """
    with Store.open(url) as store:
        engine = create_store_engine(parse_url(url))
        try:
            _check_synthetic(engine, url)
            filled = None
            if shape.verdicts:
                filled = fill(engine, shape, lambda done: progress(f"filling: {done:,} of {shape.verdicts:,} verdicts"))
                progress("gathering statistics")
                analyse(engine)
            progress("saving")
            saved = _save(store, engine)
            cases = list(_measure(store, engine, repeats, limit, progress))
            progress("counting")
            with reading(engine) as connection:
                counts = {
                    table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
                    for table in metadata.sorted_tables
                }
            return StoreResult(shown(engine.url), _database(engine), counts, file_bytes(engine), filled, saved, cases)
        finally:
            engine.dispose()


def _check_synthetic(engine: Engine, url: str) -> None:
    with reading(engine) as connection:
        real = connection.execute(select(runs.c.id).where(runs.c.command != SYNTHETIC).limit(1)).first()
    if real is not None:
        raise StoreError(
            f"{shown(parse_url(url))}: it holds results", "name an empty store, or one that this command made"
        )


def _save(store: Store, engine: Engine) -> float:
    """Scores per second of verdicts that are saved as a run saves them; they are taken away again."""
    made = [_verdict(number) for number in range(SAVED_VERDICTS)]
    run_id = store.begin_run(SYNTHETIC, "{}", "c" * 64)
    begun = time.perf_counter()
    for verdict in made:
        store.save(run_id, [verdict])
    seconds = time.perf_counter() - begun
    store.end_run(run_id, RunStatus.DONE)
    with transaction(engine) as connection:
        connection.execute(delete(verdicts).where(verdicts.c.run_id == run_id))
        connection.execute(delete(runs).where(runs.c.id == run_id))
    return SAVED_VERDICTS * SAVED_SCORES / seconds


def _verdict(number: int) -> VideoVerdict:
    quality = FaceQuality(short_side=99.5, sharpness=310.0, pose=0.1, upscaling=0.8)
    scores = tuple(
        FrameRecord(1, index, index / 2, (10.5, 20.25, 110.0, 140.0), 0.99, 2.5, 0.9, quality)
        for index in range(SAVED_SCORES)
    )
    counts = FrameCounts(decoded=10 * SAVED_SCORES, sampled=SAVED_SCORES, analysed=SAVED_SCORES, dropped=0, corrupt=0)
    return VideoVerdict(
        source=f"/archive/saved {number}.mp4",
        sha256=f"{number:064x}",
        label=Label.REAL,
        score=0.1,
        duration=SAVED_SCORES / 2,
        frames=counts,
        tracks=(),
        alerts=(),
        model=ModelRef("m2tr-lite", "5" * 64),
        config_sha256="c" * 64,
        policy="mean_logit",
        scores=scores,
    )


def _measure(store: Store, engine: Engine, repeats: int, limit: int, progress: Callable[[str], None]) -> Iterator[Case]:
    asked: tuple[tuple[str, Table, Sequence[Label], Callable[[Filters], Sequence[Any]]], ...] = (
        ("alerts", alerts, (Label.FAKE, Label.INCONCLUSIVE), store.alerts),
        ("verdicts", verdicts, (Label.REAL, Label.FAKE), store.verdicts),
    )
    for listing, table, labels, ask in asked:
        cases = list(_cases(engine, table, labels, limit))
        for number, (words, filters) in enumerate(cases):
            if number % 50 == 0:
                progress(f"{listing} list: {number:,} of {len(cases):,} combinations of filters")
            times = []
            for _ in range(repeats):
                begun = time.perf_counter()
                rows = len(ask(filters))
                times.append(1000 * (time.perf_counter() - begun))
            yield Case(listing, words, rows, statistics.median(times), max(times))


def _cases(
    engine: Engine, table: Table, labels: Sequence[Label], limit: int
) -> Iterator[tuple[dict[str, str], Filters]]:
    """Every combination of the values of every filter."""
    with reading(engine) as connection:
        found = connection.execute(select(func.min(table.c.occurred_at), func.max(table.c.occurred_at))).one()
    if found[0] is None:
        return
    choices: tuple[list[dict[str, Any]], ...] = (
        [{}, *({"source": part} for part in ("camera-0003.", "BROADCAST", "nowhere"))],
        [{}, *({"label": label} for label in labels)],
        _windows(*found),
        [{}, *({"min_score": score} for score in (0.5, 0.9, 0.99999))],
        [{}, *({"state": state} for state in ReviewState)],
        [{}, *({"kind": kind} for kind in (AlertKind.FORGERY, AlertKind.BLACK))],
    )
    for combination in itertools.product(*choices):
        given = {name: value for part in combination for name, value in part.items()}
        words = {
            name: value.isoformat(" ", "minutes") if isinstance(value, datetime) else str(value)
            for name, value in given.items()
            if name != "after"
        }
        if "after" in given:
            words["after"] = "the middle"
        yield words, dataclasses.replace(Filters(**given), limit=limit)


def _windows(first: datetime, last: datetime) -> list[dict[str, Any]]:
    middle = first + (last - first) / 2
    return [
        {},
        {"since": last - timedelta(days=7)},
        {"until": first + timedelta(days=30)},
        {"since": middle, "until": middle + timedelta(days=1)},
        {"after": Cursor(middle, "0")},
    ]


def _database(engine: Engine) -> str:
    with reading(engine) as connection:
        if engine.dialect.name == "sqlite":
            return f"SQLite {connection.execute(text('SELECT sqlite_version()')).scalar_one()}"
        version, buffers = (
            connection.execute(text(f"SHOW {name}")).scalar_one() for name in ("server_version", "shared_buffers")
        )
        return f"PostgreSQL {str(version).split()[0]}, shared_buffers {buffers}"
