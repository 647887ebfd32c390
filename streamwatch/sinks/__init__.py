"""Delivers alerts to other programs: signed webhooks, MQTT. A delivery is pending in the store until it is accepted."""

from streamwatch.sinks.courier import Courier, SinkFailure
from streamwatch.sinks.sink import DeliveryFailed, Sink
from streamwatch.sinks.webhook import sign

__all__ = ["Courier", "DeliveryFailed", "Sink", "SinkFailure", "sign"]
