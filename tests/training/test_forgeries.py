import numpy as np
import pytest

from streamwatch.evaluation.forged_regions import forged_region
from streamwatch.training import augment
from streamwatch.training.augment import code_again, degrade
from streamwatch.training.forgeries import Forgery, self_blend, soften
from streamwatch.training.unseen import unseen_self_blend
from tests.support.face_datasets import SIDE, mesh, portrait


@pytest.fixture(scope="module")
def blends() -> list[Forgery]:
    return [self_blend(portrait(), mesh(), np.random.default_rng(seed)) for seed in range(40)]


def test_a_blend_changes_the_masked_part_and_nothing_else(blends: list[Forgery]) -> None:
    for blend in blends:
        outside = blend.mask == 0
        assert outside.any()
        np.testing.assert_array_equal(blend.fake[outside], blend.real[outside])
    changed = [np.abs(b.fake.astype(int) - b.real)[b.mask > 0.2].mean() for b in blends if (b.mask > 0.2).any()]
    assert np.median(changed) > 1


def test_masks_cover_a_visible_part_with_every_strength(blends: list[Forgery]) -> None:
    areas = [float((blend.mask > 0).mean()) for blend in blends]
    assert min(areas) > 0.005
    peaks = {round(float(blend.mask.max()), 2) for blend in blends}
    assert peaks == {0.25, 0.5, 0.75, 1.0}


def test_either_side_is_changed_but_never_both(blends: list[Forgery]) -> None:
    kept = [np.array_equal(blend.real, portrait()) for blend in blends]
    assert 0.2 < np.mean(kept) < 0.8


def test_the_draw_is_the_generators_alone() -> None:
    one, two = (self_blend(portrait(), mesh(), np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(one.fake, two.fake)
    np.testing.assert_array_equal(one.mask, two.mask)


def test_softening_keeps_an_empty_mask_empty_and_peaks_at_one() -> None:
    empty = np.zeros((SIDE, SIDE), np.float32)
    assert soften(empty, np.random.default_rng(0)).max() == 0
    empty[40:90, 40:90] = 1
    assert soften(empty, np.random.default_rng(0)).max() == pytest.approx(1)


def test_forged_region_finds_a_repainted_patch() -> None:
    original = portrait()
    fake = original.copy()
    fake[45:85, 40:80] = np.roll(fake[45:85, 40:80], 17, axis=1)[..., ::-1]
    region = forged_region(fake, original)
    assert region is not None
    truth = np.zeros((SIDE, SIDE), bool)
    truth[45:85, 40:80] = True
    found = region > 0.5
    assert (found & truth).sum() / (found | truth).sum() > 0.6


def test_pairs_that_are_not_aligned_or_not_forged_have_no_region() -> None:
    original = portrait()
    assert forged_region(original, original) is None
    assert forged_region(np.ascontiguousarray(original[:, ::-1]), original) is None
    assert forged_region(original[:64], original) is None


def test_degradation_is_the_same_draw_for_both_classes_but_at_times_for_the_noise() -> None:
    pairs = [degrade([portrait(), portrait()], np.random.default_rng(seed)) for seed in range(60)]
    assert all(image.shape == (SIDE, SIDE, 3) and image.dtype == np.uint8 for pair in pairs for image in pair)
    apart = [(one, two) for one, two in pairs if not np.array_equal(one, two)]
    assert 0.02 < len(apart) / len(pairs) < 0.3
    for one, two in apart:
        assert one.std() == pytest.approx(two.std(), rel=0.05), "the noise is drawn apart but equally strong"


def test_nothing_but_noise_is_drawn_apart_for_the_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "noise", lambda image, sigma, rng: image)
    for seed in range(150):
        one, two = degrade([portrait(), portrait()], np.random.default_rng(seed))
        np.testing.assert_array_equal(one, two)


def test_training_shows_faces_softer_and_darker_than_those_that_it_is_measured_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: dict[str, list[float]] = {"blur": [], "motion_blur": [], "brightness": []}
    for name, strengths in drawn.items():
        monkeypatch.setattr(augment, name, lambda image, strength, *rest, to=strengths: to.append(strength) or image)
    for seed in range(400):
        degrade([portrait()], np.random.default_rng(seed))
    assert max(drawn["blur"]) / SIDE > 3 / 256
    assert max(drawn["motion_blur"]) / SIDE > 15 / 256
    assert min(drawn["brightness"]) < -0.4 < 0.4 < max(drawn["brightness"])
    assert min(map(len, drawn.values())) > 20


def test_whole_pictures_are_coded_alike_or_left_as_they_are() -> None:
    picture = portrait()
    drawn = [code_again([picture, picture], np.random.default_rng(seed)) for seed in range(200)]
    coded = [pair for pair in drawn if not np.array_equal(pair[0], picture)]
    assert 0.08 < len(coded) / len(drawn) < 0.25
    for one, two in drawn:
        np.testing.assert_array_equal(one, two)
    assert len({one.tobytes() for one, _ in coded}) > 10


def test_unseen_blends_change_the_masked_part_alone_and_in_other_shapes() -> None:
    blends = [unseen_self_blend(portrait(), mesh(), np.random.default_rng(seed)) for seed in range(30)]
    for blend in blends:
        outside = blend.mask == 0
        np.testing.assert_array_equal(blend.fake[outside], blend.real[outside])
        assert 0.03 < (blend.mask > 0).mean() < 0.95
    assert 0.2 < np.mean([np.array_equal(blend.real, portrait()) for blend in blends]) < 0.8
    assert np.median([np.abs(b.fake.astype(int) - b.real)[b.mask > 0.3].mean() for b in blends]) > 1
