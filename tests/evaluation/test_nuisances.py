"""Facts of pictures and files, and how far a classifier of them tells the classes apart."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from streamwatch.errors import SourceNotFound
from streamwatch.evaluation.nuisances import (
    FILE_FACTS,
    IMAGE_FACTS,
    file_facts,
    image_facts,
    jpeg_facts,
    noise_floor,
    probe,
    probe_images,
)


def coded(image: np.ndarray, quality: int, sampling: int = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    return bytes(cv2.imencode(".jpg", image, options)[1])


def picture(seed: int, side: int = 48) -> np.ndarray:
    """A smooth picture with a little noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 200, (6, 6, 3)).astype(np.uint8)
    smooth = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC).astype(float)
    return np.clip(smooth + rng.normal(0, 4, smooth.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("quality", [20, 50, 75, 90, 95])
def test_jpeg_quality_is_read_from_the_tables(quality: int) -> None:
    found = jpeg_facts(coded(picture(0), quality))
    assert found[:2] == pytest.approx((quality, quality), abs=0.6)
    assert found[2] == 1
    assert jpeg_facts(coded(picture(0), quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444))[2] == 0


def test_what_is_no_whole_jpeg_has_no_tables() -> None:
    content = coded(picture(0), 80)
    for broken in (b"", b"\x89PNG", content[:2], content[:30], content[:100]):
        assert jpeg_facts(broken) == (100.0, 100.0, 0.0)


def test_facts_of_files(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(coded(picture(0), 75))
    assert file_facts(path)[0] == path.stat().st_size / 48**2
    assert file_facts(path)[1] == pytest.approx(75, abs=0.6)
    cv2.imwrite(str(tmp_path / "a.png"), picture(0))
    assert file_facts(tmp_path / "a.png")[1:] == (100.0, 100.0, 0.0)
    (tmp_path / "empty.jpg").write_bytes(b"")
    with pytest.raises(SourceNotFound, match=r"empty\.jpg: not a readable picture"):
        file_facts(tmp_path / "empty.jpg")
    with pytest.raises(SourceNotFound, match=r"none\.jpg: cannot be read"):
        file_facts(tmp_path / "none.jpg")


def test_noise_is_measured_through_structure() -> None:
    rng = np.random.default_rng(0)
    ramp = np.repeat(np.tile(np.linspace(60, 190, 200), (200, 1))[..., None], 3, axis=2)
    for sigma in (2.0, 5.0, 10.0):
        noisy = np.clip(ramp + rng.normal(0, sigma, (200, 200, 1)), 0, 255).round().astype(np.uint8)
        assert noise_floor(noisy) == pytest.approx(sigma, rel=0.05)
    assert noise_floor(np.zeros((2, 40, 3), np.uint8)) == 0
    side, aspect, sharp, _ = image_facts(np.zeros((20, 40, 3), np.uint8))
    assert (side, aspect, sharp) == (40, 2, 0)


def test_pairs_that_differ_in_sharpness_only_are_told_apart() -> None:
    real = [picture(seed) for seed in range(40)]
    groups = [f"scene {seed // 2}" for seed in range(40)]
    blurred = [np.asarray(cv2.GaussianBlur(image, (0, 0), 0.6), np.uint8) for image in real]
    found = probe_images(real, blurred, groups, rounds=100)
    assert found.samples == 80
    assert found.groups == 20
    assert found.auc.value > 0.9
    assert found.won is not None
    assert found.won.value == 1.0
    assert found.alone["sharpness"] < 0.1
    assert found.alone["side"] == 0.5
    assert found == probe_images(real, blurred, groups, rounds=100)
    mirrored = [image[:, ::-1] for image in real]
    same = probe_images(real, mirrored, groups, rounds=100)
    assert same.auc.value == pytest.approx(0.5)
    assert same.won is not None
    assert same.won.value == 0.5


def test_more_facts_can_be_given_by_name() -> None:
    real = [picture(seed) for seed in range(20)]
    groups = [str(seed) for seed in range(20)]
    coding = np.full((20, 1), 1.0), np.full((20, 1), 2.0)
    found = probe_images(real, real, groups, facts=coding, names=("bytes per pixel",), rounds=0)
    assert list(found.alone) == [*IMAGE_FACTS, "bytes per pixel"]
    assert found.auc.value == 1.0
    assert found.auc.interval is None
    assert len(FILE_FACTS) == 4


def test_scenes_are_not_learned_by_heart() -> None:
    """A fact that names the scene tells nothing of a scene that was not seen."""
    rng = np.random.default_rng(0)
    scene = np.repeat(np.arange(60), 4)
    fake = np.repeat(rng.random(60) < 0.5, 4)
    found = probe(rng.permutation(np.arange(60.0))[scene][:, None], fake, [str(s) for s in scene], ["scene"], rounds=50)
    assert 0.3 < found.auc.value < 0.7


def test_wrong_shapes_and_too_few_groups_are_refused() -> None:
    fake = np.array([False, True, False, True])
    for facts, groups, said in (
        (np.zeros((4, 2)), ["a"] * 4, "do not fit"),
        (np.zeros((4, 1)), ["a"] * 4, "two groups"),
        (np.full((4, 1), np.inf), ["a", "a", "b", "b"], "not a finite number"),
    ):
        with pytest.raises(ValueError, match=said):
            probe(facts, fake, groups, ["x"])
    lonely = probe(np.zeros((4, 1)), fake, ["a", "b", "c", "d"], ["x"], rounds=20)
    assert lonely.auc.value == 0.5
    with pytest.raises(ValueError, match="as many of each"):
        probe_images([picture(0)], [], [])
