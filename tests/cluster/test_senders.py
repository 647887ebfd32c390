"""Whom a batch waits for."""

from __future__ import annotations

import pytest

from streamwatch.cluster.senders import COMPANY, SMOOTHING, Senders


def test_a_client_that_was_never_here_is_not_expected_and_a_new_one_is() -> None:
    senders = Senders()
    senders.answered("a", 0.0)
    assert senders.due(0.0, 10.0) == set()
    senders.sent("a", 0.0)
    assert senders.due(0.0, 0.0) == {"a"}, "its rate is not known yet"


def test_a_client_is_expected_when_its_next_request_is_due() -> None:
    senders = Senders()
    for now in (0.0, 0.4):
        senders.sent("a", now)
    assert senders.due(0.5, 0.7) == set()
    assert senders.due(0.5, 0.9) == {"a"}


def test_the_rate_is_a_running_mean() -> None:
    senders = Senders()
    for now in (0.0, 0.4, 0.9):
        senders.sent("a", now)
    due = 0.9 + 0.4 + SMOOTHING * 0.1
    assert senders.due(0.9, due - 0.01) == set()
    assert senders.due(0.9, due + 0.01) == {"a"}


@pytest.mark.parametrize(("answered", "expected"), [(False, set()), (True, {"a"})])
def test_a_client_that_neither_sends_nor_was_answered_for_a_while_is_gone(answered: bool, expected: set[str]) -> None:
    senders = Senders()
    senders.sent("a", 0.0)
    if answered:
        senders.answered("a", COMPANY)
    assert senders.due(COMPANY + 0.1, 9.0) == expected
