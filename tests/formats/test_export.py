"""Exports, each read back by a parser of its own kind."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import opentimelineio
import pyarrow.parquet
import pycmx
import pytest
import webvtt
from typer.testing import CliRunner, Result

from streamwatch.cli import alerts as commands
from streamwatch.cli import verdicts as verdict_commands
from streamwatch.formats.timelines import SourceTimeline, TimelineFormat, file_names, timelines, write_timeline
from streamwatch.records import AlertKind, Label
from streamwatch.store import AlertRow, ReviewState, Store
from streamwatch.store.cursors import Cursor
from tests.support.builders import failed_verdict, full_verdict, make_alert, make_verdict

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
SOURCE = "/archive/news & <late>.mp4"


def alert(number: int, start: float, end: float | None, **changes: Any) -> AlertRow:
    row = AlertRow(
        id=f"alert-{number}",
        verdict_id=1,
        source=SOURCE,
        kind=AlertKind.FORGERY,
        reason="",
        track_id=number,
        start=start,
        end=end,
        started_at=None,
        ended_at=None,
        peak=0.97,
        mean=0.9,
        faces=12,
        label=Label.FAKE,
        revision=1,
        stored_at=NOON,
        state=ReviewState.NEW,
        review_label=None,
        review_comment=None,
        reviewed_at=None,
        cursor=Cursor(NOON, f"alert-{number}", start),
    )
    return dataclasses.replace(row, **changes)


@pytest.fixture
def line() -> SourceTimeline:
    rows = [alert(2, 3601.5, 3605.04), alert(1, 3.2, 9.8, review_label=Label.REAL), alert(3, 3609.0, None)]
    (made,) = timelines([*rows, alert(4, 1.0, 2.0, kind=AlertKind.DOWN)], {1: 3620.0})
    return made


def test_a_time_line_holds_the_forgeries_in_order_of_time(line: SourceTimeline) -> None:
    assert [item.id for item in line.alerts] == ["alert-1", "alert-2", "alert-3"]
    assert line.length == 3620.0
    assert dataclasses.replace(line, duration=None).length == 3609.0


def test_web_vtt(line: SourceTimeline) -> None:
    cues = webvtt.from_string(write_timeline(line, TimelineFormat.VTT, 25.0)).captions
    assert [(cue.identifier, cue.start, cue.end) for cue in cues] == [
        ("alert-1", "00:00:03.200", "00:00:09.800"),
        ("alert-2", "01:00:01.500", "01:00:05.040"),
        ("alert-3", "01:00:09.000", "01:00:09.001"),
    ]
    assert cues[0].text == "fake, track 1, peak 0.97, reviewed: real"


@pytest.mark.parametrize("form", [TimelineFormat.OTIO, TimelineFormat.FCPXML])
def test_formats_that_hold_all_come_back(line: SourceTimeline, form: TimelineFormat) -> None:
    text = write_timeline(line, form, 25.0)
    adapter = {"otio": "otio_json", "fcpxml": "fcpx_xml"}[form.value]
    read = opentimelineio.adapters.read_from_string(text, adapter)
    (clip,) = read.find_clips()
    assert clip.name == "news & <late>.mp4"
    assert clip.duration().to_seconds() == 3620.0
    assert clip.media_reference.target_url == "file:///archive/news%20%26%20%3Clate%3E.mp4"
    marks = [
        (mark.marked_range.start_time.to_seconds(), mark.marked_range.duration.to_seconds()) for mark in clip.markers
    ]
    assert marks == [
        pytest.approx((3.2, 6.6), abs=0.021),
        pytest.approx((3601.5, 3.54), abs=0.021),
        pytest.approx((3609.0, 0.0)),
    ]


def test_an_edit_list(line: SourceTimeline) -> None:
    text = write_timeline(line, TimelineFormat.EDL, 25.0)
    parsed = pycmx.parse_cmx3600(io.StringIO(text))
    assert parsed.title == "news & <late>.mp4"
    (event,) = parsed.events
    (edit,) = event.edits
    assert (edit.source_in, edit.source_out) == ("00:00:00:00", "01:00:20:00")
    located = [row.split(None, 4)[2:] for row in text.splitlines() if row.startswith("* LOC:")]
    assert [row[0] for row in located] == ["00:00:03:05", "01:00:01:13", "01:00:09:00"]
    assert "UNTIL 00:00:09:20" in located[0][2].upper()


@pytest.mark.parametrize("mark", ["\n", "\r\n", "\x0b", "\x1b[2J", "\x85", "\u2028", "\u202e"])
def test_no_name_adds_lines_to_an_edit_list(mark: str) -> None:
    forged = f"clip{mark}002  AX V C 00:00:00:00 00:01:00:00 00:00:00:00 00:01:00:00.mp4"
    for source in (f"/archive/{forged}", f"https://archive.example/{forged}"):
        (line,) = timelines([dataclasses.replace(alert(1, 3.2, 9.8), source=source)], {1: 12.0})
        text = write_timeline(line, TimelineFormat.EDL, 25.0)
        assert [row[:4] for row in text.splitlines() if row[:1].isdigit()] == ["001 "]
        assert mark not in text.replace("\n", "") if mark != "\n" else True
        assert all(character.isprintable() or character == "\n" for character in text)


def test_names_of_files() -> None:
    sources = ["/a/clip.mp4", "/b/clip.mov", "rtsp://***@cam/one?x=1", "/c/ä b/..", "/c/..mp4"]
    assert file_names(sources, "vtt") == ["clip.vtt", "clip-2.vtt", "one_x_1.vtt", "source.vtt", "source-2.vtt"]


# ── the command ──


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    with Store.open(url) as store:
        run = store.begin_run("scan", "{}", "c" * 64)
        for number in (1, 2):
            source = f"/archive/{number}.mp4"
            alerts = (make_alert(f"alert-{number}", source),)
            store.save_verdict(run, make_verdict(source, sha256=f"{number:064x}", alerts=alerts))
    return url


def export(url: str, *options: str) -> Result:
    return CliRunner().invoke(commands.app, ["export", "--store", url, *options])


def test_a_folder_takes_a_file_for_each_source(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "marks"
    done = export(url, "--format", "vtt", "--output", str(folder))
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in folder.iterdir()) == ["1.vtt", "2.vtt"]
    (cue,) = webvtt.read(str(folder / "1.vtt")).captions
    assert (cue.start, cue.end) == ("00:00:03.200", "00:00:09.800")


def test_a_file_takes_one_source(url: str, tmp_path: Path) -> None:
    file = tmp_path / "x.edl"
    one = ["--format", "edl", "--source", "1.mp4", "--output"]
    for _ in range(2):
        assert export(url, *one, str(file)).exit_code == 0
        assert file.read_text().startswith("TITLE: 1.mp4")
    refused = export(url, "--format", "edl", "--output", str(tmp_path / "both.edl"))
    assert refused.exit_code == 2
    assert "2 sources have alerts: name a folder" in " ".join(refused.output.replace("│", " ").split())
    for folder in (f"{tmp_path}/cut.edl/", str(tmp_path / "cut.edl"), str(tmp_path / "plain")):
        assert export(url, *one, folder).exit_code == 0
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.edl") if path.is_file()) == [
        "cut.edl/1.edl",
        "plain/1.edl",
        "x.edl",
    ]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_table_is_no_folder(url: str, full: str, tmp_path: Path, form: str) -> None:
    place = f"{tmp_path}/tables/"
    for app in (commands.app, verdict_commands.app):
        refused = CliRunner().invoke(app, ["export", "--format", form, "--output", place, "--store", url])
        assert refused.exit_code == 2
        assert "is a folder" in " ".join(refused.output.replace("│", " ").split())
    assert not (tmp_path / "tables").exists()


def test_standard_output_takes_one_source(url: str) -> None:
    assert export(url, "--format", "edl", "--source", "1.mp4", "--rate", "50").stdout.startswith("TITLE: 1.mp4")
    refused = export(url, "--format", "edl")
    assert refused.exit_code == 2
    assert "2 sources have alerts" in " ".join(refused.output.split())


def test_parquet_holds_what_json_lines_hold(url: str, tmp_path: Path) -> None:
    assert export(url, "--format", "parquet").exit_code == 2
    file = tmp_path / "alerts.parquet"
    assert export(url, "--format", "parquet", "--output", str(file)).exit_code == 0
    rows = pyarrow.parquet.read_table(file).to_pylist()
    with Store.open(url) as store:
        expected = list(store.iter_alerts())
    assert [(row["id"], row["start"], row["peak"], row["stored_at"]) for row in rows] == [
        (item.id, item.start, item.peak, item.stored_at) for item in expected
    ]


# ── verdicts and scores ──


@pytest.fixture
def full(tmp_path: Path) -> str:
    """A store with all that a verdict can hold."""
    url = f"sqlite:///{tmp_path / 'full.db'}"
    with Store.open(url, clock=lambda: NOON) as store:
        run = store.begin_run("scan", "{}", "c" * 64)
        store.save_verdict(run, full_verdict())
        store.save_verdict(run, failed_verdict(sha256="9" * 64))
    return url


def export_verdicts(url: str, *options: str) -> Result:
    done = CliRunner().invoke(verdict_commands.app, ["export", "--store", url, *options])
    assert done.exit_code == 0, done.output
    return done


def test_verdicts_are_the_same_rows_in_every_format(full: str, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in export_verdicts(full).stdout.splitlines()]
    assert {row["label"] for row in rows} == {"fake", "error"}
    assert {row["error"] for row in rows} == {None, "SourceUnreadable"}
    assert all(row["stored_at"] == NOON.isoformat() for row in rows)
    table = list(csv.DictReader(io.StringIO(export_verdicts(full, "--format", "csv").stdout, newline="")))
    assert table == [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows]
    file = tmp_path / "verdicts.parquet"
    export_verdicts(full, "--format", "parquet", "--output", str(file))
    found = pyarrow.parquet.read_table(file).to_pylist()
    assert [row.pop("stored_at") for row in found] == [NOON] * len(rows)
    instants = ("started_at", "stored_at")
    assert [{name: row[name] for name in row if name not in instants} for row in found] == [
        {name: row[name] for name in row if name not in instants} for row in rows
    ]


def test_scores_are_a_row_for_each_face(full: str, tmp_path: Path) -> None:
    file = tmp_path / "scores.parquet"
    export_verdicts(full, "--scores", "--format", "parquet", "--output", str(file))
    found = pyarrow.parquet.read_table(file).to_pylist()
    expected = sorted(full_verdict().scores, key=lambda score: (score.track_id, score.frame_index))
    assert found
    assert [(row["track"], row["frame"], row["pts"], row["probability"], row["sharpness"]) for row in found] == [
        (score.track_id, score.frame_index, score.pts, score.probability, score.quality.sharpness) for score in expected
    ]
    assert [(row["x0"], row["y1"]) for row in found] == [(score.box[0], score.box[3]) for score in expected]
    assert {row["source"] for row in found} == {full_verdict().source}
    lines = [json.loads(line) for line in export_verdicts(full, "--scores").stdout.splitlines()]
    assert len(lines) == len(found)
