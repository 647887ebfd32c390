"""Manifests: text, CSV, JSON Lines, Parquet, standard input."""

from __future__ import annotations

import datetime
import io
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from streamwatch.errors import SourceNotFound, SourceUnreadable
from streamwatch.records import Metadata
from streamwatch.sources import read_inputs

URL = "https://archive.example/2.mp4"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("1.mp4", "old/3.mp4", "old/4.mp4"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def read(manifest: Path) -> list[tuple[str, Metadata]]:
    folder = manifest.parent
    return [(item.source.text.removeprefix(f"{folder}/"), item.metadata) for item in read_inputs([], manifest)]


def test_csv_with_a_header(folder: Path) -> None:
    manifest = folder / "list.csv"
    manifest.write_text('\ufeffshow,Path,tape\n"News, late",1.mp4,17\n,' + URL + ",\nOld,old,18\n", encoding="utf-8")
    assert read(manifest) == [
        ("1.mp4", {"show": "News, late", "tape": "17"}),
        (URL, {}),
        ("old/3.mp4", {"show": "Old", "tape": "18"}),
        ("old/4.mp4", {"show": "Old", "tape": "18"}),
    ]


def test_json_lines_keep_their_kinds_of_values(folder: Path) -> None:
    manifest = folder / "list.jsonl"
    rows = [{"file": "1.mp4", "tape": 17, "aired": True, "people": ["a", "b"], "note": None}, URL]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read(manifest) == [("1.mp4", {"tape": 17, "aired": True, "people": '["a", "b"]'}), (URL, {})]


def test_parquet(folder: Path) -> None:
    manifest = folder / "list.parquet"
    table = {"url": ["1.mp4", URL], "tape": [17, None], "aired": [datetime.date(2026, 3, 1), None]}
    pyarrow.parquet.write_table(pyarrow.table(table), manifest)
    assert read(manifest) == [("1.mp4", {"tape": 17, "aired": "2026-03-01"}), (URL, {})]


def test_standard_input(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.stdin", io.StringIO('1.mp4\n\n# old ones\n{"source": "old", "tape": 18}\n'))
    found = [(item.source.text, item.metadata) for item in read_inputs(["-"])]
    assert found == [("1.mp4", {}), ("old/3.mp4", {"tape": 18}), ("old/4.mp4", {"tape": 18})]


def test_an_input_that_comes_twice_keeps_its_first_metadata(folder: Path) -> None:
    manifest = folder / "list.csv"
    manifest.write_text("path,tape\n1.mp4,17\n./1.mp4,18\n")
    assert read(manifest) == [("1.mp4", {"tape": "17"})]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "title,tape\nx,1\n", "a.csv: no column says where an input is: name one source, path"),
        ("a.csv", "path,tape\n1.mp4,1\n,2\n", "a.csv, line 3: path is empty"),
        ("a.csv", "path,tape\n1.mp4,1,2\n", "a.csv, line 2: more columns than the header names"),
        ("a.csv", 'path\n"1.mp4\n', "a.csv, after line 1: not CSV"),
        ("a.jsonl", '{"path": "1.mp4"}\n{"path"\n', "a.jsonl, line 2: not JSON"),
        ("a.jsonl", "17\n", "a.jsonl, line 1: neither an object nor the place of an input"),
        ("a.jsonl", '{"path": 17}\n', "a.jsonl, line 1: path is empty; it must be a path or a URL"),
        ("a.parquet", "no", "a.parquet: not Parquet"),
    ],
)
def test_what_cannot_be_read_is_named(name: str, text: str, message: str, folder: Path) -> None:
    manifest = folder / name
    manifest.write_text(text)
    with pytest.raises(SourceUnreadable) as caught:
        read_inputs([], manifest)
    assert str(caught.value).startswith(f"{folder}/{message}")


def test_a_row_that_gives_nothing_is_an_input_that_fails(folder: Path) -> None:
    manifest = folder / "list.csv"
    manifest.write_text("path,tape\nabsent.mp4,17\n*.avi,18\n1.mp4,19\n")
    absent, pattern, there = read_inputs([], manifest)
    assert (absent.source.text, absent.metadata) == (f"{folder}/absent.mp4", {"tape": "17"})
    assert f"{manifest}, line 2: {folder}/absent.mp4: no such file" in str(absent.failure)
    assert f"{manifest}, line 3: {folder}/*.avi: no file matches" in str(pattern.failure)
    assert there.failure is None


def test_a_manifest_that_is_not_there(folder: Path) -> None:
    with pytest.raises(SourceNotFound, match=r"absent\.parquet: no such manifest"):
        read_inputs([], folder / "absent.parquet")
