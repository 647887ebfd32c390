"""The sink that the settings describe."""

from __future__ import annotations

from streamwatch.config import SinkSettings
from streamwatch.sinks.sink import Sink


def open_sink(settings: SinkSettings) -> Sink:
    """The sink that the settings describe; connects lazily."""
    if settings.kind == "webhook":
        from streamwatch.sinks.webhook import Webhook

        return Webhook(settings)
    from streamwatch.sinks.mqtt import Mqtt

    return Mqtt(settings)
