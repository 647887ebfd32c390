"""Stores that are opened to be read: nothing is changed, and no right to change anything is needed."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError
from typer.testing import CliRunner

from streamwatch.cli import alerts, db, jobs, streams, verdicts
from streamwatch.errors import StoreError
from streamwatch.store import Store, schema
from streamwatch.store.database import create_store_engine, parse_url, reading
from tests.support.builders import CONFIG, full_verdict
from tests.support.database import dump

NOBODY = 65534
COMMANDS = [
    (alerts.app, ["list"]),
    (alerts.app, ["export"]),
    (verdicts.app, ["list"]),
    (verdicts.app, ["export"]),
    (streams.app, ["list"]),
    (streams.app, ["history"]),
    (jobs.app, ["list"]),
    (db.app, ["current"]),
    (db.app, ["prune", "--dry-run"]),
]


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that others can enter, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="streamwatch-reading-"))
    path.chmod(0o755)
    yield path
    path.chmod(0o755)
    shutil.rmtree(path)


@contextlib.contextmanager
def forbidden(folder: Path) -> Iterator[None]:
    """While this lasts the folder and what lies in it can be read, and not be written."""
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o755)
        for path in folder.iterdir():
            path.chmod(0o644)


def fill(url: str) -> None:
    with Store.open(url) as store:
        store.save_verdict(store.begin_run("scan", "{}", CONFIG), full_verdict())


def tables_of(url: str) -> set[str]:
    engine = create_store_engine(parse_url(url))
    names = set(inspect(engine).get_table_names())
    engine.dispose()
    return names


def test_one_that_may_not_be_written_is_read(folder: Path) -> None:
    url = f"sqlite:///{folder / 'store.db'}"
    fill(url)
    with forbidden(folder):
        with Store.open_to_read(url) as store:
            assert [row.verdict.source for row in store.verdicts()] == ["/archive/clip.mp4"]
            with pytest.raises(StoreError, match="readonly database; check that the file and its folder can be"):
                store.review("alert-1")
        assert [path.name for path in folder.iterdir()] == ["store.db"]


def test_what_somebody_else_is_writing_is_seen(folder: Path) -> None:
    url = f"sqlite:///{folder / 'store.db'}"
    with Store.open(url) as writer:
        run = writer.begin_run("watch", "{}", CONFIG)
        writer.save_verdict(run, full_verdict())
        with forbidden(folder), Store.open_to_read(url) as store:
            assert len(store.verdicts()) == 1


@pytest.mark.parametrize(("app", "command"), COMMANDS)
def test_commands_that_read_do_with_a_store_that_may_not_be_written(
    folder: Path, app: typer.Typer, command: list[str]
) -> None:
    url = f"sqlite:///{folder / 'store.db'}"
    fill(url)
    with forbidden(folder):
        done = CliRunner().invoke(app, [*command, "--store", url])
    assert done.exit_code == 0, done.output or done.exception


@pytest.mark.parametrize(("app", "command"), COMMANDS)
def test_commands_that_read_make_no_tables(tmp_path: Path, app: typer.Typer, command: list[str]) -> None:
    file = tmp_path / "empty.db"
    file.touch()
    done = CliRunner().invoke(app, [*command, "--store", f"sqlite:///{file}"])
    if command != ["current"]:
        assert isinstance(done.exception, StoreError)
        assert "there is no store" in str(done.exception)
    assert file.stat().st_size == 0
    assert [path.name for path in tmp_path.iterdir()] == ["empty.db"]


def test_reading_upgrades_nothing(database_url: str) -> None:
    url = parse_url(database_url)
    schema.upgrade(url)
    schema.downgrade(url, "0005")
    before = tables_of(database_url)
    with pytest.raises(StoreError, match=r"its schema is 0005, this version needs \d+; run `streamwatch db upgrade`"):
        Store.open_to_read(database_url)
    assert (schema.revision_of(url), tables_of(database_url)) == ("0005", before)


def test_a_database_without_tables_stays_one(database_url: str) -> None:
    if database_url.startswith("sqlite"):
        Path(database_url.removeprefix("sqlite:///")).touch()
    with pytest.raises(StoreError, match="there is no store"):
        Store.open_to_read(database_url)
    with pytest.raises(StoreError, match="there is no store"):
        Store.open(database_url, create=False)
    assert tables_of(database_url) == set()


def test_a_listing_cannot_write(database_url: str) -> None:
    fill(database_url)
    before = dump(database_url)
    engine = create_store_engine(parse_url(database_url), read_only=True)
    with pytest.raises((StoreError, DBAPIError)), reading(engine) as connection:
        connection.execute(text("DELETE FROM verdicts"))
    engine.dispose()
    assert dump(database_url) == before


def test_nothing_in_the_file_is_trusted(tmp_path: Path) -> None:
    url = parse_url(f"sqlite:///{tmp_path / 'store.db'}")
    schema.upgrade(url)
    for kind in ({}, {"read_only": True}, {"migrating": True}):
        engine = create_store_engine(url, **kind)
        with engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA trusted_schema").scalar() == 0, kind
        engine.dispose()
