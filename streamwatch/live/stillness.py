"""Whether a live picture moves: one that is black, or frozen, shows nothing of the scene."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np

from streamwatch.enums import StrEnum
from streamwatch.records import Frame, ImageArray

SIDE = 320
"""Longer side of the grey pictures that are compared, pixels."""

BLOCK = 8
"""Side of the blocks that they are compared by."""

MOVED = 4.0
"""Mean difference of a block, of 255, from which on it has moved. Half a second apart the block that moved most differs
by 4.9 and more in every pair of frames of 61 clips of people, by 12 and more in half of the pairs of each. In still
pictures, coded by x264 at CRF 18 to 35, it differs by 4 and more only across a key frame."""

RUN = 2
"""Differences in a row that must show a move."""

LEAST = 4
"""Differences that a state is judged by, however far apart the pictures are."""

DARK = 25
"""Grey level below which a pixel is dark."""

DARK_SHARE = 0.98
"""Share of dark pixels from which on a picture is black."""


class PictureState(StrEnum):
    """What a stream shows."""

    MOVING = "moving"
    FROZEN = "frozen"
    BLACK = "black"


class StillnessMonitor:
    """Says of each sampled frame whether the picture has stood still, or been black, for `after` seconds.

    It moves where `RUN` neighbours in a row differ by a block that moved: key frames move still pictures too, but not
    for so long.

    since: media seconds from which on the present state holds.
    """

    def __init__(self, after: float) -> None:
        self.state = PictureState.MOVING
        self.since = 0.0
        self._after = after
        self._before: ImageArray | None = None
        self._seen: deque[tuple[float, bool, bool]] = deque()

    def see(self, frame: Frame) -> PictureState:
        """The state with this frame, which is later than those before it."""
        small = _small(frame.image)
        moved = self._before is None or self._before.shape != small.shape or _moved(self._before, small)
        dark = float(np.mean(small < DARK)) >= DARK_SHARE
        self._before = small
        self._seen.append((frame.pts, moved, dark))
        while len(self._seen) > LEAST + 1 and self._seen[1][0] <= frame.pts - self._after:
            self._seen.popleft()
        state = self._judge()
        if state is not self.state:
            if state is PictureState.MOVING:
                self._seen = deque([self._seen[-1]])
            self.state, self.since = state, self._seen[0][0]
        return state

    def _judge(self) -> PictureState:
        times, moves, darks = zip(*self._seen, strict=True)
        filled = len(times) > LEAST and times[-1] - times[0] >= self._after
        if all(darks) and (filled or self.state is PictureState.BLACK):
            return PictureState.BLACK
        if self.state is PictureState.FROZEN:
            return PictureState.MOVING if all(moves[-RUN:]) else PictureState.FROZEN
        still = not any(all(moves[first : first + RUN]) for first in range(1, len(moves) - RUN + 1))
        return PictureState.FROZEN if filled and still and self.state is PictureState.MOVING else PictureState.MOVING


def _small(image: ImageArray) -> ImageArray:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    scale = SIDE / max(grey.shape)
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(grey, dtype=np.uint8)


def _moved(before: ImageArray, after: ImageArray) -> bool:
    difference = cv2.absdiff(before, after).astype(np.float32)
    height, width = (max(1, side // BLOCK) for side in difference.shape)
    blocks = cv2.resize(difference[: height * BLOCK, : width * BLOCK], (width, height), interpolation=cv2.INTER_AREA)
    return float(blocks.max()) >= MOVED
