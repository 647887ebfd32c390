"""Migrations on SQLite and PostgreSQL, from the first table on."""

from __future__ import annotations

import shutil
from datetime import datetime, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import CheckConstraint, create_engine, insert, inspect, select, text
from sqlalchemy.exc import IntegrityError

from streamwatch.errors import StoreError
from streamwatch.store import Store, schema
from streamwatch.store.database import create_store_engine, parse_url
from streamwatch.store.rows import to_evidence
from streamwatch.store.tables import evidence, metadata, runs, verdicts

HEAD = schema.head()

NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "next"
down_revision = "{head}"


def upgrade():
    rebuild = "always" if op.get_bind().dialect.name == "sqlite" else "never"
    with op.batch_alter_table("runs", recreate=rebuild) as batch:
        batch.add_column(sa.Column("host", sa.Text()))
    {after}


def downgrade():
    with op.batch_alter_table("runs") as batch:
        batch.drop_column("host")
"""


def tables_of(url: str) -> set[str]:
    engine = create_store_engine(parse_url(url))
    names = set(inspect(engine).get_table_names())
    engine.dispose()
    return names


def revision_of(url: str) -> str | None:
    return schema.revision_of(parse_url(url))


def add_revision(monkeypatch: pytest.MonkeyPatch, folder: Path, after: str = "") -> None:
    """Make a further revision the head; on SQLite it rebuilds `runs`, which other tables point at."""
    copy = folder / "migrations"
    shutil.copytree(Path(schema.__file__).parent / "migrations", copy)
    (copy / "versions" / "rnext.py").write_text(NEXT.format(after=after, head=HEAD))

    def config() -> Config:
        made = Config()
        made.set_main_option("script_location", str(copy))
        return made

    monkeypatch.setattr(schema, "_config", config)


def fill(url: str) -> None:
    now = datetime(2026, 3, 1, tzinfo=timezone.utc)
    counts = dict.fromkeys(("decoded", "sampled", "analysed", "dropped", "corrupt"), 0)
    names = dict.fromkeys(("model_name", "model_sha256", "config_sha256", "policy", "reason", "digest"), "")
    times = {"stored_at": now, "occurred_at": now}
    engine = create_store_engine(parse_url(url))
    with engine.begin() as connection:
        run = {"command": "scan", "settings": "{}", "config_sha256": "", "started_at": now, "status": "done"}
        key = connection.execute(insert(runs), run).inserted_primary_key
        assert key is not None
        verdict = {**counts, **names, **times, "run_id": key[0], "source": "clip.mp4", "label": "no_face"}
        connection.execute(insert(verdicts), verdict)
    engine.dispose()


def sources(url: str) -> list[str]:
    engine = create_store_engine(parse_url(url))
    with engine.connect() as connection:
        found = list(connection.execute(select(verdicts.c.source)).scalars())
    engine.dispose()
    return found


def test_the_revisions_make_the_tables_that_the_code_uses(database_url: str) -> None:
    Store.open(database_url).close()
    engine = create_store_engine(parse_url(database_url))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        checks = {
            check["name"] for table in metadata.tables for check in inspect(connection).get_check_constraints(table)
        }
    engine.dispose()
    assert checks == {
        constraint.name
        for table in metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
    }


def test_down_to_nothing_and_up_again(database_url: str) -> None:
    url = parse_url(database_url)
    assert revision_of(database_url) is None
    assert schema.upgrade(url) == schema.head()
    assert tables_of(database_url) == {*metadata.tables, "alembic_version"}
    schema.downgrade(url, "base")
    assert tables_of(database_url) == {"alembic_version"}
    assert schema.upgrade(url) == schema.head()
    assert tables_of(database_url) == {*metadata.tables, "alembic_version"}


def test_opening_upgrades_an_older_schema_and_keeps_the_rows(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(database_url).close()
    fill(database_url)
    add_revision(monkeypatch, tmp_path)
    Store.open(database_url).close()
    assert revision_of(database_url) == "next"
    assert sources(database_url) == ["clip.mp4"]
    schema.downgrade(parse_url(database_url), HEAD)
    assert revision_of(database_url) == HEAD
    assert sources(database_url) == ["clip.mp4"]


def test_evidence_from_before_coverage_was_measured_is_kept(database_url: str) -> None:
    url = parse_url(database_url)
    Store.open(database_url).close()
    fill(database_url)
    schema.downgrade(url, "0001")
    engine = create_store_engine(url)
    with engine.begin() as connection:
        old = "verdict_id, track_id, frame_index, pts, x0, y0, x1, y1, score, crop_jpeg"
        key = connection.execute(text("SELECT id FROM verdicts")).scalar_one()
        row = {"key": key, "jpeg": b"jpeg"}
        connection.execute(text(f"INSERT INTO evidence ({old}) VALUES (:key, 1, 2, 0, 0, 0, 9, 9, 0.9, :jpeg)"), row)
    engine.dispose()
    with Store.open(database_url) as store:
        ((verdict_id,),) = [(row.id,) for row in store.verdicts()]
    assert verdict_id == key
    assert revision_of(database_url) == HEAD
    engine = create_store_engine(url)
    with engine.begin() as connection:
        (kept,) = [to_evidence(row) for row in connection.execute(select(evidence)).mappings()]
        assert (kept.crop_jpeg, kept.coverage) == (b"jpeg", None)
        with pytest.raises(IntegrityError):
            connection.execute(text("UPDATE evidence SET mask_mouth = 1.5"))
    engine.dispose()


def test_an_upgrade_that_fails_changes_nothing(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(database_url).close()
    fill(database_url)
    add_revision(monkeypatch, tmp_path, after='op.execute("SELECT * FROM nowhere")')
    with pytest.raises(StoreError, match="nowhere"):
        Store.open(database_url)
    assert revision_of(database_url) == HEAD
    assert sources(database_url) == ["clip.mp4"]
    engine = create_store_engine(parse_url(database_url))
    assert "host" not in {column["name"] for column in inspect(engine).get_columns("runs")}
    engine.dispose()


def test_a_newer_schema_is_refused_and_left_alone(database_url: str) -> None:
    Store.open(database_url).close()
    engine = create_store_engine(parse_url(database_url))
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    message = "its schema '9999' is newer than this version of streamwatch"
    with pytest.raises(StoreError, match=message):
        Store.open(database_url)
    with pytest.raises(StoreError, match=message):
        schema.upgrade(parse_url(database_url))
    assert revision_of(database_url) == "9999"


def test_asking_for_the_revision_makes_no_file(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    assert revision_of(f"sqlite:///{file}") is None
    assert not file.exists()


def test_a_revision_that_breaks_references_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    Store.open(url).close()
    fill(url)
    add_revision(monkeypatch, tmp_path, after='op.execute("DELETE FROM runs")')
    with pytest.raises(StoreError, match="rows of 'verdicts' point at missing 'runs' rows"):
        Store.open(url)
    assert revision_of(url) == HEAD
    engine = create_engine(url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM runs")).scalar() == 1
    engine.dispose()
