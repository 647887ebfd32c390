"""Alerts as HTTP requests, signed as https://www.standardwebhooks.com asks for."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping

import httpx

from streamwatch.config import SinkSettings, signing_key
from streamwatch.sinks.sink import DeliveryFailed
from streamwatch.store.deliveries import Delivery


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` of a message: `v1,` and the base64 of its HMAC-SHA256.

    secret: as both sides hold it; one that begins with `whsec_` is the base64 of the key (Standard Webhooks, "Signature
    scheme"), any other is the key itself. timestamp: POSIX seconds.
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.new(signing_key(secret), signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


class Webhook:
    """POSTs JSON. An answer of 200 to 299 within the time limit means that it was accepted; no redirect is followed.

    The limit is one for all of it: name resolution, connection, headers. The body of an answer is never read.
    """

    def __init__(self, settings: SinkSettings, clock: Callable[[], float] = time.time) -> None:
        self._url = settings.url.get_secret_value()
        self._secret = settings.secret.get_secret_value() if settings.secret else ""
        self._clock = clock
        self._timeout = settings.timeout

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
            status, phrase = asyncio.run(asyncio.wait_for(self._post(body, headers), self._timeout))
        except (asyncio.TimeoutError, httpx.TimeoutException):
            raise DeliveryFailed("no answer within its time limit") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise DeliveryFailed(f"no connection ({type(error).__name__})") from None
        if not 200 <= status < 300:
            raise DeliveryFailed(f"answered {status} {phrase}")

    async def _post(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
        """Status and reason phrase of the answer."""
        async with (
            httpx.AsyncClient(timeout=self._timeout, follow_redirects=False) as client,
            client.stream("POST", self._url, content=body, headers=headers) as answer,
        ):
            return answer.status_code, answer.reason_phrase

    def close(self) -> None:
        """Nothing stays open between two deliveries."""
