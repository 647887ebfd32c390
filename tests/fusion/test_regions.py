"""Where on a face a mask lies: parts from landmarks, shares, words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from streamwatch.fusion.regions import brief, covered, describe, face_parts, measure_coverage, most_covered
from streamwatch.records import Face, MaskCoverage

EYE_A, EYE_B, NOSE, MOUTH_A, MOUTH_B = (38.0, 52.0), (74.0, 52.0), (56.0, 72.0), (41.0, 92.0), (71.0, 92.0)
FACE = Face((16.0, 4.0, 96.0, 116.0), (EYE_A, EYE_B, NOSE, MOUTH_A, MOUTH_B), 0.99)
REGION = (0.0, 0.0, 112.0, 112.0)
PARTS = ("eyes", "nose", "mouth", "skin", "border")


def part_at(x: float, y: float, face: Face = FACE) -> str | None:
    parts = face_parts(face, REGION, (112, 112))
    return next((name for name, part in parts.items() if part[int(y), int(x)]), None)


def part_of(place: np.ndarray, face: Face) -> str | None:
    x, y = place.tolist()
    return part_at(x, y, face)


def coverage(**shares: float | None) -> MaskCoverage:
    return MaskCoverage(**{"threshold": 0.5, "face": 0.4, **dict.fromkeys(PARTS, 0.0), **shares})  # type: ignore[arg-type]


def turned(angle: float) -> Face:
    """FACE, rolled around its nose, in a box that holds its landmarks as before."""
    turn = np.deg2rad(angle)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points: Any = tuple(tuple(np.array(NOSE) + matrix @ (np.array(point) - NOSE)) for point in FACE.landmarks)
    return replace(FACE, box=(6.0, 10.0, 106.0, 110.0), landmarks=points)


def test_each_place_of_a_face_is_in_its_part() -> None:
    places = {
        EYE_A: "eyes",
        EYE_B: "eyes",
        (38.0, 44.0): "eyes",
        NOSE: "nose",
        (56.0, 60.0): "nose",
        MOUTH_A: "mouth",
        (56.0, 92.0): "mouth",
        (56.0, 30.0): "skin",
        (34.0, 76.0): "skin",
        (18.0, 60.0): "border",
        (56.0, 108.0): "border",
        (4.0, 4.0): None,
    }
    assert {place: part_at(*place) for place in places} == places


def test_parts_share_the_face_without_overlap() -> None:
    parts = face_parts(FACE, REGION, (112, 112))
    assert tuple(sorted(parts)) == tuple(sorted(PARTS))
    assert np.sum([*parts.values()], axis=0).max() == 1
    area = sum(part.sum() for part in parts.values())
    assert area == pytest.approx(np.pi * 40 * 56, rel=0.03), "the ellipse in the box, less what the crop cuts off"


def test_parts_turn_with_the_head() -> None:
    face = turned(30)
    mouth = (np.array(face.landmarks[3]) + face.landmarks[4]) / 2
    across = np.array(face.landmarks[4]) - face.landmarks[3]
    assert part_of(mouth, face) == "mouth"
    assert part_of(mouth + 0.5 * across, face) == "mouth"
    upright = mouth + 0.5 * np.array([np.hypot(*across), 0.0])
    assert part_of(upright, face) != "mouth"


def test_a_profile_keeps_the_size_of_its_parts() -> None:
    profile = replace(FACE, landmarks=((60.0, 52.0), (64.0, 52.0), (72.0, 72.0), (58.0, 92.0), (62.0, 92.0)))
    seen, frontal = (face_parts(face, REGION, (112, 112))["mouth"].sum() for face in (profile, FACE))
    assert seen == pytest.approx(frontal, rel=0.1)


def test_grid_and_crop_may_have_any_scale() -> None:
    large, small = (face_parts(FACE, REGION, (side, side)) for side in (224, 28))
    for name in PARTS:
        assert large[name].mean() == pytest.approx(small[name].mean(), abs=0.02)
    half = face_parts(FACE, (0.0, 64.0, 112.0, 176.0), (112, 112))
    assert not half["eyes"].any()
    assert half["mouth"][28, 56]


def test_coverage_is_the_share_of_each_part() -> None:
    parts = face_parts(FACE, REGION, (112, 112))
    mask = np.where(parts["mouth"], 76, 26).astype(np.uint8)
    found = measure_coverage(mask, 0.2, FACE, REGION)
    assert found is not None
    assert (found.mouth, found.eyes, found.nose, found.skin, found.border) == (1.0, 0.0, 0.0, 0.0, 0.0)
    assert found.face == pytest.approx(parts["mouth"].sum() / sum(part.sum() for part in parts.values()))
    assert found.threshold == 0.2
    nothing = measure_coverage(mask, 0.31, FACE, REGION)
    assert nothing is not None
    assert nothing.face == 0.0
    everything = measure_coverage(mask, 0.05, FACE, REGION)
    assert everything is not None
    assert everything.face == 1.0


@pytest.mark.parametrize(("threshold", "reached"), [(0.0, 4), (0.2, 3), (51.5 / 255, 2), (1.0, 1), (1.01, 0)])
def test_a_mask_covers_from_its_threshold_on(threshold: float, reached: int) -> None:
    assert covered(np.array([[0, 51], [52, 255]], np.uint8), threshold).sum() == reached


def test_what_the_crop_does_not_show_is_not_known() -> None:
    below = measure_coverage(np.full((56, 56), 255, np.uint8), 0.5, FACE, (0.0, 80.0, 56.0, 136.0))
    assert below is not None
    assert (below.eyes, below.nose) == (None, None)
    assert below.mouth == 1.0
    assert measure_coverage(np.full((8, 8), 255, np.uint8), 0.5, FACE, (500.0, 500.0, 600.0, 600.0)) is None


def test_landmarks_in_one_point_leave_skin_and_border() -> None:
    lost = replace(FACE, landmarks=((50.0, 50.0),) * 5)
    found = measure_coverage(np.full((56, 56), 255, np.uint8), 0.5, lost, REGION)
    assert found is not None
    assert (found.eyes, found.nose, found.mouth, found.skin, found.border) == (None, None, None, 1.0, 1.0)


@pytest.mark.parametrize(
    ("given", "most", "words", "label"),
    [
        (
            coverage(mouth=0.9, nose=0.7),
            ("mouth",),
            "mask covers 40 % of the face, most of all the mouth",
            "40 %: mouth",
        ),
        (
            coverage(mouth=0.9, eyes=0.85, nose=0.5),
            ("eyes", "mouth"),
            "mask covers 40 % of the face, most of all the eyes and the mouth",
            "40 %: eyes, mouth",
        ),
        (
            coverage(face=0.97, eyes=1.0, nose=0.8, mouth=0.76, skin=1.0, border=0.9),
            PARTS,
            "mask covers 97 % of the face, the whole of it",
            "97 %: whole face",
        ),
        (
            coverage(face=0.8, eyes=1.0, nose=1.0, mouth=1.0, skin=0.8, border=0.3),
            ("eyes", "nose", "mouth", "skin"),
            "mask covers 80 % of the face, all of it but the border",
            "80 %: all but border",
        ),
        (
            coverage(eyes=0.4, nose=0.4, mouth=0.42, skin=0.4, border=0.2),
            ("eyes", "nose", "mouth", "skin"),
            "mask covers 40 % of the face, most of all the eyes, the nose, the mouth and the skin",
            "40 %: eyes, nose, mouth, skin",
        ),
        (
            coverage(eyes=0.4, nose=0.4, mouth=0.42, skin=0.4, border=0.4),
            PARTS,
            "mask covers 40 % of the face, all parts alike",
            "40 %: all parts",
        ),
        (coverage(face=0.03, nose=0.2), (), "mask covers 3 % of the face, no part of it by 25 %", "3 %"),
        (coverage(face=0.001, skin=0.002), (), "mask covers under 1 % of the face, no part of it by 25 %", "under 1 %"),
        (coverage(face=0.0), (), "mask is empty", "empty"),
        (
            coverage(eyes=None, nose=None, mouth=0.3, skin=0.1),
            ("mouth",),
            "mask covers 40 % of the face, most of all the mouth",
            "40 %: mouth",
        ),
    ],
)
def test_words(given: MaskCoverage, most: tuple[str, ...], words: str, label: str) -> None:
    assert (most_covered(given), describe(given), brief(given)) == (most, words, label)
