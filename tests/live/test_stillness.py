"""Whether a picture moves: pictures with a known answer, still ones as an encoder leaves them, real footage."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from streamwatch.live.stillness import PictureState, StillnessMonitor
from streamwatch.records import Frame, ImageArray
from streamwatch.sources import iter_frames
from tests.support import media

BLACK = np.full((90, 160, 3), 2, np.uint8)


def states(images: list[ImageArray], after: float = 4.0, fps: float = 2.0) -> list[PictureState]:
    watch = StillnessMonitor(after)
    return [watch.see(Frame("s", number, number / fps, None, image)) for number, image in enumerate(images)]


def moving(count: int, start: int = 0) -> list[ImageArray]:
    return [media.picture(5 * number, 320, 192) for number in range(start, start + count)]


def test_a_picture_is_frozen_once_it_has_stood_still_for_long_enough() -> None:
    found = states([*moving(6), *[media.picture(99, 320, 192)] * 12, *moving(6)])
    assert found[:6] == [PictureState.MOVING] * 6
    assert found.index(PictureState.FROZEN) == 13  # for 4 s, but for one difference that may be a key frame's
    assert found[13:19] == [PictureState.FROZEN] * 6
    assert found[19:] == [PictureState.MOVING] * 5


def test_since_says_from_when_on() -> None:
    watch = StillnessMonitor(4.0)
    for number in range(12):
        watch.see(Frame("s", number, number / 2, None, media.picture(1, 320, 192)))
    assert (watch.state, watch.since) == (PictureState.FROZEN, 0.0)


def test_a_black_picture_is_black_and_not_frozen_and_moves_with_the_first_that_is_not() -> None:
    found = states([*[BLACK] * 12, *moving(4)])
    assert found[:8] == [PictureState.MOVING] * 8
    assert found[8:12] == [PictureState.BLACK] * 4
    assert found[12:] == [PictureState.MOVING] * 4


def test_a_short_fade_is_no_black_picture() -> None:
    assert set(states([*moving(6), *[BLACK] * 3, *moving(8)])) == {PictureState.MOVING}


def test_a_mouth_that_moves_in_a_still_wide_shot_is_a_moving_picture() -> None:
    still = np.full((720, 1280, 3), 120, np.uint8)
    images = []
    for number in range(20):
        image = still.copy()
        image[300 : 312 + 6 * (number % 2), 600:640] = 60
        images.append(image)
    assert set(states(images)) == {PictureState.MOVING}


def test_a_graphic_of_two_seconds_is_no_frozen_picture() -> None:
    assert set(states([*moving(6), *[media.picture(99, 320, 192)] * 5, *moving(8)])) == {PictureState.MOVING}


def test_a_pause_of_the_stream_is_no_frozen_picture() -> None:
    watch = StillnessMonitor(4.0)
    times = [0.0, 0.5, 1.0, 1.5, 9.0, 9.5, 10.0, 10.5]
    found = [
        watch.see(Frame("s", n, at, None, image)) for n, (at, image) in enumerate(zip(times, moving(8), strict=True))
    ]
    assert set(found) == {PictureState.MOVING}


def test_a_change_of_size_is_a_change() -> None:
    assert states([*[media.picture(1, 320, 192)] * 3, *[media.picture(1, 160, 96)] * 3])[-1] is PictureState.MOVING


@pytest.mark.parametrize("crf", [23, 35])
def test_a_still_picture_is_frozen_as_an_encoder_leaves_it(crf: int, tmp_path: Path) -> None:
    noise = np.random.default_rng(3).integers(0, 255, (27, 48, 3), dtype=np.uint8)
    still = np.asarray(cv2.resize(noise, (480, 270), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    clip = media.encode(
        tmp_path / "still.mp4", width=480, height=270, frames=250, images=[still] * 250, keyframe_every=50,
        b_frames=False, crf=crf,
    )  # fmt: skip
    watch = StillnessMonitor(4.0)
    found = [watch.see(frame) for frame in iter_frames(str(clip))]
    assert found[10:] == [PictureState.FROZEN] * len(found[10:])
    assert len(found) == 20


def test_footage_of_people_never_stands_still(shared: Path) -> None:
    clips = sorted((shared / "media" / "real").iterdir())[::9]
    assert len(clips) > 5
    for clip in clips:
        watch = StillnessMonitor(2.0)
        found = {watch.see(frame) for frame in iter_frames(str(clip), fps=4.0)}
        assert found == {PictureState.MOVING}, clip.name
