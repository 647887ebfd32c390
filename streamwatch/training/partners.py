"""Finding another person's face of similar pose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree

from streamwatch.records import FloatArray
from streamwatch.training.forgeries import BROWS, LEFT_EYE, LIPS, NOSE, OVAL, RIGHT_EYE
from streamwatch.training.prepare import FacePicture

_POINTS = sorted({*OVAL[::3], *BROWS[::4], *LEFT_EYE[::5], *RIGHT_EYE[::5], *LIPS[::4], *NOSE[::4]})


class Partners:
    """Pictures by pose: mesh landmarks without place and size."""

    def __init__(self, pictures: Sequence[FacePicture]) -> None:
        self._pictures = pictures
        self._poses = np.stack([_pose(picture.landmarks) for picture in pictures])
        self._tree = cKDTree(self._poses)

    def draw(self, index: int, rng: np.random.Generator, nearest: int = 24) -> FacePicture:
        """One of the `nearest` pictures in pose to picture `index`, of another source where there is one."""
        source = self._pictures[index].source
        _, found = self._tree.query(self._poses[index], min(nearest, len(self._pictures)))
        near = [int(i) for i in np.atleast_1d(found)]
        others = [i for i in near if self._pictures[i].source != source] or near
        return self._pictures[others[int(rng.integers(len(others)))]]


def _pose(landmarks: FloatArray) -> FloatArray:
    points = landmarks[_POINTS] - landmarks[_POINTS].mean(axis=0)
    return np.asarray((points / np.linalg.norm(points)).ravel(), np.float32)
