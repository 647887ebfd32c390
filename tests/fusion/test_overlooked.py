"""What a source shows beside what its verdict rests on."""

from __future__ import annotations

import pytest

from streamwatch.fusion.overlooked import FrameFaces, face_notes, track_notes, with_notes
from streamwatch.records import Label
from tests.support.builders import make_verdict


def faces(looked_at: int = 1, overlooked: int = 0, tilted: int = 0, *, turned: bool = False) -> FrameFaces:
    return FrameFaces(0.0, looked_at, overlooked, tilted, turned)


def test_one_video_track_is_not_worth_a_word() -> None:
    assert track_notes(1) == []
    assert track_notes(3) == ["1 of 3 video tracks analysed"]


def test_faces_that_were_not_looked_at_are_those_of_the_fullest_frame() -> None:
    assert face_notes([]) == face_notes([faces(), faces(16)]) == []
    assert face_notes([faces(16, 2), faces(16, 15), faces()]) == ["15 of 31 faces not looked at in the fullest frame"]


def test_faces_count_as_upside_down_where_most_are() -> None:
    assert face_notes([faces(2, tilted=1)]) == []
    assert face_notes([faces(2, tilted=1), faces(tilted=1)]) == ["2 of 3 faces are upside down or on their side"]


def test_turned_pictures_tell_only_where_no_face_is_found_otherwise() -> None:
    turned = faces(0, turned=True)
    assert face_notes([turned]) == face_notes([turned, turned, faces()]) == []
    assert len(face_notes([turned, faces(0), turned])) == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Label.REAL, Label.INCONCLUSIVE),
        (Label.NO_FACE, Label.INCONCLUSIVE),
        (Label.INCONCLUSIVE, Label.INCONCLUSIVE),
        (Label.FAKE, Label.FAKE),
        (Label.ERROR, Label.ERROR),
    ],
)
def test_what_was_not_looked_at_may_be_forged(before: Label, after: Label) -> None:
    verdict = make_verdict(label=before, reason="seen")
    assert with_notes(verdict, []) is verdict
    noted = with_notes(verdict, ["a", "b"])
    assert (noted.label, noted.reason, noted.score) == (after, "a; b; seen", verdict.score)
