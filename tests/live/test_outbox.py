"""What a store refuses is kept until it is there again."""

from __future__ import annotations

import pytest

from streamwatch.errors import StoreError
from streamwatch.fusion import Subject, error_verdict
from streamwatch.live.outbox import OperatorNotice, Outbox
from streamwatch.records import (
    ModelRef,
    VideoVerdict,
)
from tests.support.clocks import Clock


class Writer:
    """Answers as it is told to: trouble, or the error of the call. Stands in for the actor and its references."""

    def __init__(self, *answers: StoreError | list[str]) -> None:
        self.answers = list(answers)
        self.calls: list[list[str]] = []
        self.save = self

    def remote(self, items: list[VideoVerdict]) -> StoreError | list[str]:
        self.calls.append([item.source for item in items])
        return self.answers.pop(0)


def answer_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def result_of(answer: object) -> object:
        if isinstance(answer, StoreError):
            raise answer
        return answer

    monkeypatch.setattr("streamwatch.live.outbox.ray.wait", lambda references, timeout: (references, []))
    monkeypatch.setattr("streamwatch.live.outbox.result_of", result_of)


def a_result(source: str) -> VideoVerdict:
    return error_verdict(Subject(source, None, ModelRef("m", "b" * 64), "c" * 64, "policy"), StoreError("x"))


def test_what_a_store_refuses_is_kept_in_order_and_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_at_once(monkeypatch)
    clock = Clock()
    refusal = StoreError("the database is locked")
    writer = Writer(refusal, refusal, ["the clip cannot be written"])
    outbox = Outbox(writer, patience=60.0, clock=clock)
    outbox.put(a_result("a"))
    assert list(outbox.exchange()) == []
    outbox.put(a_result("b"))
    (notice,) = outbox.exchange()
    assert isinstance(notice, OperatorNotice)
    assert "locked" in notice.message
    assert list(outbox.exchange()) == []  # not yet again
    clock.now = 2.0
    assert list(outbox.exchange()) == list(outbox.exchange()) == []
    assert [item.source for item in outbox.items] == ["a", "b"]
    clock.now = 4.0
    list(outbox.exchange())
    again, trouble, *stored = outbox.exchange()
    assert isinstance(again, OperatorNotice)
    assert "again" in again.message
    assert isinstance(trouble, OperatorNotice)
    assert trouble.message == "the clip cannot be written"
    assert [item.source for item in stored if isinstance(item, VideoVerdict)] == ["a", "b"]
    assert writer.calls == [["a"], ["a", "b"], ["a", "b"]]
    assert outbox.items == []


def test_a_run_with_nothing_to_store_is_heard_of_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_at_once(monkeypatch)
    clock = Clock()
    writer = Writer(*[[]] * 9)
    outbox = Outbox(writer, patience=5.0, clock=clock)
    for clock.now in range(13):
        assert list(outbox.exchange()) == []
    assert writer.calls == [[], []]


def test_a_store_that_stays_away_ends_the_run_with_everything_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_at_once(monkeypatch)
    clock = Clock()
    outbox = Outbox(Writer(*[StoreError("gone")] * 9), patience=5.0, clock=clock)
    outbox.put(a_result("a"))

    def work_on() -> None:
        for clock.now in range(20):
            list(outbox.exchange())

    with pytest.raises(StoreError, match="gone"):
        work_on()
    assert 5.0 < clock.now < 10.0
    assert [item.source for item in outbox.items] == ["a"]


def test_what_a_writer_does_not_answer_can_be_taken_and_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamwatch.live.outbox.ray.wait", lambda references, timeout: ([], references))
    clock = Clock()
    outbox = Outbox(Writer([]), patience=60.0, clock=clock)
    outbox.put(a_result("a"))
    assert outbox.unanswered == 0.0
    assert list(outbox.exchange()) == []
    outbox.put(a_result("b"))
    clock.now = 7.0
    assert list(outbox.exchange()) == []
    assert outbox.unanswered == 7.0
    items = outbox.take()
    verdicts = [item for item in outbox.stored(items) if isinstance(item, VideoVerdict)]
    assert [verdict.source for verdict in verdicts] == ["a", "b"]
    assert (outbox.items, outbox.unanswered) == ([], 0.0)
