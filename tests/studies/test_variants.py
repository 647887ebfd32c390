from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from streamwatch.errors import ConfigError
from streamwatch.studies import variants as studies
from streamwatch.studies.variants import ablations, chosen, crosses, run_study, web
from streamwatch.training.batches import images_seen
from streamwatch.training.recipe import Recipe, load_recipe
from tests.support.face_datasets import make_data, tiny_recipe


def tiny(root: Path, **other: Any) -> Recipe:
    return Recipe.model_validate({**tiny_recipe(root), **other})


def test_every_family_is_left_out_once_and_never_trained_on_where_it_is_tested() -> None:
    recipe = load_recipe("m2tr-lite")
    found = {cross.name: cross for cross in crosses(recipe)}
    assert found["self-blends-only"].unseen == ("paired",)
    assert set(found["paired-only"].recipe.data.weights) == {"paired"}
    assert "generated" in found["paired-only"].unseen
    assert {name for name in found if name.startswith("without-")} == {
        f"without-{k}" for k in recipe.data.weights if k not in ("paired", "generated")
    }
    for cross in found.values():
        assert not set(cross.recipe.data.weights) & set(cross.unseen)


def test_a_recipe_has_the_crosses_that_its_kinds_allow(tmp_path: Path) -> None:
    assert [cross.name for cross in crosses(tiny(tmp_path))] == [
        "self-blends-only",
        "paired-only",
        "without-whole_face",
        "without-hull",
    ]


def test_kinds_keep_their_proportions_in_a_cross() -> None:
    recipe = load_recipe("m2tr-lite")
    weights = next(cross for cross in crosses(recipe) if cross.name == "without-swap").recipe.data.weights
    assert weights["hull"] == recipe.data.weights["hull"]
    assert "swap" not in weights


def test_an_ablation_changes_one_part_and_not_the_number_of_pictures() -> None:
    recipe = load_recipe("m2tr-lite")
    found = {variant.name: variant.recipe for variant in ablations(recipe)}
    assert found.pop("as it is") == recipe
    whole = recipe.model_dump()
    for name, changed in found.items():
        parts = {key for key, value in changed.model_dump().items() if value != whole[key]}
        assert parts == ({"data", "optimisation"} if name == "two qualities" else parts)
        assert len(parts) == (2 if name == "two qualities" else 1), name
        assert images_seen(changed, 10) == images_seen(recipe, 10)
    assert not found["one patch size"].architecture.multi_scale
    assert found["no frequency block and fusion"].architecture.frequency == "none"
    assert not {"whole_face", "hull"} & set(found["no self-blends"].data.weights)
    assert "swap" in found["no self-blends"].data.weights
    assert found["fusion by addition"].architecture.fusion == "add"
    assert set(found["no forgeries made here"].data.weights) == {"paired", "generated"}


def test_a_web_study_changes_one_answer_and_shows_as_many_pictures() -> None:
    recipe = load_recipe("m2tr-lite-web-small").model_copy(update={"start": Path("earlier.safetensors")})
    found = {variant.name: variant.recipe for variant in web(recipe)}
    assert found.pop("as it is") == recipe
    whole = recipe.model_dump()
    for name, changed in found.items():
        parts = {key for key, value in changed.model_dump().items() if value != whole[key]}
        assert len(parts) == (2 if name in ("two qualities", "EfficientNet-Lite2 from ImageNet") else 1), name
        assert images_seen(changed, 10) == images_seen(recipe, 10)
    weights, more = recipe.data.weights, found["twice the web pairs"].data.weights
    assert (more["web"], more["hull"]) == (2 * weights["web"], weights["hull"])
    assert found["256 px"].architecture.input_size == 256
    assert found["from ImageNet"].start is None
    assert "from ImageNet" not in {variant.name for variant in web(load_recipe("m2tr-lite-web-small"))}


def test_rows_of_a_study_are_chosen_by_name() -> None:
    variants = list(web(load_recipe("m2tr-lite-web-small")))
    assert chosen(variants, []) == variants
    assert [v.name for v in chosen(variants, ["256 px", "as it is"])] == ["256 px", "as it is"]
    with pytest.raises(ConfigError, match="--variant nothing: not in this study; its rows: as it is, "):
        chosen(variants, ["nothing"])


def test_a_study_that_starts_from_other_weights_is_refused(tmp_path: Path) -> None:
    variants = list(crosses(tiny(tmp_path, start="earlier.safetensors")))
    with pytest.raises(ConfigError, match="other weights may know what a variant leaves out"):
        run_study(variants, tmp_path, Path("unused"))


def test_wrong_switches_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tiny: switches: no multiscale; there are .*multi_scale"):
        _ = tiny(tmp_path, switches={"multiscale": False}).architecture
    with pytest.raises(ConfigError, match=r"tiny: switches: depth: .*integer"):
        _ = tiny(tmp_path, switches={"depth": "deep"}).architecture


@pytest.mark.slow
def test_a_study_is_trained_and_tabled_once(tmp_path: Path) -> None:
    root, cache = make_data(tmp_path)
    torch.set_num_threads(1)
    received = []
    listener = lambda variant, progress: received.append(variant.name)  # noqa: E731
    variants = [v for v in crosses(tiny(root)) if v.name in ("self-blends-only", "without-hull")]
    table = run_study(variants, tmp_path / "crosses", Path("unused"), cache=cache, listener=listener)
    with table.open(newline="") as stream:
        rows = {row["variant"]: row for row in csv.DictReader(stream)}
    assert list(rows) == ["self-blends-only", "without-hull"] == received
    assert all(0 <= float(row["unseen"]) <= 1 and 0 <= float(row["val"]) <= 1 for row in rows.values())
    assert float(rows["self-blends-only"]["unseen"]) == float(rows["self-blends-only"]["paired"])
    assert int(rows["without-hull"]["pictures"]) == 8
    before = table.read_text()
    run_study(variants, tmp_path / "crosses", Path("unused"), cache=cache, listener=listener)
    assert len(received) == 2
    assert table.read_text() == before


def test_variants_with_other_cells_share_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = {"self-blends-only": {"hull": 0.7}, "without-hull": {"hull": 0.6, "resynthesis": 0.9}}
    monkeypatch.setattr(studies, "Trainer", lambda *given, **named: SimpleNamespace(run=lambda listener: None))
    monkeypatch.setattr(studies, "_measured", lambda variant, *rest: {"variant": variant.name, **cells[variant.name]})
    variants = [v for v in crosses(tiny(tmp_path)) if v.name in cells]
    table = run_study(variants, tmp_path, Path("unused"))
    assert table.read_text().split() == ["variant,hull,resynthesis", "self-blends-only,0.7,", "without-hull,0.6,0.9"]


@pytest.mark.slow
def test_an_ablation_of_a_recipe_trains(tmp_path: Path) -> None:
    root, cache = make_data(tmp_path)
    torch.set_num_threads(1)
    chosen = [v for v in ablations(tiny(root)) if v.name == "two qualities"]
    with run_study(chosen, tmp_path / "ablations", Path("unused"), cache=cache).open(newline="") as stream:
        rows = {row["variant"]: row for row in csv.DictReader(stream)}
    assert list(rows) == ["two qualities"]
    assert {row["unseen"] for row in rows.values()} == {"nan"}
    assert {row["pictures"] for row in rows.values()} == {"8"}


def test_a_tie_across_qualities_needs_two_faces(tmp_path: Path) -> None:
    data = tiny(tmp_path).data.model_dump() | {"qualities": 2}
    with pytest.raises(ValidationError, match=r"no fewer than 2 optimisation.pairs"):
        tiny(tmp_path, data=data, optimisation={"steps": 1, "pairs": 1})
    assert tiny(tmp_path, data=data, optimisation={"steps": 1, "pairs": 1}, loss={"quality": 0}).data.qualities == 2
