from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamwatch.detectors import Detector, load_detector
from streamwatch.errors import ConfigError
from streamwatch.faces.crops import CropGeometry
from streamwatch.studies import crop_scale, tracks
from streamwatch.studies.fusion import compare_fusions
from streamwatch.studies.tracks import TrackScores, clips_of, score_tracks
from streamwatch.training.data import Pools
from streamwatch.training.families import Family, Forger
from streamwatch.training.prepare import FacePicture
from streamwatch.training.recipe import load_recipe
from streamwatch.training.split import DataSplit
from tests.support.face_datasets import SIDE, mesh, portrait
from tests.support.present import present
from tests.support.small_detectors import untrained_detector


@pytest.fixture
def pictures(tmp_path: Path) -> list[FacePicture]:
    found = []
    for clip, count in (("a.mp4", 3), ("b.mp4", 3), ("single.mp4", 1)):
        for index in reversed(range(count)):
            path = tmp_path / f"{clip}-{index:02d}.png"
            cv2.imwrite(str(path), cv2.cvtColor(portrait(3 * index), cv2.COLOR_RGB2BGR))
            found.append(FacePicture(path, False, "train", clip, (12, 4, SIDE - 12, SIDE - 4), mesh()))
    return found


def test_pictures_of_a_clip_come_in_order_of_time(pictures: list[FacePicture]) -> None:
    clips = clips_of(pictures)
    assert [p.path.name for p in clips["a.mp4"]] == ["a.mp4-00.png", "a.mp4-01.png", "a.mp4-02.png"]


def test_every_clip_gives_a_real_and_a_forged_track_per_family(pictures: list[FacePicture], tmp_path: Path) -> None:
    detector = load_detector(untrained_detector(tmp_path))

    def scored() -> list[TrackScores]:
        return list(score_tracks(detector, pictures, Forger(), ["hull", "swap"], seed=5))

    tracks = scored()
    assert [(t.source, t.kind, t.fake) for t in tracks] == [
        (source, kind, fake) for source in ("a.mp4", "b.mp4") for kind in ("hull", "swap") for fake in (False, True)
    ]
    assert all(t.logits.shape == (3,) and t.features.shape[0] == 3 for t in tracks)
    assert not np.array_equal(tracks[2].features, tracks[3].features)
    for one, two in zip(tracks, scored(), strict=True):
        np.testing.assert_array_equal(one.logits, two.logits)


def test_a_recipe_without_clips_has_no_tracks_to_compare(tmp_path: Path) -> None:
    recipe = load_recipe("m2tr-lite")
    without = recipe.model_copy(update={"data": recipe.data.model_copy(update={"clips": None})})
    detector = load_detector(untrained_detector(tmp_path))
    with pytest.raises(ConfigError, match=r"data\.clips"):
        compare_fusions(detector, without, tmp_path, Path("unused"))


def test_clips_that_are_all_trained_on_compare_nothing(
    pictures: list[FacePicture], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = DataSplit(Pools((), ()), [], [], {}, Pools((), ()), [])
    monkeypatch.setattr(tracks, "split_data", lambda *given: split)
    monkeypatch.setattr(tracks, "prepare_set", lambda *given: pictures)
    with pytest.raises(ConfigError, match=r"media/real: too few clips"):
        tracks.clip_faces(load_recipe("m2tr-lite"), tmp_path, Path("unused"), print)


def test_each_crop_scale_is_judged_on_the_clips_that_were_never_trained_on(
    pictures: list[FacePicture], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces = [replace(p, split="train" if p.source == "a.mp4" else "val") for p in pictures]
    faces += [replace(p, source="c.mp4") for p in faces if p.source == "b.mp4"]
    monkeypatch.setattr(crop_scale, "FAMILIES", ("hull", "upsampling"))
    monkeypatch.setattr(crop_scale, "clip_faces", lambda *given: (faces, Forger()))
    seen = []

    def score(
        detector: Detector,
        pictures: list[FacePicture],
        forger: Forger,
        families: Sequence[Family],
        *,
        seed: int,
        geometry: CropGeometry | None,
    ) -> Iterator[TrackScores]:
        seen.append((present(geometry).scale, {p.source for p in pictures}, len(pictures)))
        return score_tracks(detector, pictures, forger, families, seed=seed, geometry=geometry)

    monkeypatch.setattr(crop_scale, "score_tracks", score)
    detector = load_detector(untrained_detector(tmp_path))
    rows = crop_scale.compare_scales(
        detector, load_recipe("m2tr-lite"), tmp_path, Path("unused"), [0.9, 1.4], pictures_per_clip=2
    )
    assert [row.name for row in rows] == ["0.9", "1.4"]
    assert all(0 <= row.low <= row.auc <= row.high <= 1 for row in rows)
    assert seen == [(scale, {"b.mp4", "c.mp4", "single.mp4"}, 5) for scale in (0.9, 1.4)]


def test_the_geometry_that_is_asked_for_cuts_the_crops(pictures: list[FacePicture], tmp_path: Path) -> None:
    detector = load_detector(untrained_detector(tmp_path))
    cards, wide = (
        list(score_tracks(detector, pictures, Forger(), ["hull"], seed=5, geometry=geometry))
        for geometry in (None, replace(detector.geometry, scale=2.0))
    )
    assert not np.array_equal(cards[0].features, wide[0].features)
