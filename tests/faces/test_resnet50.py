from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from streamwatch.config import FaceSettings
from streamwatch.errors import WeightsError
from streamwatch.faces import load_face_detector
from streamwatch.faces.resnet50 import RetinaFaceResNet50, TorchNetwork, import_resnet50
from streamwatch.faces.retinaface import priors

Shapes = dict[str, tuple[int, ...]]


def batch_norm(name: str, channels: int) -> Shapes:
    vectors = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{name}.{part}": (channels,) for part in vectors}, f"{name}.num_batches_tracked": ()}


def conv_bn(name: str, channels: int, width: int, kernel: int) -> Shapes:
    return {f"{name}.0.weight": (width, channels, kernel, kernel), **batch_norm(f"{name}.1", width)}


def published_shapes() -> Shapes:
    """Names and shapes of the parameters of retinaface-pytorch's resnet50_2020-07-20."""
    shapes: Shapes = {"body.conv1.weight": (64, 3, 7, 7), **batch_norm("body.bn1", 64)}
    channels = 64
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=1):
        for block in range(blocks):
            name = f"body.layer{stage}.{block}"
            for conv, (inputs, outputs, kernel) in enumerate(
                ((channels, width, 1), (width, width, 3), (width, 4 * width, 1)), start=1
            ):
                shapes[f"{name}.conv{conv}.weight"] = (outputs, inputs, kernel, kernel)
                shapes |= batch_norm(f"{name}.bn{conv}", outputs)
            if block == 0:
                shapes |= conv_bn(f"{name}.downsample", channels, 4 * width, 1)
            channels = 4 * width
    for level, inputs in enumerate((512, 1024, 2048), start=1):
        shapes |= conv_bn(f"fpn.output{level}", inputs, 256, 1)
    for level in (1, 2):
        shapes |= conv_bn(f"fpn.merge{level}", 256, 256, 3)
    for level in (1, 2, 3):
        shapes |= conv_bn(f"ssh{level}.conv3X3", 256, 128, 3)
        shapes |= conv_bn(f"ssh{level}.conv5X5_1", 256, 64, 3)
        for part in ("conv5X5_2", "conv7X7_2", "conv7x7_3"):
            shapes |= conv_bn(f"ssh{level}.{part}", 64, 64, 3)
    for head, values in (("ClassHead", 4), ("BboxHead", 8), ("LandmarkHead", 20)):
        for level in range(3):
            shapes[f"{head}.{level}.conv1x1.weight"] = (values, 256, 1, 1)
            shapes[f"{head}.{level}.conv1x1.bias"] = (values,)
    return shapes


@pytest.fixture(scope="module")
def model() -> RetinaFaceResNet50:
    torch.manual_seed(0)
    return RetinaFaceResNet50().eval()


@pytest.fixture(scope="module")
def checkpoint(model: RetinaFaceResNet50, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "resnet50.pth"
    torch.save(model.state_dict(), path)
    return path


def test_parameters_are_those_of_the_published_checkpoint(model: RetinaFaceResNet50) -> None:
    assert {name: tuple(value.shape) for name, value in model.state_dict().items()} == published_shapes()
    assert sum(parameter.numel() for parameter in model.parameters()) == 27_293_600


def test_outputs_have_one_row_per_prior(model: RetinaFaceResNet50) -> None:
    before = torch.get_num_threads()
    boxes, probabilities, landmarks = TorchNetwork(model, 1)(np.zeros((2, 3, 64, 96), dtype=np.float32))
    count = len(priors(64, 96))
    assert (boxes.shape, probabilities.shape, landmarks.shape) == (
        (2, count, 4),
        (2, count, 2),
        (2, count, 10),
    )
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, rtol=1e-5)
    assert torch.get_num_threads() == before


def test_heads_answer_in_the_order_of_the_priors(model: RetinaFaceResNet50) -> None:
    """The finest level comes first, row by row, the two priors of a cell side by side."""
    features = torch.zeros(1, 256, 2, 3)
    features[0, 0] = torch.arange(6).reshape(2, 3)
    head: Any = RetinaFaceResNet50().BboxHead[0]
    with torch.no_grad():
        head.conv1x1.weight.zero_()
        head.conv1x1.bias.copy_(torch.arange(8) / 10)
        head.conv1x1.weight[:, 0] = 1
        rows = head(features)[0]
    expected = [[cell + (4 * prior + value) / 10 for value in range(4)] for cell in range(6) for prior in range(2)]
    np.testing.assert_allclose(rows.numpy(), expected, rtol=1e-6)


@pytest.mark.slow
def test_an_imported_checkpoint_serves_as_detector(model: RetinaFaceResNet50, checkpoint: Path, tmp_path: Path) -> None:
    output = import_resnet50(checkpoint, tmp_path / "face.safetensors")
    assert output == tmp_path / "face.safetensors"
    assert list(tmp_path.iterdir()) == [output]
    detector = load_face_detector(FaceSettings(detector="retinaface-resnet50", weights=output, threshold=0.01))
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    faces = detector.detect([image])
    assert faces == detector.detect([image])
    assert len(faces[0]) > 0  # random weights see faces everywhere at this threshold


@pytest.mark.slow
def test_the_published_zip_around_the_checkpoint_is_opened(
    model: RetinaFaceResNet50, checkpoint: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "resnet50.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(checkpoint, "resnet50.pth")
    tensors = load_file(import_resnet50(archive, tmp_path / "face.safetensors"))
    expected = model.state_dict()
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], value) for name, value in expected.items())


class Payload:
    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return (Path.touch, (Path("harm"),))


@pytest.mark.parametrize("kind", ["text", "empty", "missing", "folder", "code", "list", "other", "shape", "zip"])
def test_wrong_files_are_refused_by_name(
    kind: str, tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "wrong.pth"
    if kind == "text":
        source.write_text("weights, honestly")
    elif kind == "empty":
        source.write_bytes(b"")
    elif kind == "folder":
        source.mkdir()
    elif kind == "code":
        torch.save({"body": Payload()}, source)
    elif kind == "list":
        torch.save([torch.zeros(2)], source)
    elif kind == "other":
        torch.save({"fc.weight": torch.zeros(2, 2)}, source)
    elif kind == "shape":
        state = torch.load(checkpoint, weights_only=True)
        state["ClassHead.0.conv1x1.bias"] = torch.zeros(6)
        torch.save(state, source)
    elif kind == "zip":
        with zipfile.ZipFile(source, "w") as file:
            file.writestr("readme.txt", "nothing")
    with pytest.raises(WeightsError, match=r"wrong\.pth"):
        import_resnet50(source, tmp_path / "out.safetensors")
    assert not list(tmp_path.glob("out*"))
    assert not list(tmp_path.glob("harm"))


@pytest.mark.slow
def test_an_output_that_cannot_be_written_is_named(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nowhere/out\.safetensors: cannot be written"):
        import_resnet50(checkpoint, tmp_path / "nowhere" / "out.safetensors")


def test_detector_without_weights_says_how_to_get_them() -> None:
    with pytest.raises(WeightsError, match="streamwatch models import retinaface-resnet50"):
        load_face_detector(FaceSettings(detector="retinaface-resnet50"))


@pytest.mark.parametrize("content", [None, b"", b"not safetensors"])
def test_detector_with_bad_weights_names_the_file(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "face.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"face\.safetensors.*streamwatch models import"):
        load_face_detector(FaceSettings(detector="retinaface-resnet50", weights=path))
