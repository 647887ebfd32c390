"""A second look at stored alerts: `streamwatch alerts show ID --explain`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from streamwatch.cli import alerts
from streamwatch.detectors import load_detector, read_card, save_checkpoint
from streamwatch.detectors.statistics.weights import save_statistics
from streamwatch.drawing.explain import TILE, explain, warm
from streamwatch.errors import ConfigError, DetectorError
from streamwatch.records import Alert, Evidence, MaskCoverage, ModelRef
from streamwatch.sources.pictures import read_image
from streamwatch.store import Store
from tests.support.builders import make_alert, make_verdict, pictured_evidence
from tests.support.face_datasets import portrait
from tests.support.m2tr_models import card_for, tiny_model
from tests.support.present import present
from tests.support.statistics_models import SIZE, noisy_crop, tiny_card
from tests.support.statistics_models import tiny_model as tiny_statistics


def face(side: int = 64) -> Evidence:
    crop = np.asarray(cv2.resize(portrait(), (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    mask = np.zeros((16, 16), np.uint8)
    mask[10:, 4:12] = 200
    return pictured_evidence(crop, mask, coverage=MaskCoverage(0.15, 0.38, 0.0, 0.1, 0.9, 0.2, 0.3))


def alert_with(*evidence: Evidence) -> Alert:
    return make_alert("a1", evidence=evidence)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, path = tiny_model(), tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_checkpoint(path, model, card_for(model.config))
    return path


def store_with(folder: Path, model: ModelRef, alert: Alert) -> str:
    url = f"sqlite:///{folder / 'store.db'}"
    with Store.open(url) as store:
        store.save_verdict(
            store.begin_run("streamwatch scan", "{}", "c" * 64), make_verdict(alerts=(alert,), model=model)
        )
    return url


def show(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(alerts.app, ["show", "a1", "--store", url, *arguments])


def test_a_panel_shows_face_mask_and_map(weights: Path, tmp_path: Path) -> None:
    url = store_with(tmp_path, ModelRef("tiny", read_card(weights).sha256), alert_with(face()))
    result = show(url, "--explain", "--model", str(weights), "--out", str(tmp_path / "out"), "--json")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    shown = json.loads(result.stdout)
    assert [Path(file).name for file in shown["files"]] == ["a1-1-face.png", "a1-1-mask.png", "a1-1-explain.png"]
    assert shown["explained"]["model_of_verdict"] is True
    panel = read_image(tmp_path / "out" / "a1-1-explain.png")
    assert panel.shape[1] == 3 * TILE
    crop, masked, heated = (panel[30 : 30 + TILE, i * TILE : (i + 1) * TILE].astype(int) for i in range(3))
    assert np.abs(masked - crop)[: TILE // 3].max() == 0, "above the mask nothing is tinted"
    assert np.abs(masked - crop)[TILE * 3 // 4, TILE // 2].max() > 30
    (again,) = explain(alert_with(face()), load_detector(weights, "cpu"))
    assert shown["explained"]["scores"] == pytest.approx([again.score], abs=1e-5)
    changed = np.abs(heated - crop).max(axis=2)
    assert (changed.max() > 0) == bool(present(again.heat).any())
    table = show(url, "--explain", "--model", str(weights), "--out", str(tmp_path / "out"))
    assert f"{again.score:.3f}" in table.stdout


def test_another_model_than_the_verdicts_is_said(weights: Path, tmp_path: Path) -> None:
    url = store_with(tmp_path, ModelRef("tiny", "b" * 64), alert_with(face()))
    result = show(url, "--explain", "--model", str(weights), "--out", str(tmp_path), "--json")
    assert result.exit_code == 0, result.output
    assert "these are not the weights of the verdict: tiny" in result.stderr
    assert "tiny bbbbbbbb judged" in result.stderr
    assert json.loads(result.stdout)["explained"]["model_of_verdict"] is False
    other = read_image(tmp_path / "a1-1-explain.png").shape[0]
    same = tmp_path / "same"
    same.mkdir()
    url = store_with(same, ModelRef("tiny", read_card(weights).sha256), alert_with(face()))
    show(url, "--explain", "--model", str(weights), "--out", str(same))
    assert other > read_image(same / "a1-1-explain.png").shape[0], "a line more on the panel"


def test_a_model_that_does_not_ship_must_be_named(tmp_path: Path) -> None:
    url = store_with(tmp_path, ModelRef("mine", "b" * 64), alert_with(face()))
    result = show(url, "--explain")
    assert isinstance(result.exception, ConfigError)
    assert "--model is missing: the verdict is by mine bbbbbbbb" in str(result.exception)
    assert "needs --explain" in show(url, "--model", "m2tr-lite").stderr


def test_crops_of_another_size_are_refused(weights: Path) -> None:
    with pytest.raises(DetectorError, match="its crops are 32×32 pixels and tiny takes 64×64"):
        explain(alert_with(face(32)), load_detector(weights, "cpu"))


def test_an_alert_without_evidence_has_nothing_to_explain(weights: Path) -> None:
    assert explain(alert_with(), load_detector(weights, "cpu")) == []


def test_faces_without_mask_or_coverage_have_a_panel(weights: Path, tmp_path: Path) -> None:
    bare = replace(face(), mask_png=None, coverage=None)
    url = store_with(tmp_path, ModelRef("tiny", read_card(weights).sha256), alert_with(bare))
    assert show(url, "--explain", "--model", str(weights), "--out", str(tmp_path)).exit_code == 0
    panel = read_image(tmp_path / "a1-1-explain.png")
    assert (panel[30 : 30 + TILE, :TILE] == panel[30 : 30 + TILE, TILE : 2 * TILE]).all()


def test_heat_tints_in_proportion() -> None:
    crop = np.full((8, 8, 3), 100, np.uint8)
    heat = np.zeros((8, 8), np.float32)
    heat[0, 0], heat[0, 1] = 1.0, 0.5
    tinted = warm(crop, heat).astype(int)
    assert (tinted[1:] == 100).all()
    assert np.abs(tinted[0, 0] - 100).sum() > np.abs(tinted[0, 1] - 100).sum() > 0


def test_a_detector_that_gives_reasons_is_explained_in_words(tmp_path: Path) -> None:
    weights = tmp_path / "smooth.safetensors"
    card = save_statistics(weights, tiny_statistics(), tiny_card())
    crop = noisy_crop(smooth=True)
    coded = cv2.imencode(".jpg", crop[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()
    item = replace(face(SIZE), crop_jpeg=coded, mask_png=None, coverage=None)
    url = store_with(tmp_path, ModelRef("smooth", card.sha256), alert_with(item))
    arguments = ["--explain", "--model", str(weights), "--out", str(tmp_path)]
    shown = show(url, *arguments)
    assert shown.exit_code == 0, shown.output
    assert "evidence 1: +" in shown.stdout
    assert "(fake): compared with its surroundings, the face has" in shown.stdout
    assert "less noise in brightness in the finest detail" in shown.stdout
    panel = read_image(tmp_path / "a1-1-explain.png")
    assert panel.shape[1] == 2 * TILE, "face and mask: there is no map"
    (reasons,) = json.loads(show(url, *arguments, "--json").stdout)["explained"]["reasons"]
    assert reasons[0]["group"] == "noise"
    assert reasons[0]["logit"] > 0
