"""The actors of a run: detectors, a writer, and as many workers as there is work for."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import ray

from streamwatch.engine.cluster import Actor, connect
from streamwatch.engine.detector import start_detectors
from streamwatch.engine.plan import Plan
from streamwatch.engine.worker import start_worker
from streamwatch.engine.writer import start_courier, start_writer


class Crew:
    """Handles to the actors.

    loading: a reference per detector that is ready, or raises WeightsError, once the model was loaded.
    lanes: batches that a detector scores at a time. writer: None for a run that stores nothing. courier: None for one
    without sinks.
    """

    def __init__(
        self, plan: Plan, detectors: list[Actor], lanes: int, writer: Actor | None, courier: Actor | None
    ) -> None:
        self.detectors = detectors
        self.lanes = lanes
        self.writer = writer
        self.courier = courier
        self.loading: list[Any] = [detector.ready.remote() for detector in detectors]
        self._plan = plan
        self._names = itertools.count(1)
        self._workers: list[Actor] = []
        self._spare: Actor | None = None

    def hire(self) -> Actor:
        """A worker: the one that stands by, or else a new one, which takes seconds to start."""
        worker, self._spare = self._spare or self._start(), None
        self._workers.append(worker)
        return worker

    def stand_by(self) -> None:
        """Have a worker ready for the next `hire`."""
        if self._spare is None:
            self._spare = self._start()

    def dismiss(self, worker: Actor) -> None:
        """End a worker, whatever it is doing."""
        self._workers.remove(worker)
        ray.kill(worker)

    def disband(self) -> None:
        """End all actors."""
        for actor in (*self._workers, self._spare, *self.detectors, self.writer, self.courier):
            if actor is not None:
                ray.kill(actor)

    def _start(self) -> Actor:
        return start_worker(self._plan, self.detectors, f"worker-{next(self._names)}")


@contextlib.contextmanager
def assemble(plan: Plan, run_id: int | None) -> Iterator[Crew]:
    """Join or start the cluster and the actors on it; end what was started. run_id: of the run in the store,
    if any.

    Raises ConfigError where the cluster or the device that the settings ask for is not there.
    """
    with connect(plan.settings.engine) as cluster:
        settings = plan.settings
        writer = None if run_id is None else start_writer(settings, run_id, cluster)
        courier = start_courier(settings, cluster) if run_id is not None and settings.sinks else None
        crew = Crew(plan, *start_detectors(plan, cluster), writer, courier)
        try:
            yield crew
        finally:
            crew.disband()
