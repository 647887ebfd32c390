"""A scan on a cluster of two nodes, started from the command line: placement, the loss of a node, what is refused."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from streamwatch.bench.kills import ROWS
from tests.support.face_clips import face_clip
from tests.support.processes import descendants, has_open, is_actor
from tests.support.ray_cluster import ENVIRONMENT, STREAMWATCH, RayNode, ray_head, ray_node
from tests.support.small_detectors import light_detector

pytestmark = [pytest.mark.ray, pytest.mark.slow]

PROMPT = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 6}
"""For the head to note a lost node within seconds."""

SECOND = "127.0.0.2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="module")
def clips(folder: Path) -> list[Path]:
    return [face_clip(folder / f"clip-{n}.mp4", seconds=10.0, start=200 * n) for n in range(6)]


@pytest.fixture(scope="module")
def weights(folder: Path) -> Path:
    return light_detector(folder)


@pytest.fixture(scope="module")
def head(folder: Path) -> Iterator[RayNode]:
    with ray_head(folder, f"--system-config={json.dumps(PROMPT)}", cores=2) as head:
        yield head


def options(head: RayNode, weights: Path, store: str, workers: int = 4) -> list[str]:
    config = weights.parent / "config.yaml"
    config.write_text("sampling: {fps: 8}\nfaces: {long_side: 256}\ndetector: {threads: 1, device: cpu}\n")
    where = ["--address", head.address, "--store", store, "--config", str(config)]
    return [*where, "--model", str(weights), "--workers", str(workers), "--json"]


def begin(arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*STREAMWATCH, "scan", *arguments],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(scan: subprocess.Popen[str]) -> tuple[int, dict[str, dict[str, object]], str]:
    """Exit status, verdicts by source, standard error."""
    out, error = scan.communicate(timeout=240)
    verdicts = [json.loads(line) for line in out.splitlines()]
    found = {verdict["source"]: verdict for verdict in verdicts}
    assert len(found) == len(verdicts)
    return scan.returncode, found, error


def wait_for(what: Callable[[], object], scan: subprocess.Popen[str] | None = None, seconds: float = 120.0) -> None:
    limit = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < limit
        assert scan is None or scan.poll() is None, scan.communicate()
        time.sleep(0.1)


def workers_on(node: RayNode) -> list[int]:
    return list(filter(is_actor("FileWorker"), descendants(node.pid)))


def rows(url: str) -> dict[str, Counter[tuple[object, ...]]]:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    try:
        with engine.connect() as connection:
            return {name: Counter(tuple(row) for row in connection.execute(text(sql))) for name, sql in ROWS.items()}
    finally:
        engine.dispose()


@pytest.fixture
def stores(postgres_server: str) -> list[str]:
    """Two empty ones on a real PostgreSQL server."""
    engine = create_engine(postgres_server.replace("postgresql:", "postgresql+psycopg:"))
    names = ["cluster_undisturbed", "cluster_disturbed"]
    with engine.begin() as connection:
        for name in names:
            connection.execute(text(f"CREATE SCHEMA {name}"))
    engine.dispose()
    return [f"{postgres_server}&options=-csearch_path%3D{name}" for name in names]


def test_a_scan_on_two_nodes_outlives_one(
    head: RayNode, folder: Path, clips: list[Path], weights: Path, stores: list[str]
) -> None:
    inputs = [str(clip) for clip in clips]
    undisturbed, disturbed = stores
    with ExitStack() as stack:
        second = stack.enter_context(ray_node(folder, head, SECOND, cores=2))
        status, found, error = end(begin([*inputs, *options(head, weights, f"sqlite:///{folder}/no.db")]))
        assert (status, found) == (2, {})
        assert f"an SQLite file is for one machine, and the cluster at {head.address} has 2" in error

        scan = begin([*inputs, *options(head, weights, undisturbed)])
        wait_for(lambda: len(workers_on(head)) == len(workers_on(second)) == 2, scan)
        status, expected, error = end(scan)
        assert (status, error) == (0, "")
        assert set(expected) == set(inputs)

        scan = begin([*inputs, *options(head, weights, disturbed)])
        opened = [has_open(clip) for clip in inputs]
        wait_for(lambda: any(check(worker) for worker in workers_on(second) for check in opened), scan)
        second.kill()
        status, found, error = end(scan)
        assert (status, error) == (0, "")
    assert {name: verdict["label"] for name, verdict in found.items()} == {
        name: verdict["label"] for name, verdict in expected.items()
    }
    wanted, stored = rows(undisturbed), rows(disturbed)
    assert wanted["verdicts"].total() == len(inputs)
    assert wanted["scores"].total() > 100
    assert {name: sorted(counted.items(), key=repr) for name, counted in stored.items() if name != "items"} == {
        name: sorted(counted.items(), key=repr) for name, counted in wanted.items() if name != "items"
    }
    assert set(stored["items"].values()) == {1}
