"""Training pairs: a real face and its fake in one item, drawn without state so that a run resumes to the step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from streamwatch.evaluation.truth import forged_region
from streamwatch.faces.crops import CropGeometry, crop_face, crop_mask
from streamwatch.records import Box, FloatArray, ImageArray
from streamwatch.sources.pictures import read_image
from streamwatch.training.augment import code_again, degrade
from streamwatch.training.families import FaceImage, Family, Forger
from streamwatch.training.partners import Partners
from streamwatch.training.prepare import Picture, originals

Kind = Literal["paired", "generated"] | Family

PAIRED_ZOOM = (0.88, 1.08)
GENERATED_ZOOM = (0.88, 1.3)
"""Side of a training crop in sides of the served one; the generated pictures have more room round the face."""


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A real and a fake face cut alike (S×S×3), and the forged region (S×S, 0..1) where it is known.

    pictures, regions: what the two were cut from, and which square of it (pixels).
    """

    real: ImageArray
    fake: ImageArray
    mask: FloatArray | None
    kind: Kind
    pictures: tuple[Picture, Picture]
    regions: tuple[Box, Box]


class Forged(NamedTuple):
    """Whole pictures of a pair, before they are cut; the mask is None where the forged region is not known."""

    real: ImageArray
    fake: ImageArray
    mask: FloatArray | None


class SourcePool:
    """Real pictures of one data set, from which forgeries are made.

    zoom: least and greatest side of a training crop, in sides of the served crop; a set whose pictures end close to
    the face has less room.
    """

    def __init__(self, pictures: Sequence[Picture], weight: float = 1.0, zoom: tuple[float, float] = (0.88, 1.08)):
        self.pictures = pictures
        self.weight = weight
        self.zoom = zoom
        self.partners = Partners(pictures)


@dataclass(frozen=True, slots=True)
class Pools:
    """Where pairs come from.

    paired: fakes with the real picture that they were made from. sources: real pictures to forge.
    generated: (real, fake) lists of whole-face synthesis, which have no pairs. forger: makes the fakes.
    """

    paired: Sequence[tuple[Picture, Picture]]
    sources: Sequence[SourcePool]
    generated: tuple[Sequence[Picture], Sequence[Picture]] = ((), ())
    forger: Forger = field(default_factory=Forger)


class PairDataset(Dataset[dict[str, torch.Tensor]]):
    """Item i is a function of (seed, i) alone.

    Each item holds, once per quality, `images` (2×3×S×S uint8; real, fake), `masks` (2×1×S×S float, 0..1) and
    `mask_known` (2, bool), with the quality as their first axis.
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
        qualities: int = 1,
    ) -> None:
        self._pools = pools
        self._kinds: list[Kind] = [kind for kind, weight in weights.items() if weight > 0]
        self._shares = _shares([weights[kind] for kind in self._kinds])
        self._source_shares = _shares([pool.weight for pool in pools.sources])
        self._geometry = geometry
        self._size = size
        self._seed = seed
        self._length = length
        self._augment = augment
        self._qualities = qualities

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        pairs = self.pairs(index)
        images = np.stack([np.stack([pair.real, pair.fake]) for pair in pairs])
        masks = torch.zeros(len(pairs), 2, 1, self._size, self._size)
        for quality, pair in enumerate(pairs):
            if pair.mask is not None:
                masks[quality, 1, 0] = torch.from_numpy(pair.mask)
        known = torch.tensor([[True, pair.mask is not None] for pair in pairs])
        return {"images": torch.from_numpy(images).permute(0, 1, 4, 2, 3), "masks": masks, "mask_known": known}

    def pair(self, index: int) -> Pair:
        """The pair of item `index` at its first quality."""
        return self.pairs(index)[0]

    def pairs(self, index: int) -> list[Pair]:
        """The pair of item `index` at each of its qualities, as numpy."""
        if not 0 <= index < self._length:
            raise IndexError(index)
        rng = np.random.default_rng([self._seed, index])
        kind = self._kinds[int(rng.choice(len(self._kinds), p=self._shares))]
        if kind == "paired":
            both = self._pools.paired[int(rng.integers(len(self._pools.paired)))]
            real, fake = read_image(both[0].path), read_image(both[1].path)
            return self._cut(kind, both, Forged(real, fake, forged_region(fake, real)), PAIRED_ZOOM, rng)
        if kind == "generated":
            reals, fakes = self._pools.generated
            both = reals[int(rng.integers(len(reals)))], fakes[int(rng.integers(len(fakes)))]
            return self._cut(
                kind, both, Forged(read_image(both[0].path), read_image(both[1].path), None), GENERATED_ZOOM, rng
            )
        pool = self._pools.sources[int(rng.choice(len(self._pools.sources), p=self._source_shares))]
        chosen = int(rng.integers(len(pool.pictures)))
        picture = pool.pictures[chosen]
        partner = lambda: _face(pool.partners.draw(chosen, rng))  # noqa: E731
        made = self._pools.forger.forge_visibly(kind, _face(picture), partner, rng)
        return self._cut(kind, (picture, picture), Forged(made.real, made.fake, made.mask), pool.zoom, rng)

    def _cut(
        self,
        kind: Kind,
        pictures: tuple[Picture, Picture],
        forged: Forged,
        zooms: tuple[float, float],
        rng: np.random.Generator,
    ) -> list[Pair]:
        mask = forged.mask
        whole = [forged.real, forged.fake]
        zoom, shift = 1.0, (0.0, 0.0)
        if self._augment:
            whole = code_again(whole, rng)
            zoom = float(np.exp(rng.uniform(*np.log(zooms))))
            shift = float(rng.uniform(-0.04, 0.04)), float(rng.uniform(-0.04, 0.04))
        fake_region = jitter(self._geometry.region(pictures[1].box), zoom, shift)
        real_region = fake_region if mask is not None else jitter(self._geometry.region(pictures[0].box), zoom, shift)
        images = [crop_face(whole[0], real_region, self._size), crop_face(whole[1], fake_region, self._size)]
        cut: FloatArray | None = None
        if mask is not None:
            cut = crop_mask(mask, fake_region, self._size)
        if self._augment and rng.random() < 0.5:
            images = [np.ascontiguousarray(image[:, ::-1]) for image in images]
            cut = None if cut is None else np.ascontiguousarray(cut[:, ::-1])
        views = [degrade(images, rng) if self._augment else images for _ in range(self._qualities)]
        regions = (real_region, fake_region)
        return [Pair(view[0], view[1], cut, kind, pictures, regions) for view in views]


def jitter(region: Box, zoom: float, shift: tuple[float, float]) -> Box:
    """Scale a square region about its centre and move it by a share of its side."""
    x0, y0, x1, y1 = region
    side = x1 - x0
    centre_x, centre_y = (x0 + x1) / 2 + shift[0] * side, (y0 + y1) / 2 + shift[1] * side
    half = side * zoom / 2
    return centre_x - half, centre_y - half, centre_x + half, centre_y + half


def pair_up(pictures: Sequence[Picture]) -> list[tuple[Picture, Picture]]:
    """(real, fake) for every fake whose original is among `pictures`."""
    reals = originals(pictures)
    return [(reals[p.source], p) for p in pictures if p.fake and p.source in reals]


def _face(picture: Picture) -> FaceImage:
    return FaceImage(read_image(picture.path), picture.landmarks)


def _shares(weights: Sequence[float]) -> list[float]:
    total = sum(weights)
    return [weight / total for weight in weights]


def forked_loader(data: Dataset[Any], batch_size: int, workers: int) -> Iterator[Any]:
    """Batches of a data set in its order, prepared by forked processes of one thread each.

    OpenCV's threads are stopped for the fork: a child whose parent has some waits for them for ever.
    """
    loader = DataLoader(
        data,
        batch_size,
        num_workers=workers,
        worker_init_fn=_one_thread if workers else None,
        prefetch_factor=4 if workers else None,
    )
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        return iter(loader)
    finally:
        cv2.setNumThreads(threads)


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
