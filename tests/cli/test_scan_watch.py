"""The commands `scan` and `watch`: options, output and exit status; the engine is stood in for by its iterator."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import threading
from collections.abc import Generator, Sequence
from datetime import datetime, timezone
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import streamwatch
from streamwatch.cli import running, scan, watch
from streamwatch.config import Settings, load_settings
from streamwatch.errors import SourceUnreadable
from streamwatch.fusion import Subject, error_verdict
from streamwatch.pipeline.analyser import Analysis
from streamwatch.records import Failure, Label, ModelRef, VideoVerdict
from streamwatch.sources import Input, Location
from streamwatch.sources.states import Cause, StreamState, Transition
from tests.support.builders import make_alert, make_verdict


def verdict(source: str, label: Label, score: float | None = None) -> VideoVerdict:
    alerts = (make_alert("id", source, start=4.0, end=7.5),) if label is Label.FAKE else ()
    return make_verdict(source, label=label, score=score, duration=12.0, tracks=(), alerts=alerts)


def failed(source: str) -> VideoVerdict:
    subject = Subject(source, None, ModelRef("m", "b" * 64), "c" * 64, "policy")
    return error_verdict(subject, SourceUnreadable(f"{source}: is empty"))


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command("scan")(scan.scan)
    app.command("watch")(watch.watch)
    return app


class Engine:
    """Stands in for `iter_scan` and `iter_watch`: notes how it is called, yields what it was given."""

    def __init__(self, items: Sequence[object], *, scans: bool) -> None:
        self.items = items
        self.scans = scans
        self.inputs: Sequence[str | Input] = ()
        self.settings = Settings()
        self.options: dict[str, object] = {}
        self.closed = False

    def __call__(
        self, inputs: Sequence[str | Input], settings: Settings, **options: object
    ) -> Generator[object, None, None]:
        self.inputs, self.settings, self.options = inputs, settings, options
        try:
            for item in self.items:
                if isinstance(item, type) and issubclass(item, BaseException):
                    raise item
                yield Analysis(item) if self.scans and isinstance(item, VideoVerdict) else item
        finally:
            self.closed = True


def scans(monkeypatch: pytest.MonkeyPatch, *items: object) -> Engine:
    stand_in = Engine(items, scans=True)
    monkeypatch.setattr("streamwatch.archive.scan.iter_scan", stand_in)
    return stand_in


def watches(monkeypatch: pytest.MonkeyPatch, *items: object) -> Engine:
    stand_in = Engine(items, scans=False)
    monkeypatch.setattr("streamwatch.live.watch.iter_watch", stand_in)
    return stand_in


@pytest.fixture
def clip(tmp_path: Path) -> str:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"x")
    return str(path)


def test_scan_prints_a_table_and_a_summary(app: typer.Typer, clip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scans(monkeypatch, verdict("good.mp4", Label.REAL, 0.1), verdict("bad.mp4", Label.FAKE, 0.97))
    done = CliRunner().invoke(app, ["scan", clip])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["source", "label", "score", "length", "looked", "forged"]
    assert lines[1].split() == ["bad.mp4", "fake", "0.97", "0:12.0", "0:04.0–0:07.5"]
    assert lines[2].split() == ["good.mp4", "real", "0.10", "0:12.0"]
    assert lines[3] == "2 sources: 1 real, 1 fake"
    assert max(map(len, lines)) <= 100
    assert done.stderr == ""


def test_scan_says_why_an_input_failed_and_ends_with_1(
    app: typer.Typer, clip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans(monkeypatch, failed("broken.mp4"), verdict("good.mp4", Label.REAL, 0.1))
    done = CliRunner().invoke(app, ["scan", clip])
    assert done.exit_code == 1
    assert "SourceUnreadable: broken.mp4: is empty" in done.stdout


def test_scan_writes_json_lines_and_nothing_else(
    app: typer.Typer, clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans(monkeypatch, verdict("good.mp4", Label.REAL, 0.1), failed("broken.mp4"))
    output = tmp_path / "results.jsonl"
    done = CliRunner().invoke(app, ["scan", clip, "--json", "--output", str(output)])
    documents = [json.loads(line) for line in done.stdout.splitlines()]
    assert [document["label"] for document in documents] == ["real", "error"]
    assert documents[1]["error"]["kind"] == "SourceUnreadable"
    assert output.read_text() == done.stdout


def test_scan_hands_its_options_to_the_engine(app: typer.Typer, clip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = scans(monkeypatch, verdict(clip, Label.REAL, 0.1))
    arguments = ["--store", "sqlite:///x.db", "--workers", "3", "--device", "cpu", "--model", "m.safetensors"]
    done = CliRunner().invoke(app, ["scan", clip, "--no-resume", *arguments])
    assert done.exit_code == 0, done.output
    settings = stand_in.settings
    assert (settings.store.url, settings.engine.workers) == ("sqlite:///x.db", 3)
    assert (settings.detector.device, settings.detector.model) == ("cpu", "m.safetensors")
    assert settings.engine.batch_faces == 16, "the archive pipeline"
    assert stand_in.inputs == [Input(Location(clip))]
    assert (stand_in.options["resume"], stand_in.options["annotate"]) == (False, None)


def test_scan_takes_a_manifest(app: typer.Typer, clip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = scans(monkeypatch, verdict(clip, Label.REAL, 0.1))
    manifest = Path(clip).with_name("list.csv")
    manifest.write_text("file,tape\nclip.mp4,17\n")
    assert CliRunner().invoke(app, ["scan", "--manifest", str(manifest)]).exit_code == 0
    assert stand_in.inputs == [Input(Location(clip), {"tape": "17"})]


def test_what_a_manifest_says_of_an_input_comes_back(
    app: typer.Typer, clip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans(
        monkeypatch, Analysis(verdict(clip, Label.REAL, 0.1), metadata={"tape": 17}), verdict("b.mp4", Label.REAL, 0.1)
    )
    done = CliRunner().invoke(app, ["scan", clip, "--json"])
    assert [json.loads(line).get("metadata") for line in done.stdout.splitlines()] == [{"tape": 17}, None]


def test_scan_without_inputs_is_bad_usage(app: typer.Typer) -> None:
    done = CliRunner().invoke(app, ["scan"])
    assert done.exit_code == 2
    assert "--manifest" in done.stderr


def test_an_interrupted_scan_shows_what_is_done(app: typer.Typer, clip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = scans(monkeypatch, verdict("good.mp4", Label.REAL, 0.1), KeyboardInterrupt)
    done = CliRunner().invoke(app, ["scan", clip])
    assert done.exit_code == running.INTERRUPTED
    assert "good.mp4" in done.stdout
    assert "stopped: 1 of 1 done" in done.stderr
    assert stand_in.closed


def test_scan_says_where_the_annotated_clips_are_and_which_are_missing(
    app: typer.Typer, clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = Analysis(verdict(clip, Label.REAL, 0.1), clip=tmp_path / "out" / "clip.mp4")
    lost = Analysis(verdict("b.mp4", Label.REAL, 0.1), clip=Failure("SourceNotFound", "b.mp4: no such file"))
    for items, status in (([good], 0), ([good, lost], 1)):
        stand_in = scans(monkeypatch, *items)
        done = CliRunner().invoke(app, ["scan", clip, "--annotate", str(tmp_path / "out")])
        assert done.exit_code == status
        assert stand_in.options["annotate"] == tmp_path / "out"
        said = done.stderr.replace("\n", "")
        assert f"{clip}: see {tmp_path}/out/clip.mp4" in said
        assert ("no clip: b.mp4: no such file" in said) == (status == 1)


CHANGE = Transition(
    datetime(2024, 5, 1, tzinfo=timezone.utc),
    "rtsp://cam/1",
    StreamState.RUNNING,
    StreamState.BACKING_OFF,
    Cause.ENDED,
    "the server ended the stream",
    0.5,
)


def test_watch_prints_verdicts_and_tells_changes_on_stderr(app: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    again = dataclasses.replace(CHANGE, retry_in=0.7)
    stand_in = watches(monkeypatch, CHANGE, again, verdict("rtsp://cam/1", Label.FAKE, 0.97))
    done = CliRunner().invoke(app, ["watch", "rtsp://cam/1", "--for", "5"])
    assert done.exit_code == 0, done.output
    stop = stand_in.options.pop("stop")
    assert isinstance(stop, threading.Event)
    assert not stop.is_set()
    assert stand_in.options == {"follow": None, "seconds": 5.0}
    assert stand_in.settings.engine == load_settings(pipeline="live").engine
    assert done.stdout.split() == [
        "0:12.0", "fake", "0.97", "rtsp://cam/1", "forged", "0:04.0–0:07.5"
    ]  # fmt: skip
    assert "backing_off (ended): the server ended the stream; trying again in 0.5 s" in done.stderr
    assert done.stderr.count("backing_off") == 1, "the same again is no news"


def test_watch_writes_json_lines(app: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    watches(monkeypatch, CHANGE, verdict("rtsp://cam/1", Label.REAL, 0.1), verdict("rtsp://cam/1", Label.REAL, 0.2))
    done = CliRunner().invoke(app, ["watch", "rtsp://cam/1", "--json"])
    assert [json.loads(line)["score"] for line in done.stdout.splitlines()] == [0.1, 0.2]


def test_watch_ends_with_1_where_a_stream_never_came(app: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    watches(monkeypatch, failed("rtsp://cam/1"))
    assert CliRunner().invoke(app, ["watch", "rtsp://cam/1"]).exit_code == 1


def test_watch_takes_the_streams_of_the_settings(
    app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = watches(monkeypatch)
    config = tmp_path / "config.yaml"
    config.write_text("streams: [{url: 'rtsp://cam/1'}, {url: 'rtsp://cam/2'}]\n")
    assert CliRunner().invoke(app, ["watch", "--config", str(config)]).exit_code == 0
    assert stand_in.inputs == ["rtsp://cam/1", "rtsp://cam/2"]


def test_a_stream_is_called_by_the_name_that_the_settings_give_it(
    app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watches(
        monkeypatch,
        dataclasses.replace(CHANGE, source="rtsp://***@cam/1"),
        verdict("rtsp://***@cam/1", Label.REAL, 0.1),
    )
    config = tmp_path / "config.yaml"
    config.write_text("streams: [{url: 'rtsp://u:p@cam/1', name: studio 1}]\n")
    done = CliRunner().invoke(app, ["watch", "--config", str(config)])
    assert "0.10  studio 1" in done.stdout
    assert "studio 1 backing_off (ended)" in done.stderr


def test_a_terminal_shows_the_board(app: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    watches(monkeypatch, CHANGE, verdict("rtsp://cam/1", Label.FAKE, 0.97))
    monkeypatch.setattr("streamwatch.cli.watch._in_a_terminal", lambda: True)
    done = CliRunner().invoke(app, ["watch", "rtsp://cam/1"])
    assert done.exit_code == 0, done.output
    assert "backing_off (ended): the server ended the stream" in done.stdout
    last = next(line for line in reversed(done.stdout.splitlines()) if line.startswith("rtsp://cam/1"))
    assert last.split()[1:2] == ["backing_off"]
    assert last.split()[-2:] == ["fake", "0.97"]


def test_watch_without_streams_is_bad_usage(app: typer.Typer) -> None:
    assert CliRunner().invoke(app, ["watch"]).exit_code == 2


def test_a_stopped_watch_is_done(app: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = watches(monkeypatch, verdict("rtsp://cam/1", Label.REAL, 0.1), KeyboardInterrupt)
    assert CliRunner().invoke(app, ["watch", "rtsp://cam/1"]).exit_code == 0
    assert stand_in.closed


def test_a_termination_signal_stops_as_an_interrupt() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), running.stoppable():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupt_that_was_lost_in_a_finaliser_is_raised_again(number: signal.Signals) -> None:
    class Finalised:
        def __del__(self) -> None:
            with contextlib.suppress(KeyboardInterrupt):  # as Python does, with a line on standard error
                signal.raise_signal(number)

    with running.stoppable() as check:
        check()
        Finalised()
        with pytest.raises(KeyboardInterrupt):
            check()


def test_a_first_signal_lets_a_watch_end_and_a_second_one_interrupts_it() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with running.drained() as over:
        signal.raise_signal(signal.SIGTERM)
        assert over.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_scan_from_python(clip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = scans(monkeypatch, verdict(clip, Label.REAL, 0.1))
    (found,) = streamwatch.scan([Path(clip)], store="sqlite:///mine.db")
    assert found.label is Label.REAL
    assert stand_in.settings.store.url == "sqlite:///mine.db"
    assert stand_in.options == {"store": True, "resume": True}
    list(streamwatch.scan([clip]))
    assert stand_in.options["store"] is False


def test_the_public_names_are_there() -> None:
    for name in streamwatch.__all__:
        assert getattr(streamwatch, name) is not None
    with pytest.raises(AttributeError):
        streamwatch.nothing  # type: ignore[attr-defined]  # noqa: B018
