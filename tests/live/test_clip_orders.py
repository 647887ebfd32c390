"""Clips of a forgery: ordered once, delivered once, given up in time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from streamwatch.config import AlertSettings
from streamwatch.live.clip_orders import CLIP_PATIENCE, ClipOrders
from streamwatch.records import AlertKind, EvidenceClip
from streamwatch.sources.process import ClipOrder
from tests.support.builders import make_alert

NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)
SETTINGS = AlertSettings(clip_before=4.0, clip_after=2.0)
FORGERY = make_alert("a", "s", start=0.0, end=None, started_at=NOON)


class Stream:
    """What is ordered of a stream, and what is delivered from it."""

    def __init__(self, settings: AlertSettings = SETTINGS) -> None:
        self.time = 0.0
        self.ordered: list[ClipOrder] = []
        self.delivered: list[EvidenceClip] = []
        self.orders = ClipOrders(
            "s",
            settings,
            cut=self.ordered.append,
            deliver=self.delivered.append,
            known=["before"],
            clock=lambda: self.time,
            now=lambda: NOON + timedelta(seconds=3),
        )


def test_a_forgery_has_one_clip() -> None:
    stream = Stream()
    stream.orders.order([FORGERY])
    stream.orders.order([replace(FORGERY, revision=2)])
    assert stream.ordered == [ClipOrder("a", NOON - timedelta(seconds=4), NOON + timedelta(seconds=5))]
    clip = EvidenceClip("s", "a", b"mp4")
    for _ in range(2):
        stream.orders.receive(clip)
    stream.orders.fail_overdue(all_of_them=True)
    assert stream.delivered == [clip]


@pytest.mark.parametrize("change", [{"id": "before"}, {"kind": AlertKind.DOWN}, {"started_at": None}], ids=str)
def test_what_is_no_new_forgery_has_none(change: dict[str, object]) -> None:
    stream = Stream()
    stream.orders.order([replace(FORGERY, **change)])  # type: ignore[arg-type]
    stream.orders.fail_overdue(all_of_them=True)
    assert (stream.ordered, stream.delivered) == ([], [])


def test_no_bytes_no_clips() -> None:
    stream = Stream(AlertSettings(clip_max_bytes=0))
    stream.orders.order([FORGERY])
    assert stream.ordered == []


def test_a_clip_that_does_not_come_is_a_failure_and_no_longer_taken() -> None:
    stream = Stream()
    stream.orders.order([FORGERY])
    stream.time = 2.0 + CLIP_PATIENCE
    stream.orders.fail_overdue()
    assert stream.delivered == []
    stream.time += 0.1
    stream.orders.fail_overdue()
    stream.orders.receive(EvidenceClip("s", "a", b"late"))
    assert [(clip.alert_id, clip.data, clip.failure) for clip in stream.delivered] == [
        ("a", None, "the connection ended before it was cut")
    ]
