"""Vacuum, backups that are restored, and the way back to an older schema, by the commands."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from streamwatch.cli.main import main
from streamwatch.config import RetentionSettings
from streamwatch.store import Store, schema
from streamwatch.store.database import parse_url
from tests.support.builders import CONFIG, full_alert, full_verdict, live_verdict, make_record
from tests.support.clocks import UtcClock
from tests.support.database import dump


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    with Store.open(url) as store:
        store.save_verdict(store.begin_run("scan", "{}", CONFIG), full_verdict())
    return url


class Ran:
    """What a command did."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> None:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        self.status = ended.value.code
        self.out, self.error = capsys.readouterr()


# ── vacuum ──


def test_a_vacuum_gives_back_the_room_of_what_was_pruned(
    store: Store, clock: UtcClock, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = store.begin_run("scan", "{}", CONFIG)
    store.save_verdict(run, full_verdict(scores=tuple(make_record(frame) for frame in range(20_000))))
    clock.advance(days=2)
    store.prune(RetentionSettings(scores=1))
    ran = Ran(capsys, "db", "vacuum", "--store", database_url)
    assert (ran.status, ran.error) == (0, "")
    assert "s3cret" not in ran.out
    if database_url.startswith("sqlite"):
        before, after = (float(word) for word in ran.out.split() if word[0].isdigit())
        assert after < before / 2
    assert len(store.verdicts()) == 1


def test_a_vacuum_of_nothing_makes_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "db", "vacuum", "--store", f"sqlite:///{tmp_path / 'typo.db'}")
    assert ran.status == 2
    assert "there is no store" in ran.error
    assert list(tmp_path.iterdir()) == []


# ── backup: SQLite ──


def test_a_backup_while_a_run_writes_is_a_whole_store(
    file_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stop = threading.Event()
    saved: list[int] = []

    def write() -> None:
        with Store.open(file_url) as store:
            run = store.begin_run("watch", "{}", CONFIG)
            while not stop.is_set():
                number = len(saved)
                alert = full_alert(f"live-{number}", "camera", evidence=())
                store.save_verdict(run, live_verdict(alert, frames=range(number * 25, number * 25 + 250, 25)))
                saved.append(number)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while len(saved) < 3:
            stop.wait(0.01)
        ran = Ran(capsys, "db", "backup", str(tmp_path / "copy.db"), "--store", file_url)
    finally:
        stop.set()
        writer.join()
    assert ran.status == 0, ran.error
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("copy")) == ["copy.db"]
    assert sqlite3.connect(tmp_path / "copy.db").execute("PRAGMA integrity_check").fetchone() == ("ok",)
    copied = dump(f"sqlite:///{tmp_path / 'copy.db'}")
    everything = dump(file_url)
    assert 3 < len(copied["alerts"]) <= len(everything["alerts"])
    assert all(row in everything["scores"] for row in copied["scores"])
    with Store.open(f"sqlite:///{tmp_path / 'copy.db'}") as restored:
        assert restored.alert("alert-1").evidence
        run = restored.begin_run("scan", "{}", CONFIG)
        restored.save_verdict(run, full_verdict("/archive/next.mp4", "e" * 64, alerts=()))


def test_a_backup_writes_over_nothing(file_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "copy.db"
    place.write_text("the only copy of something")
    ran = Ran(capsys, "db", "backup", str(place), "--store", file_url)
    assert ran.status == 2
    assert ran.error == f"streamwatch: {place}: it is there already, and is not written over; name a new file\n"
    assert place.read_text() == "the only copy of something"


@pytest.mark.parametrize(
    ("store", "path", "said"),
    [
        ("sqlite:///{folder}/typo.db", "copy.db", "there is no store to back up"),
        ("sqlite:///{folder}/store.db", "nowhere/copy.db", "nowhere does not exist; create it"),
        ("sqlite:///{folder}/text.db", "copy.db", "file is not a database"),
        ("sqlite:///{folder}/store.db", "/proc/copy.db", "/proc/copy.db: cannot be written"),
    ],
)
def test_a_backup_that_cannot_be_made_leaves_nothing(
    file_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], store: str, path: str, said: str
) -> None:
    (tmp_path / "text.db").write_text("this is not a database, but a text that is longer than a header" * 20)
    before = sorted(tmp_path.iterdir())
    ran = Ran(capsys, "db", "backup", str(tmp_path / path), "--store", store.format(folder=tmp_path))
    assert (ran.status, len(ran.error.splitlines())) == (2, 1)
    assert said in ran.error
    assert sorted(tmp_path.iterdir()) == before


def test_a_damaged_store_is_not_passed_off_as_a_backup(
    file_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store.open(file_url) as store:
        run = store.begin_run("scan", "{}", CONFIG)
        scores = tuple(make_record(frame) for frame in range(5_000))
        store.save_verdict(run, full_verdict("/archive/other.mp4", "e" * 64, alerts=(), scores=scores))
    file = tmp_path / "store.db"
    data = bytearray(file.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 4096] = b"\xff" * 4096
    file.write_bytes(data)
    ran = Ran(capsys, "db", "backup", str(tmp_path / "copy.db"), "--store", file_url)
    assert ran.status == 2
    assert "damaged" in ran.error
    assert not list(tmp_path.glob("copy.db*"))


# ── backup: PostgreSQL ──


def database(server: str, name: str) -> str:
    """URL of a new database on a server."""
    url = make_url(server)
    engine = create_engine(url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return url.set(database=name).render_as_string(hide_password=False)


def test_a_dump_of_postgresql_is_restored(
    postgres_server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    restore = shutil.which("pg_restore")
    if restore is None or shutil.which("pg_dump") is None:
        pytest.skip("pg_dump and pg_restore are not on the PATH")
    source, target = database(postgres_server, "dumped"), database(postgres_server, "restored")
    with Store.open(source) as store:
        store.save_verdict(store.begin_run("scan", "{}", CONFIG), full_verdict())
    place = tmp_path / "store.dump"
    ran = Ran(capsys, "db", "backup", str(place), "--store", source)
    assert (ran.status, ran.error) == (0, "")
    assert "s3cret" not in ran.out
    assert list(tmp_path.iterdir()) == [place]
    given = make_url(target)
    where = given.set(drivername="postgresql")._replace(password=None).render_as_string()
    environment = {**os.environ, "PGPASSWORD": str(given.password)}
    subprocess.run([restore, "--no-owner", f"--dbname={where}", place], env=environment, check=True)
    assert dump(target) == dump(source)
    with Store.open(target) as restored:
        assert restored.alert("alert-1").evidence
        run = restored.begin_run("scan", "{}", CONFIG)
        restored.save_verdict(run, full_verdict("/archive/next.mp4", "e" * 64, alerts=()))


def test_pg_dump_gets_the_password_in_its_environment_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("psycopg")
    script = f"""#!{sys.executable}
import os, pathlib, sys
pathlib.Path({str(tmp_path)!r}, "told").write_text(" ".join(sys.argv) + "|" + os.environ["PGPASSWORD"])
sys.stderr.write("pg_dump: error: no pg_hba.conf entry for s3cret")
sys.exit(1)
"""
    program = tmp_path / "bin" / "pg_dump"
    program.parent.mkdir()
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    for url in ("postgresql://me:s3cret@host/db", "postgresql://me@host/db?password=s3cret"):
        ran = Ran(capsys, "db", "backup", str(tmp_path / "copy"), "--store", url)
        arguments, _, password = (tmp_path / "told").read_text().partition("|")
        assert password == "s3cret"
        assert "s3cret" not in arguments
        assert "--dbname=postgresql://me@host/db" in arguments
        assert ran.status == 2
        assert "pg_dump failed: pg_dump: error: no pg_hba.conf entry for ***" in ran.error
        assert "s3cret" not in ran.error
        assert not list(tmp_path.glob("copy*"))


def test_without_pg_dump_the_tool_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ran = Ran(capsys, "db", "backup", str(tmp_path / "copy"), "--store", "postgresql://me:s3cret@host/db")
    assert ran.status == 2
    assert "pg_dump is missing" in ran.error
    assert "apt-get install postgresql-client" in ran.error


# ── the way back ──


def test_downgrade_wants_to_be_meant(file_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    url = parse_url(file_url)
    ran = Ran(capsys, "db", "downgrade", "0005", "--store", file_url)
    assert ran.status == 2
    assert "db backup" in " ".join(ran.error.split())
    assert schema.revision_of(url) == schema.head()
    ran = Ran(capsys, "db", "downgrade", "0005", "--yes", "--store", file_url)
    assert (ran.status, schema.revision_of(url)) == (0, "0005")
    assert ran.out.endswith("store.db: schema 0005\n")
    with Store.open(file_url) as store:
        assert len(store.verdicts()) == 1
    assert schema.revision_of(url) == schema.head()


@pytest.mark.parametrize("revision", ["0099", "head", ""])
def test_downgrade_to_what_is_not_older_is_an_error(
    file_url: str, capsys: pytest.CaptureFixture[str], revision: str
) -> None:
    ran = Ran(capsys, "db", "downgrade", revision, "--yes", "--store", file_url)
    assert ran.status == 2
    assert len(ran.error.splitlines()) == 1
    assert schema.revision_of(parse_url(file_url)) == schema.head()


def test_downgrade_of_nothing_makes_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "db", "downgrade", "0005", "--yes", "--store", f"sqlite:///{tmp_path / 'typo.db'}")
    assert ran.status == 2
    assert list(tmp_path.iterdir()) == []
