"""Names that would move the cursor, change the terminal or turn the direction of reading never reach it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from streamwatch.cli.main import app, main
from streamwatch.records import Failure
from streamwatch.sources import Input, Location
from streamwatch.sources.states import Cause, StreamState, Transition
from streamwatch.store import Store
from streamwatch.store.jobs import InputOutcome
from tests.support.builders import CONFIG, MODEL, NOON, full_verdict, make_alert

EVIL = "a\x1b[2J\x1b]0;title\x07b\r\n\u202egpj.exe\u2066\x9b31m\u200f\x7f"
FORBIDDEN = set(EVIL) - set("a[2J]0;titleb\ngpj.exe31m") | {"\r"}


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    with Store.open(url) as store:
        run = store.begin_run("watch", "{}", CONFIG)
        alert = make_alert("alert-1", f"/archive/{EVIL}.mp4", reason=EVIL)
        store.save_verdict(run, full_verdict(f"/archive/{EVIL}.mp4", alerts=(alert,), reason=EVIL))
        store.save_verdict(run, full_verdict(f"/copies/{EVIL}.mp4", alerts=(alert,), reason=EVIL))
        store.review("alert-1", comment=EVIL, by=EVIL)
        change = Transition(NOON, f"rtsp://camera/{EVIL}", StreamState.RUNNING, StreamState.FAILED, Cause.REFUSED, EVIL)
        store.save(run, [change])
        job = store.jobs.begin([Input(Location(f"/archive/{EVIL}.mp4"), {EVIL: EVIL})], MODEL, CONFIG)
        store.jobs.settle(job, [InputOutcome(1, None, Failure("SourceUnreadable", EVIL))])
    return url


@pytest.mark.parametrize(
    "command",
    [
        "alerts list",
        "alerts show alert-1",
        "alerts export --format edl",
        "alerts export --format csv --output {folder}/alerts.csv",
        "verdicts list",
        "streams list",
        "streams history",
        "jobs list",
        "jobs show 1",
        "alerts list --json",
        "verdicts list --json",
    ],
)
def test_listings(url: str, tmp_path: Path, command: str) -> None:
    done = CliRunner().invoke(app, [*command.format(folder=tmp_path).split(), "--store", url])
    assert done.exit_code == 0, done.exception
    assert not FORBIDDEN & set(done.output)


def test_time_lines_say_where_they_lie(url: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["alerts", "export", "--format", "vtt", "--output", str(tmp_path / "marks"), "--store", url]
    )
    assert done.exit_code == 0, done.exception
    assert "/archive/a\\x1b[2J" in done.stderr
    assert not FORBIDDEN & set(done.output)


def test_names_of_streams(tmp_path: Path) -> None:
    store = ["--store", f"sqlite:///{tmp_path / 'store.db'}"]
    for command in (["add", "rtsp://camera/1", "--name", EVIL], ["pause", EVIL], ["resume", EVIL], ["remove", EVIL]):
        done = CliRunner().invoke(app, ["streams", *command, *store])
        assert done.exit_code == 0, done.exception
        assert not FORBIDDEN & set(done.output)


def test_cards(tmp_path: Path) -> None:
    card = Path(__file__).parents[2] / "streamwatch" / "weights" / "texture.yaml"
    values = yaml.safe_load(card.read_text(encoding="utf-8"))
    values |= {"licence": EVIL, "metrics": {EVIL: 0.5}}
    (tmp_path / "evil.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    (tmp_path / "evil.safetensors").touch()
    done = CliRunner().invoke(app, ["models", "show", str(tmp_path / "evil.safetensors")])
    assert done.exit_code == 0, done.exception
    assert not FORBIDDEN & set(done.output)


def test_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["config", "check", f"{tmp_path}/\u202e\x1b[2J.yaml"])
    said = capsys.readouterr().err
    assert "\\u202e\\x1b[2J.yaml" in said
    assert not FORBIDDEN & set(said)
