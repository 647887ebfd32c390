"""The actor through which the results of a run go into the store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ray
from sqlalchemy.engine import make_url

from streamwatch.engine.cluster import Actor, Cluster
from streamwatch.records import VideoVerdict
from streamwatch.sources.states import Transition
from streamwatch.store import Store


class StoreWriter:
    """Saves in the order of the calls. A call returns after its commit. Raises StoreError."""

    def __init__(self, url: str, run_id: int) -> None:
        self._url = url
        self._run_id = run_id
        self._store: Store | None = None

    def save(self, items: Sequence[VideoVerdict | Transition]) -> int:
        """Store results and changes of state; doing it again changes nothing. Returns how many."""
        if self._store is None:
            self._store = Store.open(self._url)
        self._store.save(self._run_id, items)
        return len(items)


def start_writer(url: str, run_id: int, cluster: Cluster) -> Actor:
    """Start the writer on this machine, where the file of a SQLite store is.

    A writer that dies comes back, and what it had not acknowledged is saved again.
    """
    actor: Actor = ray.remote(StoreWriter)
    options = {
        "num_cpus": 0,
        "max_restarts": -1,
        "max_task_retries": -1,
        "scheduling_strategy": cluster.here(),
    }
    return actor.options(**options).remote(_absolute(url), run_id)


def _absolute(url: str) -> str:
    """The URL with an SQLite file's path from the root: the actor has a working folder of its own."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        parsed = parsed.set(database=str(Path(parsed.database).absolute()))
    return parsed.render_as_string(hide_password=False)
