"""What README and docs say of the shipped weights is what their card says, and the weights do what the card says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamwatch.config import FaceSettings
from streamwatch.detectors import ModelCard, load_detector
from streamwatch.detectors.card import read_card
from streamwatch.detectors.registry import weights_path
from streamwatch.evaluation.datasets.web import read_pictures
from streamwatch.evaluation.metrics import roc_auc
from streamwatch.evaluation.web_faces import FoundFace, crops, find_faces
from streamwatch.faces import load_face_detector
from streamwatch.faces.crops import crop_face
from streamwatch.faces.cutouts import face_of_cutout
from streamwatch.sources.pictures import read_image
from streamwatch.training.prepare import list_pictures
from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def card() -> ModelCard:
    return read_card(weights_path("m2tr-lite"))


def test_readme_says_what_the_card_says(card: ModelCard) -> None:
    text, m = (ROOT / "README.md").read_text(encoding="utf-8"), card.metrics
    assert f"in-domain) | {m['val_auc']:.3f} |" in text
    assert f"| {m['val_tpr_at_1_percent_fpr']:.0%} / {m['val_tpr_at_5_percent_fpr']:.0%} |".replace("%", " %") in text
    assert f"classes balanced | {m['val_ece']:.3f} |" in text
    assert f"| {m['val_mask_pixel_auc']:.3f}; {m['val_mask_iou']:.3f} |" in text
    assert f"**{m['unseen_blends_auc']:.3f}**; **{m['unseen_blends_called_real']:.0%}**".replace("%", " %") in text


def test_the_report_says_what_the_card_says(card: ModelCard) -> None:
    text, m = (ROOT / "docs" / "m2tr-lite.md").read_text(encoding="utf-8"), card.metrics
    assert f"| {m['val_auc']:.3f} [" in text
    assert f"**{m['unseen_blends_auc']:.3f} [" in text
    assert f"({m['val_ece_uncalibrated']:.3f})" in text
    assert f"fake from\n{card.thresholds.fake:.3f}" in text
    assert f"pixel AUC {m['val_mask_pixel_auc']:.3f}, IoU {m['val_mask_iou']:.3f}" in text


@pytest.mark.parametrize("name", ["statistics", "texture"])
def test_the_page_of_a_fitted_detector_says_what_its_card_says(name: str) -> None:
    card = read_card(weights_path(name))
    text, m = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8"), card.metrics
    assert f"| **{m['auc']:.3f}** [{m['auc_low']:.3f}, {m['auc_high']:.3f}] |" in text
    assert f"| {m['auc_faces']:.3f} |" in text
    assert f"matched in size and bit rate | **{m['auc_matched']:.3f}** |" in text
    assert f"| pairs won, of {m['pairs']:.0f} | **{m['won']:.3f}** [{m['won_low']:.3f}, {m['won_high']:.3f}] |" in text
    assert f"| pairs won, matched | {m['won_matched']:.3f} |" in text
    assert f"| {m['swaps']:.3f}; {m['swaps_won']:.3f} |" in text
    assert f"| {m['found']:.0%} |".replace("%", " %") in text
    assert f"| {m['worst_quarter']:.3f} |" in text
    assert f"| {m['file_facts']:.3f}; {m['picture_facts']:.3f} |" in text
    assert f"real up to {card.thresholds.real:.3f}, fake from {card.thresholds.fake:.3f}" in text


@pytest.fixture(scope="module")
def web_faces(shared: Path) -> tuple[FoundFace, ...]:
    pictures = read_pictures(shared / "data" / "web_dev")
    chosen = {picture.clip for picture in pictures[::9]}
    some = [picture for picture in pictures if picture.clip in chosen and picture.label != "enhanced"][::4]
    return find_faces(some, load_face_detector(FaceSettings(min_side=16, threads=1))).found


@pytest.mark.parametrize("name", ["statistics", "texture"])
def test_a_fitted_detector_tells_clips_as_its_card_says(name: str, web_faces: tuple[FoundFace, ...]) -> None:
    faces, detector = web_faces, load_detector(name, "cpu")
    [(_, cut)] = crops(faces, detector.geometry, detector.input_size, batch=len(faces))
    auc = roc_auc([face.picture.fake for face in faces], detector.score_arrays(cut).logits)
    assert auc == pytest.approx(detector.card.metrics["auc_faces"], abs=0.1)


@pytest.mark.slow
def test_the_weights_tell_dfdc_faces_as_the_card_says(card: ModelCard, shared: Path) -> None:
    listed = [p for p in list_pictures(shared / "data" / "dfdc_faces") if p.split == "val"]
    detector, finder = load_detector("m2tr-lite", "cpu", 2), load_face_detector(FaceSettings(min_side=16, threads=1))
    crops, labels = [], []
    for fake in (False, True):
        for picture in [p for p in listed if p.fake is fake][::16][:40]:
            image = read_image(picture.path)
            face = face_of_cutout(finder, image)
            if face is not None:
                crops.append(crop_face(image, detector.geometry.region(face.box), detector.input_size))
                labels.append(fake)
    found = roc_auc(labels, detector.score_arrays(np.stack(crops)).logits)
    assert found == pytest.approx(card.metrics["val_auc"], abs=0.08)
