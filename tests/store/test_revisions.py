"""Each revision of the schema, up and down, with rows in every table."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from typing import Any

import alembic.command
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, MetaData, Table, insert, inspect, select

from streamwatch.store import schema
from streamwatch.store.database import create_store_engine, parse_url
from streamwatch.store.tables import metadata

NOON = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=timezone.utc)
DIGEST = "f" * 64
RESULT = {"sha256": DIGEST, "model_sha256": "a" * 64, "config_sha256": "c" * 64}
BOX = {"x0": 1.5, "y0": 2.5, "x1": 30.25, "y1": 40.0}
COUNTS = {"decoded": 310, "sampled": 25, "analysed": 24, "dropped": 5_000_000_000, "corrupt": 0}
FACE = {"verdict_id": 1, "track_id": 1, "frame_index": 6_000_000_000, "pts": 4.04, "wall_time": NOON}

ROWS: dict[str, list[dict[str, Any]]] = {
    "runs": [
        {
            "id": 1,
            "command": "watch",
            "settings": "{}",
            "config_sha256": "c" * 64,
            "started_at": NOON,
            "ended_at": None,
            "heard_at": NOON + timedelta(hours=1),
            "status": "running",
        }
    ],
    "verdicts": [
        {
            "id": number,
            "run_id": 1,
            "source": source,
            **(RESULT | {"sha256": sha256}),
            "model_name": "m2tr-lite",
            "policy": "mean_logit",
            "label": label,
            "score": score,
            "reason": "",
            "failure_kind": None,
            "failure_message": None,
            "duration": 12.4,
            **COUNTS,
            "dropped_by": '{"stale": 5}',
            "started_at": None,
            "stored_at": NOON,
            "occurred_at": NOON,
            "digest": DIGEST,
        }
        for number, source, sha256, label, score in (
            (1, "/archive/Émission.mp4", DIGEST, "fake", 0.97),
            (2, "rtsp://***@camera/1", None, "no_face", None),
        )
    ],
    "tracks": [
        {
            "verdict_id": 1,
            "track_id": 1,
            "start_pts": 0.0,
            "end_pts": 12.4,
            "label": "fake",
            "score": 0.97,
            "faces": 24,
            "reason": "",
        }
    ],
    "spans": [
        {
            "verdict_id": 1,
            "track_id": 1,
            "position": 0,
            "start_pts": 3.2,
            "end_pts": 9.8,
            "peak": 0.99,
            "mean": 0.95,
        }
    ],
    "scores": [
        {
            **FACE,
            **BOX,
            "confidence": 0.99,
            "logit": 2.5,
            "probability": 0.9,
            "short_side": 99.5,
            "sharpness": 310.0,
            "pose": 0.1,
            "upscaling": 0.8,
        }
    ],
    "alerts": [
        {
            "id": key,
            "verdict_id": verdict_id,
            "source": "/archive/Émission.mp4",
            "track_id": track,
            "start_pts": 3.2,
            "end_pts": None,
            "started_at": None,
            "ended_at": None,
            "peak": peak,
            "mean": peak,
            "label": "fake",
            "revision": 2,
            "stored_at": NOON,
            "occurred_at": NOON,
            "digest": DIGEST,
            "state": "reviewed",
            "review_label": "real",
            "review_comment": "a poster",
            "reviewed_at": NOON,
            "reviewed_by": "ada",
            "kind": kind,
            "reason": "",
            "faces": None,
            "seen_pts": None,
        }
        for key, verdict_id, track, peak, kind in (("forged", 1, 1, 0.99, "forgery"), ("dark", 2, None, None, "black"))
    ],
    "evidence": [
        {
            **FACE,
            **BOX,
            "alert_id": "forged",
            "region_x0": None,
            "region_y0": None,
            "region_x1": None,
            "region_y1": None,
            "score": 0.99,
            "crop_jpeg": b"jpeg \x00\xff",
            "mask_png": b"png",
            **{f"mask_{name}": 0.5 for name in ("threshold", "face", "eyes", "nose", "mouth", "skin", "border")},
        }
    ],
    "clips": [
        {
            "alert_id": "forged",
            "path": "store.db.clips/forged.mp4",
            "sha256": DIGEST,
            "bytes": 5_000_000_000,
            "started_at": NOON,
            "ended_at": NOON,
            "failure": None,
            "stored_at": NOON,
        }
    ],
    "deliveries": [
        {
            "id": 1,
            "sink": "desk",
            "alert_id": "forged",
            "revision": 1,
            "payload": "{}",
            "created_at": NOON,
            "due_at": NOON,
            "attempts": 0,
            "failure": None,
            "delivered_at": None,
        }
    ],
    "transitions": [
        {
            "id": 1,
            "run_id": 1,
            "source": "rtsp://***@camera/1",
            "at": NOON,
            "previous": "running",
            "state": "backing_off",
            "cause": "ended",
            "message": "the server ended the stream",
            "retry_in": 0.25,
            "retries": 41,
            "last_at": NOON,
        }
    ],
    "reviews": [
        {
            "id": 1,
            "alert_id": "forged",
            "at": NOON,
            "by": "ada",
            "state": "reviewed",
            "label": "real",
            "comment": "a poster",
        }
    ],
    "copies": [{"verdict_id": 1, "source": "/archive/copy.mp4"}],
    "contents": [
        {
            "path": "/archive/Émission.mp4",
            "bytes": 5_000_000_000,
            "modified_ns": 1_772_366_400_123_456_789,
            "sha256": DIGEST,
            "seen_on": date(2026, 3, 1),
        }
    ],
    "leases": [{**RESULT, "run_id": 1, "until": NOON}],
    "segments": [{**RESULT, "place": ":1000", "data": b"npz \x00", "stored_at": NOON}],
    "jobs": [
        {
            "id": 1,
            "key": DIGEST,
            "model_name": "m2tr-lite",
            "model_sha256": "a" * 64,
            "config_sha256": "c" * 64,
            "created_at": NOON,
            "heard_at": None,
            "cancelled_at": None,
        }
    ],
    "items": [
        {
            "job_id": 1,
            "number": 1,
            "source": "/archive/Émission.mp4",
            "metadata": '{"tape": 17}',
            "sha256": DIGEST,
            "state": "failed",
            "attempts": 2,
            "failure_kind": "SourceUnreadable",
            "failure_message": "not a video",
        }
    ],
    "sources": [
        {"name": "/archive/Émission.mp4", "folded": "/archive/émission.mp4"},
        {"name": "rtsp://***@camera/1", "folded": "rtsp://***@camera/1"},
    ],
}
"""Rows of every table, as the newest schema holds them."""


def revisions() -> list[str]:
    """All of them, the first one first."""
    return [step.revision for step in ScriptDirectory.from_config(schema._config()).walk_revisions()][::-1]


STEPS = list(zip(revisions(), revisions()[1:], strict=False))


def reflected(connection: Connection) -> dict[str, Table]:
    found = MetaData()
    found.reflect(connection)
    return {name: table for name, table in found.tables.items() if name != "alembic_version"}


def typed(table: Table, names: list[str]) -> Table:
    """The table with the columns that it has at a revision, as the code types them."""
    columns = metadata.tables[table.name].c
    return Table(table.name, MetaData(), *(columns[name]._copy() for name in names))


def held(rows: list[dict[str, Any]], table: Table) -> list[dict[str, Any]]:
    """Of these rows, what a table has room for."""
    nullable = {column.name: column.nullable for column in table.columns}
    kept = [{name: value for name, value in row.items() if name in nullable} for row in rows]
    if table.name == "alerts" and "kind" not in nullable:
        kept = [row for row in kept if row["peak"] is not None]
    return kept


def contents_of(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    with engine.connect() as connection:
        found = {}
        for name, table in reflected(connection).items():
            names = [column["name"] for column in inspect(connection).get_columns(name)]
            mine = typed(table, names)
            order = [mine.c[column.name] for column in table.primary_key.columns]
            found[name] = [dict(row) for row in connection.execute(select(mine).order_by(*order)).mappings()]
        return found


def by_key(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: [str(row[name]) for name in sorted(row) if name in ("id", "name", "number")])


def test_rows_of_every_table_are_tried() -> None:
    assert set(ROWS) == set(metadata.tables)
    for name, rows in ROWS.items():
        assert all(set(row) == set(metadata.tables[name].c.keys()) for row in rows), name


@pytest.mark.parametrize(("older", "newer"), STEPS, ids=[newer for _, newer in STEPS])
def test_rows_outlive_a_revision_up_and_down(database_url: str, older: str, newer: str) -> None:
    url = parse_url(database_url)
    schema.upgrade(url)
    schema.downgrade(url, older)
    engine = create_store_engine(url)
    with engine.begin() as connection:
        tables = reflected(connection)
        for table in metadata.sorted_tables:
            if table.name in tables:
                rows = held(ROWS[table.name], tables[table.name])
                connection.execute(insert(typed(table, list(tables[table.name].c.keys()))), rows)
    before = contents_of(engine)
    assert all(before.values())

    schema._move(url, alembic.command.upgrade, newer)
    after = contents_of(engine)
    for name, rows in before.items():
        assert [{key: row[key] for key in rows[0]} for row in after[name]] == rows
    assert set(after) >= set(before)

    schema.downgrade(url, older)
    assert contents_of(engine) == before
    schema._move(url, alembic.command.upgrade, newer)
    assert contents_of(engine) == after
    engine.dispose()


def test_what_an_older_schema_can_hold_comes_back_from_the_newest(database_url: str) -> None:
    url = parse_url(database_url)
    schema.upgrade(url)
    engine = create_store_engine(url)
    with engine.begin() as connection:
        for table in metadata.sorted_tables:
            connection.execute(insert(table), ROWS[table.name])
    whole = contents_of(engine)
    assert {name: by_key(rows) for name, rows in whole.items()} == {name: by_key(rows) for name, rows in ROWS.items()}
    for revision in revisions()[-2::-1]:
        schema.downgrade(url, revision)
        with engine.connect() as connection:
            room = reflected(connection)
        expected = {name: by_key(held(ROWS[name], table)) for name, table in room.items()}
        if revision < "0004":  # which knows forgeries alone
            expected["alerts"] = [row for row in expected["alerts"] if row["id"] == "forged"]
        assert {name: by_key(rows) for name, rows in contents_of(engine).items()} == expected
    schema.upgrade(url)
    again = contents_of(engine)
    for name in ("runs", "tracks", "spans", "scores", "sources"):
        rows = [dict(row, heard_at=None) if name == "runs" else row for row in whole[name]]
        assert again[name] == rows
    engine.dispose()
