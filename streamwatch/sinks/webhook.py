"""Alerts as HTTP requests, signed as https://www.standardwebhooks.com asks for."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable

import httpx

from streamwatch.config import SinkSettings
from streamwatch.sinks.sink import DeliveryFailed
from streamwatch.store.deliveries import Delivery


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` of a message: `v1,` and the base64 of its HMAC-SHA256.

    secret: as both sides hold it; one that begins with `whsec_` is the base64 of the key (Standard Webhooks, "Signature
    scheme"), any other is the key itself. timestamp: POSIX seconds.
    """
    coded = secret.removeprefix("whsec_")
    key = base64.b64decode(coded) if coded != secret else secret.encode()
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


class Webhook:
    """POSTs JSON. An answer of 200 to 299 within the time limit means that it was accepted; no redirect is followed."""

    def __init__(self, settings: SinkSettings, clock: Callable[[], float] = time.time) -> None:
        self._url = settings.url.get_secret_value()
        self._secret = settings.secret.get_secret_value() if settings.secret else ""
        self._clock = clock
        self._client = httpx.Client(timeout=settings.timeout, follow_redirects=False)

    def deliver(self, delivery: Delivery) -> None:
        body = delivery.payload.encode()
        message_id = f"{delivery.alert_id}.{delivery.revision}"
        timestamp = int(self._clock())
        headers = {
            "content-type": "application/json",
            "user-agent": "streamwatch",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(self._secret, message_id, timestamp, body),
        }
        try:
            answer = self._client.post(self._url, content=body, headers=headers)
        except httpx.TimeoutException:
            raise DeliveryFailed("no answer within its time limit") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise DeliveryFailed(f"no connection ({type(error).__name__})") from None
        if not answer.is_success:
            raise DeliveryFailed(f"answered {answer.status_code} {answer.reason_phrase}")

    def close(self) -> None:
        self._client.close()
