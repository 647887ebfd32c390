"""A real HTTP server that takes signed webhooks."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook as Verifier

from streamwatch.config import SinkSettings

SECRET = "whsec_" + "c2VjcmV0LWtleS1vZi10aGUtZGVzaw=="


class Receiver:
    """An HTTP server that keeps what it took; `answers` are given first, 204 after them."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.events: list[dict[str, object]] = []
        self.verified = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = outer.answers.pop(0) if outer.answers else 204
                if status == 204:
                    Verifier(SECRET).verify(body, dict(self.headers))
                    outer.verified += 1
                    outer.events.append(json.loads(body))
                self.send_response(status)
                if status in (301, 307):
                    self.send_header("location", f"http://127.0.0.1:{outer.server.server_port}/elsewhere")
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/hook?token=hidden"

    @property
    def revisions(self) -> list[tuple[str, int, str]]:
        alerts = [(event["alert"], event["event"]) for event in self.events]
        return [(item["id"], item["revision"], event) for item, event in alerts]  # type: ignore[index,misc]


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that listens for the time of the context."""
    receiver = Receiver()
    thread = threading.Thread(target=receiver.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        receiver.server.server_close()
        thread.join(5)


def webhook(receiver: Receiver, **changes: object) -> SinkSettings:
    return SinkSettings(
        **{"name": "desk", "kind": "webhook", "url": receiver.url, "secret": SECRET, "timeout": 5, **changes}
    )
