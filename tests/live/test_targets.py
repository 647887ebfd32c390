"""Which streams a watch follows, asked for from time to time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import av.error
import pytest

from streamwatch.errors import ConfigError, SourceRefused
from streamwatch.live import roster
from streamwatch.live.targets import FOLLOW_EVERY, Targets
from streamwatch.sources import container


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


def test_what_ffmpeg_was_built_without_is_refused_at_once_and_not_retried_for_ever(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []

    def without(address: str, **_: object) -> object:
        asked.append(address)
        raise av.error.ProtocolNotFoundError(0, "Protocol not found")

    container._is_spoken.cache_clear()
    monkeypatch.setattr("streamwatch.sources.container.av.open", without)
    for url in ("srt://camera:9000", "SRT://camera:9001?mode=caller"):
        with pytest.raises(SourceRefused, match="the installed FFmpeg cannot speak srt; install a build of PyAV"):
            Targets([url], None)
        with pytest.raises(SourceRefused, match="cannot speak srt"):
            roster.Roster(tmp_path / "roster.yaml", []).add(url, None)
    assert asked == ["srt://"], "no host is named"
    container._is_spoken.cache_clear()


def test_a_scheme_that_ffmpeg_speaks_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_a_host(address: str, **_: object) -> object:
        raise av.error.ArgumentError(22, "Invalid argument")

    container._is_spoken.cache_clear()
    monkeypatch.setattr("streamwatch.sources.container.av.open", without_a_host)
    assert [source.text for source in Targets(["srt://camera:9000"], None).sources] == ["srt://camera:9000"]
    container._is_spoken.cache_clear()
