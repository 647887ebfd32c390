"""What memory a scan takes, file by file: whether it grows with the length of a file."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from streamwatch.bench.kills import begin_scan
from streamwatch.distribution import install_extra
from streamwatch.errors import LibraryMissing, StreamwatchError

SAMPLE_EVERY = 0.5
"""Seconds between two readings."""


@dataclass(frozen=True, slots=True)
class MemoryResult:
    """Memory of all processes of a scan, with what they share counted once (PSS): MiB. seconds: that it took."""

    source: str
    seconds: float
    peak: float
    p95: float


def bench_memory(
    files: Sequence[str], options: Sequence[str], *, progress: Callable[[str], None] = lambda what: None
) -> list[MemoryResult]:
    """Scan each file by itself with the command `scan`. options: for it, beside the store.

    Raises LibraryMissing without psutil, StreamwatchError where a scan fails.
    """
    try:
        import psutil
    except ImportError:
        raise LibraryMissing("psutil is missing", install_extra("bench")) from None
    results = []
    for name in files:
        progress(name)
        begun, readings = time.monotonic(), []
        with (
            tempfile.TemporaryDirectory(prefix="streamwatch-bench-") as folder,
            begin_scan([name], options, Path(folder) / "store.db") as scan,
        ):
            process = psutil.Process(scan.pid)
            while scan.poll() is None:
                total = 0
                with contextlib.suppress(psutil.Error):
                    for each in (process, *process.children(recursive=True)):
                        with contextlib.suppress(psutil.Error):
                            total += each.memory_full_info().pss
                readings.append(total / (1 << 20))
                time.sleep(SAMPLE_EVERY)
        if scan.returncode:
            raise StreamwatchError(f"{name}: its scan failed", "`streamwatch scan` says why")
        seconds = time.monotonic() - begun
        results.append(MemoryResult(name, seconds, max(readings), float(np.percentile(readings, 95))))
    return results
