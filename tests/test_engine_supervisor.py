"""A watch in the background, on a real Ray cluster that was started from the command line."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streamwatch.evaluation.loopback.rtsp_server import free_port, serve_rtsp
from streamwatch.sources.states import StreamState
from streamwatch.store import Filters, Store
from tests.engine_support import face_clip, untrained_detector

pytestmark = [pytest.mark.ray, pytest.mark.slow]

STREAMWATCH = (sys.executable, "-c", "from streamwatch.cli.main import main; main()")
ROOT = Path(__file__).parents[1]


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """The environment of commands that use it."""
    port = free_port()
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "STREAMWATCH__ENGINE__ADDRESS": f"127.0.0.1:{port}",
    }
    start = [
        *("start", "--head", f"--port={port}", "--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats"),
        *("--node-ip-address=127.0.0.1", f"--object-store-memory={256 << 20}"),
    ]
    command = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]
    with subprocess.Popen(
        [*command, *start, "--block"], env=environment, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as head:
        try:
            yield environment
        finally:
            head.terminate()
            head.wait(30)


def wait_for(what: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_a_watch_goes_on_without_the_command_that_started_it(tmp_path: Path) -> None:
    weights = untrained_detector(tmp_path)
    clip = face_clip(tmp_path / "clip.mp4", seconds=20.0, b_frames=False)
    store = f"sqlite:///{tmp_path / 'desk.db'}"
    config = tmp_path / "desk.yaml"
    watch = ["watch", "--config", str(config), "--store", store, "--model", str(weights), "--device", "cpu"]

    def states() -> dict[str, StreamState]:
        with Store.open(store) as opened:
            return {stream.change.source: stream.change.state for stream in opened.streams()}

    with (
        serve_rtsp(clip, user="bob", password="hush", plays=0) as one,
        serve_rtsp(clip, plays=0) as two,
        cluster(tmp_path) as environment,
    ):
        config.write_text(f"streams: [{{url: '{one}', name: studio}}]\nsampling: {{fps: 4}}\n")
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

        attached = subprocess.Popen(
            [*STREAMWATCH, *watch, "--background", "attach", "--json"],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert attached.stdout is not None
        assert json.loads(attached.stdout.readline())["source"] == seen
        attached.kill()
        attached.communicate()

        assert run("streams", "add", two, "--store", store, "--config", str(config)).returncode == 0
        wait_for(lambda: states().get(two) is StreamState.RUNNING, 30)
        assert run("streams", "pause", "studio", "--store", store, "--config", str(config)).returncode == 0
        wait_for(lambda: states()[seen] is StreamState.STOPPED, 30)
        assert states()[two] is StreamState.RUNNING

        stopped = run(*watch, "--background", "stop")
        assert stopped.returncode == 0, stopped.stderr
        assert states()[two] is StreamState.STOPPED
        nothing = run(*watch, "--background", "attach")
        assert (nothing.returncode, "nothing is watched" in nothing.stderr) == (2, True)
    with Store.open(store) as opened:
        rows = {row.verdict.source: row for row in opened.verdicts(Filters())}
        faces = {source: len(opened.verdict(row.id).scores) for source, row in rows.items()}
    assert {row.run_id for row in rows.values()} == {1}
    for source, row in rows.items():
        frames = row.verdict.frames
        assert frames.sampled == frames.analysed + frames.dropped
        assert faces[source] == frames.analysed > 0
    files = [path for path in tmp_path.glob("desk.db*") if not path.name.endswith(".streams.yaml")]
    assert all(b"hush" not in path.read_bytes() for path in files if path.is_file())
