"""Joins the faces of sampled frames into tracks.

Sampled frames lie far apart (half a second and more), so a face may have left its old box while another one
has moved into it. Overlap alone cannot decide such cases. Every pair of a track and a face is judged by
place (overlap with the last box or with the box moved on at the last speed, else the distance of the
landmarks) and by appearance (a thumbnail of the face), and all pairs are settled at once by optimal
assignment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from streamwatch.config import TrackSettings
from streamwatch.faces.crops import CropGeometry, crop_face
from streamwatch.records import Face, Frame, ImageArray

Array = NDArray[np.float64]
Histogram = NDArray[np.uint16]

# Correlation of thumbnails half a second apart, over 61 clips: of the pairs of one person 99 % are above 0.75
# and none is below 0.46; of two persons in one frame half are below 0.55, of two clips half below 0.26.
LIKENESS_OVERLAPPING = 0.2
LIKENESS_APART = 0.7
LIKENESS_WEIGHT = 4.0
# How far landmarks may have moved, in face sizes: at once, and per second (the most in those clips: 1.6).
REACH = 0.25
REACH_PER_SECOND = 3.0

THUMBNAIL = CropGeometry(scale=1.3)
THUMBNAIL_SIDE = 8
FORBIDDEN = 1e3


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What tracking needs of a sampled frame.

    scene: its `scene_histogram`. thumbnails: of the N faces, N×8×8×3 uint8. overlooked: further faces that were found
    and are not looked at. turned: whether it shows faces only when it is turned, see `TurnedFaceSearch`.
    """

    pts: float
    scene: Histogram
    faces: Sequence[Face]
    thumbnails: ImageArray
    overlooked: int = 0
    turned: bool = False

    @classmethod
    def of(cls, frame: Frame, faces: Sequence[Face], overlooked: int = 0, *, turned: bool = False) -> View:
        """The view of a frame with these faces."""
        thumbnails = np.zeros((len(faces), THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3), np.uint8)
        for thumbnail, face in zip(thumbnails, faces, strict=True):
            thumbnail[:] = crop_face(frame.image, THUMBNAIL.region(face.box), THUMBNAIL_SIDE)
        return cls(frame.pts, scene_histogram(frame.image), faces, thumbnails, overlooked, turned)


class Tracker:
    """Gives the faces of one source their track ids: 1, 2, 3… in order of appearance, never used twice.

    first_id: another start, for a source that is taken up again by a new tracker.

    Call `update` once for each sampled frame, in order, with or without faces. A track ends at a shot cut,
    when it was not seen for `settings.max_gap` seconds (see `relax`), or when time runs backwards.
    """

    def __init__(self, settings: TrackSettings, first_id: int = 1) -> None:
        self._settings = settings
        self._max_gap = settings.max_gap
        self._tracks: list[_Track] = []
        self._last_id = first_id - 1
        self._scene: Histogram | None = None
        self._time = float("-inf")

    def relax(self, max_gap: float) -> None:
        """Let tracks outlive gaps of so many seconds, where that is more than the settings say."""
        self._max_gap = max(self._settings.max_gap, max_gap)

    @property
    def active(self) -> frozenset[int]:
        """Ids of the tracks that may still go on."""
        return frozenset(track.id for track in self._tracks)

    def update(self, frame: Frame, faces: Sequence[Face]) -> list[Face]:
        """The same faces in the same order, each with its `track_id`."""
        return self.follow(View.of(frame, faces))

    def follow(self, view: View) -> list[Face]:
        """As `update`, for a frame of which no more is left than its view."""
        scene = view.scene
        cut = self._scene is not None and scene_distance(self._scene, scene) > self._settings.cut
        if cut or view.pts < self._time:
            self._tracks = []
        self._scene, self._time = scene, view.pts
        self._tracks = [t for t in self._tracks if view.pts - t.seen <= self._max_gap]

        likenesses = [_unit(image) for image in view.thumbnails]
        matches = self._match(view.pts, view.faces, likenesses)
        tracked = []
        for index, (face, image) in enumerate(zip(view.faces, likenesses, strict=True)):
            track = matches.get(index)
            if track is None:
                self._last_id += 1
                track = _Track(self._last_id, _points(face), image, view.pts)
                self._tracks.append(track)
            else:
                track.follow(_points(face), image, view.pts)
            tracked.append(replace(face, track_id=track.id))
        return tracked

    def _match(self, time: float, faces: Sequence[Face], thumbnails: Sequence[Array]) -> dict[int, _Track]:
        if not faces or not self._tracks:
            return {}
        costs = np.array(
            [
                [self._cost(track, time, _points(face), image) for face, image in zip(faces, thumbnails, strict=True)]
                for track in self._tracks
            ]
        )
        from scipy.optimize import linear_sum_assignment  # a quarter of a second, at the first face

        rows, columns = linear_sum_assignment(costs)
        return {
            int(column): self._tracks[row]
            for row, column in zip(rows, columns, strict=True)
            if costs[row, column] < FORBIDDEN
        }

    def _cost(self, track: _Track, time: float, points: Array, image: Array) -> float:
        """Lower is likelier; FORBIDDEN when the face cannot belong to the track."""
        likeness = float(np.vdot(track.thumbnail, image))
        places = (track.points, track.predicted(time))
        overlap = max(_overlap(place[:2], points[:2]) for place in places)
        if overlap >= self._settings.iou and likeness >= LIKENESS_OVERLAPPING:
            return 1 - overlap + LIKENESS_WEIGHT * (1 - likeness)
        reach = REACH + REACH_PER_SECOND * (time - track.seen)
        distance = min(_landmark_distance(place, points) for place in places)
        if distance <= reach and likeness >= LIKENESS_APART:
            return 1 + distance / reach + LIKENESS_WEIGHT * (1 - likeness)
        return FORBIDDEN


@dataclass(slots=True)
class _Track:
    """points: 7×2, the box's corners and the five landmarks as last seen; speed: the same, per second."""

    id: int
    points: Array
    thumbnail: Array
    seen: float
    speed: Array | None = None

    def predicted(self, time: float) -> Array:
        return self.points if self.speed is None else self.points + self.speed * (time - self.seen)

    def follow(self, points: Array, image: Array, time: float) -> None:
        if time > self.seen:
            # Of the whole face: corners and landmarks apart would let a box that grew turn inside out.
            self.speed = (points - self.points).mean(axis=0) / (time - self.seen)
        blend = self.thumbnail + image
        self.thumbnail = blend / max(float(np.linalg.norm(blend)), 1e-9)
        self.points, self.seen = points, time


def _unit(thumbnail: ImageArray) -> Array:
    """A thumbnail as a unit vector: the dot product of two is their correlation, −1..1."""
    small = thumbnail.astype(np.float64)
    small -= small.mean()
    unit: Array = (small / max(float(np.linalg.norm(small)), 1e-9)).ravel()
    return unit


def scene_histogram(image: ImageArray) -> Histogram:
    """Colour histograms (12 hues × 4 saturations × 4 values) of 3×3 parts of a picture: 9×192 numbers of pixels of a
    picture shrunk to less than 192 a side.

    By parts, because two shots of one place share their colours but seldom where these lie.
    """
    step = max(1, max(image.shape[:2]) // 96)
    hsv = cv2.cvtColor(np.ascontiguousarray(image[::step, ::step]), cv2.COLOR_RGB2HSV)
    parts = [part for rows in np.array_split(hsv, 3) for part in np.array_split(rows, 3, axis=1) if part.size]
    histograms = [
        cv2.calcHist([np.ascontiguousarray(part)], [0, 1, 2], None, [12, 4, 4], [0, 180, 0, 256, 0, 256]).ravel()
        for part in parts
    ]
    return np.array(histograms, dtype=np.uint16)


def scene_distance(a: Histogram, b: Histogram) -> float:
    """Mean total-variation distance of two scene histograms: 0 same colours and places, 1 none shared."""
    if a.shape != b.shape:
        return 1.0
    shares = [histogram / histogram.sum(axis=1, keepdims=True) for histogram in (a, b)]
    return float(1 - np.minimum(*shares).sum(axis=1).mean())


def _points(face: Face) -> Array:
    x0, y0, x1, y1 = face.box
    return np.array([(x0, y0), (x1, y1), *face.landmarks])


def _overlap(a: Array, b: Array) -> float:
    """Intersection over union of two boxes given as 2×2 corners."""
    common = float(np.clip(np.minimum(a[1], b[1]) - np.maximum(a[0], b[0]), 0, None).prod())
    union = float((a[1] - a[0]).prod() + (b[1] - b[0]).prod()) - common
    return common / union if union > 0 else 0.0


def _landmark_distance(a: Array, b: Array) -> float:
    """Mean distance of the five landmarks, in sizes (geometric mean of the sides) of the larger face."""
    size = max(float(np.sqrt((points[1] - points[0]).prod())) for points in (a, b))
    return float(np.linalg.norm(a[2:] - b[2:], axis=1).mean()) / size if size > 0 else float("inf")
