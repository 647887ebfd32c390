"""What a database needs now and then: its files tidied and its statistics renewed, and a copy of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

from sqlalchemy import URL, Engine

from streamwatch.errors import LibraryMissing, StoreError
from streamwatch.files import replacing
from streamwatch.store.database import driver_of, shown, sqlite_file, translated

_ANALYSED = 1000
"""Rows of each index that SQLite's statistics rest on (PRAGMA analysis_limit)."""


def vacuum(engine: Engine) -> None:
    """Give the room of deleted rows back, and renew the statistics that queries are planned by.

    SQLite writes its file again, which takes as much room again beside it, and keeps writers waiting; PostgreSQL frees
    the room for rows to come, and keeps nobody waiting. Raises StoreError.
    """
    if engine.dialect.name == "sqlite":
        _run(engine, "VACUUM")
    analyse(engine)


def analyse(engine: Engine) -> None:
    """Renew the statistics that queries are planned by. Raises StoreError."""
    if engine.dialect.name == "sqlite":
        _run(engine, f"PRAGMA analysis_limit = {_ANALYSED}", "ANALYZE", "PRAGMA wal_checkpoint(TRUNCATE)")
    else:
        _run(engine, "VACUUM (ANALYZE)")


def _run(engine: Engine, *statements: str) -> None:
    """Run what no transaction may hold."""
    with translated(engine.url), engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        with driver_of(connection) as driver:
            for statement in statements:
                driver.execute(statement)


def backup(url: URL, path: Path) -> None:
    """Copy the database into a new file, as it is at one instant, while others write. Clips beside it are not in it.

    SQLite: a database that can be opened where it stands; PostgreSQL: what `pg_restore` reads. The file has its name
    only once it is whole. Raises StoreError, where the file is there already too, and LibraryMissing without pg_dump.
    """
    if path.exists():
        raise StoreError(f"{path}: it is there already, and is not written over", "name a new file")
    if not path.parent.is_dir():
        raise StoreError(f"{path}: the folder {path.parent} does not exist", "create it or choose another")
    try:
        with replacing(path) as draft:
            file = sqlite_file(url)
            if file is None:
                _dump(url, draft)
            else:
                _copy(url, file, draft)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})", "name another place") from None


def _copy(url: URL, file: Path, target: Path) -> None:
    if not file.exists():
        raise StoreError(f"{shown(url)}: there is no store to back up", "--store names another")
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as source,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
            copy.execute("PRAGMA trusted_schema = OFF")
            copy.execute("PRAGMA journal_mode = DELETE")
            found = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        raise StoreError(f"{shown(url)}: {error}") from None
    if found != "ok":
        raise StoreError(f"{shown(url)}: it is damaged, and so would be its copy: {' '.join(found.split())}")


def _dump(url: URL, target: Path) -> None:
    tool = shutil.which("pg_dump")
    if tool is None:
        raise LibraryMissing("pg_dump is missing, which backs up PostgreSQL", "apt-get install postgresql-client")
    # Arguments are for everyone on the machine to read.
    secret = str(url.password or url.query.get("password") or "")
    place = url.set(drivername="postgresql").difference_update_query(["password"])
    place = place._replace(password=None)
    environment = {**os.environ, **({"PGPASSWORD": secret} if secret else {})}
    command = [tool, "--format=custom", "--no-password", f"--file={target}"]
    done = subprocess.run(
        [*command, f"--dbname={place.render_as_string(hide_password=False)}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        reason = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        if secret:
            reason = reason.replace(secret, "***")
        raise StoreError(f"{shown(url)}: pg_dump failed: {reason}")
