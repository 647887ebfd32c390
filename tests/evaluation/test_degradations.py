import numpy as np
import pytest

from streamwatch.evaluation.degradations import (
    VideoCodec,
    blur,
    brightness,
    colour_cast,
    encode_video,
    jpeg,
    motion_blur,
    noise,
    rescale,
    sharpen,
)
from streamwatch.evaluation.robustness import protocol
from streamwatch.records import ImageArray
from tests.support.face_datasets import portrait


def error(image: ImageArray, other: ImageArray) -> float:
    return float(np.abs(image.astype(int) - other).mean())


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_video_coding_loses_more_at_higher_rate_factors(codec: VideoCodec) -> None:
    image = portrait()
    losses = [error(encode_video(image, crf, codec), image) for crf in (12, 28, 45)]
    assert 0 < losses[0] < losses[1] < losses[2] < 20


def test_pictures_of_any_size_come_back_as_themselves() -> None:
    one, two = portrait()[:, :101], np.ascontiguousarray(portrait()[:, ::-1])[:, :101]
    first, second = encode_video(one, 15), encode_video(two, 15)
    assert first.shape == one.shape
    assert error(first, one) < 6 < error(first, two)
    assert error(second, two) < 6


def test_jpeg_and_rescaling_lose_detail_and_sharpening_adds_contrast() -> None:
    image = portrait()
    assert error(jpeg(image, 95), image) < error(jpeg(image, 30), image)
    assert rescale(image, 3).shape == image.shape
    assert np.diff(rescale(image, 3).astype(int), axis=1).std() < np.diff(image.astype(int), axis=1).std()
    assert np.diff(sharpen(image, 0.8).astype(int), axis=1).std() > np.diff(image.astype(int), axis=1).std()


def test_blur_noise_and_brightness_do_as_much_as_they_say() -> None:
    image = np.full((64, 64, 3), 100, np.uint8)
    assert (brightness(image, -0.4) == 60).all()
    assert (brightness(image, 0.4) == 140).all()
    assert (brightness(np.full_like(image, 250), 0.4) == 255).all()
    assert (colour_cast(image, 0.1) == (110, 100, 90)).all()
    dot = np.zeros((9, 9, 3), np.uint8)
    dot[4, 4] = 250
    assert motion_blur(dot, 5)[4, :, 0].tolist() == [0, 0, 50, 50, 50, 50, 50, 0, 0]
    assert motion_blur(dot, 5, 90)[:, 4, 0].tolist() == [0, 0, 50, 50, 50, 50, 50, 0, 0]
    slanted = motion_blur(dot, 5, 45)[..., 0]
    assert slanted[2, 6] > 0 == slanted[2, 2]  # up and to the right
    assert float(slanted.sum()) == pytest.approx(250, abs=9)
    assert (motion_blur(image, 7, 30) == 100).all()
    noisy = noise(image, 10, np.random.default_rng(0)).astype(float)
    assert noisy.std() == pytest.approx(10, rel=0.05)
    assert noisy.mean() == pytest.approx(100, abs=0.5)
    point = np.zeros((64, 64, 3), np.uint8)
    point[24:40, 24:40] = 255
    assert blur(point, 3).max() <= 255
    assert np.abs(np.diff(blur(point, 3).astype(int), axis=0)).max() < 60


def test_the_protocol_keeps_size_and_grows_worse() -> None:
    image = portrait()[:, :101]
    families: dict[str, list[float]] = {}
    for degradation in protocol():
        if degradation.family in ("JPEG", "scale", "blur", "motion", "noise"):
            result = degradation.apply(image)
            assert result.shape == image.shape
            assert result.dtype == np.uint8
            assert (result == degradation.apply(image)).all()
            families.setdefault(degradation.family, []).append(error(result, image))
    for losses in families.values():
        assert losses == sorted(losses)
    assert len({degradation.name for degradation in protocol()}) == len(protocol()) == 27
