"""The log: where it goes, in which form, and what is kept out of it."""

from __future__ import annotations

import io
import json
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from streamwatch import logs
from streamwatch.archive.scan import iter_scan
from streamwatch.archive.worker import FileWorker
from streamwatch.cli import common
from streamwatch.cli.main import main
from streamwatch.cluster.detector import DetectorActor
from streamwatch.config import LogSettings, Settings
from streamwatch.detectors.protocol import ScoreArrays
from streamwatch.errors import ClusterError, ConfigError, DetectorError
from streamwatch.fusion import Subject
from streamwatch.live.background import Hooks, Supervisor
from streamwatch.live.feed import Feed
from streamwatch.live.stream import LiveStream
from streamwatch.pipeline.analyser import Analyser, Analysis, SegmentPlan
from streamwatch.pipeline.plan import Plan
from streamwatch.records import Label
from streamwatch.sources import Location
from streamwatch.sources.process import DecoderDied, DecodingProcess
from streamwatch.sources.redact import redact_text
from tests.support.face_clips import face_clip
from tests.support.small_detectors import settings_for, untrained_detector

URL = "rtsp://user:p4ss@cam.example/1"
MASKED = "rtsp://***@cam.example/1"


@pytest.fixture(autouse=True)
def own_logger() -> Iterator[None]:
    """The logger of the package as in a program that has not configured it; after the test as it was before."""
    logger = logging.getLogger(logs.ROOT)
    before = logger.handlers[:], logger.level, logger.propagate
    logger.handlers[:], logger.propagate = [h for h in logger.handlers if not isinstance(h, logs.StandardError)], True
    logger.setLevel(logging.NOTSET)
    yield
    logger.handlers[:], logger.level, logger.propagate = before
    logger.setLevel(before[1])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_detector(tmp_path_factory.mktemp("weights"))


def lines(text: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in text.splitlines()]


def fail() -> None:
    try:
        raise ValueError(f"no pictures from {URL}")
    except ValueError as error:
        raise RuntimeError(f"\x1b[36mbroken\x1b[0m: {URL}, postgresql+psycopg://me:s3cret@db/x\x07") from error


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"from '{URL}', again", f"from '{MASKED}', again"),
        (f'["{URL}","http://a:b@c/d"]', f'["{MASKED}","http://***@c/d"]'),
        ("rtsp://cam/1,rtsp://a:b@c/d", "rtsp://cam/1,rtsp://***@c/d"),
        ("rtsp://u:p/w?d@cam/1", "rtsp://***@cam/1"),
        ("rtsp://u:a://b@cam/1", "rtsp://***@cam/1"),
        ("rtsp://u:p'w\"d@cam/1", "rtsp://***@cam/1"),
        ("s3://bucket/key?X-Amz-Signature=abc&part=1", "s3://bucket/key?X-Amz-Signature=***&part=1"),
        ("me@example.com: 10/100", "me@example.com: 10/100"),
        ("https://docs.example/x?page=2", "https://docs.example/x?page=2"),
    ],
)
def test_urls_in_a_text_lose_their_credentials(text: str, masked: str) -> None:
    assert redact_text(text) == masked
    assert redact_text(masked) == masked


def test_a_long_text_is_no_work() -> None:
    text = f"{'x' * 300_000} http://host/{'y' * 300_000} {URL}"
    assert redact_text(text) == text.replace(URL, MASKED)


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_credentials_nor_control_characters_in_a_traceback(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings.model_validate({"format": form}))
    try:
        fail()
    except RuntimeError:
        logging.getLogger("streamwatch.somewhere").exception("%s: it failed", URL)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert not {"p4ss", "s3cret", "user"} & set(shown.err.replace("/", " ").replace(":", " ").replace("@", " ").split())
    assert "\x1b" not in shown.err
    assert "\x07" not in shown.err
    if form == "json":
        (line,) = lines(shown.err)
        assert set(line) == {"time", "level", "logger", "message", "exception"}
        assert (line["level"], line["logger"]) == ("error", "streamwatch.somewhere")
        assert line["message"] == f"{MASKED}: it failed"
        assert line["time"].endswith("+00:00")
        trace = line["exception"]
    else:
        first, trace = shown.err.split("\n", 1)
        assert first.endswith(f" ERROR streamwatch.somewhere: {MASKED}: it failed")
    assert f"ValueError: no pictures from {MASKED}" in trace
    assert "The above exception was the direct cause" in trace
    assert f"RuntimeError: broken: {MASKED}, postgresql+psycopg://***@db/x" in trace


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_another_handler_made_of_a_traceback_is_not_taken_over(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The formatters of Python keep the text of a traceback in the record, for those that come after them."""
    logger = logging.getLogger(logs.ROOT)
    logger.addHandler(logging.StreamHandler(io.StringIO()))
    logs.configure(LogSettings.model_validate({"format": form}))
    try:
        fail()
    except RuntimeError:
        logger.exception("it failed")
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "p4ss" not in shown


def test_a_message_is_one_line_whatever_a_file_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings())
    logging.getLogger("streamwatch").warning("%s", "a\n2026-01-01 ERROR streamwatch: b\x1b[2J.mp4")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(r"WARNING streamwatch: a\n2026-01-01 ERROR streamwatch: b\x1b[2J.mp4")


def test_the_level_decides_and_a_second_call_replaces_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("streamwatch.somewhere")
    for settings in (LogSettings(level="debug"), LogSettings(), LogSettings(format="json")):
        logs.configure(settings)
    logger.info("no news")
    logger.warning("news")
    assert [line["message"] for line in lines(capsys.readouterr().err)] == ["news"]
    logs.configure(LogSettings(level="debug"))
    logger.debug("no news")
    assert capsys.readouterr().err.endswith("DEBUG streamwatch.somewhere: no news\n")


def test_a_line_comes_above_a_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings())
    terminal = Console(force_terminal=True, width=100)
    with Progress(console=terminal) as bar:
        bar.add_task("scanning", total=2, completed=1)
        bar.refresh()
        logging.getLogger("streamwatch").warning("a word")
        bar.refresh()
    shown = capsys.readouterr()
    assert shown.err == "", "not written past the bar"
    before, after = shown.out.split("WARNING streamwatch: a word")
    assert "scanning" in before
    assert after.count("scanning") >= 1


def test_a_library_says_nothing_by_itself(capfd: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("streamwatch.somewhere").handle(
        logging.LogRecord("streamwatch.somewhere", logging.ERROR, "", 0, "said %s", (URL,), None)
    )
    assert "said" not in capfd.readouterr().err


# ── the command line ──


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def broken(*_: object) -> None:
    fail()


def test_an_unexpected_error_is_logged_with_its_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("streamwatch.cli.config.load_settings", broken)
    assert run("config", "check", "config.yaml") == 1
    shown = capsys.readouterr().err
    assert " CRITICAL streamwatch.cli.main: " in shown.splitlines()[0]
    assert shown.splitlines()[1] == "Traceback (most recent call last):"
    assert "p4ss" not in shown
    assert run("--log-json", "config", "check", "config.yaml") == 1
    (line,) = lines(capsys.readouterr().err)
    assert (line["level"], "RuntimeError: broken" in line["exception"]) == ("critical", True)


def test_an_error_on_purpose_has_a_traceback_where_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    message = "streamwatch: nowhere.yaml: no such file; name one: streamwatch config check FILE"
    assert run("config", "check", "nowhere.yaml") == 2
    assert capsys.readouterr().err.splitlines() == [message]
    assert run("--log-level", "debug", "--log-json", "config", "check", "nowhere.yaml") == 2
    first, last = capsys.readouterr().err.splitlines()
    assert "ConfigError: nowhere.yaml" in json.loads(first)["exception"]
    assert last == message


def test_options_stand_above_the_environment_and_that_above_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("log: {level: info, format: json}\n", encoding="utf-8")
    logger = logging.getLogger(logs.ROOT)
    assert common.read_settings(file).log == LogSettings(level="info", format="json")
    assert logger.level == logging.INFO
    monkeypatch.setenv("STREAMWATCH__LOG__LEVEL", "error")
    assert common.read_settings(file).log.level == "error"
    with common.log_options("debug", as_json=False):
        assert logger.level == logging.DEBUG
        assert common.read_settings(file).log == LogSettings(level="debug", format="json")
    with common.log_options(None, as_json=True):
        assert common.read_settings().log == LogSettings(level="error", format="json")
    assert os.environ["STREAMWATCH__LOG__LEVEL"] == "error"
    assert "STREAMWATCH__LOG__FORMAT" not in os.environ


def test_mistaken_settings_are_told_by_the_command_that_needs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMWATCH__FACES__THRESHOLD", "99")
    with common.log_options("debug", as_json=False):
        assert logging.getLogger(logs.ROOT).level == logging.DEBUG
        with pytest.raises(ConfigError, match=r"faces\.threshold"):
            common.read_settings()


# ── exceptions of workers ──


class BrokenClient:
    """A detector that fails unexpectedly."""

    def submit(self, crops: NDArray[np.uint8]) -> Any:
        raise DetectorError("the detector failed") from ValueError("no such kernel")


def test_a_detector_that_fails_leaves_its_traceback(weights: Path, tmp_path: Path) -> None:
    clip = face_clip(tmp_path / "clip.mp4", seconds=1.0)
    analyser = Analyser(Plan.resolve(settings_for(weights)), BrokenClient())
    whole = analyser.analyse(str(clip))
    assert whole.verdict.label is Label.ERROR
    assert "ValueError: no such kernel" in whole.traceback
    assert analyser.analyse(str(tmp_path / "missing.mp4")).traceback == "", "an error with a name of its own"


def test_a_feed_that_fails_ends_its_stream_with_the_exception(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = face_clip(tmp_path / "clip.mp4", seconds=1.0)
    monkeypatch.setattr(Feed, "_read", broken)
    shown: list[object] = []
    stream = LiveStream(Plan.resolve(settings_for(weights)), BrokenClient(), Location(clip), deliver=shown.append)
    with pytest.raises(RuntimeError, match="broken"):
        stream.run(threading.Event())
    assert shown == [], "it has not stopped: it failed"


def test_a_decoder_that_fails_leaves_its_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = Settings()
    process = DecodingProcess()
    try:
        process.open(None, settings.decode, settings.sampling, live=False)  # type: ignore[arg-type]  # what breaks it
        with pytest.raises(DecoderDied) as died:
            process.receive(30.0)
    finally:
        process.kill()
    assert died.value.traceback.startswith("Traceback")

    def dies(_: object) -> None:
        raise DecoderDied(died.value.traceback)

    monkeypatch.setattr(Feed, "_read", dies)
    logs.configure(LogSettings(format="json"))
    feed = Feed(Location(tmp_path / "clip.mp4"), settings)
    feed.start()
    feed.stop()
    (line,) = lines(capsys.readouterr().err)
    assert line["logger"] == "streamwatch.live.feed"
    assert died.value.traceback.splitlines()[-1] in line["exception"]
    assert str(feed.failure) == f"{tmp_path / 'clip.mp4'}: the process that decoded it died"


def test_a_watch_in_the_background_that_fails_leaves_its_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # it changes its working folder
    hooks = Hooks(follow=lambda: None, listen=broken)  # type: ignore[arg-type]  # what breaks it
    supervisor = Supervisor(Settings(log=LogSettings(format="json")), hooks, tmp_path)
    with pytest.raises(ClusterError, match="broke off") as told:
        supervisor.stop()
    assert isinstance(told.value.__cause__, RuntimeError), "for the traceback in Ray's error"
    assert "p4ss" not in str(told.value)
    (line,) = lines(capsys.readouterr().err)
    assert (line["level"], line["logger"]) == ("error", "streamwatch.live.background")
    assert f"ValueError: no pictures from {MASKED}" in line["exception"]


class OddWorker(FileWorker):
    """Fails unexpectedly on one file."""

    def begin(self, subject: Subject, source: Location, trace: bool, segment: float) -> Analysis | SegmentPlan:
        if "odd" in source.text:
            logger = logging.getLogger(logs.ROOT)
            raise LookupError(f"{URL} at level {logger.level}, {type(logger.handlers[-1].formatter).__name__}")
        return super().begin(subject, source, trace, segment)


class OddDetector(DetectorActor):
    """Fails on every batch."""

    async def score(self, client: str, crops: NDArray[np.uint8]) -> ScoreArrays:
        raise DetectorError("the detector failed") from ValueError("no such kernel")


@pytest.mark.ray
@pytest.mark.slow
def test_a_scan_logs_what_its_processes_raise(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("streamwatch.archive.pool.FileWorker", OddWorker)
    monkeypatch.setattr("streamwatch.cluster.detector.DetectorActor", OddDetector)
    clips = [face_clip(tmp_path / name, seconds=1.0, start=start) for start, name in enumerate(("odd.mp4", "clip.mp4"))]
    settings = settings_for(weights, engine={"workers": 1}, log={"level": "info", "format": "json"})
    logs.configure(settings.log)
    verdicts = [analysis.verdict for analysis in iter_scan([str(clip) for clip in clips], settings, store=False)]
    found = {verdict.source: verdict.failure for verdict in verdicts}
    odd, clip = (found[str(path)] for path in clips)
    assert odd is not None
    assert (odd.kind, odd.message) == ("LookupError", f"{clips[0]}: {MASKED} at level 20, JsonFormatter")
    assert clip is not None
    assert (clip.kind, clip.message) == ("DetectorError", "the detector failed")
    shown = capsys.readouterr().err
    assert "p4ss" not in shown
    of_odd, of_clip = sorted(lines(shown), key=lambda line: "clip.mp4" in line["message"])
    assert of_odd["message"] == f"{clips[0]}: its worker failed"
    assert "in begin" in of_odd["exception"]
    assert f"{MASKED} at level 20" in of_odd["exception"]
    assert of_clip["message"] == f"{clips[1]}: the detector failed"
    assert "ValueError: no such kernel" in of_clip["exception"], "from the detector through the worker to here"
