"""Scans that are killed again and again: whether the store ends with the rows of an undisturbed one.

The command `scan` runs in a process group of its own, all of which is killed with SIGKILL after a random part of the
time that an undisturbed scan takes; then the same command runs again, on the same store. Whenever one comes to its end,
its store is compared with that of the undisturbed scan, and the next round begins with an empty one.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from streamwatch.errors import StreamwatchError

ROWS = {
    "verdicts": "SELECT sha256, label, decoded, sampled, analysed, dropped FROM verdicts",
    "tracks": "SELECT sha256, track_id, t.label FROM tracks t JOIN verdicts v ON v.id = verdict_id",
    "scores": "SELECT sha256, track_id, frame_index FROM scores JOIN verdicts v ON v.id = verdict_id",
    "alerts": "SELECT sha256, track_id, start_pts, end_pts FROM alerts a JOIN verdicts v ON v.id = verdict_id",
    "segments": "SELECT sha256, place FROM segments",
    "items": "SELECT number, sha256, state FROM items",
}
"""What makes a row the same row, by table. Scores themselves differ by rounding, with the faces of their batch."""


@dataclass(frozen=True, slots=True)
class KillsResult:
    """What `bench_kills` measured. seconds: of the undisturbed scan. rounds: scans that came to their end after kills.

    most: kills within one round. doubled, missing: rows, over all rounds, beside the undisturbed scan's.
    """

    kills: int
    rounds: int
    most: int
    seconds: float
    rows: int
    doubled: int
    missing: int


def bench_kills(
    inputs: Sequence[str],
    options: Sequence[str],
    kills: int,
    *,
    seed: int = 1,
    progress: Callable[[str], None] = lambda what: None,
) -> KillsResult:
    """Kill scans of these inputs so often. options: for `scan`, beside the store. Raises StreamwatchError where the
    undisturbed scan fails.
    """
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="streamwatch-bench-") as folder:
        progress("undisturbed")
        begun = time.monotonic()
        if not _scan(inputs, options, Path(folder) / "undisturbed.db", None):
            raise StreamwatchError("the undisturbed scan failed", "`streamwatch scan` on the same inputs says why")
        seconds = time.monotonic() - begun
        expected = _rows(Path(folder) / "undisturbed.db")
        killed = rounds = most = doubled = missing = 0
        while killed < kills:
            store, here = Path(folder) / f"round-{rounds}.db", 0
            while not _scan(inputs, options, store, chance.uniform(0, seconds) if killed < kills else None):
                killed, here = killed + 1, here + 1
                progress(f"{killed} of {kills} kills, {rounds} rounds")
            found = _rows(store)
            rounds, most = rounds + 1, max(most, here)
            doubled += (found - expected).total()
            missing += (expected - found).total()
    return KillsResult(killed, rounds, most, seconds, expected.total(), doubled, missing)


def _scan(inputs: Sequence[str], options: Sequence[str], store: Path, limit: float | None) -> bool:
    """Whether a scan came to its end before it was killed, after `limit` seconds."""
    with begin_scan(inputs, options, store) as scan:
        try:
            return scan.wait(limit) == 0
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(scan.pid, signal.SIGKILL)
            return False


def begin_scan(inputs: Sequence[str], options: Sequence[str], store: Path) -> subprocess.Popen[bytes]:
    """The command `scan` in a process group of its own, that says nothing. store: SQLite file."""
    command = [sys.executable, "-c", "from streamwatch.cli.main import main; main()", "scan", *inputs]
    command += [*options, "--store", f"sqlite:///{store}"]
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(command, start_new_session=True, stdout=nowhere, stderr=nowhere)


def _rows(store: Path) -> Counter[tuple[object, ...]]:
    def all_rows() -> Iterator[tuple[object, ...]]:
        with contextlib.closing(sqlite3.connect(store)) as database:
            for table, query in ROWS.items():
                yield from ((table, *row) for row in database.execute(query))

    return Counter(all_rows())
