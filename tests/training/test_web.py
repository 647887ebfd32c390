"""Pairs of web clips: by method, scene and picture; and dev sets that share nothing with what is trained on."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from streamwatch.detectors import load_detector
from streamwatch.errors import ConfigError
from streamwatch.evaluation.frames import score_samples
from streamwatch.training.data import MadePairs, Pools
from streamwatch.training.dev import check_apart
from streamwatch.training.prepare import FacePicture
from streamwatch.training.recipe import Recipe
from streamwatch.training.release import dev_samples, release
from streamwatch.training.trainer import Trainer
from streamwatch.training.web import web_pairs
from tests.support.face_datasets import make_data, make_web, tiny_recipe


def picture(scene: str, frame: int, method: str = "", clip: str = "", side: float = 100) -> FacePicture:
    name = f"{scene}-{method or 'real'}-{clip}-{frame}.jpg"
    box, landmarks = (0.0, 0.0, side, side), np.zeros((468, 2), np.float32)
    return FacePicture(Path(name), bool(method), "train", scene, box, landmarks, method, clip, f"{scene}#{frame}")


@pytest.fixture
def pictures() -> list[FacePicture]:
    many = [picture(f"many{n}", f, "Many", f"many{n}") for n in range(9) for f in range(2)]
    return [
        *(picture("paired", frame, clip="honest") for frame in range(4)),
        *(picture("paired", frame, "Sync", "forged") for frame in (1, 2)),
        *many,
        *(picture("alone", frame, "Few", "alone") for frame in range(30)),
        *(picture("other", frame, clip="other", side=side) for frame, side in enumerate((30, 100, 400))),
    ]


def test_a_fake_goes_with_its_own_moment_and_without_one_with_any_of_its_scene(pictures: list[FacePicture]) -> None:
    related, _ = web_pairs([*pictures, picture("paired", 99, "Late", "late")])
    rng = np.random.default_rng(0)
    drawn = [related.draw_related(rng) for _ in range(60)]
    assert {fake.method for _, fake in drawn} == {"Sync", "Late"}
    assert all(real.source == fake.source == "paired" and not real.fake for real, fake in drawn)
    assert all(real.moment == fake.moment for real, fake in drawn if fake.method == "Sync")
    assert len({real.moment for real, fake in drawn if fake.method == "Late"}) > 1


def test_pairs_in_a_row_may_share_their_scene(pictures: list[FacePicture], monkeypatch: pytest.MonkeyPatch) -> None:
    related, _ = web_pairs(
        [*pictures, *(picture(f"many{n}", f, clip=f"honest{n}") for n in range(9) for f in range(2))]
    )
    monkeypatch.setattr("streamwatch.training.data._found", lambda kind, both, zooms, related: both)

    def fakes(row: int) -> list[FacePicture]:
        made: Any = MadePairs(Pools((), (), web=related), {"web": 1.0}, 3, row)
        return [made.make(number)[1] for number in range(24)]

    scenes = [fakes(row) for row in (1, 4)]
    runs = [[len({fake.source for fake in found[i : i + 4]}) for i in range(0, 24, 4)] for found in scenes]
    assert max(runs[0]) > 1
    assert set(runs[1]) == {1}
    assert len({fake.source for fake in scenes[1]}) > 2
    assert max(len({fake.path for fake in scenes[1][i : i + 4]}) for i in range(0, 24, 4)) > 1


def test_methods_are_drawn_by_the_root_of_their_clips_whatever_their_pictures(pictures: list[FacePicture]) -> None:
    _, alone = web_pairs(pictures)
    rng = np.random.default_rng(0)
    drawn = Counter(alone.draw_any(rng)[1].method for _ in range(800))
    assert set(drawn) == {"Many", "Few"}
    assert drawn["Many"] / drawn["Few"] == pytest.approx(3, rel=0.2)


def test_the_partner_of_another_scene_is_of_like_size(pictures: list[FacePicture]) -> None:
    _, alone = web_pairs(pictures)
    rng = np.random.default_rng(0)
    sides = Counter(alone.draw_any(rng)[0].side for _ in range(200))
    assert sides[100] > 180, "of eight real pictures one of the fake's own size is nearly always among"


def test_sets_without_fakes_or_reals_give_no_pairs(pictures: list[FacePicture]) -> None:
    assert not any(web_pairs([p for p in pictures if not p.fake]))
    assert not any(web_pairs([p for p in pictures if p.fake]))


@pytest.mark.parametrize(
    ("clip", "scene", "method", "said"),
    [("honest", "x", "", "clip 'honest'"), ("x", "other", "", "scene 'other'"), ("x", "y", "Sync", "method 'Sync'")],
)
def test_what_chooses_is_not_trained_on(
    pictures: list[FacePicture], clip: str, scene: str, method: str, said: str
) -> None:
    dev: Any = SimpleNamespace(picture=SimpleNamespace(clip=clip, scene=scene, method=method, path=Path("dev.jpg")))
    with pytest.raises(ConfigError, match=rf"data\.dev: the {said} of dev\.jpg"):
        check_apart(pictures, [dev])
    other: Any = SimpleNamespace(picture=SimpleNamespace(clip="x", scene="y", method="", path=Path("d")))
    check_apart(pictures, [other])


@pytest.mark.slow
def test_a_recipe_learns_from_web_clips_and_is_chosen_and_calibrated_by_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache = make_data(tmp_path)
    make_web(tmp_path, "web", "train")
    make_web(tmp_path, "dev", "dev")
    values = tiny_recipe(root)
    values["data"] |= {"web": ["web"], "dev": ["dev"], "weights": {"web": 0.5, "web_unpaired": 0.5}}
    values["loss"] = {"ranking": 0.5}
    recipe = Recipe.model_validate(values)
    trainer = Trainer(recipe, tmp_path / "run", Path("unused"), cache=cache)
    kinds = {trainer.pairs.dataset.pair(index).made.kind for index in range(4)}
    assert kinds == {"web", "web_unpaired"}
    related = next(p for i in range(4) if (p := trainer.pairs.dataset.pair(i)).made.kind == "web")
    assert related.mask is not None
    trainer.run()
    assert trainer.state.latest is not None
    figures = trainer.state.latest.dev
    assert trainer.state.best == pytest.approx((figures["auc"] + figures["won"]) / 2)
    with (tmp_path / "run" / "log.csv").open(newline="") as stream:
        [row] = csv.DictReader(stream)
    assert float(row["dev_auc"]) == pytest.approx(figures["auc"], abs=1e-4)
    assert float(row["ranking"]) > 0

    calibrated_on = []

    def calibrate(logits: np.ndarray, fake: np.ndarray) -> tuple[float, float]:
        calibrated_on.append((len(logits), int(np.sum(fake))))
        return 1.0, 0.0

    monkeypatch.setattr("streamwatch.training.release.fit_platt", calibrate)
    card = release(trainer, tmp_path / "web.safetensors")
    assert calibrated_on == [(36, 24)], "of the dev set alone"
    assert card.metrics["dev_won"] == pytest.approx(figures["won"], abs=1e-4)
    assert "chosen and calibrated on dev" in card.data
    assert "web" in card.data
    reals = [p for p in dev_samples(trainer.split.dev) if not p.fake]
    assert len(reals) == 12
    found = score_samples(load_detector(tmp_path / "web.safetensors"), reals).probabilities.astype(np.float64)
    assert found.max() < card.thresholds.fake


def test_a_recipe_whose_dev_set_is_trained_on_is_refused(tmp_path: Path) -> None:
    root, cache = make_data(tmp_path)
    make_web(tmp_path, "web", "train", scenes=2)
    values = tiny_recipe(root)
    values["data"] |= {"web": ["web"], "dev": ["web"]}
    with pytest.raises(ConfigError, match=r"is in data\.web too"):
        Trainer(Recipe.model_validate(values), tmp_path / "run", Path("unused"), cache=cache)
    values["data"] |= {"web": [], "dev": [], "weights": {"web": 1.0}}
    with pytest.raises(ConfigError, match=r"data\.weights\.web: data\.web \(empty\)"):
        Trainer(Recipe.model_validate(values), tmp_path / "other", Path("unused"), cache=cache)
