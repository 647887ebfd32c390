"""The process that writes the store."""

from __future__ import annotations

from pathlib import Path

import pytest


def test_the_writer_gets_a_path_from_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from streamwatch.cluster.store_actors import _absolute

    monkeypatch.chdir(tmp_path)
    assert _absolute("sqlite:///a.db") == f"sqlite:///{tmp_path}/a.db"
    assert _absolute("postgresql+psycopg://u:p@h/db") == "postgresql+psycopg://u:p@h/db"
