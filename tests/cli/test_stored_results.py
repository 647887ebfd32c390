"""The commands on stored results."""

from __future__ import annotations

import csv
import dataclasses
import getpass
import io
import json
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from streamwatch.cli import alerts, common, db, streams, verdicts
from streamwatch.drawing.evidence import overlay
from streamwatch.errors import ConfigError, StoreError
from streamwatch.records import (
    Evidence,
    Label,
    MaskCoverage,
)
from streamwatch.sources.pictures import read_image
from streamwatch.sources.states import Cause, StreamState, Transition
from streamwatch.store import Store, schema
from streamwatch.store.cursors import Cursor
from tests.support.builders import make_alert, make_evidence, make_verdict, pictured_evidence

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
CLIP = "/archive/2026/03/news [evening]/a rather long name of a clip that does not fit.mp4"


def a_face() -> Evidence:
    crop = np.full((96, 96, 3), (200, 150, 120), np.uint8)  # RGB
    mask = np.zeros((24, 24), np.uint8)
    mask[6:18, 6:18] = 255
    coverage = MaskCoverage(0.15, 0.38, 0.0, 0.1, 0.9, 0.2, None)
    return pictured_evidence(crop, mask, score=0.99, box=(10.0, 20.0, 110.0, 140.0), region=None, coverage=coverage)


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    times = iter(NOON + timedelta(minutes=minute) for minute in range(100))
    with Store.open(url, clock=lambda: next(times)) as store:
        run = store.begin_run("streamwatch scan", "{}", "c" * 64)
        first = make_alert("1f00aa11-2222", CLIP, evidence=(a_face(),)), make_alert("1f00bb11-2222", CLIP, peak=0.85)
        store.save_verdict(run, make_verdict(CLIP, sha256=f"{1:064x}", alerts=first))
        formula = make_alert("77", "=HYPERLINK(1)", peak=0.9)
        store.save_verdict(run, make_verdict("=HYPERLINK(1)", sha256=f"{2:064x}", alerts=(formula,)))
        nobody = {"label": Label.NO_FACE, "score": None, "tracks": (), "reason": "no face in 25 frames"}
        store.save_verdict(run, make_verdict("/archive/empty.mp4", sha256=f"{3:064x}", **nobody))
    return url


def run(app: typer.Typer, *arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def lines(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


# ── listings ──


def test_alerts_are_listed_as_a_table_that_fits_100_columns(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    result = run(alerts.app, "list", "--store", url)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 100
    assert "1f00aa11" in result.stdout
    assert "0:03.2–0:09.8" in result.stdout
    assert "2026-03-01 12:01:00" in result.stdout
    assert "[evening]" in result.stdout, "square brackets are no markup"


def test_alerts_are_listed_as_json_lines(url: str) -> None:
    found = lines(run(alerts.app, "list", "--store", url, "--json"))
    assert [line["id"] for line in found] == ["77", "1f00aa11-2222", "1f00bb11-2222"]
    assert found[1] == {
        "id": "1f00aa11-2222",
        "verdict_id": 1,
        "source": CLIP,
        "kind": "forgery",
        "reason": "",
        "faces": None,
        "track": 1,
        "label": "fake",
        "start": 3.2,
        "end": 9.8,
        "peak": 0.99,
        "mean": 0.95,
        "started_at": None,
        "ended_at": None,
        "stored_at": "2026-03-01T12:01:00+00:00",
        "revision": 1,
        "state": "new",
        "review_label": None,
        "review_comment": None,
        "reviewed_at": None,
        "reviewed_by": None,
        "cursor": str(Cursor(NOON + timedelta(minutes=1), "1f00aa11-2222", 3.2)),
    }


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--source", "NEWS"], 2),
        (["--label", "real"], 0),
        (["--since", "2026-03-01T13:02+01:00"], 1),
        (["--until", "2026-03-01T12:02Z"], 2),
        (["--since", "2026-03-02"], 0),
        (["--min-score", "0.88"], 2),
        (["--state", "reviewed"], 0),
        (["--limit", "1"], 1),
    ],
)
def test_filters_reach_the_store(url: str, options: list[str], expected: int) -> None:
    assert len(lines(run(alerts.app, "list", "--store", url, "--json", *options))) == expected
    table = run(alerts.app, "list", "--store", url, *options)
    assert sum("0:03.2" in line for line in table.stdout.splitlines()) == expected
    assert ("no alerts" in table.stdout) == (expected == 0)


def test_a_cut_table_says_so_on_standard_error(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "TABLE_ROWS", 2)
    result = run(alerts.app, "list", "--store", url)
    said = "the newest 2 are shown; --limit N shows more, --json all; --after "
    assert result.stderr.startswith(said)
    assert "1f00bb11" not in result.stdout
    cursor = result.stderr.removeprefix(said).split()[0]
    rest = run(alerts.app, "list", "--store", url, "--after", cursor)
    assert "1f00bb11" in rest.stdout
    assert rest.stderr == ""
    assert run(alerts.app, "list", "--store", url, "--limit", "2").stderr == result.stderr
    assert run(alerts.app, "list", "--store", url, "--limit", "3").stderr == ""
    assert len(lines(run(alerts.app, "list", "--store", url, "--json"))) == 3


def test_verdicts_are_listed_as_a_table_with_the_reason(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    result = run(verdicts.app, "list", "--store", url)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 100
    assert "no face in 25 frames" in result.stdout


def test_verdicts_are_listed_as_the_lines_of_results_jsonl(url: str) -> None:
    found = lines(run(verdicts.app, "list", "--store", url, "--json"))
    assert [line["label"] for line in found] == ["no_face", "fake", "fake"]
    assert found[1] == {
        "source": "=HYPERLINK(1)",
        "sha256": f"{2:064x}",
        "label": "fake",
        "score": 0.9,
        "reason": "",
        "duration": 12.4,
        "started_at": None,
        "frames": {"decoded": 310, "sampled": 25, "analysed": 25, "dropped": 0, "corrupt": 0, "dropped_by": {}},
        "tracks": [
            {
                "id": 1,
                "start": 0.0,
                "end": 12.4,
                "faces": 25,
                "label": "fake",
                "score": 0.9,
                "reason": "",
                "spans": [{"start": 3.2, "end": 9.8, "peak": 0.99, "mean": 0.95}],
            }
        ],
        "alerts": [
            {
                "id": "77",
                "kind": "forgery",
                "reason": "",
                "faces": None,
                "track": 1,
                "label": "fake",
                "start": 3.2,
                "end": 9.8,
                "peak": 0.9,
                "mean": 0.95,
                "started_at": None,
                "ended_at": None,
                "revision": 1,
            }
        ],
        "model": {"name": "m2tr-lite", "sha256": "a" * 64},
        "config_sha256": "c" * 64,
        "policy": "mean_logit",
        "error": None,
        "copies": [],
        "cursor": str(Cursor(NOON + timedelta(minutes=2), "2")),
    }


def test_the_store_comes_from_the_settings(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"store: {{url: '{url}'}}")
    assert len(lines(run(alerts.app, "list", "--config", str(config), "--json"))) == 3
    monkeypatch.setenv("STREAMWATCH__STORE__URL", url)
    assert len(lines(run(alerts.app, "list", "--json"))) == 3


# ── show ──


def test_show_writes_the_face_and_its_mask(url: str, tmp_path: Path) -> None:
    out = tmp_path / "evidence"
    result = run(alerts.app, "show", "1f00a", "--store", url, "--out", str(out))
    assert result.exit_code == 0
    assert "1f00aa11-2222" in result.stdout
    names = ["1f00aa11-2222-1-face.png", "1f00aa11-2222-1-mask.png"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert all(str(out / name) in result.stdout for name in names)
    face, masked = (read_image(out / name).astype(int) for name in names)
    assert face.shape == masked.shape == (96, 96, 3)
    assert np.abs(face - (200, 150, 120)).max() <= 3
    assert np.array_equal(masked[:8], face[:8]), "outside of the mask nothing is tinted"
    red, green, blue = masked[48, 48]
    assert red > 200
    assert green < 110
    assert blue < 90


def test_show_as_json(url: str) -> None:
    result = run(alerts.app, "show", "1f00a", "--store", url, "--json")
    shown = json.loads(result.stdout)
    assert shown["id"] == "1f00aa11-2222"
    assert shown["evidence"] == [
        {
            "frame": 100,
            "pts": 4.0,
            "wall_time": None,
            "box": [10.0, 20.0, 110.0, 140.0],
            "region": None,
            "score": 0.99,
            "mask": True,
            "coverage": {
                "threshold": 0.15,
                "face": 0.38,
                "eyes": 0.0,
                "nose": 0.1,
                "mouth": 0.9,
                "skin": 0.2,
                "border": None,
                "most": ["mouth"],
                "words": "mask covers 38 % of the face, most of all the mouth",
            },
        }
    ]
    assert shown["files"] == []
    assert "explained" not in shown


def test_show_says_where_the_mask_lies(url: str) -> None:
    result = run(alerts.app, "show", "1f00a", "--store", url)
    assert "mask covers 38 % of the face, most of all the mouth (strongest face)" in result.stdout
    assert "38 %: mouth" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 100


@pytest.mark.parametrize(("given", "message"), [("abc", "no alert has the id 'abc'"), ("1f00", "several alerts")])
def test_show_needs_an_id_that_is_known_and_unique(url: str, given: str, message: str) -> None:
    result = run(alerts.app, "show", given, "--store", url)
    assert isinstance(result.exception, StoreError)
    assert message in str(result.exception)


def test_show_says_when_it_cannot_write(url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run(alerts.app, "show", "1f00a", "--store", url, "--out", str(tmp_path / "file"))
    assert isinstance(result.exception, ConfigError)
    assert "cannot be written (File exists)" in str(result.exception)


def test_a_damaged_picture_is_an_error(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    damaged = make_evidence(crop_jpeg=b"no jpeg", mask_png=None)
    with Store.open(url) as store:
        run_id = store.begin_run("streamwatch scan", "{}", "")
        store.save_verdict(run_id, make_verdict(alerts=(make_alert("1", evidence=(damaged,)),)))
    result = run(alerts.app, "show", "1", "--store", url, "--out", str(tmp_path))
    assert isinstance(result.exception, StoreError)
    assert "damaged" in str(result.exception)


def test_the_overlay_grows_with_the_mask() -> None:
    crop = np.full((64, 64, 3), 128, np.uint8)
    levels = [overlay(crop, np.full((8, 8), level, np.uint8))[32, 32, 0] for level in (0, 51, 102, 255)]
    assert levels[0] == 128
    assert levels == sorted(set(levels))


# ── export ──


def test_csv_holds_what_json_lines_hold(url: str, tmp_path: Path) -> None:
    file = tmp_path / "alerts.csv"
    assert run(alerts.app, "export", "--format", "csv", "--output", str(file), "--store", url).stdout == ""
    with file.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    as_json = lines(run(alerts.app, "export", "--store", url))
    assert [list(row) for row in rows] == [list(line) for line in as_json]
    expected = [{name: "" if value is None else str(value) for name, value in line.items()} for line in as_json]
    expected[0]["source"] = "'=HYPERLINK(1)"
    assert rows == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((text, f"'{text}") for text in ("=1+1", "+1", "-1", "@SUM(1)", " =1", "\u00a0=1", "\ufeff=1", "\u200b=1")),
        *(
            (text, f"'{text}")
            for text in ('"=1"', "\uff1d1", "\uff0b1", "\uff0d1", "\uff20SUM(1)", "\u22121", "\ufe661")
        ),
        ("\t=1", "'\t'=1"),
        ("\r=1", "'\r'=1"),
        ("clip.mp4;=1+1", "clip.mp4;'=1+1"),
        ('clip.mp4; "=1+1', "clip.mp4;' \"=1+1"),
        ("a\t=1|@b\n+2", "a\t'=1|'@b\n'+2"),
        ("=1;=2", "'=1;'=2"),
        *((text, text) for text in ("|x", "a-b=c+d@e", "2 - 1; x", "https://host/a?b=c;d=-1")),
    ],
)
def test_csv_defuses_formulas_in_every_locale(url: str, text: str, expected: str) -> None:
    with Store.open(url) as store:
        store.review("77", comment=text)
    result = run(alerts.app, "export", "--format", "csv", "--source", "=HYPER", "--store", url)
    (row,) = csv.DictReader(io.StringIO(result.stdout, newline=""))
    assert row["review_comment"] == expected


def test_export_of_nothing_is_a_header_or_nothing(url: str) -> None:
    nothing = ["--label", "real", "--store", url]
    assert run(alerts.app, "export", *nothing).stdout == ""
    assert run(alerts.app, "export", "--format", "csv", *nothing).stdout.startswith(
        "id,verdict_id,source,kind,reason,track,"
    )


def test_export_says_when_it_cannot_write(url: str, tmp_path: Path) -> None:
    result = run(alerts.app, "export", "--output", str(tmp_path), "--store", url)
    assert isinstance(result.exception, ConfigError)
    assert "--output" in str(result.exception)


# ── review ──


def test_review_notes_and_takes_back(url: str) -> None:
    def state() -> list[object]:
        (line,) = lines(run(alerts.app, "list", "--source", "HYPER", "--store", url, "--json"))
        return [line["state"], line["review_label"], line["review_comment"]]

    result = run(alerts.app, "review", "77", "1f00a", "--label", "real", "--comment", "a mask", "--store", url)
    assert result.stdout == "77: reviewed\n1f00aa11-2222: reviewed\n"
    assert state() == ["reviewed", "real", "a mask"]
    assert "reviewed: real" in run(alerts.app, "list", "--store", url).stdout
    assert run(alerts.app, "review", "77", "--reopen", "--store", url).stdout == "77: new\n"
    assert state() == ["new", None, None]


def test_every_review_is_kept_with_who_and_when(url: str) -> None:
    def review(*options: str) -> None:
        assert run(alerts.app, "review", "77", *options, "--store", url).exit_code == 0

    review("--label", "fake", "--comment", "lips do not move", "--by", "ada")
    review("--label", "real", "--by", "\u202eevil")
    review("--reopen", "--by", "eve")
    review()
    shown = json.loads(run(alerts.app, "show", "77", "--store", url, "--json").stdout)
    assert [(said["by"], said["state"], said["label"], said["comment"]) for said in shown["reviews"]] == [
        ("ada", "reviewed", "fake", "lips do not move"),
        ("\u202eevil", "reviewed", "real", None),
        ("eve", "new", None, None),
        (getpass.getuser(), "reviewed", None, None),
    ]
    assert shown["reviewed_by"] == getpass.getuser()
    assert all(datetime.fromisoformat(said["at"]).tzinfo for said in shown["reviews"])
    text = run(alerts.app, "show", "77", "--store", url).stdout
    assert "by ada, fake: lips do not move" in text
    assert "by eve, withdrawn" in text
    assert "\u202e" not in text


def test_review_of_one_unknown_id_changes_nothing(url: str) -> None:
    assert isinstance(run(alerts.app, "review", "77", "abc", "--store", url).exception, StoreError)
    assert lines(run(alerts.app, "list", "--state", "reviewed", "--store", url, "--json")) == []


def test_reopen_takes_no_label(url: str) -> None:
    assert run(alerts.app, "review", "77", "--reopen", "--label", "real", "--store", url).exit_code == 2


# ── streams ──


def test_the_history_of_streams_is_listed(url: str) -> None:
    assert run(streams.app, "history", "--store", url).stdout.strip() == "nothing happened to any stream"
    states = StreamState.CONNECTING, StreamState.RUNNING, StreamState.BACKING_OFF
    with Store.open(url) as store:
        number = store.begin_run("streamwatch watch", "{}", "c" * 64)
        store.save(number, [Transition(NOON, "rtsp://***@cam/1", *states[:2], message="h264 640×360")])
        later = NOON + timedelta(seconds=9)
        store.save(number, [Transition(later, "rtsp://***@cam/1", *states[1:], Cause.ENDED, "over", 0.5)])
    table = run(streams.app, "history", "--store", url).stdout.splitlines()
    assert table[1].split() == ["2026-03-01", "12:00:09", "rtsp://***@cam/1", "backing_off", "ended", "over"]
    assert len(table) == 3
    found = lines(run(streams.app, "history", "--store", url, "--since", "2026-03-01T12:00:05Z", "--json"))
    assert found == [
        {
            "at": "2026-03-01T12:00:09+00:00",
            "source": "rtsp://***@cam/1",
            "previous": "running",
            "state": "backing_off",
            "cause": "ended",
            "message": "over",
            "retry_in": 0.5,
            "retries": 0,
            "last_at": None,
            "name": None,
        }
    ]
    assert len(run(streams.app, "history", "--store", url, "--limit", "1").stdout.splitlines()) == 2


def test_streams_are_listed_as_they_stand(url: str) -> None:
    assert run(streams.app, "list", "--store", url).stdout.strip() == "no stream was ever watched"
    with Store.open(url, clock=lambda: datetime.now(timezone.utc)) as store:
        number = store.begin_run("watch", json.dumps({"live": {"verdict_every": 5.0}}), "c" * 64)
        at = datetime.now(timezone.utc)
        change = Transition(
            at, "rtsp://***@cam/1", StreamState.RUNNING, StreamState.BACKING_OFF, Cause.ENDED, "the server hung up", 0.5
        )
        verdict = dataclasses.replace(
            make_verdict("rtsp://***@cam/1", label=Label.INCONCLUSIVE, reason="no new picture for 7 s"),
            sha256=None,
            started_at=at - timedelta(seconds=13.4),
        )
        store.save(number, [change, verdict])
    table = run(streams.app, "list", "--store", url).stdout
    assert "backing_off" in table
    assert "ended: the server hung up" in table
    assert "no new picture for 7 s" in table
    assert max(map(len, table.splitlines())) <= 100
    (found,) = lines(run(streams.app, "list", "--store", url, "--json"))
    assert (found["source"], found["state"], found["cause"]) == ("rtsp://***@cam/1", "backing_off", "ended")
    assert (found["watched"], found["failures_last_hour"], found["label"]) == (True, 1, "inconclusive")
    assert (found["fps_decoded"], found["fps_analysed"]) == (310 / 12.4, 25 / 12.4)
    assert 1.0 <= found["lag"] < 60.0
    assert "frames/s in, 2.0 analysed, lag" in " ".join(table.split())
    assert found["since"] == at.isoformat()
    with Store.open(url) as store:
        store.end_run(number, "done")
    table = run(streams.app, "list", "--store", url).stdout
    assert "not watched" in table
    assert "was inconclusive" in table
    assert "last seen at" in table


def test_streams_have_their_names_and_say_when_they_are_paused(url: str, tmp_path: Path) -> None:
    cameras = {name: f"rtsp://ada:hush@cam/{number}" for number, name in enumerate(("hall", "yard", "roof"))}
    config = tmp_path / "settings.yaml"
    config.write_text(f"streams: [{{url: '{cameras['hall']}', name: hall}}]\n", encoding="utf-8")
    options = ["--store", url, "--config", str(config)]
    for name in ("yard", "roof"):
        assert run(streams.app, "add", cameras[name], "--name", name, *options).exit_code == 0
    for name in ("hall", "yard"):
        assert run(streams.app, "pause", name, *options).exit_code == 0
    connecting, stopped, at = StreamState.CONNECTING, StreamState.STOPPED, datetime.now(timezone.utc)
    with Store.open(url, clock=lambda: at) as store:
        number = store.begin_run("watch", "{}", "c" * 64)
        for name, camera in cameras.items():
            source = camera.replace("ada:hush", "***")
            running = Transition(at, source, connecting, StreamState.RUNNING)
            store.save(number, [running, Transition(at + timedelta(seconds=1), source, StreamState.RUNNING, stopped)])
            if name == "hall":  # paused while it was down, and not stopped yet
                refused = Cause.REFUSED, "no"
                again = Transition(at + timedelta(seconds=2), source, connecting, StreamState.BACKING_OFF, *refused)
                store.save(number, [again])
    listed = run(streams.app, "list", *options).stdout
    states = {line.split()[0]: line.split()[1] for line in listed.splitlines() if line.split()[0] in cameras}
    assert states == {"hall": "backing_off", "yard": "paused", "roof": "stopped"}
    assert "hush" not in listed
    found = {line["name"]: line for line in lines(run(streams.app, "list", *options, "--json"))}
    assert {name: line["paused"] for name, line in found.items()} == {"hall": True, "yard": True, "roof": False}
    history = run(streams.app, "history", *options, "--source", "YARD").stdout.splitlines()
    assert [line.split()[2:4] for line in history[1:]] == [["yard", "paused"], ["yard", "running"]]
    assert {line["name"] for line in lines(run(streams.app, "history", *options, "--source", "cam/", "--json"))} == {
        *cameras
    }


def test_the_names_of_added_streams_may_be_unreadable(url: str, tmp_path: Path) -> None:
    with Store.open(url) as store:
        number = store.begin_run("watch", "{}", "c" * 64)
        store.save(number, [Transition(NOON, "rtsp://cam/1", StreamState.CONNECTING, StreamState.RUNNING)])
    (tmp_path / "store.db.streams.yaml").mkdir()
    listed = run(streams.app, "list", "--store", url)
    assert "rtsp://cam/1" in listed.stdout
    assert "cannot be read" in listed.stderr


# ── wrong usage ──


@pytest.mark.parametrize(
    "options",
    [
        ["--since", "yesterday"],
        ["--label", "forged"],
        ["--min-score", "2"],
        ["--limit", "0"],
        ["--state", "old"],
    ],
)
def test_wrong_options_are_usage_errors(url: str, options: list[str]) -> None:
    assert run(alerts.app, "list", "--store", url, *options).exit_code == 2


def test_reading_does_not_make_a_store(tmp_path: Path) -> None:
    file = tmp_path / "typo.db"
    for app, command in ((alerts.app, "list"), (verdicts.app, "list"), (alerts.app, "export")):
        result = run(app, command, "--store", f"sqlite:///{file}")
        assert isinstance(result.exception, StoreError)
        assert "there is no store" in str(result.exception)
    assert not file.exists()


# ── db ──


def test_db_upgrade_makes_a_store_and_current_reports_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    head = schema.head()
    assert f"schema none; this version needs {head}" in run(db.app, "current", "--store", url).stdout
    assert not (tmp_path / "store.db").exists()
    assert run(db.app, "upgrade", "--store", url).stdout == f"{url}: schema {head}\n"
    assert f"schema {head}, up to date" in run(db.app, "current", "--store", url).stdout
    shown = json.loads(run(db.app, "current", "--store", url, "--json").stdout)
    assert shown == {"store": url, "current": head, "head": head}


# ── how things are written ──


def test_help_does_not_load_the_database_or_the_pictures() -> None:
    script = """
import sys
from streamwatch.cli import alerts, db, verdicts
heavy = {"alembic", "av", "cv2", "onnxruntime", "ray", "sqlalchemy", "torch"} & set(sys.modules)
sys.exit(f"loaded: {heavy}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_terminal_codes_in_names_are_shown_not_obeyed() -> None:
    assert common.plain("a\x1b[2Jb\n\udce9é") == "a\\x1b[2Jb\\n\\udce9é"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0:00.0"),
        (9.96, "0:10.0"),
        (59.97, "1:00.0"),
        (754.25, "12:34.2"),
        (3723.4, "1:02:03.4"),
        (None, "…"),
    ],
)
def test_media_time(seconds: float | None, text: str) -> None:
    assert common.media_time(seconds) == text


def test_instants_are_aware() -> None:
    assert common.parse_instant("2026-03-01") == datetime(2026, 3, 1, tzinfo=timezone.utc)
    assert common.parse_instant("2026-03-01T10:00Z") == datetime(2026, 3, 1, 10, tzinfo=timezone.utc)
    assert common.parse_instant("2026-03-01T10:00+02:00") == datetime(2026, 3, 1, 8, tzinfo=timezone.utc)
    before = datetime.now(timezone.utc)
    ago = common.parse_instant("2h")
    assert before <= ago + timedelta(hours=2) <= datetime.now(timezone.utc)
