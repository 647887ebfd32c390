"""Opening the database: URLs, connections, and driver errors turned into `StoreError`."""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError, StatementError
from sqlalchemy.pool import ConnectionPoolEntry

from streamwatch.backoff import full_jitter
from streamwatch.distribution import install_extra
from streamwatch.errors import StoreDeadlock, StoreError
from streamwatch.files import PRIVATE
from streamwatch.sources import redact

BUSY_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 10
DEADLOCK_TRIES = 5
DEADLOCK_WAIT, DEADLOCK_WAIT_MAX = 0.1, 0.8
"""Longest waits, in seconds, before the second try and before any later one."""

P = ParamSpec("P")
T = TypeVar("T")

_FORMS = "use sqlite:///FILE or postgresql://USER@HOST/DATABASE"


def parse_url(address: str) -> URL:
    """The URL of a store, with the driver that we support.

    Raises StoreError for anything but an SQLite file or a PostgreSQL server.
    """
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        raise StoreError(f"{redact(address)!r} is not the URL of a store", _FORMS) from None
    backend = url.get_backend_name()
    if backend in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise StoreError(f"{shown(url)}: {backend} is not supported", _FORMS)
    if url.database in (None, "", ":memory:"):
        raise StoreError(f"{shown(url)}: a store needs a file", _FORMS)
    return url.set(drivername="sqlite")


def sqlite_file(url: URL) -> Path | None:
    """The file of an SQLite store, None for a server."""
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


def shown(url: URL) -> str:
    """The URL for people: password masked."""
    return redact(url.render_as_string(hide_password=True))


def create_store_engine(url: URL, *, migrating: bool = False, read_only: bool = False) -> Engine:
    """An engine whose transactions are real on both databases.

    SQLite: write-ahead log, foreign keys on, writers wait for each other. Connections of a `migrating` engine
    leave foreign keys unchecked: SQLite alters a table by copying and dropping it, which would cascade. Those of a
    `read_only` engine on SQLite write nothing, and need no right to.
    Raises StoreError for a missing driver or a path that cannot hold a database.
    """
    path = sqlite_file(url)
    arguments: dict[str, Any] = {}
    if path is None:
        arguments["connect_timeout"] = CONNECT_TIMEOUT_S
        arguments["application_name"] = "streamwatch"
    else:
        _check_place(path)
        if "timeout" not in url.query:  # sqlite:///FILE?timeout=SECONDS
            arguments["timeout"] = BUSY_TIMEOUT_S
    try:
        engine = create_engine(
            url,
            connect_args=arguments,
            hide_parameters=True,
            pool_pre_ping=path is None,
            **({"poolclass": NullPool} if migrating else {}),
        )
    except NoSuchModuleError as error:
        raise StoreError(f"{shown(url)}: {_first_line(error)}", _FORMS) from None
    except ImportError:
        raise StoreError(f"{shown(url)}: the PostgreSQL driver is missing", install_extra("postgres")) from None
    if path is not None:
        if read_only:
            _set_up_reading(engine, path)
        else:
            _set_up_writing(engine, path, foreign_keys=not migrating)
        _set_up_transactions(engine)
    return engine


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """A writing transaction: all of it or nothing. Driver errors leave as `StoreError`."""
    with translated(engine.url), engine.execution_options(sqlite_begin="IMMEDIATE").begin() as connection:
        yield connection


def retried(call: Callable[P, T]) -> Callable[P, T]:
    """The call, made again while PostgreSQL ends it as a deadlock's victim, a few times. For one whole transaction."""

    @functools.wraps(call)
    def again(*args: P.args, **named: P.kwargs) -> T:
        for failures in range(DEADLOCK_TRIES - 1):
            try:
                return call(*args, **named)
            except StoreDeadlock:
                time.sleep(full_jitter(failures, DEADLOCK_WAIT, DEADLOCK_WAIT_MAX))
        return call(*args, **named)

    return again


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A consistent view for several queries. Driver errors leave as `StoreError`."""
    with translated(engine.url), engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        yield connection


def lock(connection: Connection, key: str) -> None:
    """Wait until no other writing transaction holds `key`; held to the end of this one.

    SQLite: nothing to do, a writing transaction has the whole database.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": key})


@contextmanager
def driver_of(connection: Connection) -> Iterator[Any]:
    """The driver's own connection, for what SQLAlchemy has no words for; its errors leave as SQLAlchemy's."""
    dbapi = connection.dialect.dbapi
    assert dbapi is not None
    try:
        yield connection.connection.driver_connection
    except dbapi.Error as error:
        raise DBAPIError.instance(None, None, error, dbapi.Error, hide_parameters=True) from None


@contextmanager
def translated(url: URL) -> Iterator[None]:
    """Turn SQLAlchemy's and the driver's errors into a one-line `StoreError` with the password masked."""
    try:
        yield
    except SQLAlchemyError as error:
        reason = _first_line(error)
        if url.password:
            reason = reason.replace(str(url.password), "***")
        kind = StoreDeadlock if _is_deadlock(error) else StoreError
        raise kind(f"{shown(url)}: {reason}", _fix(url, error, reason)) from None


def _check_place(path: Path) -> None:
    if path.is_dir():
        raise StoreError(
            f"sqlite:///{path} is a folder", f"name a file in it, such as sqlite:///{path / 'streamwatch.db'}"
        )
    if not path.parent.is_dir():
        raise StoreError(f"sqlite:///{path}: the folder {path.parent} does not exist", "create it or choose another")


def _set_up_writing(engine: Engine, path: Path, *, foreign_keys: bool) -> None:
    @event.listens_for(engine, "do_connect")
    def _connecting(*_: object) -> None:
        # SQLite would make it readable for everybody; its journals take the permissions of the file.
        with contextlib.suppress(OSError):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE))

    @event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
        # Python's driver would start transactions by itself, and not before DDL: we say BEGIN ourselves.
        connection.isolation_level = None
        _distrust(connection)
        _write_ahead(connection)
        connection.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")


def _set_up_reading(engine: Engine, path: Path) -> None:
    @event.listens_for(engine, "do_connect")
    def _connecting(_dialect: object, _entry: object, _arguments: object, named: dict[str, Any]) -> sqlite3.Connection:
        return _connect_to_read(path, named)

    @event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None
        _distrust(connection)
        connection.execute("PRAGMA query_only = ON")


def _connect_to_read(path: Path, named: dict[str, Any]) -> sqlite3.Connection:
    """A connection to a database that is there, with whatever rights there are.

    The journals beside it take the right to write, even for reading: who has it gets a connection that tidies them up,
    others use those of whoever writes. Where nobody does and they are missing, nothing can change while it is read.
    """
    place = path.absolute().as_uri()
    effective = os.access in os.supports_effective_ids
    if all(os.access(each, os.W_OK, effective_ids=effective) for each in (path, path.parent)):
        return _probed(f"{place}?mode=rw", named)
    try:
        return _probed(f"{place}?mode=ro", named)
    except sqlite3.OperationalError:
        journal = path.with_name(f"{path.name}-wal")
        if journal.exists() and journal.stat().st_size:
            raise
        return _probed(f"{place}?mode=ro&immutable=1", named)


def _probed(address: str, named: dict[str, Any]) -> sqlite3.Connection:
    connection: sqlite3.Connection = sqlite3.connect(address, uri=True, **named)
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _distrust(connection: sqlite3.Connection) -> None:
    """Let nothing that lies in the file itself do more than hold rows (https://www.sqlite.org/security.html)."""
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")


def _set_up_transactions(engine: Engine) -> None:
    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        # A transaction that reads first and writes later fails at once when another writer came between;
        # one that begins as a writer waits for its turn.
        mode = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
        connection.exec_driver_sql(f"BEGIN {mode}")


def _write_ahead(connection: sqlite3.Connection) -> None:
    # When eight processes open a fresh file, one in 200 is turned away here: SQLite's busy timeout does not
    # cover the change of journal mode.
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _is_deadlock(error: SQLAlchemyError) -> bool:
    """SQLSTATE 40P01 of the SQL standard's class 40, transaction rollback."""
    return getattr(getattr(error, "orig", None), "sqlstate", None) == "40P01"


def _first_line(error: SQLAlchemyError) -> str:
    cause = error.orig if isinstance(error, StatementError) and error.orig is not None else error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return lines[0] if lines else type(cause).__name__


def _fix(url: URL, error: SQLAlchemyError, reason: str) -> str | None:
    path = sqlite_file(url)
    if path is None:
        lost = isinstance(error, DBAPIError) and (error.connection_invalidated or "connect" in reason)
        return "check that the server runs and that the URL is right" if lost else None
    fixes = {
        "unable to open": "check that the file and its folder can be written",
        "readonly": "check that the file and its folder can be written",
        "not a database": "name another file, or move this one away",
        "locked": "another program holds it, try again when that is done",
        "disk is full": "free some space",
    }
    return next((fix for mark, fix in fixes.items() if mark in reason), None)
