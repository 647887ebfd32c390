"""What shows people is for the eyes of its owner alone, whatever the umask."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from streamwatch.cli import common
from streamwatch.drawing.evidence import write_evidence
from streamwatch.files import replacing
from streamwatch.formats.tables import ALERTS
from streamwatch.records import EvidenceClip
from streamwatch.store import Store
from streamwatch.store.database import parse_url
from streamwatch.store.maintenance import backup
from tests.support.builders import CONFIG, NOON, full_alert, full_verdict, make_alert, pictured_evidence


@pytest.fixture(autouse=True)
def _permissive() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def open_to_others(folder: Path) -> list[str]:
    """What others than the owner can use, of all that lies in a folder."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.stat().st_mode & 0o077]


def test_a_store_with_its_journals_clips_and_backups(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    with Store.open(url) as store:
        run = store.begin_run("watch", "{}", CONFIG)
        store.save_verdict(run, full_verdict(alerts=(full_alert("alert-1"),)))
        clip = EvidenceClip("/archive/clip.mp4", "alert-1", b"mp4", NOON, NOON)
        assert store.save(run, [clip]) == []
        backup(parse_url(url), tmp_path / "backup.db")
        assert {path.name for path in tmp_path.iterdir()} >= {"store.db", "store.db-wal", "store.db.clips", "backup.db"}
        assert len(list((tmp_path / "store.db.clips").iterdir())) == 1
        assert open_to_others(tmp_path) == []


def test_pictures_of_an_alert(tmp_path: Path) -> None:
    face = pictured_evidence(np.zeros((32, 32, 3), np.uint8), np.zeros((8, 8), np.uint8))
    written = write_evidence(make_alert(evidence=(face,)), tmp_path / "faces")
    assert len(written) == 2
    assert open_to_others(tmp_path) == []


def test_exports_and_whatever_is_written_whole(tmp_path: Path) -> None:
    common.write_table([], ALERTS, "csv", tmp_path / "alerts.csv")
    with replacing(tmp_path / "clip.report.html") as draft:
        draft.write_text("a page")
    assert len(list(tmp_path.iterdir())) == 2
    assert open_to_others(tmp_path) == []


def test_a_store_that_its_owner_has_opened_to_a_group_stays_so(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    Store.open(f"sqlite:///{file}").close()
    file.chmod(0o640)
    Store.open(f"sqlite:///{file}").close()
    assert file.stat().st_mode & 0o777 == 0o640
