"""What a cluster on this machine alone stands on: a folder of its own, and the loopback interface."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from streamwatch.errors import ClusterError

SOCKET_PATH_MAX = 107
"""Most bytes of the path of a Unix socket on Linux."""

RAY_PATH = len("/ray/session_2026-01-02_03-04-05_678901_4194304/sockets/plasma_store.1")
"""Bytes of what Ray appends to the folder, with the longest process id of Linux."""

PREFIX = "streamwatch-"
FOLDER_MAX = SOCKET_PATH_MAX - RAY_PATH - len(f"/{PREFIX}") - len("abcdefgh")
"""Most bytes of the path that the private folder may be made in."""

DEFAULTS = ("/tmp", "/var/tmp")

LOOPBACK = "127.0.0.1"
PATIENCE = 2.0
"""Seconds that a connection over loopback may take."""


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """A new folder that only this user can enter, deleted at the end; its path is short enough for Ray's sockets.

    It is made in RAY_TMPDIR, TMPDIR, or else /tmp or /var/tmp: the first of them that is short enough and can be
    written. Raises ClusterError where none is.
    """
    folder = _make_folder()
    try:
        yield folder
    finally:
        _delete(folder)


def check_loopback() -> None:
    """Raise ClusterError where processes of this machine cannot reach each other at 127.0.0.1."""
    try:
        with (
            socket.create_server((LOOPBACK, 0)) as server,
            socket.create_connection(server.getsockname(), timeout=PATIENCE),
        ):
            pass
    except OSError as error:
        raise ClusterError(
            f"{LOOPBACK} cannot be used ({error.strerror or error}): the loopback interface is down or blocked",
            "bring it up: ip link set lo up (as root)",
        ) from None


def _make_folder() -> Path:
    problems = []
    for base in _bases():
        if len(os.fsencode(base)) > FOLDER_MAX:
            problems.append(f"{base}: too long for the path of a socket")
            continue
        try:
            return Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        except OSError as error:
            problems.append(f"{base}: {error.strerror}")
    raise ClusterError(
        f"no folder for the sockets of a run ({'; '.join(problems)})",
        f"set TMPDIR to a folder that can be written and has a path of at most {FOLDER_MAX} bytes",
    )


def _bases() -> list[str]:
    given = (os.environ.get(name) for name in ("RAY_TMPDIR", "TMPDIR"))
    return list(dict.fromkeys([*(str(Path(base).absolute()) for base in given if base), *DEFAULTS]))


def _delete(folder: Path) -> None:
    """Ray's processes may still write while they end."""
    for pause in (0.0, 0.1, 0.5, 1.0):
        time.sleep(pause)
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
