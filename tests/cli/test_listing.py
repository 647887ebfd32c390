"""Listings fit a terminal of 80 columns, and have one line a row where nobody sees where a line ends."""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from streamwatch.cli.board import Board
from streamwatch.cli.listing import Listing
from streamwatch.cli.main import app
from streamwatch.records import Label
from streamwatch.sources import Input, Location
from streamwatch.sources.states import Cause, StreamState, Transition
from streamwatch.store import Store
from tests.support.builders import CONFIG, MODEL, NOON, full_verdict, make_alert, make_outage, make_record, make_verdict

LONG = "/archive/2026/03/01/a rather long name of a folder/" + "n" * 120 + ".mp4"
CAMERA = "rtsp://***@camera-17.studio.example.org:8554/live/channels/17/main?profile=high"
LISTINGS = ["alerts list", "verdicts list", "streams list", "streams history", "jobs show 1"]


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    with Store.open(url) as store:
        run = store.begin_run("watch", "{}", CONFIG)
        alert = make_alert("0123456789", LONG, start=90_000.0, end=91_800.0)
        store.save_verdict(run, full_verdict(LONG, alerts=(alert,)))
        store.review("0123456789", Label.INCONCLUSIVE)
        outage = make_outage("abcdef0123", CAMERA)
        store.save_verdict(run, make_verdict(CAMERA, sha256=None, alerts=(outage,), started_at=NOON))
        change = Transition(
            NOON, CAMERA, StreamState.CONNECTING, StreamState.BACKING_OFF, Cause.AUTHENTICATION, "denied"
        )
        store.save(run, [change])
        store.jobs.begin([Input(Location(LONG))], MODEL, CONFIG)
    return url


def lines(url: str, command: str) -> list[str]:
    done = CliRunner().invoke(app, [*command.split(), "--store", url])
    assert done.exit_code == 0, done.exception
    return done.stdout.splitlines()


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("command", LISTINGS)
def test_a_terminal_shows_all_of_it(url: str, monkeypatch: pytest.MonkeyPatch, command: str, width: int) -> None:
    piped = lines(url, command)
    monkeypatch.setenv("COLUMNS", str(width))
    shown = lines(url, command)
    assert max(map(len, shown)) <= width
    joined = "".join("".join(shown).split())
    cells = {cell.strip() for line in piped[1:] for cell in line.split("  ") if cell.strip()} - {"source"}
    assert len(cells) > 4
    for cell in cells:
        assert "".join(cell.split()) in joined


def test_alerts_can_be_read_at_80_columns(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    header, *rows = lines(url, "alerts list")
    assert header.split() == ["id", "time", "(UTC)", "kind", "span", "peak", "label"]
    first = next(number for number, row in enumerate(rows) if row.startswith("01234567"))
    assert rows[first].split()[3:] == ["forgery", "25:00:00.0–25:30:00.0", "0.99", "fake"]
    assert rows[first + 1].startswith("  /archive/2026/03/01/a rather long name")
    assert "  state reviewed: inconclusive" in rows


@pytest.mark.parametrize("command", LISTINGS)
def test_a_pipe_gets_a_line_for_each_row(url: str, command: str) -> None:
    piped = lines(url, command)
    rows = [line for line in piped if not line.startswith("  ") and any(mark in line for mark in ("archive", "rtsp"))]
    assert rows
    assert all(LONG in line or CAMERA in line for line in rows)


def test_the_table_of_a_watch_can_be_read_at_80_columns() -> None:
    board = Board([CAMERA, "rtsp://b/2"], {})
    board.receive(Transition(NOON, CAMERA, StreamState.CONNECTING, StreamState.RUNNING))
    scores = (make_record(1, wall_time=NOON),)
    for second in (1, 2):
        verdict = make_verdict(CAMERA, sha256=None, label=Label.INCONCLUSIVE, scores=scores)
        board.receive(verdict, now=NOON + timedelta(seconds=second))
    output = io.StringIO()
    Console(width=80, file=output).print(board)
    rows = [line.rstrip() for line in output.getvalue().splitlines()]
    assert max(map(len, rows)) <= 80
    assert "running" in rows[1]
    assert "inconclusive" in rows[1]
    assert "".join(row.strip() for row in rows[2:4]).startswith(CAMERA)


def test_what_fits_stands_in_one_line() -> None:
    table = Listing("source", ("label", "score"), at=1, right={"score"})
    table.add("a.mp4", ("fake", "0.97"), ["why"])
    table.add("längerer name.mp4", ("inconclusive", "–"))
    output = io.StringIO()
    Console(width=60, file=output).print(table)
    assert [line.rstrip() for line in output.getvalue().splitlines()] == [
        "label         source             score",
        "fake          a.mp4               0.97",
        "  why",
        "inconclusive  längerer name.mp4      –",
    ]
