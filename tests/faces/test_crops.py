from __future__ import annotations

import cv2
import numpy as np
import pytest

from streamwatch.faces.crops import CropGeometry, crop_face


def smooth_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 3))


def plain_crop(image: np.ndarray, region: tuple[float, float, float, float], size: int) -> np.ndarray:
    """Mean over each output pixel by brute force: 16×16 nearest samples, border repeated."""
    x0, y0, x1, y1 = region
    fine = 16 * size
    rows = np.floor(y0 + (np.arange(fine) + 0.5) * (y1 - y0) / fine).astype(int).clip(0, image.shape[0] - 1)
    columns = np.floor(x0 + (np.arange(fine) + 0.5) * (x1 - x0) / fine).astype(int).clip(0, image.shape[1] - 1)
    return np.asarray(image[rows][:, columns].astype(float).reshape(size, 16, size, 16, 3).mean(axis=(1, 3)))


def test_region_is_a_square_of_the_longer_side_around_the_box() -> None:
    assert CropGeometry(scale=1.5).region((100, 50, 140, 110)) == pytest.approx((75, 35, 165, 125))


def test_region_puts_the_centre_of_the_box_where_the_geometry_says() -> None:
    box = (10.5, 20.25, 40.5, 60.25)
    geometry = CropGeometry(scale=1 / 1.09, center_x=0.507, center_y=0.464)
    x0, y0, x1, y1 = geometry.region(box)
    assert x1 - x0 == pytest.approx(40 / 1.09)
    assert y1 - y0 == pytest.approx(40 / 1.09)
    assert (25.5 - x0) / (x1 - x0) == pytest.approx(0.507)
    assert (40.25 - y0) / (y1 - y0) == pytest.approx(0.464)


def test_region_may_reach_outside_of_the_frame() -> None:
    assert CropGeometry(scale=2).region((0, 0, 10, 10)) == (-5, -5, 15, 15)


@pytest.mark.parametrize(
    "values", [{"scale": 0}, {"scale": float("nan")}, {"center_x": -0.1}, {"center_y": 1.1}], ids=str
)
def test_geometry_out_of_range_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="crop"):
        CropGeometry(**values)


@pytest.mark.parametrize("size", [50, 96, 200])
def test_whole_image_comes_back_as_it_is(size: int) -> None:
    image = smooth_image(size, size)
    np.testing.assert_array_equal(crop_face(image, (0, 0, size, size), size), image)


def test_whole_image_shrinks_like_an_area_filter() -> None:
    image = smooth_image(150, 150)
    expected = np.asarray(cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA))
    assert np.abs(crop_face(image, (0, 0, 150, 150), 64).astype(int) - expected).max() <= 1


def test_whole_image_grows_linearly() -> None:
    image = smooth_image(60, 60)
    expected = np.asarray(cv2.resize(image, (160, 160), interpolation=cv2.INTER_LINEAR))
    assert np.abs(crop_face(image, (0, 0, 60, 60), 160).astype(int) - expected).max() <= 1


def test_whole_pixel_regions_are_slices() -> None:
    image = smooth_image(80, 120)
    np.testing.assert_array_equal(crop_face(image, (30, 10, 70, 50), 40), image[10:50, 30:70])


@pytest.mark.parametrize(
    "region", [(12.3, 7.8, 87.9, 83.4), (-20.6, -35.2, 69.4, 54.8), (90.1, 60.7, 160.1, 130.7)], ids=str
)
def test_shrinking_is_exact_at_sub_pixel_positions_and_over_the_border(
    region: tuple[float, float, float, float],
) -> None:
    image = smooth_image(100, 120)
    assert np.abs(crop_face(image, region, 32) - plain_crop(image, region, 32)).max() < 3


def test_a_shift_by_a_fraction_of_a_pixel_moves_a_ramp_by_that_fraction() -> None:
    ramp = np.broadcast_to(np.arange(0, 240, 4, dtype=np.uint8)[None, :, None], (60, 60, 3))
    for size in (20, 40, 80):  # shrinking, same size, enlarging
        here = crop_face(ramp, (10, 10, 50, 50), size).astype(int)
        there = crop_face(ramp, (12.5, 10, 52.5, 50), size).astype(int)
        np.testing.assert_array_equal(there - here, 10)


def test_outside_of_the_frame_the_border_is_repeated() -> None:
    image = smooth_image(40, 40)
    crop = crop_face(image, (-40, 0, 0, 40), 40)
    np.testing.assert_array_equal(crop, np.repeat(image[:, :1], 40, axis=1))
    corner = crop_face(image, (1000, 1000, 1100, 1100), 16)
    np.testing.assert_array_equal(corner, np.broadcast_to(image[-1, -1], (16, 16, 3)))


def test_one_pixel_frames_can_be_cropped() -> None:
    image = np.full((1, 1, 3), 7, dtype=np.uint8)
    for size in (1, 4):
        np.testing.assert_array_equal(crop_face(image, (-1, -1, 1, 1), size), np.full((size, size, 3), 7))


def test_white_stays_white_and_the_image_is_not_changed() -> None:
    image = np.full((300, 300, 3), 255, dtype=np.uint8)
    image.setflags(write=False)
    assert crop_face(image, (-50.3, 10.7, 280.1, 341.1), 96).min() == 255


@pytest.mark.parametrize("region", [(5, 5, 5, 5), (9, 9, 5, 5), (0, 0, 4, 5), (0, 0, float("nan"), 4)], ids=str)
def test_impossible_regions_are_refused(region: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="region"):
        crop_face(smooth_image(20, 20), region, 8)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="H×W×3 uint8"):
        crop_face(image, (0, 0, 4, 4), 8)
