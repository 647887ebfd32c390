"""Cropping and degrading packed pairs on the device that trains, so that a GPU does not wait for CPU cores.

The counterpart of `data.PairDataset` and `augment.degrade` for whole batches of tensors: crop, flip, colour, scale,
blur of a lens or of a movement, noise and JPEG, drawn for every pair and applied to both of its pictures alike. Video
coding, which has no tensor operation, is done when pairs are packed.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from streamwatch.training.augment import UNTOUCHED
from streamwatch.training.pack import PackedPairs

_SHIFT = 0.04
_KERNEL = 13  # pixels of a blur's kernel
_LUMA_WEIGHTS = (0.299, 0.587, 0.114)

# ITU-T T.81, tables K.1 and K.2
_LUMA_TABLE = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA_TABLE = (
    *(17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99),
    *(99,) * 32,
)


class _Draw(Protocol):
    """One number per pair, B×1×1×1×1, uniform between two."""

    def __call__(self, low: float = 0.0, high: float = 1.0) -> Tensor: ...


class DevicePairs:
    """Batches of a pack that lies in the device's memory as a whole; batch i is a function of (the pack, seed, i).

    size: side of the crops, a multiple of 16. Raises ValueError for another size.
    """

    def __init__(
        self, packed: PackedPairs, size: int, seed: int, device: torch.device, *, untouched: float = UNTOUCHED
    ) -> None:
        if size % 16:
            raise ValueError(f"crops made on the device need a side that is a multiple of 16, not {size}")
        self._size, self._seed, self._device, self._untouched = size, seed, device, untouched
        self._count = len(packed)
        made = [packed.make(number) for number in range(self._count)]
        windows = torch.from_numpy(np.stack([np.stack([pair.real, pair.fake]) for pair in made]))
        self._windows = windows.permute(0, 1, 4, 2, 3).contiguous().to(device)
        empty = np.zeros((packed.side, packed.side), np.uint8)
        self._masks = torch.from_numpy(np.stack([empty if p.mask is None else p.mask for p in made])).to(device)
        self._known = torch.tensor([pair.mask is not None for pair in made], device=device)
        self._related = torch.tensor([pair.related for pair in made], device=device)
        regions = [[packed.geometry.region(box) for box in pair.boxes] for pair in made]
        self._regions = torch.tensor(regions, dtype=torch.float32, device=device)
        self._zooms = torch.tensor([pair.zooms for pair in made], dtype=torch.float32, device=device).log()

    def batch(self, index: int, pairs: int) -> dict[str, Tensor]:
        """What `PairDataset` gives, for `pairs` pairs at one quality, on the device."""
        rng = torch.Generator(self._device).manual_seed((self._seed * 1_000_003 + index) % 2**63)
        chosen = torch.randint(self._count, (pairs,), generator=rng, device=self._device)
        grid = self._grid(chosen, rng)
        flat = self._windows[chosen].flatten(0, 1).float()
        images = F.grid_sample(flat, grid, mode="bilinear", padding_mode="border", align_corners=False)
        masks = self._masks[chosen, None].float() / 255
        cut = F.grid_sample(masks, grid[1::2], mode="bilinear", padding_mode="border", align_corners=False)
        images = degrade(_grouped(images, (pairs, 2)), rng, self._untouched)
        known = self._known[chosen]
        return {
            "images": images.round().clamp(0, 255).to(torch.uint8)[:, None],
            "masks": torch.stack([torch.zeros_like(cut), cut * known[:, None, None, None]], dim=1)[:, None],
            "mask_known": torch.stack([torch.ones_like(known), known], dim=1)[:, None],
            "related": self._related[chosen][:, None],
        }

    def _grid(self, chosen: Tensor, rng: torch.Generator) -> Tensor:
        """Where each crop of the pairs reads its windows: 2·pairs×S×S×2, −1..1 over a window; real and fake in turn."""
        count, side = len(chosen), self._windows.shape[-1]
        draw = torch.rand(count, 4, generator=rng, device=self._device)
        low, high = self._zooms[chosen].unbind(1)
        zoom = (low + (high - low) * draw[:, 0]).exp()
        shift = (draw[:, 1:3] * 2 - 1) * _SHIFT
        mirror = torch.where(draw[:, 3] < 0.5, -1.0, 1.0)
        region = self._regions[chosen]
        length = region[..., 2] - region[..., 0]
        centre = (region[..., :2] + region[..., 2:]) / 2 + shift[:, None] * length[..., None]
        half = length * zoom[:, None] / side
        middle = centre * 2 / side - 1
        theta = torch.zeros(count, 2, 2, 3, device=self._device)
        theta[..., 0, 0], theta[..., 1, 1] = half * mirror[:, None], half
        theta[..., 2] = middle
        return F.affine_grid(theta.flatten(0, 1), [2 * count, 1, self._size, self._size], align_corners=False)


def degrade(images: Tensor, rng: torch.Generator, untouched: float = UNTOUCHED) -> Tensor:
    """B×2×3×S×S in 0..255 (float) to the same, every pair by a draw of its own; `untouched`: share that stays as it is.

    Shares and strengths are those of `augment.degrade`, JPEG in place of its video coding too.
    """
    count, device = len(images), images.device

    def draw(low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, 1, 1, 1, generator=rng, device=device)

    kept, touched = images, draw() >= untouched
    images = torch.where(draw() < 0.4, _coloured(images, draw), images)
    images = torch.where(draw() < 0.1, _luma(images).expand_as(images), images)
    images = torch.where(draw() < 0.15, images * (1 + draw(-0.5, 0.5)), images).clamp(0, 255)
    images = torch.where(draw() < 0.2, _rescaled(images, float(draw(1.2, 2.5)[0])), images)
    soft = draw()
    images = _convolved(images, _kernels(soft, draw, images.shape[-1]), soft.flatten() < 0.27)
    same = draw() < 0.5
    first = torch.randn(images[:, :1].shape, generator=rng, device=device).expand_as(images)
    own = torch.randn(images.shape, generator=rng, device=device)
    noisy = images + draw(1, 10) * torch.where(same, first, own)
    images = torch.where(draw() < 0.25, noisy, images).clamp(0, 255)
    images = torch.where(draw() < 0.75, jpeg(images, draw(30, 100).flatten()), images)
    return torch.where(touched, images, kept)


def jpeg(images: Tensor, quality: Tensor) -> Tensor:
    """B×…×3×S×S in 0..255 through JPEG's losses (ITU-T T.81) at a quality (B, 1..100) of each: 4:2:0 colour, 8×8 DCT,
    the standard tables scaled as libjpeg does, rounding. S: a multiple of 16.
    """
    shape = images.shape
    flat = images.reshape(shape[0], -1, *shape[-3:]).round()
    y, cb, cr = _to_ycbcr(flat)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    y = _quantised(y, _table(_LUMA_TABLE, scale))
    table = _table(_CHROMA_TABLE, scale)
    cb, cr = (_enlarged(_quantised(_halved(plane), table)) for plane in (cb, cr))
    return _to_rgb(y, cb, cr).clamp(0, 255).reshape(shape)


def _luma(images: Tensor) -> Tensor:
    weights = images.new_tensor(_LUMA_WEIGHTS).view(3, 1, 1)
    return (images * weights).sum(dim=-3, keepdim=True)


def _coloured(images: Tensor, draw: _Draw) -> Tensor:
    shift = torch.cat([draw(-20, 20) for _ in range(3)], dim=2) * (draw() < 0.3)
    contrast, brightness, saturation = (1 + draw(-0.1, 0.1) for _ in range(3))
    changed = (images + shift - 127.5) * contrast + 127.5 * brightness
    grey = _luma(changed)
    return (grey + (changed - grey) * saturation).clamp(0, 255)


def _rescaled(images: Tensor, factor: float) -> Tensor:
    flat = images.flatten(0, 1)
    side = images.shape[-1]
    small = F.interpolate(flat, size=max(8, round(side / factor)), mode="bilinear", antialias=True)
    return _grouped(F.interpolate(small, size=side, mode="bilinear"), images.shape[:2])


def _kernels(soft: Tensor, draw: _Draw, side: int) -> Tensor:
    """B×K×K: a Gaussian where `soft` is below 0.12, else a line of any direction."""
    reach = _KERNEL // 2
    axis = torch.arange(-reach, reach + 1, device=soft.device, dtype=torch.float32)
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    sigma = (draw(0.002, 0.016) * side).flatten()[:, None, None].clamp_min(0.1)
    gaussian = torch.exp(-(rows**2 + columns**2) / (2 * sigma**2))
    turn = draw(0, math.pi).flatten()[:, None, None]
    length = (draw(0.01, 0.07) * side).flatten()[:, None, None]
    along = (columns * torch.cos(turn) - rows * torch.sin(turn)).abs()
    across = (columns * torch.sin(turn) + rows * torch.cos(turn)).abs()
    line = (length / 2 + 0.5 - along).clamp(0, 1) * (1 - across).clamp(0, 1)
    kernels = torch.where(soft.flatten()[:, None, None] < 0.12, gaussian, line)
    return kernels / kernels.sum(dim=(1, 2), keepdim=True)


def _convolved(images: Tensor, kernels: Tensor, where: Tensor) -> Tensor:
    """Each pair by its own kernel, those of `where` alone."""
    if not bool(where.any()):
        return images
    some = images[where]
    planes = some.reshape(1, -1, *some.shape[-2:])
    each = kernels[where].repeat_interleave(planes.shape[1] // len(some), dim=0)[:, None]
    padded = F.pad(planes, (_KERNEL // 2,) * 4, mode="replicate")
    out = images.clone()
    out[where] = F.conv2d(padded, each, groups=planes.shape[1]).reshape(some.shape)
    return out


def _to_ycbcr(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """ITU-R BT.601, full range, as JFIF has it; planes around 0."""
    r, g, b = images.unbind(-3)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return y - 128, (b - y) / 1.772, (r - y) / 1.402


def _to_rgb(y: Tensor, cb: Tensor, cr: Tensor) -> Tensor:
    y = y + 128
    return torch.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], dim=-3)


def _table(values: tuple[int, ...], scale: Tensor) -> Tensor:
    """B×1×1×8×1×8: the steps of each coefficient, in the order that `_quantised` has them."""
    base = torch.tensor(values, dtype=torch.float32, device=scale.device).view(8, 8)
    return ((base * scale[:, None, None] + 50) / 100).floor().clamp(1, 255)[:, None, None, :, None, :]


def _quantised(planes: Tensor, table: Tensor) -> Tensor:
    """B×N×h×w around 0, through 8×8 DCT, rounding to the table's steps, and back."""
    b, n, height, width = planes.shape
    k = torch.arange(8, device=planes.device, dtype=torch.float32)
    basis = torch.cos(math.pi / 8 * (k[None, :] + 0.5) * k[:, None]) / 2
    basis[0] /= math.sqrt(2)
    blocks = planes.reshape(b, n, height // 8, 8, width // 8, 8)
    spectrum = torch.einsum("ur,bnirjc,vc->bniujv", basis, blocks, basis)
    spectrum = (spectrum / table).round() * table
    return torch.einsum("ur,bniujv,vc->bnirjc", basis, spectrum, basis).reshape(b, n, height, width)


def _halved(planes: Tensor) -> Tensor:
    return _grouped(F.avg_pool2d(planes.flatten(0, 1), 2), planes.shape[:2])


def _enlarged(planes: Tensor) -> Tensor:
    large = F.interpolate(planes.flatten(0, 1)[:, None], scale_factor=2, mode="bilinear")
    return _grouped(large[:, 0], planes.shape[:2])


def _grouped(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The first axis as several."""
    return x.reshape(*shape, *x.shape[1:])
