"""The sink that the settings describe."""

from __future__ import annotations

from collections.abc import Callable

from streamwatch.config import SinkSettings
from streamwatch.extensions import SINKS
from streamwatch.sinks.sink import Sink


def open_sink(settings: SinkSettings) -> Sink:
    """The sink that the settings describe; connects lazily. Raises ConfigError for a missing extra, or for a broken
    extension.
    """
    made: Callable[[SinkSettings], Sink] = SINKS.load(settings.scheme)
    with SINKS.guard(settings.scheme):
        return made(settings)
