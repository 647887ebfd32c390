from __future__ import annotations

from pathlib import Path

import pytest

from streamwatch.errors import SourceNotFound
from streamwatch.sources.pictures import read_image
from streamwatch.training.clips import clip_pictures
from streamwatch.training.prepare import list_pictures
from tests.support.face_clips import face_clip
from tests.support.media import synthetic_video


def test_clips_become_wide_pictures_and_every_fourth_one_is_kept_from_training(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    for index in range(3):
        face_clip(folder / f"face-{index}.mp4", seconds=1.0, start=10 * index)
    synthetic_video(folder / "nobody.mp4", seconds=1.0)
    (folder / "broken.mp4").write_bytes(b"not a video")
    reports: list[str] = []
    output = clip_pictures(folder, tmp_path / "out", frames=3, report=reports.append)
    listed = list_pictures(output)
    # in order of name: broken, face-0, face-1, face-2 (the fourth: val), nobody
    assert {(p.source, p.split) for p in listed} == {
        ("face-0.mp4", "train"),
        ("face-1.mp4", "train"),
        ("face-2.mp4", "val"),
    }
    assert all(not p.fake for p in listed)
    assert len(listed) == 9
    picture = read_image(listed[0].path)
    assert picture.shape[0] == picture.shape[1] > 60
    assert len(reports) == 2
    assert any("broken.mp4" in line for line in reports)
    assert any("nobody.mp4" in line and "no face" in line for line in reports)

    before = listed[0].path.stat().st_mtime_ns
    clip_pictures(folder, tmp_path / "out", frames=3)
    assert listed[0].path.stat().st_mtime_ns == before


def test_a_folder_without_clips_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="nothing"):
        clip_pictures(tmp_path / "nothing", tmp_path / "out")
