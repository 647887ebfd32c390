"""The actors of a run: detectors, a writer, and as many workers as there is work for."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from streamwatch.cluster.connection import (
    QUIET,
    Actor,
    Cluster,
    Node,
    connect,
    nodes,
    roomiest,
    too_little_memory,
    usable_cores,
)
from streamwatch.cluster.detector import start_detectors
from streamwatch.cluster.store_actors import is_sqlite, start_courier, start_writer
from streamwatch.errors import ConfigError
from streamwatch.pipeline.plan import Plan


class RunActors:
    """Handles to the actors on a cluster.

    loading: a reference per detector that is ready, or raises WeightsError, once the model was loaded.
    lanes: batches that a detector scores at a time. writer: None for a run that stores nothing. courier: None for one
    without sinks.
    """

    def __init__(
        self,
        plan: Plan,
        cluster: Cluster,
        detectors: list[Actor],
        lanes: int,
        writer: Actor | None,
        courier: Actor | None,
        worker: type,
    ) -> None:
        self.cluster = cluster
        self.detectors = detectors
        self.lanes = lanes
        self.writer = writer
        self.courier = courier
        self.loading: list[Any] = [detector.ready.remote() for detector in detectors]
        self._plan = plan
        self._worker = worker
        self._names = itertools.count(1)
        self._workers: list[tuple[Actor, Node]] = []
        self._spare: tuple[Actor, Node] | None = None

    def take_worker(self) -> Actor:
        """A worker: the one that stands by, or else a new one, which takes seconds to start."""
        worker, self._spare = self._spare or self._start(), None
        self._workers.append(worker)
        return worker[0]

    def prepare_worker(self) -> None:
        """Have a worker ready for the next `take_worker`."""
        if self._spare is None:
            self._spare = self._start()

    def end_worker(self, worker: Actor) -> None:
        """End a worker, whatever it is doing."""
        self._workers = [taken for taken in self._workers if taken[0] != worker]
        ray.kill(worker)

    def end(self) -> None:
        """End all actors."""
        workers = [worker for worker, _ in (*self._workers, *([self._spare] if self._spare else []))]
        for actor in (*workers, *self.detectors, self.writer, self.courier):
            if actor is not None:
                ray.kill(actor)

    def _start(self) -> tuple[Actor, Node]:
        node = roomiest(Counter(node.id for _, node in self._workers), nodes())
        return self._place(f"worker-{next(self._names)}", node), node

    def _place(self, name: str, node: Node) -> Actor:
        """Start a worker on a machine; where that is lost, its calls raise one of `LOST`.

        Three calls at a time: the work, its output, and queries of its progress.
        """
        actor: Actor = ray.remote(self._worker)
        place = NodeAffinitySchedulingStrategy(node.id, soft=False)  # a soft one is not kept to
        options = {**QUIET, "num_cpus": 0, "max_restarts": 0, "max_concurrency": 3, "scheduling_strategy": place}
        return actor.options(**options).remote(self._plan, self.detectors, name)


@contextlib.contextmanager
def start_actors(plan: Plan, run_id: int | None, workers: Callable[[int], int], worker: type) -> Iterator[RunActors]:
    """Join or start the cluster and the actors on it; end what was started. run_id: of the run in the store,
    if any. workers: how many there will be on so many cores. worker: their class, made of (plan, detectors, name).

    Raises ConfigError where the cluster or the device that the settings ask for is not there, or where a cluster of
    several machines is to work for an SQLite file, or has too little shared memory.
    """
    settings = plan.settings
    with connect(settings.engine, memory_for(plan, workers(usable_cores()))) as cluster:
        needed = memory_for(plan, workers(cluster.cores))
        if needed > cluster.memory:
            raise too_little_memory(needed, f"the object store of the cluster has {cluster.memory >> 20}")
        if run_id is not None and cluster.nodes > 1 and is_sqlite(settings.store.url):
            raise ConfigError(
                f"store.url: an SQLite file is for one machine, and the cluster at {settings.engine.address} has "
                f"{cluster.nodes}",
                "use PostgreSQL: --store postgresql://USER:PASSWORD@HOST/DATABASE",
            )
        writer = None if run_id is None else start_writer(settings, run_id, cluster)
        courier = start_courier(settings, cluster) if run_id is not None and settings.sinks else None
        actors = RunActors(plan, cluster, *start_detectors(plan, cluster), writer, courier, worker)
        try:
            yield actors
        finally:
            actors.end()


def memory_for(plan: Plan, workers: int) -> int:
    """Most bytes that pending batches take in the object store: crops on their way, and scores with masks on theirs;
    twice, for on a cluster a copy is on each of two machines, and results of files need room, too.
    """
    engine = plan.settings.engine
    face = plan.card.input.size**2 * (3 + 1)
    return 2 * workers * engine.in_flight * engine.batch_faces * face
