"""Tells other programs of alerts: signed webhooks, MQTT. What is to be told waits in the store until it was taken."""

from streamwatch.sinks.courier import Courier, SinkFailure
from streamwatch.sinks.sink import DeliveryFailed, Sink
from streamwatch.sinks.webhook import sign

__all__ = ["Courier", "DeliveryFailed", "Sink", "SinkFailure", "sign"]
