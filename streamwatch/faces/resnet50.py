"""RetinaFace with a ResNet-50 backbone in torch: the accurate face detector.

Parameter names and shapes are those of `retinaface-pytorch`'s checkpoint `resnet50_2020-07-20`: a torchvision
ResNet-50 (stride in the 3×3 convolution) up to its last stage, a feature pyramid over stages 2–4, one context
module (SSH, Najibi et al., ICCV 2017) per level and three 1×1 heads. The weights are not shipped:
`import_resnet50` converts a user's file.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from streamwatch.config import FaceSettings
from streamwatch.errors import WeightsError
from streamwatch.faces.retinaface import Normalisation, RetinaFace
from streamwatch.files import SHARED, replacing
from streamwatch.records import FloatArray

NAME = "retinaface-resnet50"
# ImageNet statistics, on the scale 0..255
NORMALISATION = Normalisation(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
PRIORS_PER_CELL = 2
MAX_CHECKPOINT_BYTES = 1 << 30


def load(settings: FaceSettings) -> RetinaFace:
    """The detector with the weights of `settings.weights`, on the GPU where there is one.

    Raises WeightsError when no file is named, or it is missing or not of this network.
    """
    if settings.weights is None:
        raise WeightsError(
            f"faces.weights: {NAME} needs a file", f"make one with `streamwatch models import {NAME} FILE`"
        )
    model = RetinaFaceResNet50()
    try:
        model.load_state_dict(load_file(settings.weights))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise WeightsError(
            f"{settings.weights}: not usable as {NAME} weights ({_first_line(error)})",
            f"make the file with `streamwatch models import {NAME} FILE`",
        ) from None
    return RetinaFace(TorchNetwork(model, settings.threads), NORMALISATION, settings)


def import_resnet50(source: Path, output: Path) -> Path:
    """Convert a `resnet50_2020-07-20` checkpoint (.pth, or the published .zip with it) to safetensors.

    Only tensors are unpickled, and every parameter must fit. Returns `output`. Raises WeightsError.
    """
    state = _read_checkpoint(source)
    model = RetinaFaceResNet50()
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(
            f"{source}: not a checkpoint of {NAME} ({_first_line(error)})",
            "expected retinaface-pytorch's resnet50_2020-07-20",
        ) from None
    try:
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        with replacing(output, mode=SHARED) as draft:
            save_file(model.state_dict(), draft, metadata={"architecture": NAME, "source_sha256": digest})
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{output}: cannot be written ({_first_line(error)})") from None
    return output


class TorchNetwork:
    """The torch model as a `RawFaces`, on `threads` CPU threads or the GPU."""

    def __init__(self, model: RetinaFaceResNet50, threads: int) -> None:
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = model.to(self._device).eval()
        self._threads = threads

    @torch.inference_mode()
    def __call__(self, batch: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        with _cpu_threads(self._threads):
            boxes, classes, landmarks = self._model(torch.from_numpy(batch).to(self._device))
            probabilities = classes.softmax(dim=-1)
        return boxes.cpu().numpy(), probabilities.cpu().numpy(), landmarks.cpu().numpy()


class RetinaFaceResNet50(nn.Module):
    """N×3×H×W (normalised RGB) to box offsets N×P×4, class logits N×P×2 and landmark offsets N×P×10."""

    def __init__(self) -> None:
        super().__init__()
        self.body = ResNet50Body()
        self.fpn = FeaturePyramid((512, 1024, 2048), 256)
        self.ssh1 = ContextModule(256)
        self.ssh2 = ContextModule(256)
        self.ssh3 = ContextModule(256)
        self.ClassHead = nn.ModuleList(Head(256, 2) for _ in range(3))
        self.BboxHead = nn.ModuleList(Head(256, 4) for _ in range(3))
        self.LandmarkHead = nn.ModuleList(Head(256, 10) for _ in range(3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        levels = self.fpn(self.body(x))
        levels = [ssh(level) for ssh, level in zip((self.ssh1, self.ssh2, self.ssh3), levels, strict=True)]
        boxes, classes, landmarks = (
            torch.cat([head(level) for head, level in zip(heads, levels, strict=True)], dim=1)
            for heads in (self.BboxHead, self.ClassHead, self.LandmarkHead)
        )
        return boxes, classes, landmarks


class ResNet50Body(nn.Module):
    """ResNet-50 without its classifier; gives the features of stages 2, 3 and 4 (strides 8, 16, 32)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(64, 64, blocks=3, stride=1)
        self.layer2 = _stage(256, 128, blocks=4, stride=2)
        self.layer3 = _stage(512, 256, blocks=6, stride=2)
        self.layer4 = _stage(1024, 512, blocks=3, stride=2)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), kernel_size=3, stride=2, padding=1)
        stage2 = self.layer2(self.layer1(x))
        stage3 = self.layer3(stage2)
        return [stage2, stage3, self.layer4(stage3)]


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 with a shortcut; `width` is that of the 3×3 convolution, the output has 4 × width."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels != 4 * width:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, 4 * width, 1, stride=stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class FeaturePyramid(nn.Module):
    """Top-down pyramid over three levels, each brought to the same number of channels."""

    def __init__(self, channels: tuple[int, int, int], width: int) -> None:
        super().__init__()
        self.output1 = _conv_bn(channels[0], width, kernel=1)
        self.output2 = _conv_bn(channels[1], width, kernel=1)
        self.output3 = _conv_bn(channels[2], width, kernel=1)
        self.merge1 = _conv_bn(width, width, kernel=3)
        self.merge2 = _conv_bn(width, width, kernel=3)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        fine, middle, coarse = features
        top = F.relu(self.output3(coarse))
        middle = F.relu(self.output2(middle))
        middle = F.relu(self.merge2(middle + F.interpolate(top, size=middle.shape[2:], mode="nearest")))
        fine = F.relu(self.output1(fine))
        fine = F.relu(self.merge1(fine + F.interpolate(middle, size=fine.shape[2:], mode="nearest")))
        return [fine, middle, top]


class ContextModule(nn.Module):
    """SSH: stacked 3×3 convolutions that see 3×3, 5×5 and 7×7, side by side."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv3X3 = _conv_bn(width, width // 2, kernel=3)
        self.conv5X5_1 = _conv_bn(width, width // 4, kernel=3)
        self.conv5X5_2 = _conv_bn(width // 4, width // 4, kernel=3)
        self.conv7X7_2 = _conv_bn(width // 4, width // 4, kernel=3)
        self.conv7x7_3 = _conv_bn(width // 4, width // 4, kernel=3)

    def forward(self, x: Tensor) -> Tensor:
        shared = F.relu(self.conv5X5_1(x))
        wide = self.conv7x7_3(F.relu(self.conv7X7_2(shared)))
        return F.relu(torch.cat([self.conv3X3(x), self.conv5X5_2(shared), wide], dim=1))


class Head(nn.Module):
    """Predicts `values` numbers per prior: N×C×H×W to N×(H·W·priors)×values."""

    def __init__(self, channels: int, values: int) -> None:
        super().__init__()
        self.conv1x1 = nn.Conv2d(channels, PRIORS_PER_CELL * values, 1)
        self.values = values

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv1x1(x)
        return y.permute(0, 2, 3, 1).reshape(len(y), -1, self.values)


def _stage(channels: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    first = Bottleneck(channels, width, stride)
    return nn.Sequential(first, *(Bottleneck(4 * width, width, 1) for _ in range(blocks - 1)))


def _conv_bn(channels: int, width: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(width))


def _read_checkpoint(source: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(_unwrap(source), map_location="cpu", weights_only=True)
    except (OSError, pickle.UnpicklingError, zipfile.BadZipFile, EOFError, RuntimeError, ValueError) as error:
        raise WeightsError(f"{source}: not a torch checkpoint ({_first_line(error)})") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{source}: not a checkpoint of {NAME}: expected named tensors and nothing else")
    return state


def _unwrap(source: Path) -> Path | io.BytesIO:
    """The file itself, or the one file inside a plain zip archive (torch's own format is a zip of many)."""
    if not zipfile.is_zipfile(source):
        return source
    with zipfile.ZipFile(source) as archive:
        entries = archive.infolist()
        if len(entries) != 1 or entries[0].is_dir():
            return source
        if entries[0].file_size > MAX_CHECKPOINT_BYTES:
            raise WeightsError(f"{source}: larger than any checkpoint of {NAME}")
        return io.BytesIO(archive.read(entries[0]))


@contextmanager
def _cpu_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:200]
