"""The state machine of a stream and its retries: no waiting, no chance."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial

import pytest

from streamwatch import errors
from streamwatch.config import LiveSettings
from streamwatch.sources.states import Cause, RetryPolicy, StreamMachine, StreamState, Transition, cause_of
from tests.support.clocks import Clock

NOON = datetime(2026, 5, 1, 12, tzinfo=timezone.utc)
LEADS_TO = {
    StreamState.CONNECTING: {StreamState.RUNNING, StreamState.BACKING_OFF, StreamState.FAILED, StreamState.STOPPED},
    StreamState.RUNNING: {StreamState.STALLED, StreamState.BACKING_OFF, StreamState.FAILED, StreamState.STOPPED},
    StreamState.STALLED: {StreamState.RUNNING, StreamState.BACKING_OFF, StreamState.FAILED, StreamState.STOPPED},
    StreamState.BACKING_OFF: {StreamState.CONNECTING, StreamState.STOPPED},
    StreamState.FAILED: {StreamState.CONNECTING, StreamState.STOPPED},
    StreamState.STOPPED: set(),
}


def machine(settings: LiveSettings, received: list[Transition], clock: Clock) -> StreamMachine:
    return StreamMachine(
        "rtsp://cam", settings, listen=received.append, clock=clock, chance=lambda: 1.0, now=lambda: NOON
    )


def test_the_wait_doubles_up_to_its_limit_and_is_drawn_from_nothing_to_all_of_it() -> None:
    settings = LiveSettings(backoff_first=0.5, backoff_max=4.0)
    longest, shortest = (RetryPolicy(settings, clock=Clock(), chance=partial(float, c)) for c in (1.0, 0.0))
    assert [longest.failed(Cause.REFUSED, 0.0) for _ in range(6)] == [
        (False, wait) for wait in (0.5, 1.0, 2.0, 4.0, 4.0, 4.0)
    ]
    assert [shortest.failed(Cause.REFUSED, 0.0) for _ in range(3)] == [(False, 0.0)] * 3


def test_only_a_source_that_has_run_for_a_while_begins_anew() -> None:
    retries = RetryPolicy(LiveSettings(backoff_first=0.5, backoff_max=4.0), clock=Clock(), chance=lambda: 1.0)
    waits = [retries.failed(Cause.ENDED, ran)[1] for ran in (0.0, 3.9, 3.9, 4.0, 0.0)]
    assert waits == [0.5, 1.0, 2.0, 0.5, 1.0]


def test_too_many_failures_break_the_circuit_until_the_source_runs() -> None:
    clock = Clock()
    settings = LiveSettings(retry_budget=3, retry_window=100.0, failed_retry=60.0)
    retries = RetryPolicy(settings, clock=clock, chance=lambda: 0.0)
    assert [retries.failed(Cause.REFUSED, 0.0)[0] for _ in range(4)] == [False, False, False, True]
    clock.now = 1000.0
    assert retries.failed(Cause.REFUSED, 0.0) == (True, 60.0)  # the window is empty, but it has not run
    assert retries.failed(Cause.ENDED, 10.0)[0] is False


def test_failures_that_are_long_past_count_no_more() -> None:
    clock = Clock()
    retries = RetryPolicy(LiveSettings(retry_budget=1, retry_window=100.0), clock=clock)
    for clock.now in (0.0, 101.0, 202.0, 303.0):
        assert retries.failed(Cause.REFUSED, 0.0)[0] is False
    clock.now = 350.0
    assert retries.failed(Cause.REFUSED, 0.0)[0] is True


def test_wrong_credentials_fail_at_once_and_are_tried_seldom() -> None:
    retries = RetryPolicy(LiveSettings(failed_retry=60.0), clock=Clock())
    assert retries.failed(Cause.AUTHENTICATION, 0.0) == (True, 60.0)


def test_every_change_is_told_with_its_cause() -> None:
    received: list[Transition] = []
    clock = Clock()
    stream = machine(LiveSettings(backoff_first=0.5), received, clock)
    stream.connected("h264 640×360")
    stream.stalled("no new picture for 2 s")
    stream.resumed()
    assert stream.lost(Cause.ENDED, "over") == 0.5
    stream.retry()
    stream.stop()
    stream.stop()
    assert [(change.previous, change.state, change.cause) for change in received] == [
        (StreamState.CONNECTING, StreamState.RUNNING, None),
        (StreamState.RUNNING, StreamState.STALLED, Cause.STALLED),
        (StreamState.STALLED, StreamState.RUNNING, None),
        (StreamState.RUNNING, StreamState.BACKING_OFF, Cause.ENDED),
        (StreamState.BACKING_OFF, StreamState.CONNECTING, Cause.ENDED),
        (StreamState.CONNECTING, StreamState.STOPPED, None),
    ]
    assert received[3].retry_in == 0.5
    assert stream.reconnects == {Cause.ENDED: 1}
    with pytest.raises(ValueError, match="stopped, not connecting"):
        stream.connected()


@pytest.mark.parametrize("seed", range(20))
def test_no_order_of_calls_leaves_the_graph(seed: int) -> None:
    received: list[Transition] = []
    clock, chance = Clock(), random.Random(seed)
    stream = machine(LiveSettings(retry_budget=2), received, clock)
    calls: list[Callable[[], object]] = [
        stream.connected,
        lambda: stream.stalled("x"),
        stream.resumed,
        lambda: stream.lost(chance.choice(list(Cause)), "x"),
        stream.retry,
        lambda: stream.stop() if chance.random() < 0.05 else None,
    ]
    refused = 0
    for _ in range(200):
        clock.now += chance.random()
        before = len(received)
        try:
            chance.choice(calls)()
        except ValueError:
            refused += 1
            assert len(received) == before
    assert refused
    assert all(change.state in LEADS_TO[change.previous] for change in received)
    assert all(one.state is next_.previous for one, next_ in itertools.pairwise(received))
    lost = sum(change.state in (StreamState.BACKING_OFF, StreamState.FAILED) for change in received)
    assert stream.reconnects.total() == lost


@pytest.mark.parametrize(
    ("error", "connected", "cause"),
    [
        (errors.SourceRefused, False, Cause.REFUSED),
        (errors.SourceUnauthorized, False, Cause.AUTHENTICATION),
        (errors.SourceNotFound, False, Cause.NOT_FOUND),
        (errors.SourceUntrusted, False, Cause.TLS),
        (errors.SourceTimeout, False, Cause.TIMEOUT),
        (errors.SourceTimeout, True, Cause.STALLED),
        (errors.SourceUnreadable, False, Cause.CODEC),
        (errors.SourceTooLarge, True, Cause.CODEC),
        (errors.SourceEnded, True, Cause.ENDED),
    ],
)
def test_every_error_has_its_cause(error: type[errors.SourceError], connected: bool, cause: Cause) -> None:
    assert cause_of(error("x"), connected=connected) is cause


def test_what_a_connection_waits_for_is_said_once() -> None:
    received: list[Transition] = []
    stream = machine(LiveSettings(), received, Clock())
    for _ in range(3):
        stream.waits("packets come")
    stream.lost(Cause.TIMEOUT, "no key frame")
    stream.retry()
    stream.waits("packets come")
    stream.connected()
    assert [change.message for change in received if change.state is StreamState.CONNECTING] == [
        "packets come",
        "",
        "packets come",
    ]
    with pytest.raises(ValueError, match="is running, not connecting"):
        stream.waits("packets come")
