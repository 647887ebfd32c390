"""Listings of a store with many rows: which indexes answer them, their pages, and how many queries they take."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, delete, event, func, select

from streamwatch.bench import store as bench
from streamwatch.bench.store import bench_store
from streamwatch.bench.synthetic_store import BEGIN, YEARS, StoreShape, fill, source_names
from streamwatch.cli.main import main
from streamwatch.errors import StoreError
from streamwatch.records import AlertKind, Label
from streamwatch.sources.states import StreamState, Transition
from streamwatch.store import AlertRow, Filters, ReviewState, Store, VerdictRow
from streamwatch.store.cursors import Cursor
from streamwatch.store.database import create_store_engine, parse_url, reading, transaction
from streamwatch.store.filters import select_alerts, select_verdicts, sources_of
from streamwatch.store.maintenance import analyse
from streamwatch.store.tables import alerts, scores, transitions, verdicts
from tests.support.present import present

SHAPE = StoreShape(verdicts=2_500, scores=1, sources=300)
MIDDLE = BEGIN + YEARS / 2

FILTERS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "one source": {"source": "CAMERA-0003"},
    "nearly all sources": {"source": "broadcast"},
    "no source": {"source": "nowhere"},
    "label": {"label": Label.FAKE},
    "since": {"since": MIDDLE},
    "until": {"until": MIDDLE},
    "a day": {"since": MIDDLE, "until": MIDDLE + timedelta(days=1)},
    "score": {"min_score": 0.9},
    "a score that none has": {"min_score": 0.99999},
    "state": {"state": ReviewState.REVIEWED},
    "kind": {"kind": AlertKind.BLACK},
    "page": {"after": Cursor(MIDDLE, "0")},
    "all": {
        "source": "broadcast",
        "label": Label.FAKE,
        "since": BEGIN,
        "until": BEGIN + YEARS,
        "min_score": 0.9,
        "state": ReviewState.NEW,
        "kind": AlertKind.FORGERY,
        "after": Cursor(MIDDLE, "0"),
    },
}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A store with a few thousand verdicts, and the statistics of them."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('size') / 'store.db'}"
    else:
        url = request.getfixturevalue("postgres_schema")()
    Store.open(url).close()
    engine = create_store_engine(parse_url(url))
    fill(engine, SHAPE)
    analyse(engine)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def everything(filled: Engine) -> tuple[list[AlertRow], list[VerdictRow]]:
    """The alerts and the verdicts of the store."""
    with Store(address(filled)) as store:
        return store.alerts(), store.verdicts()


def address(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


def matches(row: Any, wanted: dict[str, Any], score: float | None, instant: datetime) -> bool:
    """What the documentation of `Filters` says, in Python."""
    return (
        wanted.get("source", "").lower() in row.source.lower()
        and row.label is wanted.get("label", row.label)
        and wanted.get("since", instant) <= instant
        and (instant < wanted["until"] if "until" in wanted else True)
        and ((score or 0.0) >= wanted["min_score"] if "min_score" in wanted else True)
    )


# ── what is listed ──


@pytest.mark.parametrize("name", [name for name in FILTERS if name not in ("page", "all")])
def test_filters_let_through_what_they_say(
    filled: Engine, everything: tuple[list[AlertRow], list[VerdictRow]], name: str
) -> None:
    wanted = FILTERS[name]
    every, every_verdict = everything
    with Store(address(filled)) as store:
        expected = [
            row
            for row in every
            if matches(row, wanted, row.peak, present(row.cursor).at)
            and row.state is wanted.get("state", row.state)
            and row.kind is wanted.get("kind", row.kind)
        ]
        assert store.alerts(Filters(**wanted)) == expected
        assert len(every) > len(expected) or name in ("nothing",)
        ids = {row.verdict_id for row in expected}
        of_verdicts = [
            row.id
            for row in every_verdict
            if matches(row.verdict, wanted, row.verdict.score, row.occurred_at)
            and (row.id in ids or not {"state", "kind"} & wanted.keys())
        ]
        assert [row.id for row in store.verdicts(Filters(**wanted))] == of_verdicts
    assert expected or name in ("no source", "a score that none has", "one source", "a day")


def test_pages_make_up_the_listing_whatever_comes_in_between(filled: Engine) -> None:
    with Store(address(filled)) as store:
        for listing in (store.alerts, store.verdicts):
            whole = [str(row.cursor) for row in listing(Filters(label=Label.FAKE))]
            pages: list[str] = []
            after = None
            while page := listing(Filters(label=Label.FAKE, limit=29, after=after)):
                after = Cursor.parse(str(page[-1].cursor))
                pages += [str(row.cursor) for row in page]
            assert pages == whole
            assert len(pages) > 130


def test_a_page_begins_after_its_cursor_even_if_that_row_is_gone(filled: Engine) -> None:
    with Store(address(filled)) as store:
        first, second, *_ = store.alerts(Filters(limit=2))
        cursor = present(first.cursor)
        gone = Cursor(cursor.at, cursor.id + "x", cursor.start)
        assert store.alerts(Filters(limit=1, after=gone)) == [second]


# ── how ──


def plan(engine: Engine, query: Any, connection: Any) -> str:
    text = str(query.compile(engine, compile_kwargs={"literal_binds": True}))
    if engine.dialect.name == "sqlite":
        return "\n".join(row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}"))
    # On so few rows a scan is cheaper; what matters is that an index can answer.
    connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
    connection.exec_driver_sql("SET LOCAL enable_bitmapscan = off")
    return "\n".join(
        row[0] for row in connection.exec_driver_sql(f"EXPLAIN {text}".replace("%%", "%").replace("%", "%%"))
    )


@pytest.mark.parametrize("name", FILTERS)
def test_indexes_alone_answer_a_listing(filled: Engine, name: str) -> None:
    wanted = Filters(**FILTERS[name], limit=51)
    with reading(filled) as connection:
        sources = sources_of(connection, wanted)
        queries = [query(wanted, sources) for query in (select_alerts, select_verdicts)]
        plans = [plan(filled, query, connection) for query in (*queries, select_verdicts(wanted, sources, among=20))]
    for text in plans:
        lines = [line.strip() for line in text.splitlines()]
        of_tables = [line for line in lines if "verdicts" in line or "alerts" in line]
        if filled.dialect.name == "sqlite":
            reads = [line for line in of_tables if line.startswith(("SCAN", "SEARCH"))]
            by_id = (
                "SEARCH verdicts USING INTEGER PRIMARY KEY (rowid=?)",
                "SEARCH alerts USING INDEX ix_alerts_verdict_id_state_kind (verdict_id=?)",
            )
            assert all("USING COVERING INDEX" in line or line in by_id for line in reads), text
        else:
            reads = [line for line in of_tables if " on verdicts" in line or " on alerts" in line]
            assert all("Index Only Scan" in line or "Index Scan using pk_verdicts" in line for line in reads), text
        assert reads or "One-Time Filter: false" in text, "nothing is read where no source has such a name"


def test_a_listing_takes_the_same_queries_however_long_it_is(filled: Engine) -> None:
    said: list[str] = []

    def note(*arguments: Any) -> None:
        said.append(arguments[2])

    with Store(address(filled)) as store:
        event.listen(store._engine, "before_cursor_execute", note)
        counts = {}
        for listing in (store.alerts, store.verdicts):
            for limit in (5, 120):
                said.clear()
                assert len(listing(Filters(source="broadcast", limit=limit))) == limit
                counts[listing.__name__, limit] = len(said)
    assert counts["alerts", 5] == counts["alerts", 120] <= 5
    assert counts["verdicts", 5] == counts["verdicts", 120] <= 9
    assert not any("scores" in statement for statement in said), "a listing reads no scores"


def test_what_a_run_asks_at_every_save_is_answered_by_narrow_indexes(filled: Engine) -> None:
    """With the statistics of a large store, SQLite took `sha256 IS NULL` for one row, and went through all streams."""
    if filled.dialect.name != "sqlite":
        pytest.skip("PostgreSQL's statistics count the rows without a value")
    asked: list[tuple[str, Any]] = []

    def note(_: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        if not many and statement.startswith(("SELECT", "UPDATE", "DELETE")):
            asked.append((statement, parameters))

    with Store(address(filled)) as store:
        event.listen(store._engine, "before_cursor_execute", note)
        run = store.begin_run("synthetic", "{}", "")
        change = Transition(MIDDLE, "rtsp://camera/1", StreamState.CONNECTING, StreamState.RUNNING)
        store.save(run, [bench._verdict(7), dataclasses.replace(bench._verdict(8), sha256=None), change])
        store.streams()
        store.end_abandoned()
    plans = {}
    with transaction(filled) as connection:
        for statement, parameters in asked:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans[statement] = [row[3] for row in rows]
        connection.execute(delete(transitions).where(transitions.c.run_id == run))
        connection.execute(delete(verdicts).where(verdicts.c.run_id == run))
    assert len(plans) > 8
    for statement, lines in plans.items():
        for line in lines:
            assert not line.endswith("verdicts_1 (sha256=?)"), statement
            assert not line.startswith(("SCAN verdicts", "SCAN scores", "SCAN tracks")), statement


# ── cursors ──


@pytest.mark.parametrize("text", ["", "x", "W10", "WyIyMDI2LTAzLTAxIiwgIjEiLCAwXQ", "=", "é"])
def test_a_text_that_no_listing_gave_is_no_cursor(text: str) -> None:
    with pytest.raises(ValueError, match="is no cursor of a listing"):
        Cursor.parse(text)


def test_a_cursor_of_alerts_is_none_of_verdicts(filled: Engine) -> None:
    with Store(address(filled)) as store, pytest.raises(StoreError, match="a cursor of a listing of alerts"):
        store.verdicts(Filters(after=Cursor(MIDDLE, "ab12")))


def test_the_command_line_goes_on_where_a_page_ended(filled: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> tuple[str, str, object]:
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--store", address(filled)])
        return (*capsys.readouterr(), ended.value.code)

    for noun in ("alerts", "verdicts"):
        out, _, _ = run(noun, "list", "--json", "--limit", "3")
        lines = [json.loads(line) for line in out.splitlines()]
        out, _, _ = run(noun, "list", "--json", "--limit", "2", "--after", lines[0]["cursor"])
        assert [json.loads(line) for line in out.splitlines()] == lines[1:]
        _, error, _ = run(noun, "list", "--limit", "1")
        assert f"--after {lines[0]['cursor']} goes on" in error
        _, error, code = run(noun, "list", "--after", "nonsense")
        assert (code, "'nonsense' is no cursor of a listing" in error) == (2, True)


# ── the tool that measures ──


def test_a_synthetic_store_has_the_shape_that_was_asked_for(filled: Engine) -> None:
    with reading(filled) as connection:
        count = {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (verdicts, scores, alerts)
        }
        names = set(connection.execute(select(verdicts.c.source)).scalars())
    assert (count["verdicts"], count["scores"]) == (SHAPE.verdicts, SHAPE.verdicts * SHAPE.scores)
    assert 0.05 < count["alerts"] / count["verdicts"] < 0.10
    assert names <= set(source_names(SHAPE.sources))
    assert len(names) > 0.9 * SHAPE.sources


def test_a_store_with_results_is_not_filled(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    with Store.open(url) as store:
        store.begin_run("scan", "{}", "")
    with pytest.raises(StoreError, match="it holds results; name an empty store"):
        bench_store(url, StoreShape(10, 1, 10))


def test_the_bench_measures_a_store_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "SAVED_SCORES", 50)
    monkeypatch.setattr(bench, "_windows", lambda *_: [{}])
    options = ["--verdicts", "40", "--scores-per-verdict", "3", "--sources", "10", "--repeats", "1"]
    with pytest.raises(SystemExit):
        main(["bench", "store", *options, "--json"])
    result = json.loads(capsys.readouterr().out)
    assert (result["rows"]["verdicts"], result["rows"]["scores"]) == (40, 120)
    assert result["saved_scores"] > 0
    assert result["bytes"] > 0
    assert {case["listing"] for case in result["cases"]} == {"alerts", "verdicts"}
    assert all(0 < case["median_ms"] <= case["worst_ms"] for case in result["cases"])
