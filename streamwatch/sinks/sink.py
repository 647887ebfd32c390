"""What every sink does."""

from __future__ import annotations

from typing import Protocol

from streamwatch.store.deliveries import Delivery


class DeliveryFailed(Exception):
    """A sink has not accepted a delivery; says why, without any credential."""


class Sink(Protocol):
    """The way to a receiver. Its class is called with the settings, and connects when it has something to deliver."""

    def deliver(self, delivery: Delivery) -> None:
        """Deliver; returns once the receiver has accepted it. Raises DeliveryFailed."""

    def close(self) -> None:
        """Close all connections."""
