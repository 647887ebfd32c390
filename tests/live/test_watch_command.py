"""The command `watch` on a real Ray cluster and a real RTSP server, killed and stopped from outside."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from streamwatch.bench.loopback.rtsp_server import free_port, serve_rtsp
from streamwatch.store import Filters, Store
from tests.support.face_clips import face_clip
from tests.support.paths import ROOT
from tests.support.processes import descendants, has_open, is_actor, is_named
from tests.support.small_detectors import light_detector
from tests.support.webhook_receiver import SECRET, Receiver, receiving

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@contextlib.contextmanager
def watching(arguments: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """The command in a process group of its own."""
    command = [sys.executable, "-c", "from streamwatch.cli.main import main; main()", "watch", "--json", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("number", "cluster_dies"),
    [(signal.SIGINT, False), (signal.SIGTERM, True)],
    ids=["interrupt", "terminate, cluster dies"],
)
def test_a_stopped_watch_ends_its_alerts_and_delivers_them(
    number: signal.Signals, cluster_dies: bool, receiver: Receiver, tmp_path: Path
) -> None:
    """A signal as terminals and service managers send it, to all processes. Before it the courier is killed, or what
    writes, delivers and runs the cluster, which those that a signal reaches first may be.
    """
    config = tmp_path / "desk.yaml"
    document = {
        "live": {"verdict_every": 0.5},
        "alerts": {"down_after": 0.5},
        "sampling": {"fps": 4},
        "sinks": [{"name": "desk", "kind": "webhook", "url": receiver.url, "secret": SECRET}],
    }
    config.write_text(yaml.safe_dump(document))
    store = f"sqlite:///{tmp_path / 'desk.db'}"
    weights = light_detector(tmp_path)
    clip = face_clip(tmp_path / "clip.mp4", seconds=20.0, b_frames=False)
    nobody = f"rtsp://127.0.0.1:{free_port()}/nobody"
    options = ["--config", str(config), "--store", store, "--model", str(weights), "--device", "cpu"]
    with serve_rtsp(clip, plays=0) as alive, watching([*options, alive, nobody]) as process:
        assert process.stdout is not None
        analysed = 0
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "verdict" and event["source"] == alive:
                analysed = event["frames"]["analysed"]
            if analysed > 4 and receiver.revisions:
                break
        (courier,) = filter(is_actor("AlertCourier"), descendants(process.pid))
        os.kill(courier, signal.SIGKILL)
        at_work = has_open(str(tmp_path / "desk.db"))
        for _ in process.stdout:
            couriers = filter(is_actor("AlertCourier"), descendants(process.pid))
            if any(at_work(each) for each in couriers if each != courier):
                break
        if cluster_dies:
            for each in filter(is_named("gcs_server", "StoreWriter", "AlertCourier"), list(descendants(process.pid))):
                os.kill(each, signal.SIGKILL)
            process.send_signal(number)
        else:
            os.killpg(process.pid, number)
        rest, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors
    assert process.returncode == 1, "a stream that never came"

    events: list[dict[str, Any]] = [json.loads(line) for line in rest.splitlines()]
    last = {event["source"]: event["event"] for event in events if event["event"] != "verdict"}
    assert last == {nobody: "alert.end"}
    assert [rest for _, *rest in receiver.revisions] == [[1, "alert.new"], [2, "alert.end"]]

    with Store.open(store) as opened:
        rows = {row.verdict.source: row for row in opened.verdicts(Filters())}
        faces = len(opened.verdict(rows[alive].id).scores)
    with contextlib.closing(sqlite3.connect(tmp_path / "desk.db")) as database:
        assert database.execute("select status from runs").fetchall() == [("done",)]
    frames = rows[alive].verdict.frames
    assert frames.sampled == frames.analysed + frames.dropped
    assert faces == frames.analysed >= analysed
