"""Detectors by name and by path."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from streamwatch.detectors import load_detector, registered, registry, save_checkpoint, weights_path
from streamwatch.errors import WeightsError
from tests.support.m2tr_models import card_for, tiny_config, tiny_model


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of the shipped weights."""
    monkeypatch.setattr(registry, "WEIGHTS", tmp_path)
    return tmp_path


def test_names() -> None:
    assert registered() == ["m2tr-lite", "m2tr-b4", "statistics", "texture"]


def test_load_by_path_and_by_name(shelf: Path) -> None:
    path = shelf / "m2tr-lite.safetensors"
    save_checkpoint(path, tiny_model(), card_for(tiny_config()))
    for reference in (str(path), path, "m2tr-lite"):
        detector = load_detector(reference, device="cpu", precision="fp32")
        assert (detector.name, detector.input_size, detector.device) == ("tiny", 64, "cpu")
        assert detector.geometry == detector.card.geometry == card_for(tiny_config()).geometry


def test_threads_are_set_on_request(shelf: Path) -> None:
    path = shelf / "tiny.safetensors"
    save_checkpoint(path, tiny_model(), card_for(tiny_config()))
    before = torch.get_num_threads()
    try:
        load_detector(path, device="cpu", threads=1)
        assert torch.get_num_threads() == 1
        load_detector(path, device="cpu")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_missing_weights_say_where_they_come_from(shelf: Path) -> None:
    with pytest.raises(WeightsError, match="streamwatch models import m2tr FILE"):
        weights_path("m2tr-b4")
    with pytest.raises(WeightsError, match="reinstall streamwatch"):
        weights_path("m2tr-lite")


def test_unknown_names_list_the_known(shelf: Path) -> None:
    with pytest.raises(WeightsError, match="m2tr-lite, m2tr-b4"):
        load_detector("xception")


def test_checkpoints_of_others_are_pointed_to_import(shelf: Path) -> None:
    other = shelf / "model.pth"
    other.write_bytes(b"x")
    with pytest.raises(WeightsError, match="models import"):
        load_detector(other)


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, streamwatch.detectors; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
