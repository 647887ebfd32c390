import numpy as np
import pytest

from streamwatch.evaluation.degradations import encode_video, jpeg, rescale, sharpen
from tests.face_pictures import portrait


def error(image, other):
    return float(np.abs(image.astype(int) - other).mean())


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_video_coding_loses_more_at_higher_rate_factors(codec):
    image = portrait()
    losses = [error(encode_video([image], crf, codec)[0], image) for crf in (12, 28, 45)]
    assert 0 < losses[0] < losses[1] < losses[2] < 20


def test_pictures_coded_together_come_back_in_their_order_and_size():
    one, two = portrait()[:, :101], np.ascontiguousarray(portrait()[:, ::-1])[:, :101]
    first, second = encode_video([one, two], 15)
    assert first.shape == one.shape
    assert error(first, one) < 6 < error(first, two)
    assert error(second, two) < 6


def test_jpeg_and_rescaling_lose_detail_and_sharpening_adds_contrast():
    image = portrait()
    assert error(jpeg(image, 95), image) < error(jpeg(image, 30), image)
    assert rescale(image, 3).shape == image.shape
    assert np.diff(rescale(image, 3).astype(int), axis=1).std() < np.diff(image.astype(int), axis=1).std()
    assert np.diff(sharpen(image, 0.8).astype(int), axis=1).std() > np.diff(image.astype(int), axis=1).std()
