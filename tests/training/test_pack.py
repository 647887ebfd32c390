"""Packed pairs: the same pairs on a machine without their sources, and crops made on the device."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from streamwatch.errors import ConfigError, SourceNotFound
from streamwatch.evaluation.degradations import jpeg as coded
from streamwatch.faces.crops import CropGeometry, crop_face
from streamwatch.training import pack
from streamwatch.training.data import MadePair, PairDataset
from streamwatch.training.device import DevicePairs, degrade, jpeg
from streamwatch.training.pack import PackedPairs, window_pair, write_pack
from streamwatch.training.recipe import Recipe
from streamwatch.training.trainer import Trainer
from tests.support.face_datasets import SIDE, make_data, portrait, tiny_recipe

GEOMETRY = CropGeometry(1.1)
BOX = (12.0, 4.0, 116.0, 124.0)


class Portraits:
    """Pair n shows the portrait moved by n pixels; the fake's mouth is repainted, and every third has no mask."""

    def make(self, number: int) -> MadePair:
        real = portrait(number % 5)
        fake = real.copy()
        fake[84:110, 40:90] = 255 - fake[84:110, 40:90]
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[84:110, 40:90] = 255
        known = None if number % 3 == 2 else mask
        files = (Path("/data/real.png"), Path("/data/fake.png"))
        return MadePair("web", real, fake, known, (BOX, BOX), (0.9, 1.1), f"scene{number}", known is not None, files)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack, "SHARD", 4)
        patch.setattr(pack, "VIDEO_SHARE", 0.0)
        return write_pack(Portraits(), tmp_path_factory.mktemp("packs") / "pack", 6, GEOMETRY, 160)


def test_a_pack_holds_the_pairs_in_shards_and_nothing_of_this_machine(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["pack.json", "pairs-00000.tar", "pairs-00001.tar"]
    assert all(b"/data/" not in path.read_bytes() for path in folder.iterdir())
    packed = PackedPairs(folder)
    assert len(packed) == 6
    for number in range(6):
        read, made = packed.make(number), window_pair(Portraits().make(number), GEOMETRY, 160)
        assert (read.kind, read.source, read.related, read.zooms) == (made.kind, made.source, made.related, made.zooms)
        assert np.abs(read.real.astype(int) - made.real).mean() < 2
        assert read.boxes == made.boxes
        assert (read.mask is None) == (number % 3 == 2)
        if made.mask is not None:
            np.testing.assert_array_equal(read.mask, made.mask)
    np.testing.assert_array_equal(packed.make(7).fake, packed.make(1).fake)


def test_crops_of_a_packed_pair_are_those_of_the_pair_itself(folder: Path) -> None:
    own = PairDataset(Portraits(), GEOMETRY, 96, 1, 6, augment=False)
    packed = PairDataset(PackedPairs(folder), GEOMETRY, 96, 1, 6, augment=False)
    for index in range(6):
        one, other = own.pair(index), packed.pair(index)
        assert np.abs(one.real.astype(int) - other.real).mean() < 4
        assert np.abs(one.fake.astype(int) - other.fake).mean() < 4


def test_wrong_folders_and_damaged_packs_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not empty"):
        write_pack(Portraits(), folder, 1, GEOMETRY, 160)
    with pytest.raises(SourceNotFound, match=r"pack\.json.*--pack"):
        PackedPairs(tmp_path)
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    shard = copy / "pairs-00001.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-600] + b"x" * 600)
    with pytest.raises(ConfigError, match=r"pairs-00001\.tar: damaged"):
        PackedPairs(copy)
    shard.unlink()
    with pytest.raises(SourceNotFound, match=r"pairs-00001\.tar"):
        PackedPairs(copy)
    note = json.loads((copy / "pack.json").read_text())
    (copy / "pack.json").write_text(json.dumps({**note, "format": 99}))
    with pytest.raises(ConfigError, match="format 99"):
        PackedPairs(copy)


def test_batches_made_on_the_device_depend_on_seed_and_index_alone(folder: Path) -> None:
    device = torch.device("cpu")

    def batch(seed: int, index: int) -> dict[str, torch.Tensor]:
        return DevicePairs(PackedPairs(folder), 96, seed, device).batch(index, 4)

    one, same = batch(1, 5), batch(1, 5)
    assert {name: tuple(value.shape) for name, value in one.items()} == {
        "images": (4, 1, 2, 3, 96, 96),
        "masks": (4, 1, 2, 1, 96, 96),
        "mask_known": (4, 1, 2),
        "related": (4, 1),
    }
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["images"], batch(1, 6)["images"])
    assert not torch.equal(one["images"], batch(2, 5)["images"])
    with pytest.raises(ValueError, match="multiple of 16"):
        DevicePairs(PackedPairs(folder), 100, 1, device)


def test_crops_made_on_the_device_lie_where_the_served_crop_does(folder: Path) -> None:
    packed = PackedPairs(folder)
    device = DevicePairs(packed, 96, 1, torch.device("cpu"), untouched=1.0)
    for index in range(8):
        batch = device.batch(index, 4)
        for images, masks, known in zip(batch["images"], batch["masks"], batch["mask_known"], strict=True):
            real, fake = images[0].permute(0, 2, 3, 1).numpy()
            assert masks[0, 0].max() == 0
            assert bool(masks[0, 1].any()) == bool(known[0, 1])
            faces = [packed.make(n) for n in range(6)]
            served = [crop_face(made.real, GEOMETRY.region(made.boxes[0]), 96) for made in faces]
            centre = np.s_[24:72, 24:72]
            templates = [image[centre] for image in served]
            best = max(
                float(cv2.matchTemplate(view, template, cv2.TM_CCOEFF_NORMED).max())
                for view in (real, np.ascontiguousarray(real[:, ::-1]))
                for template in templates
            )
            assert best > 0.7
            if known[0, 1]:
                differs = np.abs(real.astype(int) - fake).max(axis=2) > 60
                assert masks[0, 1, 0].numpy()[differs].mean() > 0.8


def test_both_pictures_of_a_pair_are_degraded_alike() -> None:
    face = torch.from_numpy(portrait()[:96, :96].astype(np.float32)).permute(2, 0, 1)
    images = face.expand(64, 2, 3, 96, 96)
    out = degrade(images, torch.Generator().manual_seed(0))
    apart = (out[:, 0] - out[:, 1]).abs().mean(dim=(1, 2, 3))
    assert (apart == 0).float().mean() > 0.7, "noise of its own, in one pair of eight, is all that sets two alike apart"
    changed = (out - images).abs().mean(dim=(1, 2, 3, 4))
    assert 0.1 < (changed == 0).float().mean() < 0.35
    assert out.min() >= 0
    assert out.max() <= 255


@pytest.mark.parametrize("quality", [30, 60, 90])
def test_jpeg_on_the_device_loses_what_a_jpeg_file_loses(quality: int) -> None:
    image = np.asarray(cv2.resize(portrait(), (96, 96), interpolation=cv2.INTER_AREA), np.uint8)
    tensor = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None]
    ours = jpeg(tensor, torch.tensor([float(quality)]))[0].permute(1, 2, 0).numpy()
    theirs = coded(image, quality).astype(np.float32)
    lost = np.abs(theirs - image).mean()
    assert np.abs(ours - theirs).mean() < 0.45 * lost
    assert np.abs(ours - image).mean() == pytest.approx(lost, rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("on_device", [False, True])
def test_a_recipe_trains_on_a_pack_without_its_data_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_device: bool
) -> None:
    root, cache = make_data(tmp_path)
    recipe = Recipe.model_validate(tiny_recipe(root))
    source = Trainer(recipe, tmp_path / "run", Path("unused"), cache=cache).pairs.source
    folder = write_pack(source, tmp_path / "pack", 8, recipe.geometry.geometry(), 160)
    elsewhere = recipe.model_copy(update={"data": recipe.data.model_copy(update={"root": tmp_path / "nothing"})})
    if on_device:
        monkeypatch.setattr("streamwatch.training.batches.makes_crops", lambda device: True)
    trainer = Trainer(elsewhere, tmp_path / "far", Path("unused"), pack=folder)
    trainer.run()
    assert trainer.state.step == trainer.state.best_step == 1
    other = recipe.model_copy(update={"geometry": recipe.geometry.model_copy(update={"scale": 1.0})})
    with pytest.raises(ConfigError, match="packed for crops by"):
        Trainer(other, tmp_path / "other", Path("unused"), pack=folder)
