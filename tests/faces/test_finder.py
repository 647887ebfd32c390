from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib import resources

import cv2
import numpy as np
import pytest

from streamwatch import faces
from streamwatch.config import FaceSettings, TrackSettings
from streamwatch.faces import CropGeometry, FaceFinder, crop_face, measure_quality
from streamwatch.faces.quality import pose, sharpness
from streamwatch.faces.tracking import View
from streamwatch.faces.turned import TurnedFaceSearch, is_upright
from streamwatch.records import Face, Frame, ImageArray, Point

FRONTAL = ((30.0, 40.0), (70.0, 40.0), (50.0, 60.0), (35.0, 80.0), (65.0, 80.0))


def portrait() -> ImageArray:
    data = (resources.files("streamwatch") / "assets" / "astronaut.png").read_bytes()
    bgr = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
    return np.ascontiguousarray(bgr[..., ::-1], dtype=np.uint8)


class Scripted:
    """A face detector that has been told what to find."""

    def __init__(self, found: list[list[Face]]) -> None:
        self._found = iter(found)

    def detect(self, images: Sequence[ImageArray]) -> list[list[Face]]:
        return [next(self._found) for _ in images]


ANGLES = (-170, -90, -50, 0, 50, 90, 180)


def marked() -> ImageArray:
    """A dark picture with a bright mark in its left upper corner."""
    image = np.zeros((60, 80, 3), np.uint8)
    image[:10, :10] = 255
    return image


class UprightDetector:
    """Finds the mark only in the left upper corner, as a network finds only upright faces; counts its calls."""

    calls = 0

    def detect(self, images: Sequence[ImageArray]) -> list[list[Face]]:
        self.calls += len(images)
        return [[Face((0, 0, 10, 10), FRONTAL, 0.9)] if image[0, 0].all() else [] for image in images]


def moved(points: tuple[Point, ...], angle: float, scale: float) -> tuple[Point, ...]:
    turn = complex(math.cos(angle), math.sin(angle)) * scale
    return tuple(((turn * complex(*p)).real + 7, (turn * complex(*p)).imag - 3) for p in points)


def test_pose_is_zero_for_a_frontal_face_whatever_its_roll_and_size() -> None:
    assert pose(FRONTAL) == pytest.approx(0)
    for angle in (-1.0, 0.4, 2.5):
        assert pose(moved(FRONTAL, angle, 0.3)) == pytest.approx(0)  # type: ignore[arg-type]


def test_pose_grows_to_one_as_the_nose_passes_an_eye() -> None:
    values = [pose((*FRONTAL[:2], (x, 60.0), *FRONTAL[3:])) for x in (50, 55, 60, 65, 70, 80)]
    assert values == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1])
    mirrored = [pose((*FRONTAL[:2], (100 - x, 60.0), *FRONTAL[3:])) for x in (50, 55, 60, 65, 70, 80)]
    assert mirrored == pytest.approx(values)


def test_pose_of_landmarks_in_one_point_counts_as_profile() -> None:
    assert pose(((5.0, 5.0),) * 5) == 1.0


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    assert sharpness(image) == pytest.approx(float(np.var(cv2.Laplacian(grey, cv2.CV_64F))))
    assert sharpness(image) > 10 * sharpness(np.asarray(cv2.GaussianBlur(image, (0, 0), 2), dtype=np.uint8)) > 0
    assert sharpness(np.full((40, 40, 3), 90, np.uint8)) == 0


def test_quality_holds_size_and_upscaling() -> None:
    face = Face((10, 10, 30, 50), FRONTAL, 0.9)
    image = np.zeros((96, 96, 3), np.uint8)
    quality = measure_quality(image, face, CropGeometry(1.2).region(face.box))
    assert quality.short_side == 20
    assert quality.upscaling == pytest.approx(2.0)  # 96 pixels for 48


def test_finder_follows_and_crops_a_real_face() -> None:
    geometry = CropGeometry(scale=1.2, center_x=0.5, center_y=0.45)
    finder = FaceFinder(FaceSettings(batch=2), TrackSettings(), geometry, 64)
    image = portrait()
    now = datetime(2024, 5, 1, tzinfo=timezone.utc)
    frames = [
        Frame("clip", 30 * i, 0.5 * i, now, np.ascontiguousarray(np.roll(image, 6 * i, axis=1))) for i in range(3)
    ]
    found = finder.find(frames)
    assert [len(crops) for crops in found] == [1, 1, 1]
    for frame, (crop,) in zip(frames, found, strict=True):
        assert crop.face.track_id == 1
        assert (crop.frame_index, crop.pts, crop.wall_time) == (frame.index, frame.pts, now)
        assert crop.region == geometry.region(crop.face.box)
        np.testing.assert_array_equal(crop.image, crop_face(frame.image, crop.region, 64))
        assert crop.face.quality == measure_quality(crop.image, crop.face, crop.region)
        assert crop.face.quality is not None
        assert crop.face.quality.short_side == pytest.approx(95, abs=8)
        assert crop.face.quality.pose < 0.4
        assert crop.face.quality.upscaling == pytest.approx(64 / (1.2 * 120), rel=0.1)
    assert finder.active_tracks == {1}


def test_finder_keeps_one_list_per_frame_and_state_over_calls() -> None:
    face = Face((40, 30, 72, 70), tuple((40 + 0.3 * x, 20 + 0.5 * y) for x, y in FRONTAL), 0.9)  # type: ignore[arg-type]
    picture = np.random.default_rng(1).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    finder = FaceFinder(FaceSettings(), TrackSettings(), CropGeometry(), 32, detector=Scripted([[face], [], [face]]))
    frames = [Frame("clip", i, 0.5 * i, None, picture) for i in range(3)]
    first, second = finder.find(frames[:2])
    assert [crop.face.track_id for crop in first] == [1]
    assert second == []
    assert [crop.face.track_id for crop in finder.find(frames[2:])[0]] == [1]
    assert finder.find([]) == []


def test_the_largest_faces_are_looked_at_and_the_others_counted() -> None:
    views: list[View] = []
    found = [Face((x, 0, x + 40, 40), FRONTAL, 0.9) for x in range(0, 250, 50)]
    finder = FaceFinder(
        FaceSettings(max_faces=3),
        TrackSettings(),
        CropGeometry(),
        32,
        detector=Scripted([found]),
        on_view=views.append,
    )
    (crops,) = finder.find([Frame("clip", 0, 0.0, None, np.zeros((64, 320, 3), np.uint8))])
    assert [crop.face.box for crop in crops] == [face.box for face in found[:3]]
    assert [(len(view.faces), view.overlooked) for view in views] == [(3, 2)]


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_faces_of_a_turned_picture_are_seen_now_and_then_and_cost_little(quarters: int) -> None:
    turned = np.ascontiguousarray(np.rot90(marked(), quarters))
    detector = UprightDetector()
    search = TurnedFaceSearch(detector)
    assert [number for number in range(1, 101) if search.found(turned, 0)] == [2, 4, 8, 16, 32, 64, 96]
    assert detector.calls <= 3 * 7
    assert not any(search.found(turned, 1) for _ in range(100))


def test_upright_faces_may_be_tilted() -> None:
    tilted = {angle: is_upright(Face((0, 0, 1, 1), moved(FRONTAL, np.radians(angle), 1.0), 0.9)) for angle in ANGLES}  # type: ignore[arg-type]
    assert [angle for angle, upright in tilted.items() if upright] == [-50, 0, 50]


def test_the_crop_geometry_alone_loads_no_network_and_no_solver() -> None:
    code = (
        "import sys, streamwatch.faces as f; f.CropGeometry(); "
        "print([m for m in ('scipy', 'torch', 'onnxruntime', 'av', 'ray') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_all_public_names_are_there() -> None:
    assert all(getattr(faces, name).__name__ == name for name in faces.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = faces.nothing
