"""What other distributions add: the examples of `docs/extending.md`, installed and run, and broken ones."""

from __future__ import annotations

import configparser
import gzip
import importlib
import io
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamwatch import doctor
from streamwatch.cli.alerts import export_formats
from streamwatch.cli.main import app
from streamwatch.config import DecodeSettings, Settings, SinkSettings
from streamwatch.detectors import ReasoningDetector, load_detector, registered, registry, weights_path
from streamwatch.errors import ConfigError, SourceRefused, SourceTimeout
from streamwatch.extensions import DETECTORS, FORMATS, POINTS, SOURCES
from streamwatch.formats.tables import table_formats, write_table
from streamwatch.formats.timelines import TimelineFormat
from streamwatch.fusion import Subject, error_verdict
from streamwatch.pipeline.analyser import Analyser
from streamwatch.pipeline.plan import Plan
from streamwatch.pipeline.scoring import LocalClient
from streamwatch.records import Failure, ModelRef
from streamwatch.sinks import Courier, SinkFailure
from streamwatch.sinks.opening import open_sink
from streamwatch.sources import Location, VideoSource, container
from streamwatch.sources.container import check_watchable
from streamwatch.sources.location import OBJECT_STORES
from streamwatch.store import Store
from streamwatch.store.deliveries import Delivery
from tests.support.builders import make_outage
from tests.support.face_clips import face_clip
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "extending.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def install(site: Path, name: str, files: dict[str, str], points: dict[str, dict[str, str]]) -> Path:
    """A distribution as pip leaves it: its files, and a `.dist-info` beside them. points: names by group."""
    for path, text in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text, encoding="utf-8")
    about = site / f"{name.replace('-', '_')}-1.2.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n", encoding="utf-8")
    lines = [
        line for group, named in points.items() for line in (f"[{group}]", *(f"{k} = {v}" for k, v in named.items()))
    ]
    (about / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    return site


def install_examples(site: Path) -> Path:
    """The files of the page, each named in its first line, and its entry points."""
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    toml = configparser.ConfigParser()
    toml.read_string("\n".join(text for kind, text in blocks if kind == "toml"))
    points = {
        section.split('"')[1]: {name: value.strip('"') for name, value in toml[section].items()}
        for section in toml.sections()
    }
    files = {"streamwatch_example/__init__.py": ""}
    for kind, text in blocks:
        if kind != "toml":
            first, _, rest = text.partition("\n")
            files[first.removeprefix("# ")] = text if kind == "python" else rest
    return install(site, "streamwatch-example", files, points)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_examples(tmp_path_factory.mktemp("site"))


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The examples, on the path of this process."""
    monkeypatch.syspath_prepend(site)
    yield site
    for name in [name for name in sys.modules if name.partition(".")[0] == "streamwatch_example"]:
        del sys.modules[name]


def run(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python of its own, which finds the distributions at `site`."""
    path = os.pathsep.join((str(site), str(ROOT)))
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
        timeout=240,
    )


COMMAND = ("-c", "from streamwatch.cli.main import main; main()")


@pytest.mark.slow
@pytest.mark.ray
def test_a_scan_takes_sources_and_a_detector_of_another_distribution_and_exports_in_its_format(
    site: Path, tmp_path: Path
) -> None:
    packed = tmp_path / "clip.mp4.gz"
    packed.write_bytes(gzip.compress(face_clip(tmp_path / "clip.mp4").read_bytes()))
    store = ("--store", f"sqlite:///{tmp_path / 'store.db'}")
    absent = f"gz://{tmp_path / 'absent.gz'}"
    done = run(
        site, *COMMAND, "scan", f"gz://{packed}", absent, "--model", "redness", "--device", "cpu", *store, "--json"
    )
    assert done.returncode == 1, done.stderr  # one of two failed
    found = {line["source"]: line for line in map(json.loads, done.stdout.splitlines())}
    verdict = found[f"gz://{packed}"]
    assert verdict["error"] is None, done.stderr
    assert verdict["model"]["name"] == "redness"
    assert verdict["frames"]["analysed"] >= 6
    assert verdict["score"] > 0.5  # a warm face
    assert found[absent]["error"] == {"kind": "SourceNotFound", "message": f"{absent}: no such file"}
    done = run(site, *COMMAND, "verdicts", "export", *store, "--format", "md", "--output", str(tmp_path / "table.md"))
    assert done.returncode == 0, done.stderr
    head, rule, *rows = (tmp_path / "table.md").read_text(encoding="utf-8").splitlines()
    assert head.startswith("| verdict_id | source |")
    assert set(rule) == set("| -")
    assert len(rows) == 2
    assert f"gz://{packed}" in "".join(rows)


DELIVER = """
import sys
from streamwatch.config import Settings
from streamwatch.errors import SourceTimeout
from streamwatch.fusion import Subject, error_verdict
from streamwatch.pipeline.analyser import Analyser
from streamwatch.pipeline.plan import Plan
from streamwatch.pipeline.scoring import LocalClient
from streamwatch.records import Alert, AlertKind, Failure, Label, ModelRef
from streamwatch.sinks import Courier
from streamwatch.store import Store

store_file, log = sys.argv[1:]
settings = Settings(sinks=[{"name": "file", "url": f"log://{log}"}])
store = Store.open(f"sqlite:///{store_file}")
run = store.begin_run("watch", "{}", "c" * 64)
alert = Alert("a1", "rtsp://cam", None, 0.0, None, None, None, Label.ERROR, 1, kind=AlertKind.DOWN, reason="gone")
verdict = error_verdict(
    Subject("rtsp://cam", None, ModelRef("m", "b" * 64), "c" * 64, "p"), SourceTimeout("gone"), alerts=[alert]
)
store.save(run, [verdict], settings.sinks)
courier = Courier(store, settings.sinks)
print(courier.work())
courier.close()
"""


def test_alerts_are_delivered_by_a_sink_of_another_distribution(site: Path, tmp_path: Path) -> None:
    log = tmp_path / "alerts.log"
    done = run(site, "-c", DELIVER, str(tmp_path / "store.db"), str(log))
    assert done.stdout == "[]\n", done.stderr
    (line,) = log.read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["alert"]["id"] == "a1"
    refused = run(site, "-c", DELIVER, str(tmp_path / "other.db"), str(tmp_path / "absent" / "alerts.log"))
    assert "SinkFailure(sink='file', message='cannot write (No such file or directory)')" in refused.stdout


def test_what_is_added_is_listed_beside_what_is_built_in(installed: Path) -> None:
    assert registered() == ["m2tr-lite", "m2tr-b4", "statistics", "texture", "redness"]
    assert table_formats() == ["jsonl", "csv", "parquet", "md"]
    assert export_formats() == [*table_formats(), "vtt", "otio", "edl", "fcpxml"]
    assert weights_path("redness").name == "redness.txt"
    assert [(check.status.value, check.detail) for check in doctor.extensions()] == [
        ("ok", "redness of streamwatch.detectors"),
        ("ok", "gz of streamwatch.sources"),
        ("ok", "log of streamwatch.sinks"),
        ("ok", "md of streamwatch.formats"),
    ]
    shown = CliRunner().invoke(app, ["models", "list", "--json"])
    assert json.loads(shown.stdout)[-1]["card"]["preset"] == {"kind": "redness", "options": {}}


def test_a_detector_of_another_distribution_is_loaded_by_name_and_by_path(installed: Path, tmp_path: Path) -> None:
    detector = load_detector("redness")
    assert (detector.name, detector.input_size) == ("redness", 64)
    assert not isinstance(detector, ReasoningDetector)
    own = tmp_path / "mine.txt"
    own.write_text("-8.0")
    own.with_suffix(".yaml").write_bytes(weights_path("redness").with_suffix(".yaml").read_bytes())
    assert load_detector(own).slope == -8.0  # type: ignore[attr-defined]


def test_a_packed_video_is_analysed_by_a_detector_of_another_distribution(installed: Path, tmp_path: Path) -> None:
    packed = tmp_path / "clip.mp4.gz"
    packed.write_bytes(gzip.compress(face_clip(tmp_path / "clip.mp4").read_bytes()))
    resolved = Plan.resolve(Settings(detector={"model": "redness", "device": "cpu"}))
    plan: Plan = pickle.loads(pickle.dumps(resolved))  # noqa: S301 - as it goes to the workers
    assert plan == resolved
    analyser = Analyser(plan, LocalClient(load_detector(plan.weights, "cpu")))
    verdict = analyser.analyse(f"gz://{packed}").verdict
    assert verdict.failure is None
    assert verdict.model.name == "redness"
    assert verdict.frames.analysed == 8
    assert verdict.score is not None
    assert verdict.score > 0.5  # a warm face
    absent = analyser.analyse(f"gz://{tmp_path / 'absent.gz'}").verdict
    assert absent.failure == Failure("SourceNotFound", f"gz://{tmp_path / 'absent.gz'}: no such file")


def test_a_source_of_another_distribution_that_cannot_seek_is_a_stream(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = face_clip(tmp_path / "clip.ts", seconds=1.0)

    class Pipe:
        def __init__(self, url: str, decode: DecodeSettings) -> None:
            self.file = clip.open("rb")
            self.read, self.close = self.file.read, self.file.close

    monkeypatch.setattr(importlib.import_module("streamwatch_example.source"), "open_gz", Pipe)
    with VideoSource("gz://user:hidden@host/live") as source:
        assert source.live
        assert sum(1 for _ in source.decoded()) == 10
    check_watchable(Location("gz://host/live"))


def test_a_source_that_fails_while_it_is_read_is_an_error_of_that_source(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = face_clip(tmp_path / "clip.ts").read_bytes()

    class Breaking:
        def __init__(self, url: str, decode: DecodeSettings) -> None:
            self.left = [data[: len(data) // 2]]

        def read(self, size: int) -> bytes:
            if not self.left:
                raise KeyError("hidden")
            block, rest = self.left[0][:size], self.left[0][size:]
            self.left = [rest] if rest else []
            return block

        def close(self) -> None:
            pass

    monkeypatch.setattr(importlib.import_module("streamwatch_example.source"), "open_gz", Breaking)
    said = r"gz://\*\*\*@host/x: cannot be read \(KeyError\)"
    with pytest.raises(SourceRefused, match=said) as caught, VideoSource("gz://user:hidden@host/x") as source:
        list(source.decoded())
    assert "hidden" not in str(caught.value)


def test_a_name_of_the_programs_own_cannot_be_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = dict.fromkeys(("m2tr-lite", "statistics"), "nowhere:Thing")
    points = {
        "streamwatch.detectors": mine,
        "streamwatch.sources": dict.fromkeys(("rtsp", "s3"), "nowhere:thing"),
        "streamwatch.sinks": {"https": "nowhere:Thing"},
        "streamwatch.formats": dict.fromkeys(("csv", "vtt"), "nowhere:thing"),
    }
    monkeypatch.syspath_prepend(install(tmp_path / "site", "bad-actor", {}, points))
    named = r"of bad-actor 1\.2: the name .* is built in; .*pip uninstall bad-actor"
    with pytest.raises(ConfigError, match=named):
        weights_path("m2tr-lite")
    with pytest.raises(ConfigError, match=named):
        load_detector("statistics")
    for url in ("rtsp://camera/1", "s3://bucket/clip.mp4"):
        with pytest.raises(ConfigError, match=named):
            VideoSource(url)
    with pytest.raises(ConfigError, match=named):
        check_watchable(Location("rtsp://camera/1"))
    with pytest.raises(ConfigError, match=named):
        open_sink(SinkSettings(name="desk", url="https://x", secret="y"))
    for form in ("csv", "vtt"):
        done = CliRunner().invoke(
            app, ["alerts", "export", "--format", form, "--store", f"sqlite:///{tmp_path / 'x.db'}"]
        )
        assert isinstance(done.exception, ConfigError)
        assert re.search(named, str(done.exception))
    assert all(point.names() == [*point.builtin] for point in POINTS)
    assert [check.status for check in doctor.extensions()] == [doctor.Status.FAIL] * 7
    check_watchable(Location("rtmp://others/go/on"))


FAILING = """
from pathlib import Path

class Sink:
    def __init__(self, settings): raise KeyError("x")

class Seer:
    weights = Path(__file__).with_name("seer.txt")
    @classmethod
    def load(cls, weights, **options): raise KeyError("x")

def write(rows, columns, file): raise KeyError("x")
"""


def test_a_broken_distribution_is_named_and_others_go_on(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = (
        weights_path("redness").with_suffix(".yaml").read_text(encoding="utf-8").replace("kind: redness", "kind: seer")
    )
    files = {
        "broken_example.py": "import not_there_at_all\n",
        "failing_example.py": FAILING,
        "seer.txt": "",
        "seer.yaml": card,
    }
    points = {
        "streamwatch.detectors": {"oracle": "broken_example:Oracle", "seer": "failing_example:Seer"},
        "streamwatch.sources": {"tape": "broken_example:open_tape"},
        "streamwatch.sinks": {"pager": "broken_example:Pager", "horn": "failing_example:Sink"},
        "streamwatch.formats": {"xls": "broken_example:write", "odt": "failing_example:write"},
    }
    monkeypatch.syspath_prepend(install(tmp_path / "site", "half-written", files, points))
    of = r"of half-written 1\.2"
    fix = "; update it or remove it: pip uninstall half-written"
    unloaded = rf"{of} cannot be loaded \(ModuleNotFoundError: .*not_there_at_all.*\){fix}"
    failed = rf"{of} failed \(KeyError: 'x'\){fix}"
    with pytest.raises(ConfigError, match=rf"streamwatch\.detectors: oracle = broken_example:Oracle {unloaded}"):
        load_detector("oracle")
    with pytest.raises(ConfigError, match=f"seer = failing_example:Seer {failed}"):
        load_detector("seer")
    for attempt in (check_watchable, VideoSource):
        with pytest.raises(ConfigError, match=f"tape = broken_example:open_tape {unloaded}"):
            attempt(Location("tape://17"))
    with pytest.raises(ConfigError, match=f"pager = broken_example:Pager {unloaded}"):
        open_sink(SinkSettings(name="desk", url="pager://17"))
    with pytest.raises(ConfigError, match=f"horn = failing_example:Sink {failed}"):
        open_sink(SinkSettings(name="desk", url="horn://17"))
    with pytest.raises(ConfigError, match=f"xls = broken_example:write {unloaded}"):
        write_table([], {}, "xls", io.BytesIO())
    with pytest.raises(ConfigError, match=f"odt = failing_example:write {failed}"):
        write_table([], {}, "odt", io.BytesIO())

    assert load_detector("redness").name == "redness"
    open_sink(SinkSettings(name="file", url=f"log://{tmp_path / 'x'}")).close()
    write_table([], {}, "md", io.BytesIO())
    cards = {
        row["name"]: row["card"] for row in json.loads(CliRunner().invoke(app, ["models", "list", "--json"]).stdout)
    }
    assert cards["oracle"] is None
    assert cards["redness"] is not None
    broken = [check for check in doctor.extensions() if check.status is doctor.Status.FAIL]
    assert [check.detail.split()[1] for check in broken] == ["oracle", "tape", "pager", "xls"]
    assert {check.fix for check in broken} == {fix.removeprefix("; ")}


def test_a_name_that_two_distributions_claim_is_of_neither(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = install(tmp_path / "site", "second", {}, {"streamwatch.sinks": {"log": "second:Log"}})
    monkeypatch.syspath_prepend(second)
    with pytest.raises(ConfigError, match=r"of second 1\.2 and .* of streamwatch-example 1\.2 have one name"):
        open_sink(SinkSettings(name="file", url="log:///x"))


def test_a_sink_of_another_distribution_that_fails_is_tried_again(tmp_path: Path) -> None:
    class Failing:
        def deliver(self, delivery: Delivery) -> None:
            raise KeyError("hidden")

        def close(self) -> None:
            pass

    sink = SinkSettings(name="desk", url="https://x", secret="y")
    store = Store.open(f"sqlite:///{tmp_path / 'store.db'}")
    run_id = store.begin_run("watch", "{}", "c" * 64)
    subject = Subject("rtsp://cam", None, ModelRef("m", "b" * 64), "c" * 64, "p")
    store.save(
        run_id, [error_verdict(subject, SourceTimeout("gone"), alerts=[make_outage("a1", "rtsp://cam")])], [sink]
    )
    courier = Courier(store, [sink], open_sink=lambda settings: Failing())
    assert courier.work() == [SinkFailure("desk", "it failed (KeyError)")]
    (delivery,) = store.deliveries.of_alert("a1")
    assert delivery.attempts == 1
    courier.close()
    store.close()


def test_scheme_tables_agree_with_those_that_stand_elsewhere() -> None:
    assert set(SOURCES.reserved) == {*container.SCHEMES, "file"}
    assert set(SOURCES.builtin) == set(OBJECT_STORES)
    assert set(DETECTORS.builtin) | set(DETECTORS.reserved) >= set(registry._REGISTERED)
    assert set(FORMATS.reserved) == set(TimelineFormat)


@pytest.mark.parametrize("name", [f"{point.group} {name}" for point in POINTS for name in point.builtin])
def test_every_built_in_object_is_there(name: str) -> None:
    group, _, name = name.partition(" ")
    (point,) = (point for point in POINTS if point.group == group)
    assert callable(point.load(name))
