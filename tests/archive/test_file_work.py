"""What is still to be done of a file in segments."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from streamwatch.archive.file_work import SegmentedFile
from streamwatch.archive.input_queue import QueuedInput
from streamwatch.errors import ConfigError
from streamwatch.pipeline.analyser import SegmentPlan
from streamwatch.sources.segments import Segment

CUT = SegmentPlan(tuple(Segment(n or None, n + 1) for n in range(3)), 3.0)


def places(file: SegmentedFile) -> list[Segment | None]:
    found = []
    while (piece := file.next()) is not None:
        found.append(piece.segment)
    return found


def test_the_verdict_comes_last_and_what_is_stored_is_not_done_again() -> None:
    file = SegmentedFile(QueuedInput("clip.mp4", 1), CUT, {CUT.segments[1].place: b"1", "9:10": b"of another cut"})
    assert places(file) == [CUT.segments[0], CUT.segments[2]]
    assert file.share == pytest.approx(1 / 3)
    file.take(CUT.segments[2], b"2")
    assert file.next() is None
    file.take(CUT.segments[0], b"0")
    assert places(file) == [None]
    assert [part.tobytes() for part in file.parts()] == [b"0", b"1", b"2"]
    file.end()
    assert file.next() is None


def test_a_file_that_is_stored_in_all_its_parts_only_needs_its_verdict() -> None:
    file = SegmentedFile(QueuedInput("clip.mp4", 1), CUT, {segment.place: b"" for segment in CUT.segments})
    assert places(file) == [None]
    file.end()


def test_a_lack_of_room_for_parts_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(ConfigError, match=r"gone: no room .*No such file.* set TMPDIR"):
        SegmentedFile(QueuedInput("clip.mp4", 1), CUT, {})


def test_a_full_disk_names_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("r+b", buffering=0) as full:
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda **given: full)
        file = SegmentedFile(QueuedInput("clip.mp4", 1), CUT, {})
        with pytest.raises(ConfigError, match=r"no room .*No space left.* set TMPDIR"):
            file.take(CUT.segments[0], b"0")


def test_a_piece_is_tried_so_often() -> None:
    file = SegmentedFile(QueuedInput("clip.mp4", 1), CUT, {})
    first = CUT.segments[0]
    tries: Sequence[bool] = []
    for _ in range(3):
        piece = file.next()
        assert piece is not None
        assert piece.segment == first
        tries = [*tries, file.lost(first, attempts=3)]
    assert tries == [True, True, False]
    file.end()
    assert file.next() is None
