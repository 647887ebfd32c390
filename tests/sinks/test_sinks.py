"""Sinks against a real HTTP server and a real MQTT broker, fed from a real store."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from pydantic import ValidationError

from streamwatch.bench.loopback.rtsp_server import free_port
from streamwatch.config import Settings, SinkSettings
from streamwatch.fusion import Subject, error_verdict
from streamwatch.records import Alert, AlertKind, ModelRef, VideoVerdict
from streamwatch.sinks import Courier, SinkFailure
from streamwatch.store import Store
from tests.support.builders import make_outage
from tests.support.silent_server import dripping_server
from tests.support.webhook_receiver import SECRET, Receiver, receiving, webhook

NOW = datetime(2026, 3, 1, 10, tzinfo=timezone.utc)
SUBJECT = Subject("rtsp://cam/one", None, ModelRef("model", "b" * 64), "c" * 64, "policy")


def verdict(*alerts: Alert) -> VideoVerdict:
    from streamwatch.errors import SourceTimeout

    return error_verdict(SUBJECT, SourceTimeout("nothing came"), alerts=alerts)


def alert(name: str, revision: int = 1, kind: AlertKind = AlertKind.DOWN, end: float | None = None) -> Alert:
    return make_outage(name, SUBJECT.source, end=end, revision=revision, kind=kind, reason=f"try {revision}")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


class Bench:
    """A store with a run, and a courier whose time the test sets."""

    def __init__(self, folder: Path, *sinks: SinkSettings) -> None:
        self.now = NOW
        self.sinks = sinks
        self.store = Store.open(f"sqlite:///{folder / 'store.db'}", clock=lambda: self.now)
        self.run = self.store.begin_run("watch", "{}", "c" * 64)
        self.courier = self.new_courier()

    def new_courier(self) -> Courier:
        return Courier(self.store, self.sinks, now=lambda: self.now, chance=lambda: 1.0)

    def save(self, *alerts: Alert) -> None:
        self.store.save(self.run, [verdict(*alerts)], self.sinks)

    def close(self) -> None:
        self.courier.close()
        self.store.close()


@pytest.fixture
def bench(receiver: Receiver, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path, webhook(receiver))
    yield bench
    bench.close()


def test_every_revision_is_told_in_order_signed_and_once(bench: Bench, receiver: Receiver) -> None:
    bench.save(alert("a"))
    bench.save(alert("a", 2), alert("b"))
    bench.save(alert("a", 2), alert("b"))
    bench.save(alert("a", 3, end=4.0), alert("b"))
    assert bench.courier.work() == []
    assert bench.courier.work() == []
    assert [item[1:] for item in receiver.revisions if item[0] == "a"] == [
        (1, "alert.new"),
        (2, "alert.update"),
        (3, "alert.end"),
    ]
    assert [item[1:] for item in receiver.revisions if item[0] == "b"] == [(1, "alert.new")]
    assert receiver.verified == 4
    event = receiver.events[0]
    assert (event["source"], event["at"], event["evidence"]) == (SUBJECT.source, NOW.isoformat(), [])


def test_what_was_not_taken_is_told_later_and_in_order(bench: Bench, receiver: Receiver) -> None:
    receiver.answers = [503, 500]
    bench.save(alert("a"))
    bench.save(alert("a", 2, end=1.0))
    assert bench.courier.work() == [SinkFailure("desk", "answered 503 Service Unavailable")]
    assert bench.courier.work() == []
    bench.now += timedelta(seconds=1.0)
    assert bench.courier.work() == []
    (first, second) = bench.store.deliveries.of_alert("a")
    assert (first.attempts, first.failure) == (2, "answered 500 Internal Server Error")
    assert (second.attempts, second.failure) == (0, None)
    bench.now += timedelta(seconds=1.9)
    assert bench.courier.work() == []
    assert receiver.events == []
    bench.now += timedelta(seconds=0.2)
    assert bench.courier.work() == [SinkFailure("desk", None)]
    bench.courier.work()
    assert receiver.revisions == [("a", 1, "alert.new"), ("a", 2, "alert.end")]


def test_a_courier_that_comes_back_tells_what_its_predecessor_had_not(bench: Bench, receiver: Receiver) -> None:
    receiver.answers = [503]
    bench.save(alert("a"))
    bench.courier.work()
    bench.now += timedelta(seconds=5)
    later = bench.new_courier()
    later.work()
    later.close()
    assert receiver.revisions == [("a", 1, "alert.new")]


def test_a_redirect_is_not_followed(bench: Bench, receiver: Receiver) -> None:
    receiver.answers = [307]
    bench.save(alert("a"))
    assert bench.courier.work() == [SinkFailure("desk", "answered 307 Temporary Redirect")]
    assert receiver.events == []


def test_a_receiver_that_is_away_hides_its_address_and_holds_up_no_other(receiver: Receiver, tmp_path: Path) -> None:
    away = SinkSettings(
        name="away", kind="webhook", url=f"http://127.0.0.1:{free_port()}/hook?token=hidden", secret="x", timeout=2
    )
    bench = Bench(tmp_path, away, webhook(receiver, alerts=("down",)))
    bench.save(alert("a"), alert("b", kind=AlertKind.FROZEN))
    (failed,) = bench.courier.work()
    assert (failed.sink, failed.message) == ("away", "no connection (ConnectError)")
    assert [item[0] for item in receiver.revisions] == ["a"]
    assert "hidden" not in (tmp_path / "store.db").read_bytes().decode("latin-1")
    bench.close()


def test_an_alert_and_what_is_to_be_told_of_it_are_stored_together(bench: Bench) -> None:
    bench.save(alert("a"))
    bench.store.save(bench.run, [verdict(alert("a"), alert("quiet"))])
    assert [item.revision for item in bench.store.deliveries.of_alert("a")] == [1]
    assert bench.store.deliveries.of_alert("quiet") == []


def test_secrets_of_sinks_are_in_no_dump_of_the_settings(receiver: Receiver) -> None:
    settings = Settings(sinks=(webhook(receiver),))
    shown = f"{settings!r} {settings.model_dump_json()}"
    assert "hidden" not in shown
    assert SECRET not in shown


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"secret": None}, "sink desk needs a secret"),
        ({"secret": ""}, "sink desk needs a secret"),
        ({"url": "ftp://x/y"}, "must begin with https or http"),
        ({"kind": "mqtt"}, "must begin with mqtts or mqtt"),
        ({"alerts": ("nonsense",)}, "forgery"),
    ],
)
def test_sinks_that_cannot_work_are_refused(receiver: Receiver, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        webhook(receiver, **changes)


def test_two_sinks_of_one_name_are_refused(receiver: Receiver) -> None:
    with pytest.raises(ValidationError, match="two sinks have the same name"):
        Settings(sinks=(webhook(receiver), webhook(receiver)))


@contextlib.contextmanager
def mqtt_broker(port: int) -> Iterator[list[dict[str, object]]]:
    """A broker on loopback; what is published on `desk/alerts` comes into the list."""
    from amqtt.broker import Broker
    from amqtt.client import MQTTClient

    received: list[dict[str, object]] = []
    ready, over = threading.Event(), threading.Event()

    async def listen(client: MQTTClient) -> None:
        while True:
            message = await client.deliver_message()
            received.append(json.loads(message.data))

    async def main() -> None:
        listeners = {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}}
        plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
        broker = Broker({"listeners": listeners, "plugins": plugins})
        await broker.start()
        client = MQTTClient()
        await client.connect(f"mqtt://127.0.0.1:{port}/")
        await client.subscribe([("desk/alerts", 1)])
        task = asyncio.create_task(listen(client))
        ready.set()
        while not over.is_set():
            await asyncio.sleep(0.05)
        task.cancel()
        await client.disconnect()
        await broker.shutdown()

    thread = threading.Thread(target=asyncio.run, args=(main(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    yield received
    over.set()
    thread.join(10)


def test_alerts_over_mqtt(tmp_path: Path) -> None:
    pytest.importorskip("amqtt")
    port = free_port()
    sink = SinkSettings(name="bus", kind="mqtt", url=f"mqtt://user:hidden@127.0.0.1:{port}/desk/alerts", timeout=3)
    bench = Bench(tmp_path, sink)
    bench.save(alert("a"))
    (failed,) = bench.courier.work()
    assert failed.message == "no connection (ConnectionRefusedError)"
    with mqtt_broker(port) as received:
        bench.now += timedelta(seconds=5)
        assert bench.courier.work() == [SinkFailure("bus", None)]
        bench.save(alert("a", 2, end=1.0))
        bench.courier.work()
        for _ in range(100):
            if len(received) == 2:
                break
            threading.Event().wait(0.05)
    assert [(event["event"], event["source"]) for event in received] == [
        ("alert.new", SUBJECT.source),
        ("alert.end", SUBJECT.source),
    ]
    bench.close()


@pytest.mark.parametrize("part", ["head", "body"])
def test_an_answer_that_never_ends_costs_its_time_limit_and_delays_no_other(
    part: str, receiver: Receiver, tmp_path: Path
) -> None:
    head = b"HTTP/1.1 200 OK\r\n"
    if part == "body":
        head += b"Transfer-Encoding: chunked\r\n\r\n"
    with dripping_server(head, b"1\r\na\r\n" if part == "body" else b"a: b\r\n") as port:
        slow = webhook(receiver, name="slow", url=f"http://127.0.0.1:{port}/", timeout=1.0)
        bench = Bench(tmp_path, slow, webhook(receiver))
        bench.save(alert("a"))
        begun = time.monotonic()
        changes = bench.courier.work(0.2)
        while not receiver.revisions:
            changes += bench.courier.work(0.2)
        assert time.monotonic() - begun < 1.0
        changes += bench.courier.work()
        assert time.monotonic() - begun < 3.0
        bench.close()
    assert [change.sink for change in changes] == (["slow"] if part == "head" else [])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"secret": "whsec_"}, "its secret is empty"),
        ({"secret": "whsec_not base64!"}, "is not base64"),
        ({"url": "https://"}, "has no host"),
        ({"url": "https://host:99999/"}, "has no host, or a port"),
        ({"url": "https://host:abc/?token=hidden"}, "has no host, or a port"),
    ],
)
def test_addresses_and_secrets_that_cannot_be_are_refused(
    receiver: Receiver, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        webhook(receiver, **changes)
    assert "hidden" not in str(caught.value.errors(include_input=False))
