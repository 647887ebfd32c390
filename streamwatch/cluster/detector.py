"""The actor that holds the model, and the workers' way to it."""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from streamwatch import logs
from streamwatch.backoff import full_jitter
from streamwatch.cluster.batch_counts import BatchCounts
from streamwatch.cluster.batching import MicroBatcher
from streamwatch.cluster.connection import QUIET, Actor, Cluster, this_machine
from streamwatch.config import DetectorSettings, LogSettings
from streamwatch.detectors.protocol import ScoreArrays
from streamwatch.errors import ConfigError, DetectorError, StreamwatchError, WeightsError
from streamwatch.pipeline.plan import Plan
from streamwatch.pipeline.scoring import score_crops

RESTARTS_PER_BATCH = 2
"""How often a batch is sent again after the detector's process died over it, before it is an error."""

UNREACHABLE_FOR = 60.0
"""Seconds for which a detector may be unreachable, as while it moves away from a machine that was lost."""


class DetectorActor:
    """One model on one GPU or CPU share; scores the crops of all workers in common batches.

    On the CPU `lanes` batches are scored at a time, one thread each: small convolutions gain less from being
    split over threads than from running side by side.
    """

    def __init__(self, weights: Path, settings: DetectorSettings, device: str, lanes: int, log: LogSettings) -> None:
        logs.configure(log)
        from streamwatch.detectors import load_detector

        self._failure: StreamwatchError | None = None
        try:
            if not weights.exists():
                raise WeightsError(
                    f"{weights}: no such file on {this_machine()}", "give all machines of the cluster the same"
                )
            threads = 1 if device == "cpu" else None
            detector = load_detector(weights, device, threads=threads, precision=settings.precision)
        except StreamwatchError as error:
            self._failure = error  # raised by `ready`: Ray would turn it into the death of the actor
            return
        self._batcher = MicroBatcher(
            partial(score_crops, detector),
            ThreadPoolExecutor(max_workers=lanes, thread_name_prefix="score"),
            max_batch=settings.max_batch,
            max_wait=settings.max_wait_ms / 1000,
            lanes=lanes,
        )

    async def ready(self) -> bool:
        """Answers once the model is loaded. Raises WeightsError where it cannot be."""
        self._check()
        return True

    async def score(self, client: str, crops: NDArray[np.uint8]) -> ScoreArrays:
        """Score N×S×S×3 crops. Raises DetectorError, or WeightsError where the model cannot be loaded."""
        self._check()
        return await self._batcher.submit(client, crops)

    async def counts(self) -> BatchCounts:
        """Work done so far."""
        return self._batcher.counts

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure


def start_detectors(plan: Plan, cluster: Cluster) -> tuple[list[Actor], int]:
    """Start `detector.actors` actors on the devices that `detector.device` asks for, or else one for each GPU, without
    one for each machine; and how many batches each scores at a time.

    Raises ConfigError where cuda is asked for and the cluster has no GPU.
    """
    settings, log = plan.settings.detector, plan.settings.log
    if settings.device == "cuda" and cluster.gpus == 0:
        raise ConfigError("detector.device: cuda, but Ray sees no GPU", "use `--device cpu` or a machine with one")
    on_gpu = settings.device != "cpu" and cluster.gpus > 0
    count = settings.actors or (cluster.gpus if on_gpu else cluster.nodes)
    lanes = 1 if on_gpu else settings.threads or max(1, cluster.cores // count)
    options: dict[str, Any] = {
        **QUIET,
        "num_cpus": 0,
        "num_gpus": gpu_share(count, cluster.gpus) if on_gpu else 0,
        "max_restarts": -1,
        "max_task_retries": RESTARTS_PER_BATCH,
        "max_concurrency": 1000,
        "scheduling_strategy": "SPREAD",
    }
    actor: Actor = ray.remote(DetectorActor)
    device = "cuda" if on_gpu else "cpu"
    made = [actor.options(**options).remote(plan.weights, settings, device, lanes, log) for _ in range(count)]
    return made, lanes


def gpu_share(actors: int, gpus: int) -> float:
    """Of one GPU for each actor, so that all of them find room: a share never lies on two GPUs."""
    return 1 / math.ceil(actors / gpus)


class _RemoteScores:
    """The answer to a batch. send: sends it, and gives the reference to the scores. done: called with the answer."""

    def __init__(self, send: Callable[[], ray.ObjectRef[ScoreArrays]], done: Callable[[], None]) -> None:
        self._send = send
        self._reference = send()
        self._done = done

    def ready(self) -> bool:
        return bool(ray.wait([self._reference], timeout=0)[0])

    def wait(self, seconds: float) -> None:
        ray.wait([self._reference], timeout=seconds)

    def result(self) -> ScoreArrays:
        try:
            return self._reachable_result()
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, StreamwatchError):
                raise error.cause from error
            raise DetectorError(f"the detector failed: {error.cause!r}") from error
        except ray.exceptions.RayActorError as error:
            raise DetectorError(f"the detector's process died {RESTARTS_PER_BATCH + 1} times over a batch") from error
        finally:
            self._done()

    def _reachable_result(self) -> ScoreArrays:
        """Ray's own tries may all fall within the moment in which the machine of the detector was lost."""
        failures, limit = 0, time.monotonic() + UNREACHABLE_FOR
        while True:
            try:
                return ray.get(self._reference)
            except ray.exceptions.ActorUnavailableError as error:
                if time.monotonic() > limit:
                    raise DetectorError(f"the detector could not be reached for {UNREACHABLE_FOR:g} s") from error
            time.sleep(full_jitter(failures, first=0.5, longest=4.0))
            failures += 1
            self._reference = self._send()


class RemoteClient:
    """Sends batches to the detector actor that has the fewest of this client's pending, to those that are alike in
    turn.
    """

    def __init__(self, detectors: list[Actor], name: str) -> None:
        self._detectors = detectors
        self._name = name
        self._under_way = [0] * len(detectors)
        self._turn = zlib.crc32(name.encode())

    def submit(self, crops: NDArray[np.uint8]) -> _RemoteScores:
        count = len(self._detectors)
        index = min(range(count), key=lambda index: (self._under_way[index], (index - self._turn) % count))
        self._turn = index + 1
        self._under_way[index] += 1

        def done() -> None:
            self._under_way[index] -= 1

        return _RemoteScores(lambda: self._detectors[index].score.remote(self._name, crops), done)
