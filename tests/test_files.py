"""Files that are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamwatch.files import replacing


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_its_place_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path, mode=0o600) as draft:
        draft.write_text("new")
        assert path.read_text() == "old"
        assert draft.parent == tmp_path
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("failure", [ValueError("broken"), KeyboardInterrupt()])
def test_one_that_fails_leaves_what_was_there(tmp_path: Path, failure: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write() -> None:
        with replacing(path) as draft:
            draft.write_text("half of it")
            raise failure

    with pytest.raises(type(failure)):
        write()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_link_in_the_place_of_the_draft_is_not_followed(tmp_path: Path) -> None:
    path, victim = tmp_path / "a.txt", tmp_path / "victim"
    victim.write_text("untouched")
    with replacing(path) as draft:
        name = draft.name
    (tmp_path / name).symlink_to(victim)
    with replacing(path) as draft:
        draft.write_text("new")
    assert victim.read_text() == "untouched"
    assert not path.is_symlink()
    assert path.read_text() == "new"


def test_the_longest_names_have_room(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    with replacing(path, durable=False) as draft:
        draft.write_text("new")
    assert path.read_text() == "new"
