"""Which streams a watch follows, asked for from time to time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from streamwatch.errors import ConfigError, SourceRefused
from streamwatch.live.targets import FOLLOW_EVERY, Targets


class Roster:
    """Answers what the test sets, on a clock that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0
        self.answer: Sequence[str] | Exception | None = None
        self.asked = 0

    def __call__(self) -> Sequence[str] | None:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def targets(self) -> Targets:
        return Targets(["rtsp://a"], self, lambda: self.now)


def test_given_urls_stay_until_they_are_cleared() -> None:
    targets = Targets(["rtsp://a"], None)
    targets.follow()
    assert ([source.text for source in targets.sources], targets.followed) == (["rtsp://a"], False)
    targets.clear()
    assert [source.text for source in targets.sources] == []


def test_followed_urls_are_asked_for_once_a_while() -> None:
    roster = Roster()
    targets = roster.targets()
    roster.answer = ["rtsp://b", "rtsp://c"]
    targets.follow()
    assert ([source.text for source in targets.sources], targets.followed, roster.asked) == (["rtsp://a"], True, 0)
    roster.now = FOLLOW_EVERY
    targets.follow()
    targets.follow()
    assert ([source.text for source in targets.sources], roster.asked) == (["rtsp://b", "rtsp://c"], 1)
    roster.now, roster.answer = 2 * FOLLOW_EVERY, None
    targets.follow()
    assert ([source.text for source in targets.sources], roster.asked) == (["rtsp://b", "rtsp://c"], 2)


@pytest.mark.parametrize(
    ("answer", "error"), [(ConfigError("unreadable"), ConfigError), (["rtsp://b", "gopher://c"], SourceRefused)]
)
def test_what_cannot_be_watched_changes_nothing(answer: Sequence[str] | Exception, error: type[Exception]) -> None:
    roster = Roster()
    targets = roster.targets()
    roster.now, roster.answer = FOLLOW_EVERY, answer
    with pytest.raises(error):
        targets.follow()
    targets.follow()  # not at once again
    assert ([source.text for source in targets.sources], roster.asked) == (["rtsp://a"], 1)
