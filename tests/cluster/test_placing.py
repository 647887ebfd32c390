"""Where actors go on a cluster, what they may keep in its memory, and what a machine says that lacks a file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml

from streamwatch.archive.worker import FileWorker
from streamwatch.cluster import connection as cluster
from streamwatch.cluster.connection import Node, connect, roomiest
from streamwatch.cluster.detector import RemoteClient, gpu_share
from streamwatch.cluster.placing import memory_for
from streamwatch.config import EngineSettings
from streamwatch.errors import ConfigError
from streamwatch.pipeline.analyser import Analysis
from streamwatch.pipeline.plan import Plan
from streamwatch.sources import Location
from streamwatch.sources.segments import Segment
from tests.support.paths import ROOT
from tests.support.small_detectors import INPUT, settings_for, untrained_detector

DEPLOY = ROOT / "deploy"


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return Plan.resolve(settings_for(untrained_detector(tmp_path_factory.mktemp("placing"))))


@pytest.mark.parametrize(
    ("cores", "expected"),
    [((2.0, 6.0), (2, 6)), ((12.0, 4.0, 0.0), (6, 2, 0)), ((0.0, 0.0), (4, 4))],
    ids=["in proportion", "none on a head without cores", "where Ray has no cores at all"],
)
def test_workers_go_where_the_cores_are(cores: tuple[float, ...], expected: tuple[int, ...]) -> None:
    nodes = [Node(str(number), count) for number, count in enumerate(cores)]
    taken: Counter[str] = Counter()
    for _ in range(8):
        taken[roomiest(taken, nodes).id] += 1
    assert tuple(taken[node.id] for node in nodes) == expected


@pytest.mark.parametrize(("actors", "gpus"), [(1, 1), (2, 2), (3, 2), (4, 2), (1, 4), (7, 3)])
def test_all_detectors_find_room_on_the_gpus(actors: int, gpus: int) -> None:
    on_one = int(1 / gpu_share(actors, gpus) + 1e-9)
    assert on_one * gpus >= actors
    assert (on_one - 1) * gpus < actors


def test_batches_go_to_all_detectors() -> None:
    class Score:
        def __init__(self, index: int) -> None:
            self.index = index

        @property
        def score(self) -> Score:
            return self

        def remote(self, *_: object) -> None:
            sent.append(self.index)

    sent: list[int] = []
    crops = np.zeros((1, 4, 4, 3), np.uint8)
    client = RemoteClient([Score(index) for index in range(4)], "worker-1")
    for _ in range(6):
        first, second = client.submit(crops), client.submit(crops)
        first._done()
        second._done()
    assert Counter(sent) == {0: 3, 1: 3, 2: 3, 3: 3}


def test_memory_under_way_follows_the_settings(plan: Plan) -> None:
    assert memory_for(plan, 3) == 2 * 3 * 2 * 8 * INPUT * INPUT * 4


def test_a_machine_without_that_much_shared_memory_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "SHARED_MEMORY", tmp_path)
    with pytest.raises(
        ConfigError, match=r"engine\.batch_faces: .*MiB of shared memory, and .* free; lower one of them"
    ):
        connect(EngineSettings(), 1 << 60).__enter__()


def test_an_address_of_rays_client_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"engine\.address: ray://h:10001 .* give HOST:PORT of the head"):
        connect(EngineSettings(address="ray://h:10001")).__enter__()


def test_a_file_that_another_machine_lacks_is_told_with_its_name(plan: Plan, tmp_path: Path) -> None:
    missing = Location(tmp_path / "only-on-the-head.mp4")
    subject = plan.subject(missing.name, "ab" * 32)
    worker = FileWorker(plan, [], "worker-1")
    for found in (
        worker.begin(subject, missing, False, 300.0),
        worker.analyse_segment(subject, missing, Segment(), False),
    ):
        assert isinstance(found, Analysis)
        failure = found.verdict.failure
        assert failure is not None
        assert failure.kind == "SourceNotFound"
        assert failure.message.startswith(f"{missing}: no such file on {cluster.this_machine()}, where a worker runs")


def test_the_file_for_the_cluster_launcher_is_one() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    from ray.autoscaler._private.util import prepare_config, validate_config

    settings = yaml.safe_load((DEPLOY / "ray-cluster.yaml").read_text(encoding="utf-8"))
    validate_config(prepare_config(settings))
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config({**settings, "mistyped": 1}))
