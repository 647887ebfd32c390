"""What every sink does."""

from __future__ import annotations

from typing import Protocol

from streamwatch.config import SinkSettings
from streamwatch.store.deliveries import Delivery


class NotTaken(Exception):
    """A sink has not taken a delivery; says why, without any credential."""


class Sink(Protocol):
    """The way to a receiver."""

    def tell(self, delivery: Delivery) -> None:
        """Hand over a delivery; returns once the receiver has taken it. Raises NotTaken."""

    def close(self) -> None:
        """Let go of connections."""


def open_sink(settings: SinkSettings) -> Sink:
    """The sink that the settings describe; connects lazily."""
    if settings.kind == "webhook":
        from streamwatch.sinks.webhook import Webhook

        return Webhook(settings)
    from streamwatch.sinks.mqtt import Mqtt

    return Mqtt(settings)
