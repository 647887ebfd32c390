"""A watch that outlives the command that started it: a detached actor on a long-running Ray cluster."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import ray
from ray.exceptions import ActorUnavailableError, RayActorError

from streamwatch import logs
from streamwatch.cluster.connection import NAMESPACE, QUIET, Actor, connect, result_of
from streamwatch.cluster.statistics import DetectorLoad
from streamwatch.config import Settings
from streamwatch.errors import ClusterError, ConfigError, StreamwatchError
from streamwatch.live.outbox import OperatorNotice
from streamwatch.live.watch import WatchEvent, WatchOutput, iter_watch
from streamwatch.sources.clocks import utc_now
from streamwatch.sources.redact import redact_text

logger = logging.getLogger(__name__)

NAME = "streamwatch-supervisor"

KEPT = 300
"""Newest items that are kept for those who attach."""

PATIENCE = 1.0
"""Seconds that a call waits for a new event."""


@dataclass(frozen=True, slots=True, eq=False)
class Hooks:
    """Callbacks of a watch, sent to the supervisor's process.

    follow: see `iter_watch`. listen: opens the receiver of all output of the watch.
    """

    follow: Callable[[], Sequence[str] | None]
    listen: Callable[[], AbstractContextManager[Callable[[WatchOutput], None]]]


class Supervisor:
    """Watches what the hooks say, until it is stopped, with relative paths starting from `folder`. There is one on a
    cluster.

    Where its process dies, Ray starts it again, and it begins a new run with what is wanted then.
    """

    def __init__(self, settings: Settings, hooks: Hooks, folder: Path) -> None:
        logs.configure(settings.log)
        os.chdir(folder)
        self._settings = settings
        self._hooks = hooks
        self._loaded = threading.Event()
        self._over = threading.Event()
        self._events: deque[WatchEvent] = deque(maxlen=KEPT)
        self._count = 0
        self._failure: StreamwatchError | None = None
        self._filled = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def started(self) -> bool:
        """Waits until the models are loaded. Raises what ended the watch before that."""
        while self._thread.is_alive() and not self._loaded.wait(PATIENCE):
            pass
        if self._failure is not None:
            raise self._failure
        return True

    def events(self, after: int) -> tuple[int, list[WatchEvent]]:
        """The number of events so far, and those after the first `after` that are still kept; waits up to `PATIENCE`
        for the first. Raises what ended the watch.
        """
        with self._filled:
            self._filled.wait_for(lambda: self._count > after or not self._thread.is_alive(), PATIENCE)
            if self._count == after and self._failure is not None:
                raise self._failure
            fresh = min(self._count - after, len(self._events))
            return self._count, list(self._events)[len(self._events) - fresh :]

    def running(self) -> bool:
        """Whether it still watches."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End the watch: the last verdicts are stored when this returns. Raises what ended it before."""
        self._over.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            with self._hooks.listen() as publish:
                for item in iter_watch((), self._settings, follow=self._hooks.follow, stop=self._over):
                    self._loaded.set()
                    publish(item)
                    if not isinstance(item, DetectorLoad):
                        self._keep(item)
        except StreamwatchError as error:
            self._failure = error
        except Exception as error:
            logger.exception("the watch in the background broke off")
            self._failure = ClusterError(redact_text(f"the watch in the background broke off: {error!r}"))
            self._failure.__cause__ = error
        with self._filled:
            self._filled.notify_all()

    def _keep(self, item: WatchEvent) -> None:
        with self._filled:
            self._events.append(item)
            self._count += 1
            self._filled.notify_all()


def start_supervisor(settings: Settings, hooks: Hooks) -> bool:
    """Start the supervisor of the cluster at `engine.address`; False where there is one already. Returns once its
    models are loaded.

    Raises ConfigError where no cluster is named, or there is none, and what keeps it from watching: WeightsError,
    ConfigError, StoreError.
    """
    with _joined(settings) as cluster_here:
        if _find() is not None:
            return False
        actor: Actor = ray.remote(Supervisor)
        options = {
            **QUIET,
            "name": NAME,
            "namespace": NAMESPACE,
            "lifetime": "detached",
            "max_restarts": -1,
            "max_concurrency": 8,
            "num_cpus": 0,
            "scheduling_strategy": cluster_here,
        }
        supervisor = actor.options(**options).remote(settings, hooks, Path.cwd())
        try:
            result_of(supervisor.started.remote())
        except StreamwatchError:
            ray.kill(supervisor)
            raise
        return True


def attach(settings: Settings) -> Generator[WatchEvent, None, None]:
    """The supervisor's events, beginning with those that it keeps, until it ends. Raises ConfigError where there is no
    supervisor, and what ended it.
    """
    with _joined(settings):
        supervisor = _found()
        after = 0
        while True:
            try:
                after, items = result_of(supervisor.events.remote(after))
                yield from items
                if not items and not result_of(supervisor.running.remote()):
                    return
            except ActorUnavailableError:
                after = 0
                yield OperatorNotice(utc_now(), "the watch in the background died; it is started again")
            except RayActorError:
                return


def stop_supervisor(settings: Settings) -> None:
    """End the supervisor once its last results are stored. Raises ConfigError where there is none."""
    with _joined(settings):
        supervisor = _found()
        try:
            result_of(supervisor.stop.remote())
        finally:
            ray.kill(supervisor)


@contextlib.contextmanager
def _joined(settings: Settings) -> Iterator[object]:
    if settings.engine.address is None:
        raise ConfigError(
            "engine.address: a watch in the background needs a Ray cluster that goes on by itself",
            "start one with `ray start --head`, and set engine.address to auto",
        )
    with connect(settings.engine) as cluster:
        yield cluster.here()


def _find() -> Actor | None:
    try:
        return ray.get_actor(NAME, namespace=NAMESPACE)
    except ValueError:
        return None


def _found() -> Actor:
    supervisor = _find()
    if supervisor is None:
        raise ConfigError(
            "nothing is watched in the background on this cluster", "`streamwatch watch --background start` starts it"
        )
    return supervisor
