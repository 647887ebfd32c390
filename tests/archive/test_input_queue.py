"""The order of inputs, and which files are read again."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from streamwatch.archive.input_queue import InputQueue, QueuedInput
from streamwatch.records import Content
from streamwatch.sources import Input, Location


def test_jobs_come_by_size_with_their_hash(tmp_path: Path) -> None:
    names = [tmp_path / f"{n}.mp4" for n in range(4)]
    for name, content in zip(names, (b"same", b"same", b"longer"), strict=False):
        name.write_bytes(content)
    inputs = [*map(str, names), "http://u:p@host/a.mp4"]
    jobs = InputQueue([Input(Location(name), {"number": n}) for n, name in enumerate(inputs)], ahead=2)
    got: list[QueuedInput] = []
    while len(got) < 5:
        job = jobs.next()
        if job is None:
            jobs.wait(1)
            continue
        got.append(job)
    assert [job.metadata["number"] for job in got] == [4, 2, 0, 1, 3]
    assert [job.number for job in got] == [5, 3, 1, 2, 4]
    assert (got[0].sha256, got[0].failure, got[0].source.name) == (None, None, "http://***@host/a.mp4")
    assert got[2].sha256 == got[3].sha256 is not None
    assert got[4].failure is not None
    assert "3.mp4" in str(got[4].failure)
    assert jobs.next() is None
    jobs.close()


def test_a_file_that_has_not_changed_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []

    def read(source: Location, cancelled: Callable[[], bool]) -> str:
        reads.append(source.path.name)
        return hashlib.sha256(source.path.read_bytes()).hexdigest()

    monkeypatch.setattr("streamwatch.archive.input_queue.content_sha256", read)
    old, new = tmp_path / "old.mp4", tmp_path / "new.mp4"
    for path in (old, new):
        path.write_bytes(b"pictures")
    os.utime(old, (1e9, 1e9))

    def hashes(known: dict[str, Content]) -> tuple[list[str | None], dict[str, Content]]:
        jobs = InputQueue([Input(Location(old)), Input(Location(str(new)))], 2, known)
        found: list[str | None] = []
        while len(found) < 2:
            job = jobs.next()
            if job is None:
                jobs.wait(1)
            else:
                found.append(job.sha256)
        fresh = {content.path: content for content in jobs.take_fresh()}
        assert jobs.take_fresh() == []
        jobs.close()
        return found, fresh

    first, known = hashes({})
    assert set(known) == {str(old)}, "one that has just changed may change again within its time stamp"
    assert sorted(reads) == ["new.mp4", "old.mp4"]
    reads.clear()
    second, _ = hashes(known)
    assert reads == ["new.mp4"]
    assert second[0] == first[0]
    os.utime(old, (1e9, 1e9 + 1))
    reads.clear()
    hashes(known)
    assert sorted(reads) == ["new.mp4", "old.mp4"]


def test_a_read_that_never_ends_keeps_nothing_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, never = threading.Event(), threading.Event()

    def read(source: Location, cancelled: Callable[[], bool]) -> str:
        reading.set()
        never.wait(60)
        return ""

    monkeypatch.setattr("streamwatch.archive.input_queue.content_sha256", read)
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"pictures")
    jobs = InputQueue([Input(Location(path))], ahead=1)
    assert jobs.next() is None
    assert reading.wait(10)
    jobs.close()
    hashing = [thread for thread in threading.enumerate() if thread.name.startswith("hash ")]
    assert all(thread.daemon for thread in hashing), "the interpreter waits for all others"
    never.set()


def test_a_file_that_goes_on_growing_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "clip.ts"
    path.write_bytes(b"pictures")
    jobs = InputQueue([Input(Location(path))], ahead=1)
    while (job := jobs.next()) is None:
        jobs.wait(1)
    before = job.changed
    with path.open("ab") as file:
        file.write(b"and more")
    assert (before, job.changed) == (False, True)
    jobs.close()
