"""Training of the statistics detector: what counts how much, how it is measured, and the run from pictures to card."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from streamwatch.cli.main import app
from streamwatch.detectors import load_detector
from streamwatch.errors import ConfigError, SourceNotFound
from streamwatch.evaluation.clips import clips_of, measure
from streamwatch.evaluation.datasets.plain import COLUMNS, WEB_COLUMNS
from streamwatch.evaluation.datasets.web import WebPicture, read_pictures
from streamwatch.evaluation.web_facts import FactFigures
from streamwatch.records import ImageArray
from streamwatch.sources.pictures import read_image
from streamwatch.training.dev import dev_figures
from streamwatch.training.recipe import RECIPES
from streamwatch.training.statistics.pictures import (
    degrade,
    measure_copies,
    measure_rows,
    sample_weights,
    scored_faces,
)
from streamwatch.training.statistics.recipe import (
    StatisticsRecipe,
    is_statistics_recipe,
    load_statistics_recipe,
)
from streamwatch.training.statistics.release import card_figures, train_statistics
from tests.statistics_models import face_mask, noisy_crop

SIDE = 128


def web_picture(**changes: Any) -> WebPicture:
    plain = WebPicture(Path("x.jpg"), "train", "real", "v#0", "c", "s", 0, aligned=False, method="", origin="o")
    return replace(plain, **changes)


def forged(crop: ImageArray) -> ImageArray:
    """The crop with a face that was shrunk and enlarged."""
    small = cv2.resize(crop, (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA)
    return np.where(face_mask(SIDE)[..., np.newaxis], cv2.resize(small, (SIDE, SIDE)), crop).astype(np.uint8)


def make_set(folder: Path, split: str, first: int, clips: int = 6) -> None:
    """Clips of two frames: noise, and the same with a forged face; of one scene each."""
    rows = []
    for number in range(first, first + clips):
        for fake in (False, True):
            for frame in range(2):
                crop = noisy_crop(10 * number + frame)
                label, clip = ("fake", f"f{number}") if fake else ("real", f"r{number}")
                name = f"{clip}-{frame}.jpg"
                path = folder / split / label / name
                path.parent.mkdir(parents=True, exist_ok=True)
                picture = cv2.cvtColor(forged(crop) if fake else crop, cv2.COLOR_RGB2BGR)
                cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
                method = ("SimSwap", "lips")[number % 2] if fake else ""
                rows.append(
                    [split, label, name, f"v{number}#{frame}", clip, f"s{number}", frame, 1, method, f"o{number % 3}"]
                )
    with (folder / "index.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([(*COLUMNS, *WEB_COLUMNS), *rows])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    make_set(root / "web_faces", "train", 0)
    make_set(root / "web_dev", "dev", 50)
    return root


@pytest.fixture(scope="module")
def recipe(data: Path) -> StatisticsRecipe:
    return StatisticsRecipe.model_validate(
        {
            "kind": "statistics",
            "name": "tiny",
            "licence": "none",
            "data": {"root": data, "copies": 1},
            "geometry": {"size": SIDE},
            "trees": {"number": 5, "depth": 2, "least_leaf": 2},
        }
    )


def test_a_run_ends_in_weights_that_find_the_forgeries(recipe: StatisticsRecipe, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    steps: list[tuple[str, int, int]] = []
    released = train_statistics(recipe, tmp_path, progress=lambda *step: steps.append(step))
    card = released.card
    assert {what for what, _, _ in steps} == {"web_faces", "fit", "web_dev", "facts"}
    assert (card.input.size, card.geometry.scale, card.preset.trees) == (SIDE, 1.8, 5)
    figures = card.metrics
    assert figures["auc"] == figures["auc_faces"] == figures["won"] == figures["swaps"] == figures["found"] == 1.0
    assert (figures["auc_low"], figures["auc_high"]) == (1.0, 1.0)
    assert (figures["clips"], figures["pairs"]) == (12, 6)
    assert figures["file_facts"] > 0.9, "smooth faces take fewer bytes"
    assert not {"enhanced_above_original", "enhanced_above_5_percent"} & set(figures)
    with released.logits.open() as stream:
        rows = list(csv.DictReader(stream))
    detector = load_detector(released.weights)
    pictures = read_pictures(data / "web_dev")
    crops = np.stack([read_image(picture.path) for picture in pictures])
    assert [row["file"] for row in rows] == [picture.path.name for picture in pictures]
    found = detector.score_arrays(crops)
    np.testing.assert_allclose(found.logits, [float(row["logit"]) for row in rows], atol=1e-4)
    fake = np.array([picture.fake for picture in pictures])
    assert found.probabilities[~fake].max() < 0.5 <= card.thresholds.fake < found.probabilities[fake].min()
    assert found.probabilities[~fake].max() < card.thresholds.real <= card.thresholds.fake


def test_the_same_recipe_gives_the_same_file(recipe: StatisticsRecipe, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    digests = [train_statistics(recipe, tmp_path / name).card.sha256 for name in "ab"]
    other = train_statistics(recipe.model_copy(update={"seed": 1}), tmp_path / "c").card.sha256
    assert digests[0] == digests[1] != other


def test_the_command_trains(data: Path, recipe: StatisticsRecipe, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    arguments = ["train", str(file), "--data", str(data), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "auc_matched" in result.stdout
    assert (tmp_path / "out" / "tiny.safetensors").is_file()
    refused = CliRunner().invoke(app, [*arguments, "--steps", "3"])
    assert refused.exit_code == 2
    assert "statistics recipe" in refused.output


def test_data_that_are_not_there_or_lack_a_class_are_named(
    recipe: StatisticsRecipe, data: Path, tmp_path: Path
) -> None:
    part = recipe.data
    with pytest.raises(SourceNotFound, match=r"index\.csv: cannot be read"):
        train_statistics(recipe.model_copy(update={"data": part.model_copy(update={"train": "nothing"})}), tmp_path)
    lame = data / "lame"
    lame.mkdir()
    (lame / "index.csv").write_text("split,label,file,source_video\ntrain,real,x,y\n")
    lacking = recipe.model_copy(update={"data": part.model_copy(update={"train": "lame"})})
    with pytest.raises(ConfigError, match="needs the columns clip, scene"):
        train_statistics(lacking, tmp_path)
    for name in "ab":
        (lame / "train" / "real").mkdir(parents=True, exist_ok=True)
        (lame / "train" / "real" / name).touch()
    lines = [f"train,real,{name},v,{name},s,0,0,,o" for name in "ab"]
    (lame / "index.csv").write_text("\n".join([",".join([*COLUMNS, *WEB_COLUMNS]), *lines]) + "\n")
    with pytest.raises(ConfigError, match="real and fake pictures are needed"):
        train_statistics(lacking, tmp_path)


def test_shipped_and_wrong_recipes(tmp_path: Path) -> None:
    assert load_statistics_recipe("statistics").name == "statistics"
    assert [p.stem for p in sorted(RECIPES.glob("*.yaml")) if is_statistics_recipe(p.stem)] == ["statistics"]
    assert not is_statistics_recipe("nothing")
    bad = tmp_path / "bad.yaml"
    bad.write_text("kind: statistics\nname: x\nlicence: y\ntrees: {leaves: 3}\n")
    with pytest.raises(ConfigError, match=r"bad\.yaml: trees\.leaves"):
        load_statistics_recipe(bad)


def test_classes_methods_scenes_and_origins_share_the_weight() -> None:
    pictures = [web_picture(label="fake", method="a", scene="s1", origin=str(i)) for i in range(16)]
    pictures += [web_picture(label="fake", method="b", scene="s2", origin=f"b{i}") for i in range(4)]
    pictures += [web_picture(origin=str(i // 2)) for i in range(10)]
    weights = sample_weights(pictures, method_power=0.5, most_of_one_origin=1.0)
    assert weights.mean() == pytest.approx(1)
    assert weights[:20].sum() == pytest.approx(weights[20:].sum()) == pytest.approx(15)
    assert weights[:16].sum() / weights[16:20].sum() == pytest.approx(2)
    pictures = [web_picture(origin="large") for _ in range(90)] + [web_picture(origin=str(i)) for i in range(10)]
    pictures += [web_picture(label="fake")]
    cut = sample_weights(pictures, method_power=1.0, most_of_one_origin=0.15)
    assert cut[:90].sum() / cut[:100].sum() < 0.3


def test_crops_are_cut_as_serving_cuts_them(data: Path) -> None:
    pictures = read_pictures(data / "web_dev")[:2]
    from streamwatch.detectors.statistics.features import statistics

    rows = measure_rows(pictures, SIDE)
    np.testing.assert_array_equal(rows[1], statistics(read_image(pictures[1].path)))
    copies = [measure_copies(pictures, SIDE, copy, 7) for copy in (0, 0, 1)]
    np.testing.assert_array_equal(copies[0], copies[1])
    assert np.abs(copies[0] - copies[2]).max() > 0.01


def test_degraded_crops_stay_in_their_picture() -> None:
    for seed in range(30):
        image, (left, top, right, bottom) = degrade(noisy_crop(), np.random.default_rng(seed))
        assert min(left, top) >= 0
        assert max(right, bottom) <= image.shape[0] + 1e-9
        assert right - left == pytest.approx(bottom - top)
        assert (right - left) / image.shape[0] >= 0.9


def test_the_figures_of_a_card_are_the_shared_ones(data: Path) -> None:
    pictures = read_pictures(data / "web_dev")
    logits = np.random.default_rng(1).normal(size=len(pictures))
    faces = scored_faces(pictures, logits, 1.8)
    assert [face.logit for face in faces] == logits.tolist()
    assert [face.side for face in faces] == pytest.approx([SIDE / 1.8] * len(faces))
    assert faces[0].bytes_per_pixel == pictures[0].path.stat().st_size / SIDE**2
    assert [clip.score for clip in clips_of(faces)] == pytest.approx(logits.reshape(-1, 2).mean(axis=1))
    figures = measure(faces, rounds=20)
    found = card_figures(figures, FactFigures(None, None, None))
    assert found.items() >= dev_figures(figures).items()
    assert figures.pairs is not None
    assert figures.pairs.won.interval == (found["won_low"], found["won_high"])
    assert "file_facts" not in found


def test_a_set_without_swaps_or_pairs_lacks_their_figures(data: Path) -> None:
    pictures = [
        replace(picture, scene=picture.clip, method="lips" if picture.fake else "")
        for picture in read_pictures(data / "web_dev")
    ]
    figures = measure(scored_faces(pictures, np.arange(len(pictures)), 1.8), rounds=0)
    found = card_figures(figures, FactFigures(None, None, None))
    assert not {"swaps", "swaps_won", "won", "pairs", "auc_low"} & set(found)
    assert np.isfinite(list(found.values())).all()
