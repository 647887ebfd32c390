"""The table of streams that `watch` keeps in a terminal."""

from __future__ import annotations

import io
from datetime import datetime, timedelta, timezone
from typing import Any

from rich.console import Console

from streamwatch.cli.board import Board
from streamwatch.records import FrameCounts, Label, VideoVerdict
from streamwatch.sources.states import Cause, StreamState, Transition
from tests.support.builders import make_record, make_verdict

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
STUDIO, FIELD = "rtsp://***@cam/1", "rtsp://cam/2"


def change(source: str, state: StreamState, cause: Cause | None = None, message: str = "") -> Transition:
    return Transition(NOON, source, StreamState.CONNECTING, state, cause, message, 0.5)


def verdict(source: str, analysed: int, captured: datetime, label: Label = Label.REAL, **changes: Any) -> VideoVerdict:
    values: dict[str, Any] = {
        "label": label,
        "score": 0.12,
        "frames": FrameCounts(90, analysed + 3, analysed, 3),
        "scores": (make_record(analysed, wall_time=captured),),
    }
    return make_verdict(source, **{**values, **changes})


def shown(board: Board) -> list[str]:
    output = io.StringIO()
    Console(width=120, file=output).print(board)
    return [line.rstrip() for line in output.getvalue().splitlines()]


def test_every_stream_has_its_row_from_the_start() -> None:
    lines = shown(Board([STUDIO, FIELD], {STUDIO: "studio 1"}))
    assert " ".join(lines[0].split()) == "stream state since frames/s lag s dropped failures verdict score"
    assert " ".join(lines[1].split()) == "studio 1 connecting – – – – 0 – –"
    assert lines[2].split()[:2] == [FIELD, "connecting"]


def test_a_running_stream_shows_its_rate_its_lag_and_its_verdict() -> None:
    board = Board([STUDIO], {})
    board.receive(change(STUDIO, StreamState.RUNNING, message="h264 640×360"))
    board.receive(verdict(STUDIO, 10, NOON), now=NOON + timedelta(seconds=1))
    board.receive(verdict(STUDIO, 20, NOON + timedelta(seconds=5)), now=NOON + timedelta(seconds=6))
    assert shown(board)[1].split() == [STUDIO, "running", "12:00:00", "2.0", "1.0", "3", "0", "real", "0.12"]


def test_a_stream_that_failed_says_why_and_how_often() -> None:
    board = Board([FIELD], {})
    for _ in range(3):
        board.receive(change(FIELD, StreamState.BACKING_OFF, Cause.REFUSED, f"{FIELD}: connection refused"))
        board.receive(change(FIELD, StreamState.CONNECTING, Cause.REFUSED))
    board.receive(change(FIELD, StreamState.FAILED, Cause.REFUSED, f"{FIELD}: connection refused"))
    row, why = shown(board)[1:3]
    assert row.split()[:3] == [FIELD, "failed", "12:00:00"]
    assert row.split()[6] == "4"
    assert why == "  connection refused"
    board.receive(change(FIELD, StreamState.RUNNING))
    assert len(shown(board)) == 2


def test_the_reason_of_a_verdict_stands_below_its_stream() -> None:
    board = Board([STUDIO], {})
    board.receive(verdict(STUDIO, 3, NOON, Label.INCONCLUSIVE, reason="the picture has stood still for 9 s"), now=NOON)
    assert shown(board)[2] == "  the picture has stood still for 9 s"
