"""The Ray cluster that the actors run on: the user's own, or one on this machine for the time of a run."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from streamwatch.config import EngineSettings
from streamwatch.errors import ClusterError, ConfigError, StreamwatchError

OBJECT_STORE_BYTES = 256 << 20
"""Shared memory for batches and results under way; what is in flight is bounded far below."""

NAMESPACE = "streamwatch"

QUIET: dict[str, Any] = {"enable_task_events": False}
"""For every actor: Ray would keep a record of each call, up to 100,000 of them, some 60 MiB in ten minutes of eight
streams."""

Actor = Any
"""A handle to an actor, with its methods and their `.remote`; Ray's own type knows neither."""

LOST = (
    ray.exceptions.RayActorError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.OutOfMemoryError,
)
"""What Ray raises where the process of an actor has died."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that this process is connected to."""

    local: bool
    gpus: int

    def here(self) -> NodeAffinitySchedulingStrategy:
        """Places an actor on the machine of this process, for what must reach its files."""
        return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def connect(settings: EngineSettings) -> Iterator[Cluster]:
    """Join the cluster at `engine.address`, or start one on this machine; end or leave it afterwards.

    A connection that this process has already is used, and left as it is. Raises ConfigError where there is
    no cluster at the address, ClusterError where none can be started here.
    """
    if ray.is_initialized():
        yield _describe(local=settings.address is None)
        return
    with _importable_package(), _signals_kept():
        if settings.address is None:
            _start()
        else:
            _join(settings.address)
    try:
        yield _describe(local=settings.address is None)
    finally:
        ray.shutdown()


def result_of(reference: Any) -> Any:
    """Wait for the result of a call. A StreamwatchError that it raised is raised here as itself."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, StreamwatchError):
            raise error.cause from None
        raise


def _start() -> None:
    try:
        ray.init(
            address="local",
            num_cpus=usable_cores(),
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            namespace=NAMESPACE,
        )
    except Exception as error:  # noqa: BLE001 - Ray tells a failed start by a bare Exception
        ray.shutdown()
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ClusterError(
            f"Ray could not be started ({reason}); an overloaded machine or a full /tmp are the usual causes: "
            "run `streamwatch doctor`, then try again"
        ) from None


def _join(address: str) -> None:
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            namespace=NAMESPACE,
        )
    except ConnectionError as error:
        raise ConfigError(
            f"engine.address: no Ray cluster at {address} ({error}); start one with `ray start --head`"
        ) from None


def _describe(*, local: bool) -> Cluster:
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return Cluster(local=local, gpus=int(resources.get("GPU", 0)))


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep this program's own way of ending on SIGTERM: Ray would print a stack trace and exit."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if callable(before) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _importable_package() -> Iterator[None]:
    """Let the processes of a local cluster import this very package, installed or not: they inherit the
    variable.
    """
    root = str(Path(__file__).resolve().parents[2])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = root if not before else os.pathsep.join((root, before))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
