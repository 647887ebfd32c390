"""From sampled frames to the crops that the forgery detector scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from streamwatch.config import FaceSettings, TrackSettings
from streamwatch.faces.crops import CropGeometry, crop_face
from streamwatch.faces.loading import load_face_detector
from streamwatch.faces.quality import measure_quality
from streamwatch.faces.retinaface import FaceDetector
from streamwatch.faces.tracking import Tracker, View
from streamwatch.faces.turned import TurnedFaceSearch
from streamwatch.records import Face, FaceCrop, Frame


class FaceFinder:
    """Detection, tracking, cropping and quality of the faces of one source.

    geometry and size (pixels) are those of the model that will score the crops. detector: one to use instead
    of loading the one that `faces` names. first_track: id of the first track. on_view: called with what
    tracking saw of every frame, before its crops are returned.

    Raises WeightsError when that cannot be loaded.
    """

    def __init__(
        self,
        faces: FaceSettings,
        tracks: TrackSettings,
        geometry: CropGeometry,
        size: int,
        *,
        detector: FaceDetector | None = None,
        first_track: int = 1,
        on_view: Callable[[View], None] = lambda view: None,
    ) -> None:
        self._detector = detector or load_face_detector(faces)
        self._most = faces.max_faces
        self._turned = TurnedFaceSearch(self._detector)
        self._tracker = Tracker(tracks, first_track)
        self._geometry = geometry
        self._size = size
        self._on_view = on_view

    @property
    def active_tracks(self) -> frozenset[int]:
        """Ids of the tracks that may still go on; all others have ended."""
        return self._tracker.active

    def relax(self, max_gap: float) -> None:
        """Let tracks outlive gaps of so many seconds, where that is more than `tracks.max_gap`."""
        self._tracker.relax(max_gap)

    def find(self, frames: Sequence[Frame]) -> list[list[FaceCrop]]:
        """One list of crops per frame, of its `faces.max_faces` largest faces, the largest first. Frames come in order
        of time, over all calls.
        """
        detected = self._detector.detect([frame.image for frame in frames])
        return [
            [self._crop(frame, face) for face in self._track(frame, faces)]
            for frame, faces in zip(frames, detected, strict=True)
        ]

    def _track(self, frame: Frame, faces: Sequence[Face]) -> list[Face]:
        turned = self._turned.found(frame.image, len(faces))
        view = View.of(frame, faces[: self._most], len(faces[self._most :]), turned=turned)
        self._on_view(view)
        return self._tracker.follow(view)

    def _crop(self, frame: Frame, face: Face) -> FaceCrop:
        region = self._geometry.region(face.box)
        image = crop_face(frame.image, region, self._size)
        return FaceCrop(
            image=image,
            face=replace(face, quality=measure_quality(image, face, region)),
            region=region,
            frame_index=frame.index,
            pts=frame.pts,
            wall_time=frame.wall_time,
        )
