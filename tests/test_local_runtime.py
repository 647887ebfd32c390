"""The folder of a run: private, with a path that is short enough for sockets."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from streamwatch import doctor, local_runtime
from streamwatch.doctor import Status
from streamwatch.errors import ClusterError
from streamwatch.local_runtime import FOLDER_MAX, RAY_PATH, SOCKET_PATH_MAX, private_folder


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where nothing is set, a folder is made here. Its own path is as short as the tests need it."""
    monkeypatch.setattr(local_runtime, "FOLDER_MAX", len(str(tmp_path)) + 10)
    monkeypatch.setattr(local_runtime, "DEFAULTS", (str(tmp_path),))
    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_the_folder_is_private_short_and_deleted() -> None:
    with private_folder() as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert len(os.fsencode(folder)) + RAY_PATH <= SOCKET_PATH_MAX
        (folder / "ray").mkdir()
        (folder / "ray" / "log").touch()
    assert not folder.exists()
    assert len("/var/tmp") <= FOLDER_MAX


@pytest.mark.parametrize("name", ["short", "missing", "é" * 40, "long" * 20])
def test_a_folder_that_does_not_do_is_passed_over(places: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = places / name
    if name != "missing":
        wanted.mkdir()
    monkeypatch.setenv("TMPDIR", str(wanted))
    with private_folder() as folder:
        assert folder.parent == (wanted if name == "short" else places)
    assert doctor.run_folder().status is Status.OK


def test_no_folder_is_an_error_that_doctor_finds_too(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_runtime, "DEFAULTS", (str(places / "nowhere"),))
    monkeypatch.setenv("TMPDIR", str(places / ("long" * 20)))
    with pytest.raises(ClusterError, match=r"long: too long .*nowhere: No such file.*set TMPDIR"), private_folder():
        raise AssertionError("unreachable")
    check = doctor.run_folder()
    assert (check.status, "TMPDIR" in check.fix) == (Status.FAIL, True)


def test_doctor_finds_a_loopback_interface_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.loopback().status is Status.OK
    monkeypatch.setattr(local_runtime, "LOOPBACK", "192.0.2.255")  # of no interface, as 127.0.0.1 is without loopback
    check = doctor.loopback()
    assert (check.status, "ip link set lo up" in check.fix) == (Status.FAIL, True)
