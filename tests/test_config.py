"""Settings: the files that ship, precedence, and what a mistake says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from streamwatch.config import ANALYSIS_VERSION, PIPELINES, Settings, load_settings
from streamwatch.errors import ConfigError
from streamwatch.records import Label
from tests.support.paths import ROOT

SHIPPED = [ROOT / "config.yaml", *(ROOT / "pipelines" / f"{name}.yaml" for name in PIPELINES)]


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, info in model.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from leaves(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def test_config_yaml_names_every_setting_with_its_default() -> None:
    path = ROOT / "config.yaml"
    assert set(flat(yaml.safe_load(path.read_text(encoding="utf-8")))) == set(leaves(Settings))
    assert load_settings(path) == Settings()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_key_of_a_shipped_file_is_explained_where_it_stands(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        key, _, rest = line.partition(":")
        is_section = not line.startswith(" ") and not rest.strip()
        if not line.strip() or line.lstrip().startswith("#") or is_section:
            continue
        explained = "# " in rest or lines[number - 1].lstrip().startswith("#")
        assert explained, f"{path.name}, line {number + 1}: {key.strip()} has no comment"


@pytest.mark.parametrize("name", PIPELINES)
def test_preset_holds_only_what_it_means_to_set(name: str) -> None:
    values = flat(yaml.safe_load((ROOT / "pipelines" / f"{name}.yaml").read_text(encoding="utf-8")))
    settings = flat(load_settings(pipeline=name).model_dump(mode="json"))
    assert {key: settings[key] for key in values} == values


def test_presets_differ_in_the_direction_of_their_names() -> None:
    archive, live, forensic = (load_settings(pipeline=name) for name in PIPELINES)
    assert forensic.sampling.fps >= 4 * archive.sampling.fps
    assert forensic.faces.long_side > archive.faces.long_side
    assert forensic.faces.min_side < archive.faces.min_side
    assert forensic.fusion.evidence > archive.fusion.evidence
    assert live.detector.max_wait_ms < archive.detector.max_wait_ms
    assert live.detector.max_batch < archive.detector.max_batch


def test_precedence_from_preset_to_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mine.yaml"
    assert load_settings(pipeline="forensic").sampling.fps == 8.0
    file.write_text("sampling: {fps: 3}\n", encoding="utf-8")
    assert load_settings(file, "forensic").sampling.fps == 3.0
    assert load_settings(file, "forensic").faces.long_side == 1280, "keys that the file leaves out stay"
    monkeypatch.setenv("STREAMWATCH__SAMPLING__FPS", "4")
    assert load_settings(file, "forensic").sampling.fps == 4.0
    assert load_settings(file, "forensic", {"sampling": {"fps": 5}}).sampling.fps == 5.0


def test_pipeline_of_ones_own(tmp_path: Path) -> None:
    preset = tmp_path / "fast.yaml"
    preset.write_text("sampling: {fps: 1}\n", encoding="utf-8")
    assert load_settings(pipeline=preset).sampling.fps == 1.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("faces: {treshold: 0.9}", "faces.treshold"),
        ("faces: {threshold: 1.5}", "faces.threshold"),
        ("camera: {}", "camera"),
        ("fusion: {fake: 0.4, real: 0.6}", "fusion.real must not be above fusion.fake"),
        ("- a list", "must be a mapping"),
        ("faces: [", "not valid YAML"),
        ("streams: [{name: no url}]", "streams.0.url"),
        ("faces: {treshold: 0.9}", "unknown key, did you mean faces.threshold?"),
        ("face: {threshold: 0.9}", "face: unknown key, did you mean faces?"),
        ("fps: 3", "fps: unknown key, did you mean sampling.fps?"),
        ("detector: {segment: 60}", "detector.segment: unknown key, did you mean engine.segment?"),
        ("streams: [{ulr: 'rtsp://cam/1'}]", "streams.0.ulr: unknown key, did you mean streams.url?"),
        ("store: {xyzzy: 1}", "store.xyzzy: unknown key (see"),
        ("faces: {batch: 1}\ntracks: {iou: 0.5}\nfaces: {nms: 0.5}", "line 3: faces stands in line 1 already"),
        ("faces:\n  batch: 1\n  nms: 0.5\n  batch: 2", "line 4: batch stands in line 2 already"),
        ("streams: [{url: 'rtsp://a/1', url: 'rtsp://a/2'}]", "line 1: url stands in line 1 already"),
        ("streams: [{url: 'rtsp://a/1', name: hall}, {url: 'rtsp://a/2', name: hall}]", "1 and 2 have the same name"),
        ("streams: [{url: 'rtsp://a/1'}, {url: 'rtsp://b/1'}, {url: 'rtsp://a/1'}]", "1 and 3 have the same url"),
        ("streams: [{url: 'rtsp://a/1', name: ''}]", "streams.0.name"),
        ("1: 2", "must be a mapping"),
        ("faces: " + "[" * 5000, "nested too deeply"),
    ],
)
def test_mistake_names_file_and_key_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_settings(file)
    message = str(caught.value)
    assert said in message
    assert str(file) in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "text", ["store: {url: 'a:hush@b", "streams:\n  - url: [hush\n", "a: &hush\nb: *hush2", "a: \x00hush", "a: !hush b"]
)
def test_a_slip_quotes_no_line_that_may_hold_a_password(tmp_path: Path, text: str) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="not valid YAML") as caught:
        load_settings(file)
    assert "hush" not in str(caught.value)


def test_a_preset_says_a_thing_once_too(tmp_path: Path) -> None:
    preset = tmp_path / "mine.yaml"
    preset.write_text("sampling: {fps: 1}\nsampling: {fps: 2}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mine\.yaml: line 2: sampling stands in line 1 already"):
        load_settings(pipeline=preset)


def test_what_is_merged_in_is_not_said_twice(tmp_path: Path) -> None:
    file = tmp_path / "merged.yaml"
    text = "streams:\n- &hall {url: 'rtsp://a/1', paused: true}\n- {<<: *hall, url: 'rtsp://a/2'}\n"
    file.write_text(text, encoding="utf-8")
    assert [(stream.url, stream.paused) for stream in load_settings(file).streams] == [
        ("rtsp://a/1", True),
        ("rtsp://a/2", True),
    ]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("STREAMWATCH__FACE__THRESHOLD", "STREAMWATCH__FACES__THRESHOLD"),
        ("STREAMWATCH__FACES__TRESHOLD", "STREAMWATCH__FACES__THRESHOLD"),
        ("STREAMWATCH__STORE_URL", "STREAMWATCH__STORE__URL"),
        ("STREAMWATCH_STORE__URL", "STREAMWATCH__STORE__URL"),
        ("STREAMWATCH_STORE_URL", "STREAMWATCH__STORE__URL"),
        ("streamwatch__stor__url", "STREAMWATCH__STORE__URL"),
        ("STREAMWATCH__XYZZY", None),
        ("STREAMWATCH__", None),
    ],
)
def test_a_misspelt_variable_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, meant: str | None) -> None:
    monkeypatch.setenv(name, "postgresql://user:hush@host/db")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"environment: {name} is no setting; ")
    assert (f"did you mean {meant}?" in str(caught.value)) == (meant is not None)
    assert "hush" not in str(caught.value)


def test_variables_that_are_settings_and_those_of_others_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMWATCH__RETENTION__LABELS__REAL", "30")
    monkeypatch.setenv("STREAMWATCH__STREAMS", '[{"url": "rtsp://camera/1"}]')
    monkeypatch.setenv("streamwatch__faces__nms", "0.5")
    monkeypatch.setenv("STREAMWATCH_STORE_SERVICE_HOST", "10.0.0.1")  # of a Kubernetes service of that name
    monkeypatch.setenv("STREAMWATCH_PORT", "tcp://10.0.0.1:9464")
    settings = load_settings()
    assert settings.retention.labels == {Label.REAL: 30}
    assert (settings.streams[0].url, settings.faces.nms) == ("rtsp://camera/1", 0.5)


def test_missing_file_and_unknown_pipeline() -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read"):
        load_settings(Path("nowhere.yaml"))
    with pytest.raises(ConfigError, match="archive, live, forensic"):
        load_settings(pipeline="archiv")


def test_digest_is_of_what_changes_a_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Settings().digest()
    with monkeypatch.context() as changed:
        changed.setattr("streamwatch.config.ANALYSIS_VERSION", ANALYSIS_VERSION + 1)
        assert Settings().digest() != plain, "verdicts of another analysis are not reused"
    elsewhere = load_settings(overrides={"store": {"url": "sqlite:///other.db"}, "engine": {"workers": 7}})
    assert elsewhere.digest() == plain
    assert load_settings(overrides={"faces": {"batch": 9}}).digest() == plain
    assert load_settings(overrides={"sampling": {"fps": 3}}).digest() != plain
    assert load_settings(overrides={"fusion": {"min_faces": 9}}).digest() != plain
