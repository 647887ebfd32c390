"""The actors beside the store: one writes the results of a run into it, the other delivers alerts to sinks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from sqlalchemy.engine import make_url

from streamwatch import logs
from streamwatch.cluster.connection import QUIET, Actor, Cluster
from streamwatch.config import Settings
from streamwatch.records import EvidenceClip, SegmentResult, VideoVerdict
from streamwatch.sources.states import Transition
from streamwatch.store import Store
from streamwatch.store.janitor import Janitor

if TYPE_CHECKING:
    from streamwatch.sinks import Courier, SinkFailure


class StoreWriter:
    """Saves in the order of the calls. A call returns after its commit. Raises StoreError."""

    def __init__(self, settings: Settings, run_id: int) -> None:
        logs.configure(settings.log)
        self._settings = settings
        self._run_id = run_id
        self._store: Store | None = None
        self._janitor = Janitor(settings)

    def save(self, items: Sequence[VideoVerdict | Transition | EvidenceClip | SegmentResult]) -> list[str]:
        """Store results, changes of state, clips and segments; doing it again changes nothing. Returns what could not
        be written beside the database.
        """
        if self._store is None:
            self._store = Store.open(self._settings.store.url)
        trouble = self._store.save(self._run_id, items, self._settings.sinks, self._settings.alerts.clips)
        return [*trouble, *self._janitor.poll()]


class AlertCourier:
    """Delivers alerts to sinks; see `Courier`. What is pending when it dies is delivered by the one restarted."""

    def __init__(self, settings: Settings) -> None:
        logs.configure(settings.log)
        self._settings = settings
        self._courier: Courier | None = None

    def work(self, patience: float | None = None) -> list[SinkFailure]:
        """See `Courier.work`."""
        from streamwatch.sinks import Courier  # with an HTTP client that only this process needs

        if self._courier is None:
            self._courier = Courier(Store.open(self._settings.store.url), self._settings.sinks)
        return self._courier.work(patience)


def start_writer(settings: Settings, run_id: int, cluster: Cluster) -> Actor:
    """Start the writer on this machine, where the file of a SQLite store is.

    A writer that dies comes back, and what it had not acknowledged is saved again.
    """
    actor: Actor = ray.remote(StoreWriter)
    return actor.options(**_options(cluster)).remote(_rooted(settings), run_id)


def start_courier(settings: Settings, cluster: Cluster) -> Actor:
    """Start the courier beside the writer."""
    actor: Actor = ray.remote(AlertCourier)
    return actor.options(**_options(cluster)).remote(_rooted(settings))


def is_sqlite(url: str) -> bool:
    """Whether the store is a file of one machine."""
    return make_url(url).get_backend_name() == "sqlite"


def _options(cluster: Cluster) -> dict[str, Any]:
    return {
        **QUIET,
        "num_cpus": 0,
        "max_restarts": -1,
        "max_task_retries": -1,
        "scheduling_strategy": cluster.here(),
    }


def _rooted(settings: Settings) -> Settings:
    """With paths from the root: an actor has a working folder of its own."""
    clips = None if settings.alerts.clips is None else settings.alerts.clips.absolute()
    return settings.model_copy(
        update={
            "store": settings.store.model_copy(update={"url": _absolute(settings.store.url)}),
            "alerts": settings.alerts.model_copy(update={"clips": clips}),
        }
    )


def _absolute(url: str) -> str:
    """The URL with an SQLite file's path from the root: the actor has a working folder of its own."""
    parsed = make_url(url)
    if is_sqlite(url) and parsed.database:
        parsed = parsed.set(database=str(Path(parsed.database).absolute()))
    return parsed.render_as_string(hide_password=False)
