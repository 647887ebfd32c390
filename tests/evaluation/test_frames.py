import numpy as np
import pytest

from streamwatch.detectors import ModelCard
from streamwatch.detectors.protocol import ScoreArrays
from streamwatch.evaluation.frames import (
    FaceResults,
    FaceSample,
    best_ellipse,
    best_mask_threshold,
    frame_metrics,
    mask_metrics,
    score_samples,
)
from streamwatch.faces.crops import CropGeometry
from streamwatch.records import FaceScore, FloatArray, ImageArray

SIDE = 32


class RedDetector:
    """Says "fake" as strongly as the crop is red, and marks the red pixels: the answer is known for every picture."""

    name, input_size, device = "red", SIDE, "cpu"
    geometry = CropGeometry(scale=1.0)
    card: ModelCard

    def score(self, crops: ImageArray) -> list[FaceScore]:
        return self.score_arrays(crops).scores()

    def score_arrays(self, crops: ImageArray) -> ScoreArrays:
        red = np.asarray(crops[..., 0], np.float32) / np.float32(255)
        level = red.mean(axis=(1, 2))
        return ScoreArrays(level - 0.5, level, level[:, None], crops[..., 0])


def picture(red_part: int) -> tuple[ImageArray, FloatArray]:
    image = np.zeros((64, 64, 3), np.uint8)
    mask = np.zeros((64, 64), np.float32)
    image[:red_part, :, 0], mask[:red_part] = 255, 1
    return image, mask


def sample(red_part: int, fake: bool) -> FaceSample:
    image, mask = picture(red_part)
    return FaceSample(lambda: image, (0.0, 0.0, 64.0, 64.0), fake, (lambda: mask) if fake else None)


@pytest.fixture
def results() -> FaceResults:
    samples = [sample(part, part >= 32) for part in (0, 4, 8, 40, 32, 48, 12)]
    return score_samples(RedDetector(), samples, batch=3)


def test_scores_come_in_the_order_of_the_samples(results: FaceResults) -> None:
    assert results.fake.tolist() == [False, False, False, True, True, True, False]
    np.testing.assert_allclose(results.probabilities * 64, [0, 4, 8, 40, 32, 48, 12], atol=1e-3)


def test_a_detector_that_is_right_gets_full_marks(results: FaceResults) -> None:
    metrics = frame_metrics(results)
    assert metrics["auc"] == 1
    assert metrics["eer"] == 0
    assert metrics["balanced_accuracy"] == 1
    assert metrics["tpr_at_1_percent_fpr"] == 1
    assert 0 < metrics["ece"] < 0.5


def test_masks_are_compared_in_crop_coordinates(results: FaceResults) -> None:
    assert len(results.masks) == len(results.truths) == 3
    metrics = mask_metrics(results, 0.5, best_ellipse(results.truths))
    assert metrics["mask_iou"] == pytest.approx(1, abs=0.02)
    assert metrics["mask_pixel_auc"] == pytest.approx(1, abs=0.01)
    assert 0.2 < metrics["mask_iou_of_centred_ellipse"] < 0.9


def test_the_mask_threshold_is_the_one_that_agrees_best(results: FaceResults) -> None:
    faint = results.masks
    for mask in faint:
        mask //= 3
    assert 0.05 <= best_mask_threshold(results) <= 0.3


def test_the_ellipse_fits_what_it_is_given() -> None:
    yy, xx = np.mgrid[:SIDE, :SIDE]
    disc = (((xx - 15.5) / 12) ** 2 + ((yy - 15.5) / 15) ** 2 <= 1).astype(np.float32)
    ellipse = best_ellipse([disc])
    assert (np.minimum(disc, ellipse).sum() / np.maximum(disc, ellipse).sum()) > 0.85
