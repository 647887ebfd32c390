from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamwatch.cli.main import app
from streamwatch.detectors import load_detector
from streamwatch.studies import forgeries as held_back
from streamwatch.training.data import PairDataset, TrainingPair
from streamwatch.training.families import FAMILIES
from streamwatch.training.recipe import Recipe
from streamwatch.training.split import split_data
from tests.support.face_datasets import make_data, tiny_recipe
from tests.support.present import present
from tests.support.small_detectors import untrained_detector


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Recipe, Path]:
    """A recipe with its data, forged in two ways only: the others need auto-encoders."""
    monkeypatch.setattr(held_back, "FAMILIES", ("hull", "swap"))
    root, cache = make_data(tmp_path)
    return Recipe.model_validate(tiny_recipe(root)), cache


def test_every_family_and_unseen_blends_are_judged_at_the_served_thresholds(
    known: tuple[Recipe, Path], tmp_path: Path
) -> None:
    recipe, cache = known
    detector = load_detector(untrained_detector(tmp_path))
    received: list[tuple[int, ...]] = []
    judge = partial(held_back.judge_forgeries, detector, recipe, cache, Path("unused"))
    levels = judge(pairs=6, progress=lambda *counts: received.append(counts))
    assert [level.method for level in levels] == ["hull", "swap", held_back.UNSEEN]
    assert [present(level.fake).called_fake.of for level in levels] == [6, 6, 24]
    assert [present(level.real).called_real.of for level in levels] == [6, 6, 24]
    assert all(0 <= present(level.separation).auc <= 1 for level in levels)
    assert received == [(1, 3), (2, 3), (3, 3)]
    assert levels == judge(pairs=6)
    card = replace(detector.card, thresholds=replace(detector.card.thresholds, real=0.0, fake=0.0))
    detector.card = card
    called = [present(level.fake).called_fake for level in judge(pairs=6)]
    assert all(fakes.count == fakes.of for fakes in called)


def test_no_forgery_is_made_from_a_face_that_is_trained_on(
    known: tuple[Recipe, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, cache = known
    drawn: list[TrainingPair] = []
    honest = PairDataset.pair

    def noted(data: PairDataset, index: int) -> TrainingPair:
        drawn.append(honest(data, index))
        return drawn[-1]

    monkeypatch.setattr(PairDataset, "pair", noted)
    held_back.judge_forgeries(load_detector(untrained_detector(tmp_path)), recipe, cache, Path("unused"), pairs=4)
    split = split_data(recipe, cache, Path("unused"), lambda line: None)
    trained = {picture.path for pool in split.pools.sources for picture in pool.pictures}
    assert trained
    assert not trained & {pair.made.files[0] for pair in drawn}


def test_the_command_prints_a_row_for_each(
    known: tuple[Recipe, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, cache = known
    monkeypatch.setattr("streamwatch.training.recipe.load_recipe", lambda name: recipe)
    options = ["--model", str(untrained_detector(tmp_path)), "--pairs", "4", "--prepared", str(cache)]
    table = CliRunner().invoke(app, ["evaluate", "forgeries", "tiny", *options])
    assert table.exit_code == 0, table.output
    assert "fake called real" in table.stdout
    assert "unseen blends" in table.stdout
    document = CliRunner().invoke(app, ["evaluate", "forgeries", "tiny", *options, "--json"])
    assert [row["method"] for row in json.loads(document.stdout)] == ["hull", "swap", "unseen blends"]


def test_all_families_are_judged_where_nothing_narrows_them() -> None:
    assert vars(held_back)["FAMILIES"] == FAMILIES
