"""The workers of a scan: started with the first task, one task at a time each, replaced when they die."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import ray
from ray.exceptions import RayTaskError

from streamwatch.archive.events import Analysed, Event, Task
from streamwatch.archive.work import Work
from streamwatch.archive.worker import FileWorker
from streamwatch.cluster.connection import LOST, Actor, result_of, usable_cores
from streamwatch.cluster.placing import RunActors, start_actors
from streamwatch.errors import StreamwatchError
from streamwatch.logs import RemoteTraceback
from streamwatch.pipeline.plan import Plan
from streamwatch.records import Failure
from streamwatch.sources.redact import redact_text

logger = logging.getLogger(__name__)


class WorkerPool:
    """size: workers at most; on a cluster that is known only after the first start, with the number of its cores."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._stack = contextlib.ExitStack()
        self._actors: RunActors | None = None
        self._idle: list[Actor] = []
        self._busy: dict[Any, tuple[Actor, Work]] = {}
        self.size = self._workers_on(usable_cores())

    @property
    def busy(self) -> bool:
        return bool(self._busy)

    @property
    def writer(self) -> Actor | None:
        """The actor that writes into the store; None before there is any work."""
        return None if self._actors is None else self._actors.writer

    def start(self, work: Work, run_id: int | None) -> None:
        """Give work to a worker. run_id: of the run in the store, if any. Raises as `start_actors` does."""
        if self._actors is None:
            self._actors = self._stack.enter_context(start_actors(self._plan, run_id, self._workers_on, FileWorker))
            self.size = self._workers_on(self._actors.cluster.cores)
        worker = self._idle.pop() if self._idle else self._actors.take_worker()
        self._busy[work.start(worker)] = worker, work

    def wait(self, others: Sequence[Any], seconds: float) -> Any | None:
        """A reference that is ready: one of the others, or one for `take`. None where there is none in this time.

        Raises WeightsError where a detector cannot be loaded.
        """
        loading = [] if self._actors is None else self._actors.loading
        for reference in ray.wait([*self._busy, *loading, *others], num_returns=1, timeout=seconds)[0]:
            if reference not in loading:
                return reference
            loading.remove(reference)
            result_of(reference)
        return None

    def take(self, reference: Any) -> Event:
        """What has become of a task. Raises a StreamwatchError of the worker that is not of this work only."""
        worker, work = self._busy.pop(reference)
        try:
            event = work.took(ray.get(reference))
        except LOST:
            return work.lost()
        except RayTaskError as error:
            if isinstance(error.cause, StreamwatchError) and not isinstance(error.cause, work.spared):
                raise error.cause from error
            event = work.failed(_failure(error, work.file.item.source.name))
        if isinstance(event, Analysed) and event.analysis.traceback:
            traceback = RemoteTraceback(event.analysis.traceback)
            logger.error("%s: the detector failed", work.file.item.source, exc_info=traceback)
        self._idle.append(worker)
        return event

    def shares(self, seconds: float) -> Iterator[tuple[Task, float]]:
        """How much of the tasks under way is done, 0..1, of those whose workers answer in this time."""
        asked = {worker.share.remote(): work.task for worker, work in self._busy.values()}
        if not asked:
            return
        for answer in ray.wait([*asked], num_returns=len(asked), timeout=seconds)[0]:
            with contextlib.suppress(*LOST):
                yield asked[answer], ray.get(answer)

    def end(self) -> None:
        """End all actors."""
        self._stack.close()

    def _workers_on(self, cores: int) -> int:
        return self._plan.settings.engine.workers or cores


def _failure(error: RayTaskError, name: str) -> Failure:
    kind = type(error.cause).__name__
    if isinstance(error.cause, StreamwatchError):
        return Failure(kind, str(error.cause))
    logger.error("%s: its worker failed", name, exc_info=error)
    return Failure(kind, redact_text(f"{name}: {error.cause}"))
