"""The examination of a machine: what is found, and that every failure has its fix."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from streamwatch import doctor
from streamwatch.config import Settings, load_settings
from streamwatch.cpu import cpu_features
from streamwatch.detectors.statistics.weights import save_statistics
from streamwatch.doctor import Check, Status, examine, library_missing, require_opencv
from streamwatch.errors import LibraryMissing, StoreError
from tests.support.paths import ROOT
from tests.support.small_detectors import untrained_detector
from tests.support.statistics_models import tiny_card, tiny_model


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_detector(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def settings(tmp_path: Path, weights: Path) -> Settings:
    return load_settings(
        overrides={
            "store": {"url": f"sqlite:///{tmp_path / 'store.db'}"},
            "detector": {"model": str(weights)},
        }
    )


def checks(settings: Settings, folder: Path) -> dict[str, Check]:
    return {check.name: check for check in examine(settings, folder)}


def changed(settings: Settings, section: str, **values: object) -> Settings:
    part = getattr(settings, section).model_copy(update=values)
    return settings.model_copy(update={section: part})


def test_healthy_machine(settings: Settings, tmp_path: Path) -> None:
    found = checks(settings, tmp_path)
    assert {"python", "opencv", "pyav", "torch", "cpu", "gpu", "onnxruntime", "ray", "store", "disk"} < set(found)
    assert [check for check in found.values() if check.status is Status.FAIL] == []
    assert "made at the first run" in found["store"].detail
    assert not (tmp_path / "store.db").exists(), "looking must not create"


def test_store_that_exists(settings: Settings) -> None:
    from streamwatch.store import Store

    Store.open(settings.store.url).close()
    assert doctor.store(settings).status is Status.OK


@pytest.mark.parametrize("missing", ["cv2", "av", "torch", "onnxruntime", "ray"])
def test_missing_package_fails_with_a_mend(
    missing: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    failed = [check for check in checks(settings, tmp_path).values() if check.status is Status.FAIL]
    assert failed
    assert all(check.fix for check in failed)


def test_damaged_weights(settings: Settings, weights: Path, tmp_path: Path) -> None:
    damaged = tmp_path / weights.name
    damaged.write_bytes(weights.read_bytes()[:-1] + b"\0")
    shutil.copy(weights.with_suffix(".yaml"), tmp_path)
    check = doctor.model(changed(settings, "detector", model=str(damaged)))
    assert check.status is Status.FAIL
    assert "SHA-256" in check.detail
    assert check.fix


def test_a_detector_of_another_kind_is_examined(settings: Settings, tmp_path: Path) -> None:
    weights = tmp_path / "smooth.safetensors"
    save_statistics(weights, tiny_model(), tiny_card())
    check = doctor.model(changed(settings, "detector", model=str(weights)))
    assert (check.status, "as on its card of 2026-01-02" in check.detail) == (Status.OK, True)
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert "SHA-256" in doctor.model(changed(settings, "detector", model=str(weights))).detail


def test_missing_face_weights(settings: Settings, tmp_path: Path) -> None:
    broken = changed(settings, "faces", detector="retinaface-resnet50", weights=tmp_path / "nothing.safetensors")
    check = doctor.face_detector(broken)
    assert check.status is Status.FAIL
    assert check.fix


@pytest.mark.parametrize(
    "url", ["sqlite:////nowhere/at/all/store.db", "postgresql://user:secret@127.0.0.1:9/db", "mysql://h/db"]
)
def test_unusable_store(url: str, settings: Settings) -> None:
    check = doctor.store(changed(settings, "store", url=url))
    assert check.status is Status.FAIL
    assert check.fix
    assert "secret" not in check.detail + check.fix


def test_a_failure_is_told_with_the_fields_of_its_error(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def unusable(address: str) -> None:
        raise StoreError("store.db: locked; twice", "wait; or move it away")

    monkeypatch.setattr("streamwatch.store.database.parse_url", unusable)
    expected = {"name": "store", "status": "fail", "detail": "store.db: locked; twice", "fix": "wait; or move it away"}
    assert doctor.store(settings).to_json() == expected


def test_store_that_is_no_database(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"not a database" * 100)
    check = doctor.store(settings)
    assert check.status is Status.FAIL
    assert check.fix


def test_little_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("streamwatch.doctor.shutil.disk_usage", lambda _: usage(2**30, 2**30 - 2**20, 2**20))
    check = doctor.disk(tmp_path)
    assert check.status is Status.WARN
    assert check.fix


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor : 0\nflags\t\t: fpu avx2 avx512_bf16\n", {"fpu", "avx2", "avx512_bf16"}),
        ("processor : 0\nFeatures\t: fp asimd bf16\n", {"fp", "asimd", "bf16"}),
        ("", set()),
    ],
    ids=["x86", "arm", "none"],
)
def test_cpu_features(text: str, expected: set[str], tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(text, encoding="utf-8")
    assert cpu_features(file) == expected
    assert cpu_features(tmp_path / "nothing") == set()


def test_import_errors_are_explained() -> None:
    shared_object = "cannot open shared object file: No such file or directory"
    glib = library_missing(ImportError(f"libgthread-2.0.so.0: {shared_object}"))
    assert glib.problem == "OpenCV needs the system library libgthread-2.0.so.0, which is missing"
    assert glib.fix is not None
    assert "apt-get install libgl1 libglib2.0-0" in glib.fix
    assert "apt-get" not in str(library_missing(ImportError(f"libcudart.so.12: {shared_object}")))
    assert "package cv2" in library_missing(ImportError("No module named 'cv2'", name="cv2")).problem


def test_require_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    require_opencv()
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(LibraryMissing, match="cv2"):
        require_opencv()


BOTH_FORMS = """
import sys
from streamwatch.cli.main import main
for form in ([], ["--json"]):
    try:
        main([*sys.argv[1:], *form])
    except SystemExit as ended:
        print("ended with", ended.code, flush=True)
"""


def test_command_without_libgl(tmp_path: Path) -> None:
    package = tmp_path / "cv2"
    package.mkdir()
    text = "libGL.so.1: cannot open shared object file: No such file or directory"
    (package / "__init__.py").write_text(f"raise ImportError({text!r})\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT))), "COLUMNS": "100"}
    command = [sys.executable, "-c", BOTH_FORMS, "doctor", "--store", f"sqlite:///{tmp_path / 'store.db'}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    table, document, rest = done.stdout.split("ended with 1\n")
    assert rest == ""
    assert "fix: apt-get install libgl1 libglib2.0-0" in table
    assert max(len(line.rstrip()) for line in table.splitlines()) <= 100
    found = {check["name"]: check for check in json.loads(document)}
    assert found["opencv"]["status"] == "fail"
    assert found["store"]["status"] == "ok"


def test_ray_needs_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.disk_usage
    usage = namedtuple("usage", "total used free")
    small = usage(64 * 2**20, 0, 64 * 2**20)
    monkeypatch.setattr("streamwatch.doctor.shutil.disk_usage", lambda path: small if path == tmp_path else real(path))
    check = doctor.shared_memory(tmp_path)
    assert check.status is Status.WARN
    assert "--shm-size" in check.fix
