"""The command line as a whole: errors as one line, exit statuses, and the commands that need no store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from streamwatch import config as settings_module
from streamwatch.cli.main import main
from streamwatch.config import Settings
from streamwatch.store import Store
from tests.support.paths import ROOT
from tests.support.small_detectors import untrained_detector

LIBGL = "libGL.so.1: cannot open shared object file: No such file or directory"


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture
def without_libgl(tmp_path: Path) -> dict[str, str]:
    """An environment in which OpenCV fails to load as it does where the system has no libGL."""
    package = tmp_path / "broken" / "cv2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f"raise ImportError({LIBGL!r})\n", encoding="utf-8")
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(package.parent), str(ROOT)))}


def run_apart(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from streamwatch.cli.main import main; main()", *arguments],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("streamwatch 0.")


@pytest.mark.parametrize("arguments", [("nothing",), ("scan", "--nothing"), ("models", "import", "gguf", "file")])
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    assert run(*arguments) == 2


def test_error_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("config", "check", "nowhere.yaml") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "streamwatch: nowhere.yaml: no such file; name one: streamwatch config check FILE\n"


def test_interrupt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "config.yaml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("streamwatch.cli.config.load_settings", interrupted)
    assert run("config", "check", "config.yaml") == 130


@pytest.mark.parametrize(
    "arguments",
    [
        ("demo",),
        ("scan", "clip.mp4"),
        ("watch", "rtsp://127.0.0.1/stream"),
        ("bench", "model"),
        ("bench", "pipeline", "clip.mp4"),
        ("train", "m2tr-lite"),
    ],
    ids=" ".join,
)
def test_missing_system_library_is_one_line(without_libgl: dict[str, str], arguments: tuple[str, ...]) -> None:
    done = run_apart(without_libgl, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "libGL.so.1" in line
    assert "apt-get install libgl1 libglib2.0-0" in line


def test_help_and_settings_need_no_system_library(without_libgl: dict[str, str]) -> None:
    assert run_apart(without_libgl, "scan", "--help").returncode in (0, 2)
    assert run_apart(without_libgl, "--help").returncode == 0
    assert run_apart(without_libgl, "config", "schema").returncode == 0


def test_library_that_is_found_missing_later(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing() -> None:
        raise ImportError("libfancy.so.3: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(Settings, "model_json_schema", failing)
    assert run("config", "schema") == 2
    assert "the system library libfancy.so.3 is missing" in capsys.readouterr().err


def test_other_import_errors_are_not_hidden(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing() -> None:
        raise ImportError("cannot import name 'x'")

    monkeypatch.setattr(Settings, "model_json_schema", failing)
    assert run("config", "schema") == 1
    told = capsys.readouterr().err
    assert "Traceback (most recent call last)" in told
    assert told.endswith("ImportError: cannot import name 'x'\n")


def test_config_schema_is_that_of_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("config", "schema") == 0
    assert json.loads(capsys.readouterr().out) == Settings.model_json_schema()


def test_config_check(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "config.yaml"
    file.write_text("sampling: {fps: 3}\n", encoding="utf-8")
    assert run("config", "check", "config.yaml") == 0
    assert settings_module.load_settings(file).digest()[:12] in capsys.readouterr().out
    file.write_text("sampling: {fsp: 3}\n", encoding="utf-8")
    assert run("config", "check", str(file)) == 2
    assert "sampling.fsp: unknown key, did you mean sampling.fps?" in capsys.readouterr().err


def test_no_settings_are_read_that_are_not_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One rule for all commands, `config check` among them."""
    monkeypatch.chdir(tmp_path)
    Store.open("sqlite:///named.db").close()
    (tmp_path / "config.yaml").write_text("store: {url: 'sqlite:///named.db'}\n", encoding="utf-8")
    assert run("config", "check") == 2
    assert "FILE" in capsys.readouterr().err
    assert run("verdicts", "list") == 2
    assert "streamwatch.db: there is no store" in capsys.readouterr().err
    assert run("config", "check", "config.yaml") == 0
    assert run("verdicts", "list", "--config", "config.yaml") == 0
    assert "no verdicts" in capsys.readouterr().out


def test_config_check_as_json_masks_credentials(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(
        "store: {url: 'postgresql://user:hush1@host/db'}\n"
        "streams: [{url: 'rtsp://user:hush2@camera/1', name: one}]\n"
        "sinks: [{name: desk, kind: webhook, url: 'https://desk/hush3', secret: hush4}]\n",
        encoding="utf-8",
    )
    assert run("config", "check", str(file), "--pipeline", "live", "--json") == 0
    captured = capsys.readouterr()
    assert "hush" not in captured.out + captured.err
    values = json.loads(captured.out)
    assert values["engine"]["in_flight"] == 4
    assert values["sinks"][0]["name"] == "desk"
    assert values["streams"][0]["name"] == "one"


def test_models_list(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert run("models", "list") == 0
    table = capsys.readouterr().out
    assert "m2tr-lite" in table
    assert "m2tr-b4" in table
    assert max(len(line.rstrip()) for line in table.splitlines()) <= 100
    assert run("models", "list", "--json") == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == [
        "m2tr-lite",
        "m2tr-b4",
        "statistics",
        "texture",
    ]


def test_models_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = untrained_detector(tmp_path)
    assert run("models", "show", str(weights), "--json") == 0
    card = json.loads(capsys.readouterr().out)
    assert card["name"] == "untrained"
    assert card["geometry"]["scale"] == 1.3
    assert run("models", "show", str(weights)) == 0
    assert "licence: Apache-2.0" in capsys.readouterr().out
    assert run("models", "show", "m2tr-b5") == 2
    assert "m2tr-lite" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["m2tr", "retinaface-resnet50"])
def test_models_import_refuses_what_is_no_checkpoint(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "weights.pth"
    assert run("models", "import", kind, str(file)) == 2
    assert "no such file" in capsys.readouterr().err
    file.write_bytes(b"not a checkpoint")
    assert run("models", "import", kind, str(file)) == 2
    assert "weights.pth" in capsys.readouterr().err
    (tmp_path / "weights.safetensors").write_bytes(b"precious")
    assert run("models", "import", kind, str(file)) == 2
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "weights.safetensors").read_bytes() == b"precious"


@pytest.mark.slow
def test_models_import_m2tr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    from streamwatch.detectors.m2tr.model import build

    file, output = tmp_path / "published.pth", tmp_path / "mine.safetensors"
    torch.save({"epoch": 1, "model_state": build("m2tr-b4").state_dict()}, file)
    assert run("models", "import", "m2tr", str(file), "--output", str(output)) == 0
    assert f"detector.model: {output}" in capsys.readouterr().out
    assert run("models", "show", str(output)) == 0
    assert "published.pth" in capsys.readouterr().out
