from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from streamwatch.errors import WeightsError
from streamwatch.records import FloatArray, ImageArray
from streamwatch.studies.tracks import forge_track
from streamwatch.training.compositing import composite, match_colours, multiband, poisson
from streamwatch.training.families import (
    FAMILIES,
    FaceImage,
    Family,
    Forger,
    as_soft_as,
    draw_motion,
    transplant,
    upsample_badly,
    visible_change,
)
from streamwatch.training.forgeries import SCATTERED, Forgery, self_blend
from streamwatch.training.partners import Partners
from streamwatch.training.prepare import FacePicture
from streamwatch.training.resynthesis import STYLES, Autoencoder, Resynthesiser, Style, load_or_train
from tests.support.face_datasets import SIDE, mesh, portrait

OUTSIDE = {"region": 20, "swap": 20}
"""Greatest difference of real and fake (of 255) where the mask is 0; none but where bands blend over the border."""


@pytest.fixture(scope="module")
def face() -> FaceImage:
    return FaceImage(portrait(), mesh())


@pytest.fixture(scope="module")
def partner() -> FaceImage:
    return FaceImage(np.ascontiguousarray(portrait()[:, ::-1] // 2 + 40), mesh())


@pytest.fixture(scope="module")
def forger() -> Forger:
    torch.manual_seed(0)
    return Forger([Resynthesiser(Autoencoder(style)) for style in STYLES])


def half_mask() -> FloatArray:
    mask = np.zeros((SIDE, SIDE), np.float32)
    mask[32:96, 32:96] = 1
    return mask


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_forges_what_its_mask_says_and_repeats_its_draw(
    family: Family, face: FaceImage, partner: FaceImage, forger: Forger
) -> None:
    changed = []
    for seed in range(12):
        one, two = (forger.forge(family, face, lambda: partner, np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(one.fake, two.fake)
        np.testing.assert_array_equal(one.real, two.real)
        assert one.real.shape == one.fake.shape == face.image.shape
        assert one.fake.dtype == np.uint8
        assert 0 <= one.mask.min() <= one.mask.max() <= 1
        difference = np.abs(one.fake.astype(int) - one.real).max(axis=2)
        assert difference[one.mask == 0].max(initial=0) <= OUTSIDE.get(family, 0), seed
        changed.append(difference[one.mask > 0.5 * one.mask.max()].mean())
    assert np.median(changed) > 1


def test_a_forgery_that_nobody_could_see_is_drawn_again(
    face: FaceImage, partner: FaceImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[float] = []

    def fainter_first(
        forger: Forger, family: Family, face: FaceImage, partner: FaceImage, rng: np.random.Generator
    ) -> Forgery:
        drawn.append(len(drawn) * 0.4)
        fake = face.image.copy()
        fake[40:60, 40:60][rng.random((20, 20)) < drawn[-1]] ^= 1
        mask = np.zeros((SIDE, SIDE), np.float32)
        mask[40:60, 40:60] = 1
        return Forgery(face.image, fake, mask)

    monkeypatch.setattr(Forger, "forge", fainter_first)
    made = Forger().forge_visibly("hull", face, lambda: partner, np.random.default_rng(0))
    assert drawn == [0.0, 0.4, 0.8, pytest.approx(1.2)]
    assert visible_change(made) == 1.0
    assert visible_change(Forgery(face.image, made.fake, np.zeros((SIDE, SIDE), np.float32))) == 0.0


def test_families_differ_from_one_another(face: FaceImage, partner: FaceImage, forger: Forger) -> None:
    fakes = [forger.forge(f, face, lambda: partner, np.random.default_rng(3)).fake for f in FAMILIES]
    for index, fake in enumerate(fakes):
        assert all(not np.array_equal(fake, other) for other in fakes[index + 1 :])


def test_resynthesis_without_auto_encoders_is_refused(face: FaceImage, partner: FaceImage) -> None:
    assert not Forger().can("resynthesis")
    with pytest.raises(ValueError, match="auto-encoders"):
        Forger().forge("resynthesis", face, lambda: partner, np.random.default_rng(0))


def test_a_transplant_brings_the_partners_pixels_into_the_face(face: FaceImage) -> None:
    striped = np.zeros_like(face.image)
    striped[:, ::8] = 255
    forgery = transplant(face, FaceImage(striped, mesh()), ("face",), np.random.default_rng(1))
    inside = forgery.mask > 0.9
    columns = forgery.fake.astype(int)[..., 0]
    assert (
        np.abs(np.diff(columns, axis=1))[inside[:, 1:]].mean()
        > 3 * np.abs(np.diff(face.image.astype(int)[..., 0], axis=1))[inside[:, 1:]].mean()
    )
    np.testing.assert_array_equal(forgery.real, face.image)


def test_motion_is_smooth_and_moves_faces_by_a_small_share_of_their_size(face: FaceImage) -> None:
    for seed in range(20):
        motion = draw_motion(face, np.random.default_rng(seed))
        assert motion.shape == (SIDE, SIDE, 2)
        assert np.abs(np.diff(motion, axis=1)).max() < 1.5
        assert 0 < np.linalg.norm(motion, axis=2).max() < 0.2 * face.size


def test_scattered_hulls_have_no_shape_twice(face: FaceImage) -> None:
    masks = [
        self_blend(face.image, face.landmarks, np.random.default_rng(seed), [SCATTERED]).mask > 0.1 for seed in range(8)
    ]
    overlaps = [(a & b).sum() / (a | b).sum() for i, a in enumerate(masks) for b in masks[:i]]
    assert all(mask.mean() > 0.02 for mask in masks)
    assert max(overlaps) < 0.95
    assert np.mean(overlaps) < 0.8


def test_bad_up_sampling_leaves_periodic_traces() -> None:
    smooth = np.repeat(np.linspace(60, 180, SIDE).astype(np.uint8)[None, :, None], SIDE, axis=0).repeat(3, axis=2)

    def nyquist(image: ImageArray) -> float:
        spectrum = np.abs(np.fft.fft2(image[..., 1].astype(float) - image[..., 1].mean()))
        return float(spectrum[SIDE // 2 - 1 : SIDE // 2 + 2].max() + spectrum[:, SIDE // 2 - 1 : SIDE // 2 + 2].max())

    traces = [nyquist(upsample_badly(smooth, np.random.default_rng(seed))) for seed in range(20)]
    assert np.median(traces) > 2 * nyquist(smooth)


def test_bad_up_sampling_moves_nothing() -> None:
    # What a shift adds to a rising picture it takes from its mirror image; a gain adds to both.
    slope = 1.37
    ramp = np.repeat((np.arange(SIDE) * slope + 40).astype(np.uint8)[None, :, None], SIDE, axis=0).repeat(3, axis=2)

    def rise(picture: ImageArray, seed: int) -> float:
        drawn = upsample_badly(np.ascontiguousarray(picture), np.random.default_rng(seed))
        return float((drawn[24:-24, 24:-24].astype(float) - picture[24:-24, 24:-24]).mean())

    for picture in (ramp, ramp.transpose(1, 0, 2)):
        shifts = [(rise(picture, seed) - rise(picture[::-1, ::-1], seed)) / 2 / slope for seed in range(60)]
        assert np.abs(shifts).max() < 0.25


def test_a_family_that_is_left_out_lends_the_others_nothing(face: FaceImage, forger: Forger) -> None:
    striped = np.zeros_like(face.image)
    striped[:, ::8] = 255
    partner = FaceImage(striped, mesh())

    def asked_for(family: Family, made_by: Forger) -> int:
        asked = []

        def lend() -> FaceImage:
            asked.append(family)
            return partner

        for seed in range(20):
            made_by.forge(family, face, lend, np.random.default_rng(seed))
        return len(asked)

    alone = Forger(forger.resynthesisers, transplants=False)
    families: tuple[Family, ...] = ("region", "resynthesis")
    for family in families:
        assert asked_for(family, forger) > 0
        assert asked_for(family, alone) == 0
    assert asked_for("swap", alone) == 20


def test_a_draw_is_one_forgery_at_any_size(face: FaceImage) -> None:
    larger = FaceImage(
        np.asarray(cv2.resize(face.image, (200, 200)), np.uint8), face.landmarks * np.float32(200 / SIDE)
    )
    for seed in range(8):
        one, two = (
            self_blend(f.image, f.landmarks, np.random.default_rng(seed), ["face"]).mask for f in (face, larger)
        )
        assert one.max() == pytest.approx(two.max(), abs=0.05)
        assert one.mean() == pytest.approx(two.mean(), rel=0.35)


def test_the_real_partner_can_be_made_as_soft_as_the_fake() -> None:
    image = portrait()
    soft = as_soft_as(image, np.asarray(composite(image, image, half_mask())))
    np.testing.assert_array_equal(soft, image)
    flat = np.full_like(image, 90)
    assert np.diff(as_soft_as(image, flat).astype(int), axis=1).std() < np.diff(image.astype(int), axis=1).std()


@pytest.mark.parametrize("blend", [composite, multiband, poisson])
def test_blends_keep_the_target_far_from_the_mask_and_agree_on_equal_pictures(
    blend: Callable[[ImageArray, ImageArray, FloatArray], ImageArray],
) -> None:
    target = portrait()
    source = np.clip(target.astype(int) + 25, 0, 255).astype(np.uint8)
    result = blend(source, target, half_mask())
    np.testing.assert_array_equal(result[:12], target[:12])
    assert np.abs(blend(target, target, half_mask()).astype(int) - target).max() <= 2


def test_composite_is_the_weighted_mean() -> None:
    source, target = np.full((4, 4, 3), 200, np.uint8), np.full((4, 4, 3), 100, np.uint8)
    np.testing.assert_array_equal(composite(source, target, np.full((4, 4), 0.25, np.float32)), 125)


def test_poisson_blending_takes_the_colours_of_the_surroundings() -> None:
    target = portrait()
    bright = np.clip(target.astype(int) + 50, 0, 255).astype(np.uint8)
    centre = (slice(56, 72), slice(56, 72))

    def distance(image: ImageArray) -> float:
        return float(np.abs(image[centre].astype(int) - target[centre]).mean())

    assert distance(poisson(bright, target, half_mask())) < 0.5 * distance(composite(bright, target, half_mask()))


def test_colours_are_matched_inside_the_mask() -> None:
    target = portrait()
    tinted = np.clip(target * np.array([0.6, 1.0, 1.0]), 0, 255).astype(np.uint8)
    inside = half_mask() > 0

    def distance(image: ImageArray) -> float:
        return float(np.abs(image[inside].mean(axis=0) - target[inside].mean(axis=0)).max())

    assert distance(match_colours(tinted, target, half_mask(), 1.0)) < 0.2 * distance(tinted)
    np.testing.assert_array_equal(match_colours(tinted, target, np.zeros((SIDE, SIDE), np.float32), 1.0), tinted)


def test_partners_are_other_people_in_similar_pose(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    turned = mesh() * np.array([0.5, 1.0], np.float32)
    poses = [mesh() + rng.normal(0, 0.3, (468, 2)).astype(np.float32) for _ in range(6)]
    poses += [turned + rng.normal(0, 0.3, (468, 2)).astype(np.float32) for _ in range(6)]
    pictures = [
        FacePicture(tmp_path / f"{i}.png", False, "train", f"person{i // 2}", (0, 0, 9, 9), points.astype(np.float32))
        for i, points in enumerate(poses)
    ]
    partners = Partners(pictures)
    for index in range(12):
        drawn = {partners.draw(index, np.random.default_rng(s), nearest=5).source for s in range(20)}
        assert pictures[index].source not in drawn
        assert all((int(source[-1]) < 3) == (index < 6) for source in drawn)


@pytest.mark.parametrize("style", STYLES)
def test_auto_encoders_keep_any_size_and_stand_still_without_motion(style: Style) -> None:
    torch.manual_seed(0)
    draw = Resynthesiser(Autoencoder(style))
    image = portrait()[:101, :93]
    drawn = draw(image)
    assert drawn.shape == image.shape
    assert np.abs(draw(image, np.zeros((101, 93, 2), np.float32)).astype(int) - drawn).max() <= 1


@pytest.mark.parametrize("style", STYLES)
def test_the_code_of_an_auto_encoder_moves_with_the_flow(style: Style) -> None:
    torch.manual_seed(0)
    model = Autoencoder(style)
    x = torch.rand(1, 3, 96, 96) * 2 - 1
    side = 96 // model.factor
    still = torch.nn.functional.affine_grid(torch.eye(2, 3)[None], [1, 1, side, side], align_corners=False)
    with torch.inference_mode():
        plain, unmoved, moved = model(x), model(x, still), model(x, still + 0.5)
    assert (moved - plain).abs().max() > 50 * (unmoved - plain).abs().max()


def test_auto_encoders_are_trained_once_and_a_foreign_file_is_named(tmp_path: Path) -> None:
    pictures = [portrait]
    load_or_train(tmp_path, pictures, steps=2, styles=["nearest"])
    path = tmp_path / "autoencoder-nearest.safetensors"
    first = path.stat().st_mtime_ns
    load_or_train(tmp_path, pictures, steps=2, styles=["nearest"])
    assert path.stat().st_mtime_ns == first
    path.rename(tmp_path / "autoencoder-transposed.safetensors")
    with pytest.raises(WeightsError, match="autoencoder-transposed"):
        load_or_train(tmp_path, pictures, steps=2, styles=["transposed"])


@pytest.mark.slow
def test_training_an_auto_encoder_learns_the_picture(tmp_path: Path) -> None:
    from streamwatch.training.resynthesis import train_autoencoder

    _, untrained = train_autoencoder("nearest", [portrait], 2, batch=2)
    _, trained = train_autoencoder("nearest", [portrait], 40, batch=2)
    assert trained < 0.6 * untrained


def test_a_forged_track_is_one_forgery_that_trembles(face: FaceImage, forger: Forger) -> None:
    pairs = forge_track(forger, "hull", [face] * 4, lambda: face, seed=3)
    fakes = [fake for _, fake in pairs]
    other = forge_track(forger, "hull", [face] * 4, lambda: face, seed=4)
    assert not np.array_equal(fakes[0], fakes[1])

    def distance(a: ImageArray, b: ImageArray) -> float:
        return float(np.abs(a.astype(int) - b).mean())

    assert np.mean([distance(a, b) for a, b in pairwise(fakes)]) < distance(fakes[0], other[0][1])
    np.testing.assert_array_equal(fakes[2], forge_track(forger, "hull", [face] * 4, lambda: face, seed=3)[2][1])
