from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from streamwatch.training.crosses import cross_recipe, crosses, run_crosses
from streamwatch.training.recipe import Recipe, load_recipe
from tests.face_pictures import make_data


def test_every_family_is_left_out_once_and_never_trained_on_where_it_is_tested():
    recipe = load_recipe("m2tr-lite")
    found = {cross.name: cross for cross in crosses(recipe)}
    assert found["self-blends-only"].tested == ("paired",)
    assert found["paired-only"].trained == ("paired",)
    assert "generated" in found["paired-only"].tested
    assert {name for name in found if name.startswith("without-")} == {
        f"without-{k}" for k in recipe.data.weights if k not in ("paired", "generated")
    }
    for cross in found.values():
        assert not set(cross.trained) & set(cross.tested)
        assert set(cross_recipe(recipe, cross).data.weights) == set(cross.trained)


def test_kinds_keep_their_proportions_in_a_cross():
    recipe = load_recipe("m2tr-lite")
    without_swap = next(cross for cross in crosses(recipe) if cross.name == "without-swap")
    weights = cross_recipe(recipe, without_swap).data.weights
    assert weights["hull"] == recipe.data.weights["hull"]
    assert "swap" not in weights


@pytest.mark.slow
def test_crosses_are_trained_and_tabled(tmp_path):
    root, cache = make_data(tmp_path)
    recipe = Recipe.model_validate(
        {
            "name": "tiny",
            "preset": "m2tr-lite",
            "data": {
                "root": root,
                "paired": ["faces"],
                "sources": {"faces": {}},
                "weights": {"paired": 0.5, "hull": 0.25, "whole_face": 0.25},
                "held_back": 0.3,
            },
            "optimisation": {"steps": 1, "pairs": 1, "freeze": 5, "workers": 0},
            "evaluation": {"every": 1, "forgeries": 8, "limit": 8},
        }
    )
    torch.set_num_threads(1)
    heard = []
    listener = lambda cross, progress: heard.append(cross.name)  # noqa: E731
    table = run_crosses(recipe, tmp_path / "crosses", Path("unused"), cache=cache, listener=listener)
    with table.open(newline="") as stream:
        rows = {row["cross"]: row for row in csv.DictReader(stream)}
    assert list(rows) == ["self-blends-only", "paired-only", "without-whole_face", "without-hull"] == heard
    assert all(0 <= float(row["unseen"]) <= 1 for row in rows.values())
    assert float(rows["self-blends-only"]["unseen"]) == float(rows["self-blends-only"]["paired"])
    assert int(rows["without-hull"]["pictures"]) == 2
    run_crosses(recipe, tmp_path / "crosses", Path("unused"), cache=cache, listener=listener)
    assert len(heard) == 4
