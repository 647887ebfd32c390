"""Faces of whole web clips: cut in the same places for all clips of a scene, as they are and coded once more."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamwatch.errors import ConfigError, SourceNotFound
from streamwatch.evaluation.datasets.web import read_pictures
from streamwatch.sources.pictures import read_image
from streamwatch.training import web_clips
from streamwatch.training.web_clips import Coding, code_clip, draw_coding, web_clip_pictures
from tests.support.face_clips import face_clip
from tests.support.face_datasets import portrait
from tests.support.media import synthetic_video

COLUMNS = ("split", "label", "file", "clip", "scene", "method", "crop")


def index(folder: Path, *rows: tuple[str, ...]) -> Path:
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    clips = tmp_path / "clips"
    for part in ("train/real", "train/fake", "dev/fake"):
        (clips / part).mkdir(parents=True)
    face_clip(clips / "train/real/one.mp4", seconds=1.0)
    for name in ("train/fake/two.mp4", "dev/fake/three.mp4"):
        (clips / name).write_bytes((clips / "train/real/one.mp4").read_bytes())
    synthetic_video(clips / "train/fake/nobody.mp4", seconds=1.0)
    (clips / "train/fake/broken.mp4").write_bytes(b"not a video")
    return index(
        clips,
        ("train", "fake", "two.mp4", "two", "scene", "Sync", ""),
        ("train", "real", "one.mp4", "one", "scene", "", ""),
        ("train", "fake", "nobody.mp4", "nobody", "other", "Sync", ""),
        ("train", "fake", "broken.mp4", "broken", "third", "Sync", ""),
        ("dev", "fake", "three.mp4", "three", "fourth", "Kept", ""),
    )


def test_clips_of_a_scene_are_cut_in_the_same_places_and_coded_alike(folder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    output = web_clip_pictures(folder, tmp_path / "out", frames=3, report=said.append)
    pictures = read_pictures(output)
    assert {(p.clip, p.label, p.split) for p in pictures} == {("one", "real", "train"), ("two", "fake", "train")}
    assert len(pictures) == 12
    assert {p.aligned for p in pictures if p.label == "fake"} == {True}
    real = {p.source: read_image(p.path) for p in pictures if p.label == "real"}
    for picture in pictures:
        np.testing.assert_array_equal(read_image(picture.path), real[picture.source])
    assert len(said) == 2
    assert any("broken.mp4" in line for line in said)
    assert any("nobody.mp4: no face found" in line for line in said)


def test_what_was_cut_before_is_kept(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = web_clip_pictures(folder, tmp_path / "out", frames=3)
    before = (output / "index.csv").read_bytes()
    monkeypatch.setattr(web_clips, "code_clip", lambda *given: pytest.fail("a scene was made again"))
    assert (web_clip_pictures(folder, tmp_path / "out", frames=3) / "index.csv").read_bytes() == before


def test_a_part_of_the_picture_is_a_clip_of_its_own(folder: Path, tmp_path: Path) -> None:
    whole = read_pictures(web_clip_pictures(folder, tmp_path / "whole", frames=3))
    image = web_clips._decoded(web_clips._scenes(folder)["scene"][0])[0]
    height, width = image.shape[:2]
    index(folder, ("train", "real", "one.mp4", "one", "scene", "", f"0:0:{width - 16}:{height}"))
    part = read_pictures(web_clip_pictures(folder, tmp_path / "part", frames=3))
    assert len(part) == 6
    one, other = (read_image(pictures[0].path) for pictures in ([p for p in whole if p.label == "real"], part))
    assert np.corrcoef(cv2.resize(one, (64, 64)).ravel(), cv2.resize(other, (64, 64)).ravel())[0, 1] > 0.9


def test_coding_loses_more_at_a_higher_rate_factor_and_scales() -> None:
    images = [portrait(shift) for shift in range(6)]
    fine, coarse = (code_clip(images, coding) for coding in (Coding("h264", 18, 1.0), Coding("hevc", 40, 1.0)))
    assert len(fine) == len(coarse) == 6
    lost = [
        np.mean([np.abs(a.astype(int) - b).mean() for a, b in zip(images, made, strict=True)])
        for made in (fine, coarse)
    ]
    assert 0 < lost[0] < 0.5 * lost[1]
    assert code_clip(images, Coding("h264", 30, 0.5))[0].shape == (64, 64, 3)


def test_a_scene_has_one_coding_and_scenes_differ() -> None:
    drawn = [draw_coding(f"scene {number}") for number in range(60)]
    assert drawn == [draw_coding(f"scene {number}") for number in range(60)]
    assert {coding.codec for coding in drawn} == {"h264", "hevc"}
    assert len({coding.crf for coding in drawn}) > 15
    assert 0.3 < np.mean([coding.scale == 1.0 for coding in drawn]) < 0.7


def test_a_folder_without_its_index_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match=r"index\.csv.*data\.web_clips"):
        web_clip_pictures(tmp_path, tmp_path / "out")
    (tmp_path / "index.csv").write_text("split,label\ntrain,real\n")
    with pytest.raises(ConfigError, match="file, clip, scene, method, crop"):
        web_clip_pictures(tmp_path, tmp_path / "out")
