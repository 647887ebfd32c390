from __future__ import annotations

import numpy as np
import pytest

from streamwatch.config import TrackSettings
from streamwatch.faces.tracking import Tracker, scene_distance, scene_histogram
from streamwatch.records import Face, Frame

SIDE = 24
ANNE, BERT, CLEO, ANTI = 1, 2, 3, -1  # ANTI is the negative of ANNE


def texture(seed: int, side: int) -> np.ndarray:
    coarse = np.random.default_rng(abs(seed)).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    coarse = 255 - coarse if seed < 0 else coarse
    return np.kron(coarse, np.ones((side // 6, side // 6, 1), dtype=np.uint8))


def stage(people: dict[int, tuple[int, int]], scene: int = 100) -> np.ndarray:
    """A 120×240 scene with people, each a coarse random pattern of their own, at their top left corners."""
    image = np.kron(texture(scene, 6), np.ones((20, 40, 1), dtype=np.uint8)) // 2 + 64
    for person, (x, y) in people.items():
        image[y : y + SIDE, x : x + SIDE] = texture(person, SIDE)
    return image


def face_at(x: float, y: float) -> Face:
    marks = ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8))
    a, b, c, d, e = ((x + u * SIDE, y + v * SIDE) for u, v in marks)
    return Face((x, y, x + SIDE, y + SIDE), (a, b, c, d, e), 0.9)


class Scenario:
    """Plays frames half a second apart; `step` names who is seen where and gives the id of each."""

    def __init__(self, **settings: float) -> None:
        self.tracker = Tracker(TrackSettings(**settings))
        self.index = 0

    def step(
        self, people: dict[int, tuple[int, int]], scene: int = 100, pts: float | None = None
    ) -> dict[int, int | None]:
        image = stage(people, scene)
        time = self.index * 0.5 if pts is None else pts
        faces = [face_at(*place) for place in people.values()]
        found = self.tracker.update(Frame("clip", self.index, time, None, image), faces)
        self.index += 1
        assert [face.box for face in found] == [face.box for face in faces]
        return dict(zip(people, (face.track_id for face in found), strict=True))


def test_ids_count_up_from_one_and_stay_with_their_face() -> None:
    play = Scenario()
    assert play.step({ANNE: (20, 40), BERT: (150, 40)}) == {ANNE: 1, BERT: 2}
    assert play.step({BERT: (154, 42), ANNE: (23, 41)}) == {BERT: 2, ANNE: 1}
    assert play.step({BERT: (158, 40), CLEO: (90, 60), ANNE: (26, 40)}) == {BERT: 2, CLEO: 3, ANNE: 1}


def test_two_faces_that_cross_keep_their_ids() -> None:
    play = Scenario()
    for step in range(10):
        seen = play.step({ANNE: (30 + 12 * step, 40), BERT: (138 - 12 * step, 44)})
        assert seen == {ANNE: 1, BERT: 2}, step


def test_two_faces_that_change_places_between_frames_keep_their_ids() -> None:
    play = Scenario()
    play.step({ANNE: (60, 40), BERT: (90, 40)})
    # overlap alone says the opposite: each now stands exactly where the other stood
    assert play.step({ANNE: (90, 40), BERT: (60, 40)}) == {ANNE: 1, BERT: 2}


def test_a_face_that_leaves_its_box_in_one_step_is_followed() -> None:
    play = Scenario()
    play.step({ANNE: (40, 40)})
    assert play.step({ANNE: (70, 44)}) == {ANNE: 1}


def test_another_person_in_the_same_place_is_a_new_track() -> None:
    play = Scenario()
    play.step({ANNE: (60, 40)})
    assert play.step({ANTI: (60, 40)}) == {ANTI: 2}


def test_a_face_too_far_away_is_a_new_track_even_if_it_looks_the_same() -> None:
    play = Scenario()
    play.step({ANNE: (10, 40)})
    assert play.step({ANNE: (200, 40)}) == {ANNE: 2}


def test_a_face_missed_for_a_while_comes_back_with_its_id() -> None:
    play = Scenario(max_gap=1.5)
    play.step({ANNE: (60, 40)})
    assert play.step({}) == {}
    assert play.step({}) == {}
    assert play.tracker.active == {1}
    assert play.step({ANNE: (63, 42)}) == {ANNE: 1}


def test_after_the_gap_the_track_has_ended_and_its_id_is_not_used_again() -> None:
    play = Scenario(max_gap=1.5)
    play.step({ANNE: (60, 40)})
    for _ in range(3):
        play.step({})
    assert play.tracker.active == {1}
    play.step({})
    assert play.tracker.active == frozenset()
    assert play.step({ANNE: (60, 40)}) == {ANNE: 2}


def test_a_shot_cut_ends_all_tracks() -> None:
    play = Scenario()
    play.step({ANNE: (60, 40), BERT: (150, 40)}, scene=100)
    assert play.step({ANNE: (60, 40), BERT: (150, 40)}, scene=100) == {ANNE: 1, BERT: 2}
    assert play.step({ANNE: (60, 40), BERT: (150, 40)}, scene=200) == {ANNE: 3, BERT: 4}
    assert play.tracker.active == {3, 4}


def test_a_cut_during_a_gap_is_seen_too() -> None:
    play = Scenario()
    play.step({ANNE: (60, 40)}, scene=100)
    play.step({}, scene=200)
    assert play.step({ANNE: (60, 40)}, scene=200) == {ANNE: 2}


def test_time_that_runs_backwards_ends_all_tracks() -> None:
    play = Scenario()
    play.step({ANNE: (60, 40)}, pts=8.0)
    assert play.step({ANNE: (60, 40)}, pts=0.0) == {ANNE: 2}


def test_frames_at_the_same_time_do_not_divide_by_zero() -> None:
    play = Scenario()
    play.step({ANNE: (60, 40)}, pts=1.0)
    assert play.step({ANNE: (61, 40)}, pts=1.0) == {ANNE: 1}


def test_the_same_frames_give_the_same_ids() -> None:
    def run() -> list[dict[int, int | None]]:
        play, rng = Scenario(), np.random.default_rng(5)
        places = [
            {who: (int(rng.integers(0, 200)), int(rng.integers(0, 90))) for who in (ANNE, BERT, CLEO)}
            for _ in range(12)
        ]
        return [play.step(people) for people in places]

    assert run() == run()


def test_scene_distance_goes_from_nothing_to_one() -> None:
    black, white = np.zeros((90, 160, 3), np.uint8), np.full((90, 160, 3), 255, np.uint8)
    assert scene_distance(scene_histogram(black), scene_histogram(black)) == 0
    assert scene_distance(scene_histogram(black), scene_histogram(white)) == 1
    half = black.copy()
    half[:30] = 255
    assert scene_distance(scene_histogram(black), scene_histogram(half)) == pytest.approx(1 / 3, abs=0.02)


def test_a_moving_face_is_no_cut() -> None:
    still = scene_histogram(stage({ANNE: (60, 40)}))
    moved = scene_histogram(stage({ANNE: (110, 60)}))
    other = scene_histogram(stage({ANNE: (60, 40)}, scene=200))
    assert scene_distance(still, moved) < 0.3
    assert scene_distance(still, other) > 0.6


def test_frames_of_one_pixel_can_be_followed() -> None:
    tracker = Tracker(TrackSettings())
    for index in range(2):
        assert tracker.update(Frame("clip", index, index, None, np.zeros((1, 1, 3), np.uint8)), []) == []


def test_ids_start_where_they_are_told_to() -> None:
    tracker = Tracker(TrackSettings(), first_id=2_000_001)
    face = Face((10, 10, 50, 60), ((20, 25), (40, 25), (30, 35), (22, 48), (38, 48)), 0.99)
    frame = Frame("x", 0, 0.0, None, np.zeros((96, 128, 3), np.uint8))

    assert [f.track_id for f in tracker.update(frame, [face])] == [2_000_001]
