"""Faces that stand on their head or lie on their side: found in the turned picture where the upright one shows none."""

from __future__ import annotations

import math

import numpy as np

from streamwatch.faces.retinaface import FaceDetector
from streamwatch.records import Face, ImageArray

QUARTERS = (2, 1, 3)
"""Quarter turns that are tried."""

FIRST_LOOKS, LOOK_EVERY = (2, 4, 8, 16), 32
"""Which frames of a run without faces are looked at: few, as each costs three calls of the face detector."""

UPRIGHT = 60.0
"""Degrees up to which a head may be tilted to count as upright."""


class TurnedFaceSearch:
    """Looks for faces in turned pictures, now and then while no frame shows an upright one."""

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector
        self._faceless = 0

    def found(self, image: ImageArray, faces: int) -> bool:
        """Whether the next frame shows faces only when it is turned; False where it is not looked at, too. faces: found
        in it as it is.
        """
        self._faceless = 0 if faces else self._faceless + 1
        if self._faceless not in FIRST_LOOKS and (self._faceless == 0 or self._faceless % LOOK_EVERY):
            return False
        return any(self._detector.detect([np.ascontiguousarray(np.rot90(image, quarter))])[0] for quarter in QUARTERS)


def is_upright(face: Face) -> bool:
    """Whether a face is tilted by no more than `UPRIGHT` degrees, from its eyes to the corners of its mouth."""
    left, right, _, left_corner, right_corner = face.landmarks
    across = left_corner[0] + right_corner[0] - left[0] - right[0]
    down = left_corner[1] + right_corner[1] - left[1] - right[1]
    return abs(math.degrees(math.atan2(across, down))) <= UPRIGHT
