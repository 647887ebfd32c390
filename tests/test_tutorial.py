"""The tutorial, as a new user runs it: its commands word for word, and of their output what it shows."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamwatch.cli.main import app
from streamwatch.detectors import weights_path
from streamwatch.errors import WeightsError
from tests.support.paths import ROOT

PROMPT = "    $ "


@dataclass
class Step:
    """A command, and the lines that the page shows of its output."""

    command: str
    shown: list[str] = field(default_factory=list)


def steps(page: str) -> Iterator[Step]:
    step: Step | None = None
    for line in page.splitlines():
        if line.startswith(PROMPT):
            if step is not None:
                yield step
            step = Step(line.removeprefix(PROMPT))
        elif line.startswith("    ") and step is not None:
            step.shown.append(line.strip())
    if step is not None:
        yield step


def matches(shown: str, line: str) -> bool:
    pattern = ".*".join(re.escape(part) for part in re.sub(r" +", " ", shown).split("…"))
    return re.match(pattern, re.sub(r" +", " ", line.strip())) is not None


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.usefixtures("local_cluster")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray leaves its own sockets to the collector
def test_every_step_does_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        weights_path("m2tr-lite")
    except WeightsError:
        pytest.skip("no weights ship in this checkout")
    monkeypatch.chdir(tmp_path)
    alert, done = "ID", []
    for step in steps((ROOT / "docs" / "tutorial.md").read_text()):
        program, *arguments = shlex.split(step.command.replace("ID", alert))
        if program == "export":
            name, _, value = arguments[0].partition("=")
            monkeypatch.setenv(name, value)
            continue
        assert program == "streamwatch"
        found = CliRunner().invoke(app, arguments)
        assert found.exit_code == 0, f"{step.command}\n{found.output}"
        if arguments[:2] == ["alerts", "list"]:
            alert = found.stdout.splitlines()[1].split()[0]
        rest = iter(found.stdout.splitlines())
        for shown in step.shown:
            expected = shown.replace("ID", alert)
            assert any(matches(expected, line) for line in rest), f"{expected!r} is not in\n{found.stdout}"
        done.append(step.command)
    assert len(done) == 11
    for path in ("demo/annotated.mp4", "annotated/clip.mp4", "results.jsonl", "report.html", "alerts.csv", "copy.db"):
        assert (tmp_path / path).stat().st_size > 100, path
    results = {result["source"]: result for result in map(json.loads, (tmp_path / "results.jsonl").open())}
    clip = results["demo/clip.mp4"]
    assert clip["model"]["name"] == "m2tr-lite"
    assert [clip["frames"][kind] for kind in ("decoded", "sampled", "analysed", "dropped", "corrupt")] == [
        300,
        24,
        24,
        0,
        0,
    ]
    assert len(list((tmp_path / "evidence").glob("*.png"))) >= 2


def test_a_line_that_differs_is_not_taken_for_the_one_shown() -> None:
    assert matches("verdict fake, score 0.9…", "verdict  fake, score 0.95 (forged span)")
    assert not matches("verdict fake, score 0.9…", "verdict  real, score 0.95")
    assert not matches("… fake", "verdict real")
