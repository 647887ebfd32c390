"""A watch in the background, on a real Ray cluster that was started from the command line."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from streamwatch.bench.loopback.rtsp_server import free_port, serve_rtsp
from streamwatch.sources.clocks import utc_now
from streamwatch.sources.states import StreamState
from streamwatch.store import Filters, Store
from tests.support.face_clips import face_clip
from tests.support.processes import descendants, is_actor
from tests.support.ray_cluster import STREAMWATCH, ray_head
from tests.support.small_detectors import light_detector

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@contextlib.contextmanager
def watching(arguments: Sequence[str], environment: dict[str, str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A command whose output is read, until it is killed."""
    command = [*STREAMWATCH, *arguments]
    with subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(what: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_a_watch_goes_on_without_the_command_that_started_it(tmp_path: Path) -> None:
    weights = light_detector(tmp_path)
    clip = face_clip(tmp_path / "clip.mp4", seconds=20.0, b_frames=False)
    store = f"sqlite:///{tmp_path / 'desk.db'}"
    where = ["--config", "desk.yaml", "--store", "sqlite:///desk.db"]
    watch = ["watch", *where, "--model", weights.name, "--device", "cpu"]
    port = free_port()

    def states(since: datetime | None = None) -> dict[str, StreamState]:
        with Store.open(store) as opened:
            changes = [stream.change for stream in opened.streams()]
        return {change.source: change.state for change in changes if since is None or change.at > since}

    def up() -> set[str]:
        """Names of the streams that run, by the metrics."""
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
        found = {
            sample.labels["stream"]: sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "streamwatch_stream_up"
        }
        return {stream for stream, value in found.items() if value}

    with (
        serve_rtsp(clip, user="bob", password="hush", plays=0) as one,
        serve_rtsp(clip, plays=0) as two,
        ray_head(tmp_path) as head,
    ):
        environment = {**head.environment, "STREAMWATCH__ENGINE__ADDRESS": head.address}
        streams = f"streams: [{{url: '{one}', name: studio}}]\n"
        (tmp_path / "desk.yaml").write_text(streams + f"sampling: {{fps: 4}}\nmetrics: {{port: {port}}}\n")
        seen = one.replace("bob:hush", "***")

        def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = [*STREAMWATCH, *arguments]
            return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)

        def started() -> bool:
            first = run(*watch, "--background", "start")
            assert first.returncode == 0 or "no Ray cluster" in first.stderr, first.stderr
            return first.returncode == 0

        wait_for(started, 60)
        again = run(*watch, "--background", "start")
        assert (again.returncode, "already" in again.stderr) == (2, True)
        wait_for(lambda: states().get(seen) is StreamState.RUNNING, 60)

        assert up() == {"studio"}
        assert run("streams", "add", two, *where).returncode == 0
        wait_for(lambda: states().get(two) is StreamState.RUNNING, 30)

        with watching([*watch, "--background", "attach", "--json"], environment, tmp_path) as attached:
            assert attached.stdout is not None
            assert json.loads(attached.stdout.readline())["source"] in (seen, two)
            (supervisor,) = filter(is_actor("Supervisor"), descendants(head.pid))
            killed_at = utc_now()
            os.kill(supervisor, signal.SIGKILL)
            wait_for(lambda: list(states(killed_at).values()) == [StreamState.RUNNING] * 2, 60)
            assert json.loads(attached.stdout.readline())
        assert up() == {"studio", two}

        assert run("streams", "pause", "studio", *where).returncode == 0
        wait_for(lambda: states()[seen] is StreamState.STOPPED, 30)
        assert states()[two] is StreamState.RUNNING

        stopped = run(*watch, "--background", "stop")
        assert stopped.returncode == 0, stopped.stderr
        assert states()[two] is StreamState.STOPPED
        nothing = run(*watch, "--background", "attach")
        assert (nothing.returncode, "nothing is watched" in nothing.stderr) == (2, True)
    with Store.open(store) as opened:
        rows = list(opened.verdicts(Filters()))
        faces = {row.id: len(opened.verdict(row.id).scores) for row in rows}
    assert {(row.run_id, row.verdict.source) for row in rows} == {(1, seen), (1, two), (2, seen), (2, two)}
    for row in rows:
        frames = row.verdict.frames
        assert faces[row.id] == frames.analysed > 0
        if row.run_id == 2:  # what the first run had under way died with it
            assert frames.sampled == frames.analysed + frames.dropped
    files = [path for path in tmp_path.glob("desk.db*") if not path.name.endswith(".streams.yaml")]
    assert all(b"hush" not in path.read_bytes() for path in files if path.is_file())
