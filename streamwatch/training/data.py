"""Training pairs: a real face and its fake in one item, drawn without state so that a run resumes to the step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from streamwatch.evaluation.truth import forged_region
from streamwatch.faces.crops import CropGeometry, crop_face, crop_mask
from streamwatch.records import Box, FloatArray, ImageArray
from streamwatch.sources.pictures import read_image
from streamwatch.training.augment import degrade
from streamwatch.training.forgeries import self_blend
from streamwatch.training.prepare import Picture

Kind = Literal["paired", "self_blended", "generated"]


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A real and a fake face cut alike (S×S×3), and the forged region (S×S, 0..1) where it is known."""

    real: ImageArray
    fake: ImageArray
    mask: FloatArray | None


@dataclass(frozen=True, slots=True)
class Pools:
    """Where pairs come from.

    paired: fakes with the real picture that they were made from. blendable: real pictures for self-blending.
    generated: (real, fake) lists of whole-face synthesis, which have no pairs.
    """

    paired: Sequence[tuple[Picture, Picture]]
    blendable: Sequence[Sequence[Picture]]
    generated: tuple[Sequence[Picture], Sequence[Picture]]


class PairDataset(Dataset[dict[str, torch.Tensor]]):
    """Item i is a function of (seed, i) alone.

    Each item holds `images` (2×3×S×S uint8; real, fake), `masks` (2×1×S×S float, 0..1) and `mask_known` (2, bool).
    """

    def __init__(
        self,
        pools: Pools,
        weights: Mapping[Kind, float],
        geometry: CropGeometry,
        size: int,
        seed: int,
        length: int,
        *,
        augment: bool = True,
    ) -> None:
        self._pools = pools
        self._kinds = [kind for kind, weight in weights.items() if weight > 0]
        total = sum(weights[kind] for kind in self._kinds)
        self._shares = [weights[kind] / total for kind in self._kinds]
        self._geometry = geometry
        self._size = size
        self._seed = seed
        self._length = length
        self._augment = augment

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        pair = self.pair(index)
        images = torch.from_numpy(np.stack([pair.real, pair.fake])).permute(0, 3, 1, 2)
        masks = torch.zeros(2, 1, self._size, self._size)
        if pair.mask is not None:
            masks[1, 0] = torch.from_numpy(pair.mask)
        return {"images": images, "masks": masks, "mask_known": torch.tensor([True, pair.mask is not None])}

    def pair(self, index: int) -> Pair:
        """The pair of item `index` as numpy, for previews and tests."""
        if not 0 <= index < self._length:
            raise IndexError(index)
        rng = np.random.default_rng([self._seed, index])
        kind = self._kinds[int(rng.choice(len(self._kinds), p=self._shares))]
        if kind == "paired":
            real_picture, fake_picture = self._pools.paired[int(rng.integers(len(self._pools.paired)))]
            real, fake = read_image(real_picture.path), read_image(fake_picture.path)
            return self._cut(real, fake, real_picture.box, fake_picture.box, forged_region(fake, real), rng)
        if kind == "generated":
            reals, fakes = self._pools.generated
            real_picture = reals[int(rng.integers(len(reals)))]
            fake_picture = fakes[int(rng.integers(len(fakes)))]
            real, fake = read_image(real_picture.path), read_image(fake_picture.path)
            return self._cut(real, fake, real_picture.box, fake_picture.box, None, rng)
        pool = self._pools.blendable[int(rng.integers(len(self._pools.blendable)))]
        picture = pool[int(rng.integers(len(pool)))]
        blend = self_blend(read_image(picture.path), picture.landmarks, rng)
        return self._cut(blend.real, blend.fake, picture.box, picture.box, blend.mask, rng)

    def _cut(
        self,
        real: ImageArray,
        fake: ImageArray,
        real_box: Box,
        fake_box: Box,
        mask: FloatArray | None,
        rng: np.random.Generator,
    ) -> Pair:
        zoom, shift = 1.0, (0.0, 0.0)
        if self._augment:
            zoom = float(rng.uniform(0.88, 1.08))
            shift = float(rng.uniform(-0.04, 0.04)), float(rng.uniform(-0.04, 0.04))
        fake_region = jitter(self._geometry.region(fake_box), zoom, shift)
        real_region = fake_region if mask is not None else jitter(self._geometry.region(real_box), zoom, shift)
        images = [crop_face(real, real_region, self._size), crop_face(fake, fake_region, self._size)]
        cut: FloatArray | None = None
        if mask is not None:
            cut = crop_mask(mask, fake_region, self._size)
        if self._augment:
            if rng.random() < 0.5:
                images = [np.ascontiguousarray(image[:, ::-1]) for image in images]
                cut = None if cut is None else np.ascontiguousarray(cut[:, ::-1])
            images = degrade(images, rng)
        return Pair(images[0], images[1], cut)


def jitter(region: Box, zoom: float, shift: tuple[float, float]) -> Box:
    """Scale a square region about its centre and move it by a share of its side."""
    x0, y0, x1, y1 = region
    side = x1 - x0
    centre_x, centre_y = (x0 + x1) / 2 + shift[0] * side, (y0 + y1) / 2 + shift[1] * side
    half = side * zoom / 2
    return centre_x - half, centre_y - half, centre_x + half, centre_y + half


def pair_up(pictures: Sequence[Picture]) -> list[tuple[Picture, Picture]]:
    """(real, fake) for every fake whose original is among `pictures`."""
    reals = {picture.source: picture for picture in pictures if not picture.fake}
    return [(reals[p.source], p) for p in pictures if p.fake and p.source in reals]
