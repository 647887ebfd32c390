"""Weights on disk: saved, loaded, damaged, imported."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from streamwatch.detectors.card import card_path, file_sha256, read_card, write_card
from streamwatch.detectors.checkpoints import import_m2tr, load_checkpoint, save_checkpoint
from streamwatch.detectors.m2tr.model import build
from streamwatch.errors import WeightsError
from tests.support.m2tr_models import card_for, tiny_config, tiny_model


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "models" / "tiny.safetensors"
    save_checkpoint(path, tiny_model(), card_for(tiny_config()))
    return path


def restamp(path: Path) -> None:
    """Make the card name the file as it is now."""
    card = card_for(tiny_config(), sha256=file_sha256(path))
    write_card(card, card_path(path))


def test_saved_weights_read_back_within_fp16(saved: Path) -> None:
    model, card = load_checkpoint(saved)
    assert card == card_for(tiny_config(), sha256=file_sha256(saved))
    assert not model.training
    original = tiny_model().state_dict()
    for key, value in model.state_dict().items():
        assert value.dtype == original[key].dtype
        torch.testing.assert_close(value, original[key], atol=1e-6, rtol=1e-3)
    assert {value.dtype for value in load_file(saved).values()} == {torch.float16, torch.int64}
    assert sorted(entry.name for entry in saved.parent.iterdir()) == ["tiny.safetensors", "tiny.yaml"]


def test_numbers_beyond_fp16_keep_their_precision(tmp_path: Path) -> None:
    model = tiny_model()
    model.model._bn0.get_buffer("running_var")[0] = 1e6
    path = tmp_path / "wide.safetensors"
    save_checkpoint(path, model, card_for(model.config))
    loaded, _ = load_checkpoint(path)
    assert float(loaded.model._bn0.get_buffer("running_var")[0]) == 1e6


def test_nothing_is_written_for_broken_weights(tmp_path: Path) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.classifier.projection.bias[0] = float("nan")
    with pytest.raises(WeightsError, match=r"classifier\.projection\.bias"):
        save_checkpoint(tmp_path / "nan.safetensors", model, card_for(model.config))
    assert not list(tmp_path.iterdir())


def test_card_of_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="preset"):
        save_checkpoint(tmp_path / "x.safetensors", tiny_model(), card_for(tiny_config(fusion="add")))


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_damaged_files_fail_their_digest(saved: Path, damage: str) -> None:
    content = bytearray(saved.read_bytes())
    content[-100] ^= 1
    saved.write_bytes({"truncated": content[:-10], "flipped": content, "empty": bytearray()}[damage])
    with pytest.raises(WeightsError, match="SHA-256") as caught:
        load_checkpoint(saved)
    assert str(saved) in str(caught.value)


def test_stamped_rubbish_is_not_safetensors(saved: Path) -> None:
    saved.write_bytes(b"not a model")
    restamp(saved)
    with pytest.raises(WeightsError, match="not a readable safetensors"):
        load_checkpoint(saved)


@pytest.mark.parametrize("problem", ["lacks", "unknown", "instead of"])
def test_parameters_must_be_exactly_those_of_the_preset(saved: Path, problem: str) -> None:
    tensors = load_file(saved)
    weight = tensors.pop("classifier.projection.weight")
    if problem == "unknown":
        tensors |= {"classifier.projection.weight": weight, "classifier.extra": weight.clone()}
    elif problem == "instead of":
        tensors["classifier.projection.weight"] = weight[:, :10].contiguous()
    save_file(tensors, saved)
    restamp(saved)
    with pytest.raises(WeightsError, match=problem):
        load_checkpoint(saved)


def test_missing_file_and_missing_card(saved: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        load_checkpoint(saved.with_name("other.safetensors"))
    card_path(saved).unlink()
    with pytest.raises(WeightsError, match="card"):
        load_checkpoint(saved)
    with pytest.raises(WeightsError, match="models import"):
        load_checkpoint(saved.with_suffix(".pth"))


@pytest.fixture(scope="module")
def authors_state() -> dict[str, torch.Tensor]:
    """What the released code keeps under `model_state`: our names, and the backbone's unused classifier."""
    torch.manual_seed(11)
    state = dict(build("m2tr-b4").state_dict())
    state["model._fc.weight"], state["model._fc.bias"] = torch.zeros(2, 1792), torch.zeros(2)
    return state


def write_authors(path: Path, state: dict[str, torch.Tensor]) -> Path:
    torch.save({"epoch": 20, "model_state": OrderedDict(state), "optimizer_state": {}, "cfg": {"A": [1]}}, path)
    return path


def test_import_of_the_authors_checkpoint(tmp_path: Path, authors_state: dict[str, torch.Tensor]) -> None:
    source = write_authors(tmp_path / "M2TR_FFDF_c23.pyth", authors_state)
    output = tmp_path / "m2tr-c23.safetensors"
    card = import_m2tr(source, output)
    assert card == read_card(output)
    assert (card.name, card.input.size, card.geometry.scale) == ("m2tr-c23", 320, 1.3)
    assert (card.calibration.temperature, card.calibration.bias, card.metrics) == (1.0, 0.0, {})
    np.testing.assert_allclose(np.array(card.input.mean) / 255, [0.485, 0.456, 0.406], atol=1e-6)
    np.testing.assert_allclose(np.array(card.input.std) / 255, [0.229, 0.224, 0.225], atol=1e-6)
    assert "uncalibrated" in card.recipe
    model, _ = load_checkpoint(output)
    for key, value in model.state_dict().items():
        assert torch.equal(value, authors_state[key]), key


def test_import_turns_the_polarity_and_drops_prefixes(tmp_path: Path, authors_state: dict[str, torch.Tensor]) -> None:
    prefixed = {f"module.{key}": value for key, value in authors_state.items()}
    source = tmp_path / "bare.pth"
    torch.save(prefixed, source)
    import_m2tr(source, tmp_path / "flipped.safetensors", fake_class=0)
    model, _ = load_checkpoint(tmp_path / "flipped.safetensors")
    expected = authors_state["classifier.projection.weight"].flip(0)
    assert torch.equal(model.classifier.projection.weight, expected)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"model._fc_extra.weight": torch.zeros(1)}, "unknown"),
        ({"decoder.stages.0.0.weight": torch.zeros(1)}, "unknown"),
        ({"classifier.projection.weight": torch.zeros(3, 1792)}, "instead of"),
        ({"layers.0.1.filter.complex_weight": None}, "lacks"),
    ],
)
def test_import_is_strict(
    tmp_path: Path, authors_state: dict[str, torch.Tensor], edit: dict[str, Any], message: str
) -> None:
    state = {key: value for key, value in {**authors_state, **edit}.items() if value is not None}
    source = write_authors(tmp_path / "odd.pyth", state)
    with pytest.raises(WeightsError, match=message) as caught:
        import_m2tr(source, tmp_path / "odd.safetensors")
    assert str(source) in str(caught.value)
    assert not (tmp_path / "odd.safetensors").exists()


class Trap:
    """Pickles into a call."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("trapped"),))


@pytest.mark.parametrize("content", ["rubbish", "empty", "tensor", "code", "folder", "missing"])
def test_import_refuses_what_is_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "x.pth"
    if content == "rubbish":
        source.write_bytes(b"\x00\x01rubbish" * 50)
    elif content == "empty":
        source.write_bytes(b"")
    elif content == "tensor":
        torch.save(torch.zeros(3), source)
    elif content == "code":
        torch.save({"model_state": Trap()}, source)
    elif content == "folder":
        source.mkdir()
    with pytest.raises(WeightsError, match=r"x\.pth"):
        import_m2tr(source, tmp_path / "x.safetensors")
    assert not (tmp_path / "trapped").exists()


def test_import_writes_safetensors_only(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"\.safetensors"):
        import_m2tr(tmp_path / "x.pth", tmp_path / "x.bin")
