"""`streamwatch train` as its users run it, on a tiny data set."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from streamwatch.cli.main import app
from streamwatch.detectors import load_detector
from streamwatch.detectors.m2tr.config import M2TRConfig
from streamwatch.detectors.m2tr.model import build
from streamwatch.errors import ConfigError
from streamwatch.sources.pictures import read_image
from tests.support.face_datasets import make_data, tiny_recipe

SIDE = 64


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data`, its `prepared` cache and a `tiny.yaml` of one step."""
    root, cache = make_data(tmp_path_factory.mktemp("workshop"))
    (cache.parent / "tiny.yaml").write_text(json.dumps(tiny_recipe(root)))
    return cache.parent


@pytest.fixture(autouse=True)
def unchanged_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of a whole process would outlive the test."""
    monkeypatch.setattr("streamwatch.training.process.prepare_process", lambda: None)


def train(workshop: Path, out: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["train", str(workshop / "tiny.yaml"), "--out", str(workshop / out), *arguments])


@pytest.mark.slow
def test_train_says_every_evaluation_and_leaves_weights_with_pictures_of_the_run(workshop: Path) -> None:
    done = train(workshop, "run", "--steps", "2")
    assert done.exit_code == 0, done.output
    said = [line for line in done.stderr.splitlines() if line.startswith("step ")]
    assert [line.split(":")[0] for line in said] == ["step 1 of 2", "step 2 of 2"]
    assert all("held-back AUC: mean" in line for line in said)
    for picture in ("curve.png", "masks.png"):
        assert f"drawn    {workshop / 'run' / picture}" in done.stdout
        assert read_image(workshop / "run" / picture).std() > 1
    assert load_detector(workshop / "run" / "tiny.safetensors").input_size == SIDE
    assert "val_auc" in done.stdout


@pytest.mark.slow
def test_a_run_beside_a_frozen_backbone_starts_from_a_fitted_classifier_and_can_be_served(
    workshop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamwatch.training.release.fit_platt", lambda *given: (1.0, 0.0))  # random weights have none
    recipe = json.loads((workshop / "tiny.yaml").read_text())
    recipe |= {"name": "beside", "preset": "m2tr-beside", "switches": {"input_size": 128}}
    recipe["optimisation"] |= {"freeze": "backbone"}
    (workshop / "beside.yaml").write_text(json.dumps(recipe))
    arguments = ["train", str(workshop / "beside.yaml"), "--out", str(workshop / "beside")]
    refused = CliRunner().invoke(app, arguments)
    assert isinstance(refused.exception, ConfigError)
    assert "start: a network with levels needs fitted weights" in str(refused.exception)
    start = build("texture", input_size=128, face_share=1 / 1.3)
    save_file(start.state_dict(), workshop / "fitted.safetensors")
    done = CliRunner().invoke(app, [*arguments, "--start", str(workshop / "fitted.safetensors")])
    assert done.exit_code == 0, done.output
    detector = load_detector(workshop / "beside" / "beside.safetensors")
    assert "backbone frozen" in detector.card.recipe
    assert isinstance(detector.card.preset, M2TRConfig)
    assert detector.card.preset.face_share == pytest.approx(1 / 1.3)
    (score,) = detector.score(np.zeros((1, 128, 128, 3), np.uint8))
    assert score.mask is not None


def test_preview_draws_the_pairs_and_trains_nothing(workshop: Path) -> None:
    sheet = workshop / "sheet.png"
    done = train(workshop, "preview", "--preview", str(sheet))
    assert done.exit_code == 0, done.output
    first, _, *rows = done.stdout.splitlines()
    assert first == str(sheet)
    assert {row.split()[0]: len(row.split()) for row in rows} == {"paired": 4, "hull": 4, "whole_face": 4}
    assert read_image(sheet).std() > 1
    assert not (workshop / "preview" / "state.pt").exists()


@pytest.mark.slow
def test_pairs_are_packed_and_trained_on_where_the_data_sets_are_not(workshop: Path) -> None:
    packed = train(workshop, "packing", "--pack", str(workshop / "pack"), "--count", "6")
    assert packed.exit_code == 0, packed.output
    assert packed.stdout == f"wrote {workshop / 'pack'}: 6 pairs, 0 MiB\n"
    again = train(workshop, "packing", "--pack", str(workshop / "pack"))
    assert isinstance(again.exception, ConfigError)
    assert "not empty" in str(again.exception)
    data = ("--from-pack", str(workshop / "pack"), "--data", str(workshop / "nothing"))
    done = train(workshop, "far", *data)
    assert (workshop / "far" / "state.pt").is_file()
    assert done.exit_code == 0, done.output
    assert "no held-back faces to calibrate with" in done.output
    home = train(workshop, "far")
    assert home.exit_code == 0, home.output
    assert load_detector(workshop / "far" / "tiny.safetensors").input_size == SIDE


@pytest.mark.slow
def test_profile_tables_the_stages_and_trains_nothing(workshop: Path) -> None:
    done = train(workshop, "profiled", "--profile", "1")
    assert done.exit_code == 0, done.output
    assert "backward" in done.stdout
    assert "pictures/s with 0 processes" in done.stdout
    assert not (workshop / "profiled").exists()


@pytest.mark.slow
def test_a_study_prints_the_table_that_it_writes(workshop: Path) -> None:
    done = train(workshop, "study", "--study", "crosses")
    assert done.exit_code == 0, done.output
    assert "paired-only: step 1 of 1" in done.stderr
    assert done.stdout == (workshop / "study" / "table.csv").read_text()
    variants = [row["variant"] for row in csv.DictReader(done.stdout.splitlines())]
    assert variants == ["self-blends-only", "paired-only", "without-whole_face", "without-hull"]


def test_a_folder_with_another_run_is_left_alone(workshop: Path) -> None:
    (workshop / "taken").mkdir()
    (workshop / "taken" / "recipe.json").write_text("{}")
    done = train(workshop, "taken")
    assert isinstance(done.exception, ConfigError)
    assert "taken: holds a run of another recipe" in str(done.exception)
    assert (workshop / "taken" / "recipe.json").read_text() == "{}"
