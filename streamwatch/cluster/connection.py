"""The Ray cluster that the actors run on: the user's own, or one on this machine for the time of a run."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from streamwatch.cluster.answering import check_answers
from streamwatch.cluster.confinement import InstalledCode, confined, environment, local_environment, write_token
from streamwatch.config import EngineSettings
from streamwatch.errors import ClusterError, ConfigError, StreamwatchError
from streamwatch.local_runtime import check_loopback, private_folder

OBJECT_STORE_BYTES = 256 << 20
"""Shared memory for pending batches and results, where no more is needed."""

SHARED_MEMORY = Path("/dev/shm")

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
    ray.exceptions.ActorUnschedulableError,
    ray.exceptions.ObjectLostError,
)
"""What Ray raises where the process of an actor has died, or its machine, or the one that had its result."""


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of a cluster, or what stands for one. cores: those that Ray may use."""

    id: str
    cores: float


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that this process is connected to. cores: of all its machines. memory: bytes of its object store."""

    local: bool
    gpus: int
    nodes: int = 1
    cores: int = 1
    memory: int = OBJECT_STORE_BYTES

    def here(self) -> NodeAffinitySchedulingStrategy:
        """Places an actor on the machine of this process, for what must reach its files."""
        return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def nodes() -> list[Node]:
    """The machines that are there at the moment."""
    listed: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [Node(node["NodeID"], node["Resources"].get("CPU", 0.0)) for node in listed if node["Alive"]]


def roomiest(taken: Mapping[str, int], among: Sequence[Node]) -> Node:
    """Where the next worker goes, so that each machine has them in proportion to its cores. taken: workers by node."""
    working = [node for node in among if node.cores] or among
    return min(working, key=lambda node: (taken.get(node.id, 0) + 1) / max(node.cores, 1))


def this_machine() -> str:
    """What the machine of this process is called: its host name, and its address in the cluster."""
    address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return f"{platform.node()} ({address})"


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def connect(settings: EngineSettings, memory: int = 0) -> Iterator[Cluster]:
    """Join the cluster at `engine.address`, or start one on this machine; end or leave it afterwards.

    memory: bytes that its object store must hold. A connection that this process has already is used, and left as it
    is. Raises ConfigError where there is no cluster at the address, ClusterError where none can be started here.
    """
    if ray.is_initialized():
        yield _describe(local=settings.address is None)
        return
    with _private_cluster(memory) if settings.address is None else _joined_cluster(settings.address):
        yield _describe(local=settings.address is None)


def result_of(reference: Any) -> Any:
    """Wait for the result of a call. A StreamwatchError that it raised is raised here as itself."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, StreamwatchError):
            raise error.cause from error
        raise


@contextlib.contextmanager
def _private_cluster(memory: int) -> Iterator[None]:
    """A cluster for this user alone: it listens on loopback, and its files and token are in a private folder."""
    if SHARED_MEMORY.is_dir() and memory > (free := shutil.disk_usage(SHARED_MEMORY).free):
        raise too_little_memory(memory, f"{SHARED_MEMORY} has {free >> 20} free")
    check_loopback()
    with private_folder() as folder, environment(local_environment(write_token(folder))):
        tokens = AuthenticationTokenLoader.instance()
        tokens.reset_cache()
        try:
            with _signals_kept(), confined():
                _start(folder, memory)
            yield
        finally:
            ray.shutdown()
            tokens.reset_cache()


def _start(folder: Path, memory: int) -> None:
    try:
        ray.init(
            address="local",
            num_cpus=usable_cores(),
            object_store_memory=max(OBJECT_STORE_BYTES, memory),
            include_dashboard=False,
            job_config=InstalledCode(),
            log_to_driver=False,
            logging_level=logging.ERROR,
            namespace=NAMESPACE,
            _temp_dir=str(folder / "ray"),
        )
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ClusterError(
            f"Ray could not be started ({reason})",
            "an overloaded machine or a full disk are the usual causes: run `streamwatch doctor`, then try again",
        ) from error


def too_little_memory(needed: int, there: str) -> ConfigError:
    """The error for settings that keep more in shared memory than there is."""
    return ConfigError(
        "engine.workers, engine.in_flight, engine.batch_faces: the pending batches may need "
        f"{needed >> 20} MiB of shared memory, and {there}",
        "lower one of them, or give more",
    )


@contextlib.contextmanager
def _joined_cluster(address: str) -> Iterator[None]:
    if address.startswith("ray://"):
        raise ConfigError(
            f"engine.address: {address} is for Ray's client, on a machine that is none of the cluster",
            "run this on one that is, and give HOST:PORT of the head (6379), or auto",
        )
    try:
        with _signals_kept():
            _join(address)
        yield
    finally:
        ray.shutdown()


def _join(address: str) -> None:
    try:
        check_answers(address)
        ray.init(
            address=address,
            job_config=InstalledCode(),
            log_to_driver=False,
            logging_level=logging.ERROR,
            namespace=NAMESPACE,
        )
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise _no_cluster(address, error) from None


def _no_cluster(address: str, error: Exception) -> ConfigError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return ConfigError(
        f"engine.address: no Ray cluster at {address} ({reason})",
        "start one with `ray start --head`, or, if it asks for a token, set RAY_AUTH_MODE=token and the same token",
    )


def _describe(*, local: bool) -> Cluster:
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return Cluster(
        local=local,
        gpus=int(resources.get("GPU", 0)),
        nodes=len(nodes()),
        cores=max(1, int(resources.get("CPU", 0))),
        memory=int(resources.get("object_store_memory", 0)),
    )


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep this program's own way of ending on SIGTERM: Ray would print a stack trace and exit."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if callable(before) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)
