"""Model cards: what is written reads back, what is wrong is named."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from streamwatch.detectors import ModelCard, read_card
from streamwatch.detectors.card import Calibration, Thresholds, card_path, write_card
from streamwatch.errors import WeightsError
from tests.support.m2tr_models import card_for
from tests.support.m2tr_models import tiny_config as config


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "model.yaml"
    write_card(card_for(config(), sha256="ab" * 32), path)
    return path


def change(path: Path, edit: dict[str, Any]) -> None:
    values = yaml.safe_load(path.read_text())
    for key, value in edit.items():
        *parents, last = key.split(".")
        part = values
        for parent in parents:
            part = part[parent]
        if value is None:
            del part[last]
        else:
            part[last] = value
    path.write_text(yaml.safe_dump(values))


def test_card_reads_back(written: Path) -> None:
    assert read_card(written) == card_for(config(), sha256="ab" * 32)
    assert read_card(written.with_suffix(".safetensors")) == read_card(written)
    assert card_path(Path("a/b.safetensors")) == Path("a/b.yaml")


def test_card_is_plain_yaml_without_tags(written: Path) -> None:
    values = yaml.safe_load(written.read_text())
    assert list(values) == [field.name for field in fields(ModelCard)]
    assert values["input"] == {"size": 64, "mean": [127.0] * 3, "std": [128.0] * 3}
    assert not list(written.parent.glob("*.part"))


def test_bare_dates_and_whole_numbers_are_understood(written: Path) -> None:
    written.write_text(written.read_text().replace("'2026-01-02'", "2026-01-02"))
    change(written, {"calibration.temperature": 2})
    card = read_card(written)
    assert (card.date, card.calibration.temperature) == ("2026-01-02", 2.0)


@pytest.mark.parametrize(
    ("edit", "key"),
    [
        ({"licence": None}, "licence"),
        ({"extra": 1}, "extra"),
        ({"input.size": "large"}, "input.size"),
        ({"input.mean": [1.0, 2.0]}, "input.mean"),
        ({"input.std": [0.0, 1.0, 1.0]}, "input.std"),
        ({"preset.fusion": "sum"}, "preset.fusion"),
        ({"preset.heads": 4}, "preset.heads"),
        ({"preset.depth": 0}, "preset.depth"),
        ({"geometry.scale": -1.0}, "geometry"),
        ({"geometry.margin": 1.0}, "geometry.margin"),
        ({"calibration.temperature": 0.0}, "calibration.temperature"),
        ({"calibration.bias": None}, "calibration.bias"),
        ({"thresholds": {"real": 0.9, "fake": 0.1}}, "thresholds"),
        ({"thresholds.fake": 1.5}, "thresholds.fake"),
        ({"sha256": "none"}, "sha256"),
        ({"metrics.auc": "good"}, "metrics.auc"),
        ({"metrics.auc": math.nan}, "metrics.auc"),
        ({"metrics.mask_threshold": 7.0}, "mask_threshold"),
        ({"input.size": 10**9}, "input.size"),
        ({"input.mean": [math.nan, 0.0, 0.0]}, "input.mean"),
        ({"input.std": [1e-300, 1.0, 1.0]}, "input.std"),
        ({"input.std": [math.inf, 1.0, 1.0]}, "input.std"),
        ({"preset.depth": 10**6}, "preset.depth"),
        ({"preset.input_size": 10**6}, "preset.input_size"),
        ({"preset.decoder_stages": [[10**9, 1]]}, "preset.decoder_stages"),
        ({"preset.patch_divisors": [1] * 10_000}, "preset.patch_divisors"),
        ({"geometry.scale": 1e9}, "geometry"),
        ({"geometry.scale": math.nan}, "geometry"),
        ({"calibration.temperature": math.inf}, "calibration.temperature"),
        ({"calibration.temperature": 1e-30}, "calibration.temperature"),
        ({"calibration.bias": math.nan}, "calibration.bias"),
        ({"calibration.bias": -1e9}, "calibration.bias"),
        ({"thresholds": {"real": 0.0, "fake": 0.0}}, "thresholds.fake"),
        ({"thresholds": {"real": 1.0, "fake": 1.0}}, "thresholds.real"),
        ({"limits.min_face_side": math.inf}, "limits.min_face_side"),
        ({"limits.min_sharpness": 1e30}, "limits.min_sharpness"),
    ],
)
def test_wrong_cards_name_file_and_key(written: Path, edit: dict[str, Any], key: str) -> None:
    change(written, edit)
    with pytest.raises(WeightsError, match=key) as caught:
        read_card(written)
    assert str(written) in str(caught.value)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "{", "a: \xff"])
def test_files_that_are_no_cards(tmp_path: Path, text: str) -> None:
    path = tmp_path / "model.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(WeightsError, match=r"model\.yaml"):
        read_card(path)


@pytest.mark.parametrize("text", ["[" * 100_000, "name: " + "x" * 2_000_000])
def test_cards_that_are_deep_or_long_without_end_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "model.yaml"
    path.write_text(text)
    with pytest.raises(WeightsError, match=r"model\.yaml: (too long|not a model card: it is nested)"):
        read_card(path)


def test_missing_card(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="card beside"):
        read_card(tmp_path / "model.safetensors")


def test_calibration_is_a_safe_sigmoid() -> None:
    logits = np.array([-1e6, -2.0, 0.0, 2.0, 1e6], np.float32)
    probability = Calibration(temperature=2.0, bias=0.5).probability(logits)
    assert probability.dtype == np.float32
    np.testing.assert_allclose(
        probability, [0, 1 / (1 + np.exp(0.5)), 1 / (1 + np.exp(-0.5)), 1 / (1 + np.exp(-1.5)), 1], atol=1e-6
    )


def test_thresholds_are_ordered() -> None:
    with pytest.raises(ValueError, match="above"):
        Thresholds(real=0.8, fake=0.5)


def test_the_mask_threshold_is_the_measured_one_or_an_even_chance() -> None:
    assert card_for(config()).mask_threshold == 0.5
    assert card_for(config(), metrics={"mask_threshold": 0.15}).mask_threshold == 0.15
