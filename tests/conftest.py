"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.paths import ROOT

os.environ.pop("COLUMNS", None)  # pytest-xdist sets it in its workers, and output has the width that it names
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two OpenMP threads on two busy cores wait for each other

pytest_plugins = ["tests.support.postgres"]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The data that lies beside a developer's checkout; tests that need it skip where it is missing."""
    folder = (ROOT / ".." / "shared").resolve()
    if not (folder / "media" / "index.csv").is_file():
        pytest.skip("needs ../shared, the data beside a developer's checkout")
    return folder
