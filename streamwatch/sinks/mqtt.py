"""Alerts as MQTT messages, QoS 1: the broker acknowledges each."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

from streamwatch.config import SinkSettings
from streamwatch.distribution import install_extra
from streamwatch.errors import ConfigError
from streamwatch.sinks.sink import DeliveryFailed
from streamwatch.store.deliveries import Delivery

PORTS = {"mqtt": 1883, "mqtts": 8883}
TOPIC = "streamwatch/alerts"


class Mqtt:
    """Publishes to the topic in the path of the URL, `streamwatch/alerts` without one. Raises ConfigError where the
    extra is not installed.
    """

    def __init__(self, settings: SinkSettings) -> None:
        try:
            import paho.mqtt.client as paho
        except ImportError:
            raise ConfigError(f"sink {settings.name}: paho-mqtt is missing", install_extra("mqtt")) from None
        self._paho: Any = paho
        self._url = urlsplit(settings.url.get_secret_value())
        self._timeout = settings.timeout
        self._client: Any = None

    def deliver(self, delivery: Delivery) -> None:
        try:
            client = self._connected()
            sent = client.publish(unquote(self._url.path.lstrip("/")) or TOPIC, delivery.payload.encode(), qos=1)
            sent.wait_for_publish(self._timeout)
            taken = sent.is_published()
        except (OSError, RuntimeError, ValueError) as error:
            self.close()
            raise DeliveryFailed(f"no connection ({type(error).__name__})") from None
        if not taken:
            self.close()
            raise DeliveryFailed("the broker did not acknowledge it within its time limit")

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            client.loop_stop()

    def _connected(self) -> Any:
        if self._client is not None and self._client.is_connected():
            return self._client
        self.close()
        client = self._paho.Client(self._paho.CallbackAPIVersion.VERSION2)
        client.connect_timeout = self._timeout
        if self._url.username:
            client.username_pw_set(unquote(self._url.username), unquote(self._url.password or ""))
        if self._url.scheme == "mqtts":
            client.tls_set()
        client.connect(self._url.hostname, self._url.port or PORTS[self._url.scheme])
        client.loop_start()
        self._client = client
        return client
