"""Retention during a run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from streamwatch.config import Settings
from streamwatch.errors import StoreError
from streamwatch.store.repository import Store


class Janitor:
    """Prunes the store of a run every `retention.every` seconds, beside those who write; never without `retention`."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._due = clock() if settings.retention.asked_for else float("inf")
        self._thread: threading.Thread | None = None
        self._messages: list[str] = []

    def poll(self) -> list[str]:
        """Begin a prune where it is due; what went wrong since the last poll, a line each."""
        messages, self._messages = self._messages, []
        if self._clock() >= self._due and (self._thread is None or not self._thread.is_alive()):
            self._due = self._clock() + self._settings.retention.every
            self._thread = threading.Thread(target=self._prune, name="retention", daemon=True)
            self._thread.start()
        return messages

    def wait(self) -> None:
        """Wait until the current prune is over."""
        if self._thread is not None:
            self._thread.join()

    def _prune(self) -> None:
        try:
            with Store.open(self._settings.store.url) as store:
                done = store.prune(self._settings.retention, clips=self._settings.alerts.clips)
        except StoreError as error:
            self._messages = [f"retention: {error}; it is tried again in {self._settings.retention.every:g} s"]
        else:
            self._messages = [f"retention: {line}" for line in done.trouble]
