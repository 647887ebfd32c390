"""Auto-encoders of our own: what a face looks like after a decoder has drawn it again.

Face swaps, reenactments and talking heads all end in a convolutional decoder, and it leaves traces (up-sampling
patterns, lost texture) also where nothing was blended. Small auto-encoders that were trained on real faces give such
pictures from real ones; bending the code between encoder and decoder gives the reenactments that warp features.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, get_args

import cv2
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from streamwatch.errors import WeightsError
from streamwatch.files import replacing
from streamwatch.records import FloatArray, ImageArray

Style = Literal["transposed", "nearest", "bilinear", "shuffle"]
STYLES: tuple[Style, ...] = get_args(Style)

_FACTORS: dict[Style, int] = {"transposed": 8, "nearest": 4, "bilinear": 8, "shuffle": 4}
_CODES: dict[Style, int] = {"transposed": 24, "nearest": 8, "bilinear": 24, "shuffle": 8}
_WIDTHS = (16, 32, 48, 64)
_SIDE = 128


class Autoencoder(nn.Module):
    """Encoder to a map of `_CODES` channels at 1/`factor` of the side, and a decoder that up-samples in one style.

    The styles are those of published generators: transposed convolution, nearest or bilinear enlargement with a
    convolution, and pixel shuffle.
    """

    def __init__(self, style: Style) -> None:
        super().__init__()
        self.factor = _FACTORS[style]
        levels = self.factor.bit_length() - 1
        widths = _WIDTHS[: levels + 1]
        down: list[nn.Module] = [_convolution(3, widths[0])]
        for inputs, outputs in itertools.pairwise(widths):
            down += [_convolution(inputs, outputs, stride=2), _convolution(outputs, outputs)]
        self.encoder = nn.Sequential(*down, nn.Conv2d(widths[-1], _CODES[style], 1))
        up: list[nn.Module] = [_convolution(_CODES[style], widths[-1])]
        for inputs, outputs in zip(widths[:0:-1], widths[-2::-1], strict=True):
            up += [_upsampling(style, inputs, outputs), nn.LeakyReLU(0.2, inplace=True)]
        self.decoder = nn.Sequential(*up, nn.Conv2d(widths[0], 3, 3, padding=1))

    def forward(self, x: Tensor, flow: Tensor | None = None) -> Tensor:
        """N×3×H×W in −1..1 to the same; H and W multiples of `factor`.

        flow: N×h×w×2 at the code's size, where each place of the bent code comes from, −1..1 over the picture.
        """
        code = self.encoder(x)
        if flow is not None:
            code = F.grid_sample(code, flow, mode="bilinear", padding_mode="border", align_corners=False)
        y: Tensor = self.decoder(code)
        return y


class Resynthesiser:
    """Draws pictures again with one trained auto-encoder."""

    def __init__(self, model: Autoencoder) -> None:
        self._model = model.eval()

    def __call__(self, image: ImageArray, displacement: FloatArray | None = None) -> ImageArray:
        """H×W×3 drawn again, of the same size.

        displacement: H×W×2 (x, y) in pixels, where each place of the result comes from, applied to the code.
        """
        height, width = image.shape[:2]
        factor = self._model.factor
        rows, columns = -(-height // factor), -(-width // factor)
        bottom, right = rows * factor - height, columns * factor - width
        padded = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        flow = None if displacement is None else _flow(displacement, rows, columns, factor)
        with torch.inference_mode():
            drawn = self._model(_to_tensor(np.asarray(padded, np.uint8)[None]), flow)
        pixels = drawn[0].permute(1, 2, 0).clamp(-1, 1).mul(127.5).add(127.5).round().to(torch.uint8).numpy()
        return np.ascontiguousarray(pixels[:height, :width])


def load_or_train(
    folder: Path,
    pictures: Sequence[Callable[[], ImageArray]],
    *,
    steps: int = 800,
    styles: Sequence[Style] = STYLES,
    report: Callable[[str], None] = lambda line: None,
) -> list[Resynthesiser]:
    """One resynthesiser per style, from `folder/autoencoder-STYLE.safetensors`, trained there first if missing.

    pictures: readers of real faces (H×W×3). Raises WeightsError for a file that does not fit.
    """
    found = []
    for style in styles:
        path = folder / f"autoencoder-{style}.safetensors"
        if not path.is_file():
            model, error = train_autoencoder(style, pictures, steps)
            with replacing(path) as draft:
                save_file({name: value.contiguous() for name, value in model.state_dict().items()}, draft)
            report(f"auto-encoder {style}: mean error {error:.1f} of 255 after {steps} steps")
        model = Autoencoder(style)
        try:
            model.load_state_dict(load_file(path))
        except RuntimeError:
            raise WeightsError(f"{path}: not this auto-encoder", "delete the file to train it again") from None
        found.append(Resynthesiser(model))
    return found


def train_autoencoder(
    style: Style, pictures: Sequence[Callable[[], ImageArray]], steps: int, *, batch: int = 8
) -> tuple[Autoencoder, float]:
    """Mean absolute error of pixels and of their differences (which keeps edges); Adam with a cosine to zero.

    Returns the model and the mean absolute error of its last tenth, 0..255.
    """
    torch.manual_seed(STYLES.index(style))
    rng = np.random.default_rng(STYLES.index(style))
    model = Autoencoder(style).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    errors = []
    for _ in range(steps):
        chosen = [pictures[int(i)]() for i in rng.integers(len(pictures), size=batch)]
        x = _to_tensor(np.stack([_window(image, rng) for image in chosen]))
        y = model(x)
        error = (y - x).abs().mean()
        edges = sum((torch.diff(y, dim=d) - torch.diff(x, dim=d)).abs().mean() for d in (2, 3))
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(error + edges)
        optimiser.step()
        schedule.step()
        errors.append(error.item() * 127.5)
    return model, float(np.mean(errors[-max(1, steps // 10) :]))


def _window(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    """A random square of at least half of the picture, at the training side."""
    height, width = image.shape[:2]
    side = int(rng.integers(min(height, width) // 2, min(height, width) + 1))
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    window = image[top : top + side, left : left + side]
    return np.asarray(cv2.resize(window, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def _to_tensor(images: ImageArray) -> Tensor:
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float().div(127.5).sub(1)
    return x.contiguous(memory_format=torch.channels_last)


def _flow(displacement: FloatArray, rows: int, columns: int, factor: int) -> Tensor:
    small = cv2.resize(displacement, (columns, rows), interpolation=cv2.INTER_AREA)
    x, y = np.meshgrid((np.arange(columns) + 0.5) * 2 / columns - 1, (np.arange(rows) + 0.5) * 2 / rows - 1)
    moved = np.stack([x + small[..., 0] * 2 / (columns * factor), y + small[..., 1] * 2 / (rows * factor)], axis=-1)
    return torch.from_numpy(moved.astype(np.float32))[None]


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.LeakyReLU(0.2, inplace=True))


def _upsampling(style: Style, inputs: int, outputs: int) -> nn.Module:
    if style == "transposed":
        return nn.ConvTranspose2d(inputs, outputs, 4, 2, 1)
    if style == "shuffle":
        return nn.Sequential(nn.Conv2d(inputs, 4 * outputs, 3, padding=1), nn.PixelShuffle(2))
    enlarge = nn.Upsample(scale_factor=2, mode=style, align_corners=None if style == "nearest" else False)
    return nn.Sequential(enlarge, nn.Conv2d(inputs, outputs, 3, padding=1))
