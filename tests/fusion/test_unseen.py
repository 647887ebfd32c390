from __future__ import annotations

import pytest

from streamwatch.fusion.unseen import Unseen, early_end, qualify, unseen_time
from streamwatch.live.unseen import RecentUnseen
from streamwatch.records import FrameCounts, Label, UnseenCause


@pytest.mark.parametrize(
    ("label", "share", "expected"),
    [
        (Label.REAL, 0.1, Label.REAL),
        (Label.REAL, 0.11, Label.INCONCLUSIVE),
        (Label.NO_FACE, 0.11, Label.INCONCLUSIVE),
        (Label.FAKE, 1.0, Label.FAKE),
        (Label.INCONCLUSIVE, 1.0, Label.INCONCLUSIVE),
    ],
)
def test_what_was_not_seen_takes_back_what_looks_harmless(label: Label, share: float, expected: Label) -> None:
    found, reason = qualify(label, "why", [Unseen(share, "not all")], 0.1)
    assert found is expected
    assert reason == "not all; why"


def test_shares_add_up() -> None:
    parts = [Unseen(0.06, "one"), Unseen(0.06, "two")]
    assert qualify(Label.REAL, "", parts, 0.1) == (Label.INCONCLUSIVE, "one; two")
    assert qualify(Label.REAL, "", [], 0.0) == (Label.REAL, "")


def test_seconds_by_cause() -> None:
    (part,) = unseen_time({UnseenCause.DAMAGED: 2.5, UnseenCause.MISSING: 0.04}, 20.0)
    assert part == Unseen(0.125, "2.5 s not analysed: damaged")
    assert unseen_time({UnseenCause.MISSING: 3.0}, 2.0) == [Unseen(1.0, "3.0 s not analysed: missing")]


@pytest.mark.parametrize(
    ("end", "promised", "note"),
    [
        (8.0, 19.6, "ends at 0:08.0 of 0:19.6"),
        (59.96, 3723.4, "ends at 1:00.0 of 1:02:03.4"),
        (8.0, 9.0, None),
        (9.5, 9.0, None),
        (8.0, None, None),
    ],
)
def test_a_file_that_ends_early(end: float, promised: float | None, note: str | None) -> None:
    found = early_end(end, promised)
    assert [part.note for part in found] == ([note] if note else [])
    if found and promised:
        assert found[0].share == pytest.approx(1 - end / promised)


def test_only_the_newest_time_of_a_stream_counts() -> None:
    recent = RecentUnseen(60.0, 100.0, {})
    assert recent.update(105.0, {}) == []
    (part,) = recent.update(110.0, {UnseenCause.DAMAGED: 5.0})
    assert part == Unseen(0.5, "5.0 s not analysed: damaged")
    for now in range(115, 175, 5):
        parts = recent.update(float(now), {UnseenCause.DAMAGED: 5.0})
    assert parts == []


def test_counts_of_parts_add_up_with_their_seconds() -> None:
    one = FrameCounts(decoded=1, unseen={UnseenCause.DAMAGED: 1.5})
    two = FrameCounts(decoded=1, unseen={UnseenCause.DAMAGED: 0.5, UnseenCause.MISSING: 2.0})
    assert (one + two).unseen == {UnseenCause.DAMAGED: 2.0, UnseenCause.MISSING: 2.0}
    assert (FrameCounts() + FrameCounts()).unseen == {}
