"""Bringing a database's schema to the one that this version needs.

Every step runs in one transaction that first takes a lock, so that processes which open a fresh store at the
same time build it once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine

from streamwatch.errors import StoreError
from streamwatch.store.database import create_store_engine, lock, shown, sqlite_file, transaction, translated

_LOCK = "streamwatch schema"
_ALEMBIC = threading.Lock()
"""Alembic's environment is one per process."""


def head() -> str:
    """The revision that this version needs."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None, "the package ships at least one revision"
    return revision


def current(engine: Engine) -> str | None:
    """The revision of the database, None for a fresh one. Raises StoreError when it cannot be reached."""
    with translated(engine.url), engine.connect() as connection:
        return _current(connection)


def revision_of(url: URL) -> str | None:
    """As `current`, for a database that may not exist yet: it is not made."""
    file = sqlite_file(url)
    if file is not None and not file.exists():
        return None
    engine = create_store_engine(url, read_only=True)
    try:
        return current(engine)
    finally:
        engine.dispose()


def upgrade(url: URL) -> str | None:
    """Bring the database up to the revision that this version needs, and return it.

    Raises StoreError for a schema that is newer than this version.
    """
    return _move(url, command.upgrade, "head")


def downgrade(url: URL, revision: str) -> None:
    """Take the database back to an older revision, or to `base`: an empty one. Rows of dropped tables go.

    Raises StoreError for one that is not older, and where there is no store.
    """
    current = revision_of(url)
    script = ScriptDirectory.from_config(_config())
    older = [] if current is None else [step.revision for step in script.iterate_revisions(current, "base")][1:]
    if revision not in ("base", *older):
        has = "there is no store" if current is None else f"its schema is {current}"
        raise StoreError(f"{shown(url)}: {has}", f"it can be taken back to {', '.join([*older, 'base'])}")
    _move(url, command.downgrade, revision)


def check_known(url: URL, revision: str | None) -> None:
    """Raises StoreError when a revision is not one of ours."""
    if revision is None:
        return
    try:
        ScriptDirectory.from_config(_config()).get_revision(revision)
    except CommandError:
        raise StoreError(
            f"{shown(url)}: its schema {revision!r} is newer than this version of streamwatch, which knows"
            f" {head()!r} at most",
            "upgrade streamwatch, or name another store",
        ) from None


def _move(url: URL, step: Callable[[Config, str], None], revision: str) -> str | None:
    engine = create_store_engine(url, migrating=True)
    try:
        with _ALEMBIC, transaction(engine) as connection:
            lock(connection, _LOCK)
            check_known(url, _current(connection))
            config = _config()
            config.attributes["connection"] = connection
            step(config, revision)
            _check_references(connection)
            return _current(connection)
    finally:
        engine.dispose()


def _config() -> Config:
    config = Config()
    folder = Path(__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    return config


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _check_references(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
        if broken is not None:
            raise StoreError(
                f"{shown(connection.engine.url)}: rows of {broken[0]!r} point at missing {broken[2]!r} rows"
            )
