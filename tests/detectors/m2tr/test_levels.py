"""Networks whose classifier reads statistics of maps of several depths, in the face and around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from streamwatch.detectors.m2tr.config import PRESETS
from streamwatch.detectors.m2tr.explain import grad_cam
from streamwatch.detectors.m2tr.levels import CLIP, LevelStatistics, regions
from streamwatch.detectors.m2tr.model import build
from streamwatch.errors import ConfigError
from streamwatch.training.starts import start_from
from streamwatch.training.trainer import freeze, train_mode
from tests.support.present import present


def test_a_face_is_an_ellipse_in_the_middle_and_its_surroundings_a_ring_apart_from_it() -> None:
    face, around = regions(64, 64, 0.5, torch.device("cpu"))
    assert float(face.sum()) == pytest.approx(1) == pytest.approx(float(around.sum()))
    assert not ((face > 0) & (around > 0)).any()
    rows, columns = (face > 0).nonzero(as_tuple=True)
    assert (int(rows.min()), int(rows.max())) == (16, 47), "half of the side high"
    assert (int(columns.min()), int(columns.max())) == (18, 45), "and 0.85 of that wide"
    torch.testing.assert_close(face, face.flip(1))
    assert float(around[0, 0]) > 0


def test_the_six_numbers_of_a_channel() -> None:
    levels = LevelStatistics([1], 0.5)
    face, _ = regions(32, 32, 0.5, torch.device("cpu"))
    chequered = torch.tensor([1.0, -1.0]).repeat(16).expand(32, 32) * torch.tensor([1.0, -1.0]).repeat(16)[:, None]
    values = torch.where(face > 0, 3 + 0.5 * chequered, 1 + 2 * chequered)[None, None]
    found = levels.measure([values])[0].tolist()
    assert found[0] == pytest.approx(3, abs=0.05)
    assert found[1] == pytest.approx(0.5, abs=0.02)
    assert found[2] == pytest.approx(1, abs=0.05)
    assert found[3] == pytest.approx(2, abs=0.02)
    assert found[4] == pytest.approx(found[0] - found[2])
    assert found[5] == pytest.approx(torch.log(torch.tensor(0.25)).item(), abs=0.05)
    levels.mean.fill_(1.0)
    levels.scale.fill_(0.1)
    assert levels([values])[0, :4].tolist() == pytest.approx([CLIP, -CLIP, 0, CLIP], abs=0.6)


def test_the_network_scores_without_its_last_convolution_and_explains_by_its_last_level() -> None:
    torch.manual_seed(0)
    model = build("texture", input_size=128).eval()
    assert model.feature_size == 6 * (16 + 24 + 40 + 80 + 112 + 192)
    x = torch.randn(2, 3, 128, 128)
    with torch.no_grad():
        output = model(x)
        model.model._conv_head.weight.fill_(float("nan"))
        torch.testing.assert_close(model(x).logits, output.logits)
    assert output.feature.shape == (2, model.feature_size)
    assert output.mask_logits is None
    assert grad_cam(model, x).shape == (2, 128, 128)


def test_layers_beside_the_backbone_begin_by_adding_nothing(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = build("texture", input_size=128).eval()
    levels = present(plain.levels)
    levels.scale.uniform_(0.5, 1.5)
    levels.mean.normal_()
    save_file(plain.state_dict(), tmp_path / "texture.safetensors")
    model = build("m2tr-beside", input_size=128).eval()
    start_from(model, tmp_path / "texture.safetensors")
    x = torch.randn(2, 3, 128, 128)
    with torch.no_grad():
        [layers, *maps], _ = model.convolve(x)
        torch.testing.assert_close(layers, maps[2])
        output, expected = model(x), plain(x)
    torch.testing.assert_close(output.logits, expected.logits)
    third = slice(6 * (16 + 24), 6 * (16 + 24 + 40))
    assert output.feature.shape == (2, model.feature_size) == (2, plain.feature_size + 6 * 40)
    torch.testing.assert_close(output.feature[:, plain.feature_size :], expected.feature[:, third])
    assert output.mask_logits is not None
    assert output.mask_logits.shape == (2, 1, model.mask_side, model.mask_side) == (2, 1, 32, 32)
    assert grad_cam(model, x).shape == (2, 128, 128)


def test_what_stands_beside_a_frozen_backbone_trains_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_file(build("texture", input_size=128).state_dict(), tmp_path / "texture.safetensors")
    model = build("m2tr-beside", input_size=128)
    start_from(model, tmp_path / "texture.safetensors")
    freeze(model, "backbone")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        train_mode(model, "backbone")
        output = model(torch.randn(2, 3, 128, 128))
        (output.logits[:, 1].mean() + output.mask_logits.mean()).backward()
        optimiser.step()
        optimiser.zero_grad()
    changed = {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"layers", "decoder", "beside"}
    assert not model.model.training
    assert model.layers.training


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"levels": (2, 2)}, "levels: .* rising order"),
        ({"levels": ()}, "depth: 0 must be 1 to 64"),
        ({"levels": (0, 16)}, "levels: 16 is beyond the last backbone block"),
        ({"face_share": 0.0}, "face_share: 0.0 must be in"),
        ({"face_share": 0.1}, "face_share: a face of 0.1 .* covers no cell of the map of block 14, 8×8"),
    ],
)
def test_levels_that_cannot_be_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(PRESETS["texture"], **changes)
