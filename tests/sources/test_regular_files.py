"""What is no regular file is refused at once, wherever it is opened."""

from __future__ import annotations

import os
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from streamwatch.errors import SourceError, SourceRefused, SourceUnreadable
from streamwatch.sources import VideoSource, content_sha256
from streamwatch.sources.regular_files import SPARSE_BYTES


@pytest.mark.parametrize("read", [content_sha256, VideoSource])
def test_pipes_devices_and_folders_are_refused(read: type, tmp_path: Path) -> None:
    pipe, zeros, loop = tmp_path / "pipe.mp4", tmp_path / "zeros.mp4", tmp_path / "loop.mp4"
    os.mkfifo(pipe)
    zeros.symlink_to("/dev/zero")
    loop.symlink_to("loop.mp4")
    for path, said in ((pipe, "not a regular file"), (zeros, "not a regular file"), (loop, "cannot be read")):
        with pytest.raises(SourceRefused, match=said):
            read(path)
    with pytest.raises(SourceError, match="directory"):
        read(tmp_path)


@pytest.mark.parametrize("read", [content_sha256, VideoSource])
def test_a_file_that_is_a_hole_is_refused(read: type, tmp_path: Path) -> None:
    hole = tmp_path / "hole.mp4"
    with hole.open("wb") as file:
        file.truncate(600 * SPARSE_BYTES)
    with pytest.raises(SourceRefused, match=r"hole\.mp4: of its 644,245,094,400 bytes only"):
        read(hole)


def test_an_empty_file_has_a_hash_and_no_video(tmp_path: Path) -> None:
    empty = tmp_path / "empty.mp4"
    empty.touch()
    assert content_sha256(empty).startswith("e3b0c442")
    with pytest.raises(SourceUnreadable, match="empty"):
        VideoSource(empty)


def test_hashing_ends_where_it_is_cancelled(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(bytes(3 << 20))
    with pytest.raises(CancelledError):
        content_sha256(path, lambda: True)
