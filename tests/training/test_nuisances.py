"""Nothing but the forgery may tell the classes of a training batch apart: files, tables and crops must not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.stats import rankdata

from streamwatch.config import FaceSettings
from streamwatch.evaluation.metrics import roc_auc
from streamwatch.faces import load_face_detector
from streamwatch.faces.crops import CropGeometry
from streamwatch.faces.cutouts import face_of_cutout
from streamwatch.records import Box
from streamwatch.sources.pictures import read_image
from streamwatch.training import nuisances as kinds_probe
from streamwatch.training.data import MadePair, MadePairs, PairDataset, Pools, SourcePool, pair_up
from streamwatch.training.families import Forger
from streamwatch.training.prepare import FacePicture, ListedPicture, list_pictures
from streamwatch.training.recipe import load_recipe
from streamwatch.training.resynthesis import Autoencoder, Resynthesiser
from tests.support.face_datasets import SIDE, mesh


def prepared(listed: Iterable[ListedPicture]) -> Iterator[FacePicture]:
    detector = load_face_detector(FaceSettings(min_side=16, threads=1))
    for item in listed:
        face = face_of_cutout(detector, read_image(item.path))
        if face is not None:
            x0, y0, x1, y1 = face.box
            points = (mesh() / SIDE * (x1 - x0, y1 - y0) + (x0, y0)).astype(np.float32)
            yield FacePicture(item.path, item.fake, item.split, item.source, face.box, points)


@pytest.fixture(scope="module")
def pools(shared: Path) -> Pools:
    dfdc = [p for p in list_pictures(shared / "data" / "dfdc_faces") if p.split == "train"]
    sources = sorted({p.source for p in dfdc if p.fake})
    chosen = set(np.random.default_rng(0).permutation(sources)[:90])
    paired = list(prepared(p for p in dfdc if p.source in chosen))
    synthetic = list_pictures(shared / "data" / "synth_faces")
    generated = list(prepared([p for p in synthetic if not p.fake][:60] + [p for p in synthetic if p.fake][:60]))
    reals = [p for p in generated if not p.fake]
    return Pools(
        paired=pair_up(paired),
        sources=[SourcePool([p for p in paired if not p.fake]), SourcePool(reals, zoom=(0.84, 1.35))],
        generated=(reals, [p for p in generated if p.fake]),
        forger=Forger([Resynthesiser(Autoencoder("nearest"))]),
    )


def nuisances(path: Path, region: Box) -> list[float]:
    with Image.open(path) as file:
        tables = [sum(table) for table in file.quantization.values()]
        width, height = file.size
    side = region[2] - region[0]
    return [path.stat().st_size, width, height, *tables, side / width, region[0] / width, region[1] / height]


@pytest.mark.slow
def test_file_size_jpeg_tables_and_crop_geometry_do_not_tell_the_classes(pools: Pools) -> None:
    recipe = load_recipe("m2tr-lite")
    data = PairDataset(MadePairs(pools, recipe.data.weights, 7), recipe.geometry.geometry(), 32, 7, 200)
    rows, labels, halves = [], [], []
    for index in range(len(data)):
        pair = data.pair(index)
        for fake in (0, 1):
            rows.append(nuisances(pair.made.files[fake], pair.regions[fake]))
            labels.append(fake)
            halves.append(index % 2)
    features = np.stack([rankdata(column) for column in np.array(rows, float).T], axis=1)
    features = np.hstack([features / len(features), np.ones((len(features), 1))])
    y, half = np.array(labels), np.array(halves)
    aucs = []
    for fitted in (0, 1):
        weights, *_ = np.linalg.lstsq(features[half == fitted], 2.0 * y[half == fitted] - 1, rcond=None)
        aucs.append(roc_auc(y[half != fitted], features[half != fitted] @ weights))
    assert np.mean(aucs) <= 0.6, aucs


def test_sharpness_is_found_where_it_tells_the_class_and_degradations_hide_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Fakes that are blurred tell on themselves; those that differ in colour alone do not. So do other JPEG tables."""
    files = (tmp_path / "a.jpg", tmp_path / "b.jpg")
    for path, quality in zip(files, (95, 60), strict=True):
        cv2.imwrite(str(path), np.zeros((96, 96, 3), np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])

    class Pairs:
        def __init__(self, pools: Pools, weights: dict[str, float], seed: int) -> None:
            self.blurred = "resynthesis" in weights

        def make(self, number: int) -> MadePair:
            real = np.asarray(np.random.default_rng(number).integers(0, 256, (96, 96, 3)), np.uint8)
            fake = (
                np.asarray(cv2.GaussianBlur(real, (0, 0), 1.0), np.uint8) if self.blurred else np.roll(real, 1, axis=2)
            )
            box, mask = (10.0, 10.0, 86.0, 86.0), np.full((96, 96), 255, np.uint8)
            paths = files if self.blurred else (files[0], files[0])
            return MadePair("hull", real, fake, mask, (box, box), (0.9, 1.1), str(number), True, paths)

    monkeypatch.setattr(kinds_probe, "MadePairs", Pairs)
    found = kinds_probe.probe_kinds(Pools((), ()), ["resynthesis", "hull"], CropGeometry(1.0), 64, pairs=40, rounds=0)
    assert [probe.kind for probe in found] == ["resynthesis", "hull"]
    blurred, tinted = found
    assert (blurred.files.auc.value, tinted.files.auc.value) == (1.0, 0.5)
    assert blurred.files.alone["JPEG quality"] == 0.0
    assert blurred.plain.auc.value > 0.95
    assert 0.5 < blurred.degraded.auc.value < blurred.plain.auc.value
    assert tinted.plain.auc.value < 0.65
