"""What waits on disk while a long file is analysed in segments, and where clips are written."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from streamwatch.archive.parts import SegmentParts
from streamwatch.archive.work import ClipNames
from streamwatch.errors import ConfigError
from streamwatch.sources.segments import Segment

SEGMENTS = tuple(Segment(n or None, n + 1) for n in range(3))


def test_segments_come_back_as_they_were_put() -> None:
    parts = SegmentParts()
    for number in (2, 0, 1):
        parts.put(SEGMENTS[number], bytes([number]) * (number + 1))
    assert [parts.get(segment).tobytes() for segment in SEGMENTS] == [b"\0", b"\1\1", b"\2\2\2"]
    parts.close()


def test_a_lack_of_room_for_parts_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(ConfigError, match=r"gone: no room .*No such file.* set TMPDIR"):
        SegmentParts()


def test_a_full_disk_names_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("r+b", buffering=0) as full:
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda **given: full)
        parts = SegmentParts()
        with pytest.raises(ConfigError, match=r"no room .*No space left.* set TMPDIR"):
            parts.put(SEGMENTS[0], b"0")
        parts.close()


def test_each_clip_has_a_name_of_its_own_that_is_no_input(tmp_path: Path) -> None:
    names = ClipNames(tmp_path, {(tmp_path / "b.mp4").resolve()})
    found = [names.next(Path(source)).name for source in ("/x/a.mp4", "/y/a.mkv", "/x/a-2.mp4", "/x/b.mp4", "/y/b.mp4")]
    assert found == ["a.mp4", "a-2.mp4", "a-2-2.mp4", "b-2.mp4", "b-3.mp4"]


def test_a_name_as_long_as_names_can_be_has_a_clip(tmp_path: Path) -> None:
    names = ClipNames(tmp_path, set())
    long = "é" * 123
    for number in range(11):
        (tmp_path / names.next(Path(f"/archive/{number}/{long}.mp4")).name).touch()
    assert len(list(tmp_path.iterdir())) == 11
