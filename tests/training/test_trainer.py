import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from streamwatch.detectors import load_detector
from streamwatch.detectors.card import Calibration
from streamwatch.detectors.m2tr.config import resolve
from streamwatch.detectors.m2tr.model import build
from streamwatch.errors import ConfigError, TrainingDiverged, WeightsError
from streamwatch.sources.pictures import read_image
from streamwatch.training import release as release_module
from streamwatch.training.augment import mix_amplitudes
from streamwatch.training.data import MadePairs, PairDataset, Pools, SourcePool, pair_up
from streamwatch.training.held_back import HeldBackAucs
from streamwatch.training.landmarks import MeshLandmarks
from streamwatch.training.losses import (
    Objective,
    contrastive_loss,
    debiased_cka,
    focal_loss,
    mask_loss,
    objective,
    quality_loss,
    ranking_loss,
)
from streamwatch.training.plots import draw_progress
from streamwatch.training.prepare import FacePicture, hold_back, list_pictures, prepare
from streamwatch.training.recipe import Recipe, load_recipe, with_root
from streamwatch.training.regularisers import mixed_styles, perturbed
from streamwatch.training.release import release
from streamwatch.training.split import DataSplit, split_data
from streamwatch.training.starts import start_from
from streamwatch.training.trainer import Trainer, TrainingProgress, learning_rate
from tests.support.face_datasets import make_data
from tests.support.present import present


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_data(tmp_path_factory.mktemp("faces"))


@pytest.fixture(scope="module")
def pictures(data: tuple[Path, Path]) -> list[FacePicture]:
    root, cache = data
    return prepare(root / "faces", cache / "faces.npz", Path("unused.tflite"))


@pytest.fixture
def recipe(data: tuple[Path, Path]) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "tiny",
            "preset": "m2tr-lite",
            "switches": {"input_size": 64},
            "seed": 3,
            "data": {
                "root": data[0],
                "paired": ["faces"],
                "sources": {"faces": {}},
                "weights": {"paired": 0.5, "hull": 0.25, "swap": 0.25},
                "held_back": 0.3,
            },
            "optimisation": {"steps": 4, "pairs": 1, "warmup": 2, "freeze": 5, "workers": 0},
            "evaluation": {"every": 2, "forgeries": 8, "limit": 8},
        }
    )


def test_pictures_are_listed_with_label_split_and_source(pictures: list[FacePicture]) -> None:
    assert {(p.split, p.fake) for p in pictures} == {(s, f) for s in ("train", "val") for f in (True, False)}
    assert len({p.source for p in pictures}) * 2 == len(pictures)


def test_held_back_sources_never_appear_in_training(pictures: list[FacePicture]) -> None:
    kept, held = hold_back(pictures, 0.3)
    assert kept
    assert held
    assert not {p.source for p in kept} & {p.source for p in held}
    assert hold_back(pictures, 0.3)[1] == held


def test_missing_data_and_landmark_model_are_named(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="no such folder"):
        list_pictures(tmp_path / "nothing")
    with pytest.raises(WeightsError, match=r"nothing\.tflite.*face_landmark"):
        MeshLandmarks(tmp_path / "nothing.tflite")
    text = tmp_path / "text.jpg"
    text.write_text("not a picture")
    with pytest.raises(Exception, match=r"text\.jpg"):
        read_image(text)


def test_weights_of_another_input_size_start_a_run_and_judge_the_same_faces_alike(tmp_path: Path) -> None:
    torch.manual_seed(0)
    small = build(replace(resolve("m2tr-lite"), input_size=128)).eval()
    save_file(small.state_dict(), tmp_path / "small.safetensors")
    large = build(replace(resolve("m2tr-lite"), input_size=256)).eval()
    start_from(large, tmp_path / "small.safetensors")
    faces = torch.rand(2, 3, 256, 256)
    with torch.inference_mode():
        assert torch.allclose(large(faces).logits, small(faces).logits, atol=1e-5)


def test_weights_that_cannot_start_a_run_are_named(tmp_path: Path) -> None:
    model = build(replace(resolve("m2tr-lite"), input_size=128))
    save_file(build(replace(resolve("m2tr-lite"), depth=1)).state_dict(), tmp_path / "shallow.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(WeightsError, match=r"shallow\.safetensors: .*switches"):
        start_from(model, tmp_path / "shallow.safetensors")
    for name in ("text", "missing"):
        with pytest.raises(WeightsError, match=rf"{name}\.safetensors: no safetensors"):
            start_from(model, tmp_path / f"{name}.safetensors")


def pools(pictures: list[FacePicture]) -> Pools:
    train = [p for p in pictures if p.split == "train"]
    return Pools(pair_up(train), [SourcePool([p for p in train if not p.fake])])


def test_an_item_depends_on_seed_and_index_alone(pictures: list[FacePicture], recipe: Recipe) -> None:
    def make(seed: int) -> PairDataset:
        made = MadePairs(pools(pictures), recipe.data.weights, seed)
        return PairDataset(made, recipe.geometry.geometry(), 64, seed, 10)

    one, two, other = make(1)[4], make(1)[4], make(2)[4]
    assert torch.equal(one["images"], two["images"])
    assert torch.equal(one["masks"], two["masks"])
    assert not torch.equal(one["images"], other["images"])
    with pytest.raises(IndexError):
        make(1)[10]


def test_batches_come_after_opencv_has_worked_in_the_parent() -> None:
    script = """
import cv2, numpy as np
from streamwatch.training.data import forked_loader
cv2.setNumThreads(3)
cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (0, 0), 5)
print([batch.tolist() for batch in forked_loader(range(4), 2, 2)], cv2.getNumThreads())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[[0, 1], [2, 3]] 3\n", done.stderr


def test_masks_are_empty_for_reals_and_lie_on_what_differs(pictures: list[FacePicture], recipe: Recipe) -> None:
    blends = PairDataset(
        MadePairs(pools(pictures), {"hull": 1.0}, 5), recipe.geometry.geometry(), 96, 5, 12, augment=False
    )
    for index in range(12):
        item, pair = blends[index], blends.pair(index)
        assert item["images"].shape == (1, 2, 3, 96, 96)
        assert item["masks"][0, 0].max() == 0
        assert item["mask_known"].all()
        differs = np.abs(pair.real.astype(int) - pair.fake).max(axis=2) > 4
        assert pair.mask is not None
        assert (pair.mask[differs] > 0).mean() > 0.99


def test_qualities_show_one_pair_under_degradations_of_their_own(pictures: list[FacePicture], recipe: Recipe) -> None:
    data = PairDataset(MadePairs(pools(pictures), {"hull": 1.0}, 5), recipe.geometry.geometry(), 96, 5, 12, qualities=3)
    assert data[3]["images"].shape == (3, 2, 3, 96, 96)
    items = [data.pairs(index) for index in range(len(data))]
    apart = [not np.array_equal(a.real, b.real) for item in items for a, b in pairwise(item)]
    assert np.mean(apart) > 0.75, "a share of views stays as it is, so that two may be alike"
    for item, other in pairwise(items):
        one, two, three = item
        np.testing.assert_array_equal(one.mask, three.mask)
        within = np.corrcoef(one.real.ravel(), two.real.ravel())[0, 1]
        assert within > np.corrcoef(one.real.ravel(), other[0].real.ravel())[0, 1]


def test_objective_is_the_sum_of_its_switched_terms() -> None:
    torch.manual_seed(0)
    logits, features = torch.randn(4, 2), torch.randn(4, 8)
    labels = torch.tensor([0, 1, 0, 1])
    mask_logits, masks, known = (
        torch.randn(4, 1, 8, 8),
        torch.rand(4, 1, 16, 16),
        torch.tensor([True, True, True, False]),
    )
    arguments = (logits, labels, features, mask_logits, masks, known)
    plain = objective(*arguments, mask_weight=0, contrastive_weight=0)
    full = objective(*arguments, mask_weight=0.5, contrastive_weight=0.25)
    assert plain.total.item() == pytest.approx(plain.classification)
    assert full.total.item() == pytest.approx(full.classification + 0.5 * full.mask + 0.25 * full.contrastive, rel=1e-5)
    masks[3] = 1 - masks[3]
    assert objective(*arguments, mask_weight=0.5, contrastive_weight=0.25).mask == full.mask


def test_terms_without_evidence_are_zero_with_a_gradient() -> None:
    features = torch.randn(3, 4, requires_grad=True)
    loss = contrastive_loss(features, torch.tensor([1, 1, 1]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert features.grad is not None
    assert torch.equal(features.grad, torch.zeros(3, 4))
    assert mask_loss(torch.randn(2, 1, 4, 4), torch.rand(2, 1, 4, 4), torch.tensor([False, False])).item() == 0


def test_contrastive_loss_falls_as_fakes_leave_the_reals() -> None:
    real = torch.tensor([[1.0, 0.0], [1.0, 0.1]])
    near, far = torch.tensor([[1.0, 0.2]]), torch.tensor([[-1.0, 0.0]])
    labels = torch.tensor([0, 0, 1])
    assert contrastive_loss(torch.cat([real, far]), labels) < contrastive_loss(torch.cat([real, near]), labels)


def test_ranking_asks_for_the_fake_above_its_own_original_alone() -> None:
    logits = torch.tensor([[0.0, 1.0], [0.0, 3.0], [0.0, 9.0], [0.0, 2.0]], requires_grad=True)
    loss = ranking_loss(logits, torch.tensor([True, False]))
    assert loss.item() == pytest.approx(math.log1p(math.exp(1 - 3)))
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad[1, 1] < 0 < logits.grad[0, 1]
    assert torch.equal(logits.grad[2:], torch.zeros(2, 2))
    none = ranking_loss(logits, torch.tensor([False, False]))
    none.backward()  # type: ignore[no-untyped-call]
    assert none.item() == 0


def test_focal_loss_is_cross_entropy_that_forgives_what_is_already_right() -> None:
    labels = torch.tensor([0, 1])
    sure, unsure = torch.tensor([[6.0, 0.0], [0.0, 6.0]]), torch.zeros(2, 2)
    assert focal_loss(unsure, labels).item() == pytest.approx(0.25 * math.log(2))
    assert focal_loss(sure, labels) < 0.001 * torch.nn.functional.cross_entropy(sure, labels)


def test_cka_is_one_for_rotated_features_and_near_zero_for_independent_ones() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 8)
    rotation = torch.linalg.qr(torch.randn(8, 8)).Q
    assert debiased_cka(x, 3 * x @ rotation).item() == pytest.approx(1, abs=1e-4)
    independent = [debiased_cka(torch.randn(64, 8), torch.randn(64, 8)).item() for _ in range(20)]
    assert abs(np.mean(independent)) < 0.05


def test_quality_loss_falls_as_qualities_agree_and_gives_a_gradient() -> None:
    torch.manual_seed(0)
    faces = torch.randn(16, 8)
    far, near = (torch.cat([faces, faces + noise * torch.randn(16, 8)]).requires_grad_() for noise in (2.0, 0.1))
    assert quality_loss([near], 2) < quality_loss([far], 2)
    quality_loss([far], 2).backward()  # type: ignore[no-untyped-call]
    assert present(far.grad).abs().sum() > 0


def test_perturbed_weights_raise_the_loss_and_come_back() -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    x, before = torch.randn(8, 4), [p.clone() for p in model.parameters()]
    loss = model(x).square().mean()
    loss.backward()
    with perturbed(model, 0.05):
        assert model(x).square().mean() > loss
        assert all(p.grad is None for p in model.parameters())
        moved = [((p - b).norm() / b.norm()).item() for p, b in zip(model.parameters(), before, strict=True)]
        assert moved == pytest.approx([0.05, 0.05], rel=1e-4)
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


def test_mixed_styles_are_those_of_other_pairs_and_alike_for_both_of_one() -> None:
    torch.manual_seed(0)
    model = build("m2tr-lite", input_size=128).train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    maps = []
    model.model._blocks[1].register_forward_pre_hook(lambda module, inputs: maps.append(inputs[0]))
    faces = torch.rand(8, 3, 128, 128).repeat_interleave(2, dim=0) * torch.rand(16, 1, 1, 1).sort().values
    faces[1::2] = faces[::2]
    with torch.no_grad():
        model(faces)
        with mixed_styles(model, (0,), seed=1):
            model(faces)
        model(faces)
    plain, mixed, again = maps
    assert torch.equal(plain, again)
    torch.testing.assert_close(mixed[::2], mixed[1::2])
    moved = (mixed - plain).abs().amax(dim=(1, 2, 3)) > 1e-3
    assert 0.2 < moved.float().mean() < 1
    means = mixed.mean(dim=(2, 3))
    low, high = plain.mean(dim=(2, 3)).amin(dim=0), plain.mean(dim=(2, 3)).amax(dim=0)
    assert ((means >= low - 1e-4) & (means <= high + 1e-4)).all()


def test_amplitudes_are_mixed_alike_and_leave_the_face(pictures: list[FacePicture]) -> None:
    real, fake, look = (read_image(p.path) for p in pictures[:3])
    look = np.asarray(np.clip(look + np.array([40, 0, -40]), 0, 255), np.uint8)
    one, other = mix_amplitudes([real, fake], look, 0.5)
    assert np.abs(one.astype(int) - real).mean() > 1
    gap, before = one.astype(int) - other, real.astype(int) - fake
    assert np.abs(gap - before).mean() < 0.5 * np.abs(one.astype(int) - real).mean() + 1
    assert np.corrcoef(one.ravel(), real.ravel())[0, 1] > 0.8
    small = np.asarray(cv2.resize(fake, (97, 101)), np.uint8)
    assert [image.shape for image in mix_amplitudes([real, small], look, 0.5)] == [real.shape, small.shape]
    np.testing.assert_allclose(mix_amplitudes([real], look, 0.0)[0].astype(int), real, atol=1)


def test_learning_rate_warms_up_and_falls() -> None:
    rates = [learning_rate(step, 100, 10, 1.0) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] < 0.02
    assert all(a >= b for a, b in pairwise(rates[10:]))


def test_the_fake_threshold_counts_every_set_of_real_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release_module, "samples", lambda pictures: pictures)
    monkeypatch.setattr(release_module, "score_samples", lambda _, logits: SimpleNamespace(logits=np.array(logits)))
    calibration = Calibration(temperature=1.0, bias=0.0)
    large = np.linspace(-3, 0, 200).tolist()

    def threshold(**reals: Any) -> float:
        detector: Any = None
        return release_module.fake_threshold(detector, reals, calibration, 0.01)

    def alarms(logits: list[float], limit: float) -> int:
        return sum(float(p) >= limit for p in calibration.probability(np.array(logits)))

    assert alarms(large, threshold(large=large)) == 2
    assert alarms([1.0, 2.0], threshold(large=large, small=[1.0], other=[2.0])) == 0
    assert alarms(large, threshold(large=large, small=[-9.0])) == 2


def test_recipes_that_ship_are_valid_and_bad_ones_name_the_key(tmp_path: Path) -> None:
    assert load_recipe("recipes/m2tr-lite.yaml").name == "m2tr-lite"
    assert load_recipe("m2tr-lite-self-made").data.weights.get("paired", 0) == 0
    assert with_root(load_recipe("m2tr-lite"), tmp_path).data.root == tmp_path
    bad = tmp_path / "bad.yaml"
    bad.write_text("name: x\npreset: m2tr-lite\noptimization: {}\n")
    with pytest.raises(ConfigError, match=r"bad\.yaml.*optimization"):
        load_recipe(bad)
    with pytest.raises(ConfigError, match="no such recipe"):
        load_recipe("nothing")


def test_a_recipe_says_only_what_differs_from_its_base(tmp_path: Path) -> None:
    shipped, small = load_recipe("m2tr-lite"), load_recipe("m2tr-lite-small")
    assert small.architecture == replace(shipped.architecture, input_size=128)
    assert small.data == shipped.data
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("base: m2tr-lite\nname: first\noptimisation: {steps: 7}\n")
    second.write_text("base: first.yaml\nloss: {mask: 0.5}\n")
    found = load_recipe(second)
    assert (found.name, found.optimisation.steps, found.loss.mask) == ("first", 7, 0.5)
    assert found.optimisation.pairs == shipped.optimisation.pairs
    assert found.loss.contrastive == shipped.loss.contrastive


def test_a_base_that_is_missing_or_leads_back_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lost.yaml"
    path.write_text("base: nowhere\n")
    with pytest.raises(ConfigError, match="nowhere: no such recipe"):
        load_recipe(path)
    path.write_text("base: lost.yaml\n")
    with pytest.raises(ConfigError, match=r"lost.yaml: base: leads back"):
        load_recipe(path)
    path.write_text("- base\n")
    with pytest.raises(ConfigError, match=r"lost.yaml: not a recipe"):
        load_recipe(path)


def split_of(recipe: Recipe, data: tuple[Path, Path], **changes: Any) -> DataSplit:
    part = {**recipe.data.model_dump(), "root": data[0], **changes}
    changed = Recipe.model_validate({**recipe.model_dump(), "data": part})
    return split_data(changed, data[1], Path("unused.tflite"), lambda line: None)


def test_a_kind_without_pictures_and_a_set_without_both_classes_are_named(
    data: tuple[Path, Path], recipe: Recipe
) -> None:
    with pytest.raises(ConfigError, match=r"data.weights.paired: no fake of data.paired \(empty\) has its original"):
        split_of(recipe, data, paired=[], weights={"paired": 1.0})
    with pytest.raises(ConfigError, match=r"data.weights.generated: data.generated \(empty\) lacks"):
        split_of(recipe, data, weights={"generated": 1.0})
    with pytest.raises(ConfigError, match=r"data.sources: no real picture to forge in any data set"):
        split_of(recipe, data, sources={}, weights={"hull": 1.0})
    with pytest.raises(ConfigError, match=r"data.paired: real and fake pictures are needed to calibrate"):
        split_of(recipe, data, paired=[], weights={"hull": 1.0})


def test_a_family_that_is_not_trained_on_lends_its_means_to_the_test_alone(
    data: tuple[Path, Path], recipe: Recipe
) -> None:
    split = split_of(recipe, data, weights={"hull": 1.0, "region": 1.0})
    assert not split.pools.forger.transplants
    assert split.held_pools.forger.transplants
    assert split_of(recipe, data, weights={"swap": 1.0}).pools.forger.transplants


def test_the_score_is_the_mean_of_the_cells_that_are_known() -> None:
    cells = HeldBackAucs(math.nan, 0.9, {"hull": 0.8, "swap": 0.1})
    assert cells.score(["paired", "generated", "hull"]) == pytest.approx(0.85)
    assert cells.score(["paired"]) == -math.inf


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_infinite_gradients_change_nothing_and_ten_in_a_row_end_the_run(
    data: tuple[Path, Path], recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = recipe.model_copy(
        update={
            "optimisation": recipe.optimisation.model_copy(update={"steps": 20}),
            "evaluation": recipe.evaluation.model_copy(update={"every": 20}),
        }
    )
    said: list[str] = []
    trainer = Trainer(longer, tmp_path / "run", Path("unused.tflite"), cache=data[1], report=said.append)
    honest = Trainer._objective

    def objective_that_breaks(self: Trainer, batch: dict[str, torch.Tensor]) -> Objective:
        terms = honest(self, batch)
        if self.state.step == 1:
            return terms
        for name, buffer in self.model.named_buffers():
            if name.endswith("running_mean"):
                buffer.data.fill_(math.nan)
        return replace(terms, total=terms.total * math.inf)

    def state() -> list[torch.Tensor]:
        return [value.clone() for value in trainer.model.state_dict().values()]

    monkeypatch.setattr(Trainer, "_objective", objective_that_breaks)
    states = [state()]
    with pytest.raises(TrainingDiverged, match=r"run: step 12: .*10th step in a row; lower .*learning_rate"):
        trainer.run(lambda progress: states.append(state()))
    same = [all(map(torch.equal, before, after)) for before, after in pairwise(states)]
    assert same == [True, False] + [True] * 9
    assert sum("the step is skipped" in line for line in said) == 10


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_run_that_was_cut_off_ends_as_an_undisturbed_one(
    data: tuple[Path, Path], recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamwatch.training.trainer.SAVE_EVERY", 1)
    monkeypatch.setattr("streamwatch.training.release.fit_platt", lambda *given: (1.0, 0.0))  # random weights have none
    whole = Trainer(recipe, tmp_path / "whole", Path("unused.tflite"), cache=data[1])
    evaluated = []
    whole.run(lambda progress: evaluated.append(progress.evaluated))
    assert evaluated == [False, True, False, True]
    curve, masks = draw_progress(whole)
    assert read_image(curve).std() > 1
    pairs = whole.held_back.first_pairs(2)
    assert [pair.made.kind for pair in pairs[::2]] == list(whole.held_back.forgeries)
    side, sheet = whole.size, read_image(masks)
    assert sheet.shape == (side * len(pairs) // 2, side * 10, 3)
    np.testing.assert_array_equal(sheet[:side, :side], pairs[0].real)
    np.testing.assert_array_equal(sheet[:side, 2 * side : 3 * side], pairs[0].fake)
    found = whole.found_masks(pairs[:1])[0][1]
    assert sheet[:side, 4 * side : 5 * side].mean() == pytest.approx(found.mean() * 255, rel=0.05)

    def cut(progress: TrainingProgress) -> None:
        if progress.step == 3:
            raise KeyboardInterrupt

    first = Trainer(recipe, tmp_path / "cut", Path("unused.tflite"), cache=data[1])
    with pytest.raises(KeyboardInterrupt):
        first.run(cut)
    second = Trainer(recipe, tmp_path / "cut", Path("unused.tflite"), cache=data[1])
    assert second.state.step == 3
    second.run()

    card = release(second, tmp_path / "tiny.safetensors")
    measured = {"val_auc", "val_ece", "val_ece_uncalibrated", "val_mask_iou", "unseen_blends_auc"}
    assert {*measured, "unseen_blends_called_real", "held_back_paired_auc", "held_back_hull_auc"} <= card.metrics.keys()
    assert card.metrics["held_back_hull_auc"] == pytest.approx(second.best_evaluation().cells()["hull"], abs=1e-4)
    assert card.licence == recipe.licence
    assert card.thresholds.real <= card.thresholds.fake
    assert 0 < card.limits.max_pose <= 1
    assert card.limits.min_sharpness > 0
    assert load_detector(tmp_path / "tiny.safetensors").card == card

    expected, resumed = whole.best_model().state_dict(), second.best_model().state_dict()
    for name, tensor in expected.items():
        torch.testing.assert_close(resumed[name], tensor, msg=name)
    log = (tmp_path / "cut" / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in log] == ["step", "2", "4"]
    with pytest.raises(ConfigError, match="another recipe"):
        Trainer(recipe.model_copy(update={"seed": 4}), tmp_path / "cut", Path("unused.tflite"), cache=data[1])


def test_among_several_real_pictures_of_a_source_none_is_the_original(pictures: list[FacePicture]) -> None:
    real = next(p for p in pictures if not p.fake)
    fake = next(p for p in pictures if p.fake and p.source == real.source)
    assert pair_up([real, fake]) == [(real, fake)]
    assert pair_up([real, replace(real, path=real.path.with_name("other.png")), fake]) == []
