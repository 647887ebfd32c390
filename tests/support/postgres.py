"""Databases for tests: an SQLite file, and a real PostgreSQL server in a temporary folder."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

PASSWORD = "s3cret"
_SYSTEM_FOLDERS = "/usr/lib/postgresql/*/bin"
_SETTINGS = "-c listen_addresses='' -c fsync=off -c full_page_writes=off -c max_connections=30 -c shared_buffers=16MB"
_numbers = itertools.count(1)


class NoServerError(Exception):
    """PostgreSQL cannot be started here; says why."""


@contextmanager
def temporary_server() -> Iterator[str]:
    """A server that listens on a socket in its own folder; gives the URL of its `postgres` database.

    PostgreSQL refuses to run as root: it runs as an unprivileged user. Raises NoServerError with the reason.
    """
    initdb, pg_ctl = _tool("initdb"), _tool("pg_ctl")
    user = _unprivileged_user() if os.geteuid() == 0 else None
    # Not pytest's folder: a socket's path holds 107 characters at most, and another user must get there.
    folder = Path(tempfile.mkdtemp(prefix="streamwatch-pg-", dir="/tmp"))
    try:
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        data = folder / "data"
        password = folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        make: list[str | Path] = [initdb, "-D", data, "-U", "tester", "-E", "UTF8", "--locale=C", "-A", "scram-sha-256"]
        _run([*make, "--no-sync", f"--pwfile={password}"], folder, user)
        start: list[str | Path] = [
            pg_ctl,
            "-D",
            data,
            "-w",
            "-t",
            "30",
            "-l",
            folder / "log",
            "-o",
            f"{_SETTINGS} -k {folder}",
            "start",
        ]
        try:
            _run(start, folder, user)
            yield f"postgresql://tester:{PASSWORD}@/postgres?host={folder}"
        finally:
            if (data / "postmaster.pid").exists():
                _run([pg_ctl, "-D", data, "-m", "immediate", "-w", "stop"], folder, user)
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a running server, or a skip with the reason."""
    pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
    server = temporary_server()
    try:
        url = server.__enter__()
    except NoServerError as error:
        pytest.skip(str(error))
    try:
        yield url
    finally:
        server.__exit__(None, None, None)


@pytest.fixture(scope="session")
def postgres_schema(postgres_server: str) -> Callable[[], str]:
    """Makes a schema without tables, and gives its URL; in a hundredth of the time that a database takes."""

    def make() -> str:
        name = f"store_{next(_numbers)}"
        engine = create_engine(postgres_server.replace("postgresql:", "postgresql+psycopg:"))
        with engine.begin() as connection:
            connection.execute(text(f"CREATE SCHEMA {name}"))
        engine.dispose()
        return f"{postgres_server}&options=-csearch_path%3D{name}"

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a database without tables, on each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    make: Callable[[], str] = request.getfixturevalue("postgres_schema")
    return make()


def _tool(name: str) -> str:
    folders = [
        os.environ.get("PATH", ""),
        *map(str, sorted(Path("/").glob(_SYSTEM_FOLDERS[1:]), reverse=True)),
    ]
    for folder in folders:
        found = shutil.which(name, path=folder)
        if found:
            return found
    raise NoServerError(f"PostgreSQL's {name} is not installed")


def _unprivileged_user() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise NoServerError("PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody`")


def _run(command: list[str | Path], folder: Path, user: pwd.struct_passwd | None) -> None:
    options: dict[str, Any] = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    # To a file: the server inherits the outputs, and a pipe would stay open as long as it runs.
    output = folder / "output"
    with output.open("w") as stream:
        done = subprocess.run(
            command, cwd=folder, stdout=stream, stderr=subprocess.STDOUT, timeout=60, check=False, **options
        )
    if done.returncode != 0:
        raise NoServerError(f"{Path(command[0]).name} failed: {' '.join(output.read_text().split())[-300:]}")
