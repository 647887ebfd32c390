"""Fixtures for all tests."""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

os.environ.pop("COLUMNS", None)  # pytest-xdist sets it in its workers, and output has the width that it names
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two OpenMP threads on two busy cores wait for each other

pytest_plugins = ["tests.support.postgres", "tests.support.fuzzing"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--fuzz-seconds`: see `tests/support/fuzzing.py`."""
    parser.addoption("--fuzz-seconds", type=float, default=0.0, help="seconds for which each target is fuzzed")


MOST_WORKERS = 8


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than there are cores: of several tests one often waits."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MOST_WORKERS, cores + 1)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The data that lies beside a developer's checkout; tests that need it skip where it is missing."""
    folder = (ROOT / ".." / "shared").resolve()
    if not (folder / "media" / "index.csv").is_file():
        pytest.skip("needs ../shared, the data beside a developer's checkout")
    return folder


@pytest.fixture(scope="module")
def local_cluster() -> Iterator[None]:
    """A Ray cluster that the tests of a module share: `connect` uses the one that this process has."""
    from streamwatch.cluster.connection import connect
    from streamwatch.config import EngineSettings

    with connect(EngineSettings()):
        yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()  # Ray leaves its own sockets to the collector: not to that of another test
