"""Training pairs: a real face and its fake in one item, drawn without state so that a run resumes to the step.

A pair is made in two steps. `MadePairs` draws and forges whole pictures, by a number; `PairDataset` cuts and degrades
them, by the index of the item. The first is dear and the second cheap, so one made pair may serve several items.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from streamwatch.evaluation.degradations import rescale
from streamwatch.evaluation.forged_regions import forged_region
from streamwatch.faces.crops import CropGeometry, crop_face, crop_mask
from streamwatch.records import Box, FloatArray, ImageArray
from streamwatch.sources.pictures import read_image
from streamwatch.training.augment import UNTOUCHED, code_again, degrade, mix_amplitudes
from streamwatch.training.families import FaceImage, Family, Forger
from streamwatch.training.partners import Partners
from streamwatch.training.prepare import FacePicture, originals
from streamwatch.training.stages import stage
from streamwatch.training.web import WebPairs

Kind = Literal["paired", "generated", "web", "web_unpaired"] | Family
"""web: a forged picture of a web clip and a real one of its scene; web_unpaired: and a real one of another scene."""

Zoom = tuple[float, float]
"""Least and greatest side of a training crop, in sides of the served one."""

PAIRED_ZOOM: Zoom = (0.88, 1.08)
GENERATED_ZOOM: Zoom = (0.88, 1.3)
"""The generated pictures have more room round the face."""
WEB_ZOOM: Zoom = (0.84, 1.2)


@dataclass(frozen=True, slots=True, eq=False)
class MadePair:
    """Whole pictures of a real face and of a fake, before they are cut.

    real, fake: H×W×3, of different sizes where they are of different files. mask: the forged region of the fake, H×W
    uint8, 255 = forged; None where it is not known. boxes: of the two faces, pixels. source: what the fake was made
    from. related: whether the two show one person in one place, so that what differs is the forgery. files: where the
    two came from.
    """

    kind: Kind
    real: ImageArray
    fake: ImageArray
    mask: ImageArray | None
    boxes: tuple[Box, Box]
    zooms: Zoom
    source: str
    related: bool
    files: tuple[Path, Path]


@dataclass(frozen=True, slots=True, eq=False)
class TrainingPair:
    """A real and a fake face cut alike (S×S×3), and the forged region (S×S, 0..1) where it is known.

    regions: which square of the whole pictures the two were cut from (pixels).
    """

    real: ImageArray
    fake: ImageArray
    mask: FloatArray | None
    made: MadePair
    regions: tuple[Box, Box]


class PairSource(Protocol):
    """Made pairs by number: the same number gives the same pair, always."""

    def make(self, number: int) -> MadePair:
        """The pair of a number from 0 up."""
        ...


class SourcePool:
    """Real pictures of one data set, from which forgeries are made.

    zoom: a set whose pictures end close to the face has less room than others.
    """

    def __init__(self, pictures: Sequence[FacePicture], weight: float = 1.0, zoom: Zoom = (0.88, 1.08)):
        self.pictures = pictures
        self.weight = weight
        self.zoom = zoom
        self.partners = Partners(pictures)


@dataclass(frozen=True, slots=True)
class Pools:
    """Where pairs come from.

    paired: fakes with the real picture that they were made from. sources: real pictures to forge.
    generated: (real, fake) lists of whole-face synthesis, which have no pairs. web, web_unpaired: forged pictures of
    web clips, of scenes with real footage and of others. forger: makes the fakes.
    """

    paired: Sequence[tuple[FacePicture, FacePicture]]
    sources: Sequence[SourcePool]
    generated: tuple[Sequence[FacePicture], Sequence[FacePicture]] = ((), ())
    web: WebPairs | None = None
    web_unpaired: WebPairs | None = None
    forger: Forger = field(default_factory=Forger)
    paired_zoom: Zoom = PAIRED_ZOOM


class MadePairs:
    """Pairs drawn from pools and forged; pair `number` is a function of (seed, number) alone.

    scene_pairs: as many pairs in a row share their kind and, if it is `web`, method and scene.
    """

    def __init__(self, pools: Pools, weights: Mapping[Kind, float], seed: int, scene_pairs: int = 1) -> None:
        self._pools = pools
        self._kinds: list[Kind] = [kind for kind, weight in weights.items() if weight > 0]
        self._shares = _shares([weights[kind] for kind in self._kinds])
        self._source_shares = _shares([pool.weight for pool in pools.sources])
        self._seed = seed
        self._scene_pairs = scene_pairs

    def make(self, number: int) -> MadePair:
        """See `PairSource`."""
        rng = shared = np.random.default_rng([self._seed, 0, number])
        if self._scene_pairs > 1:
            shared = np.random.default_rng([self._seed, 2, number // self._scene_pairs])
        pools = self._pools
        kind = self._kinds[int(shared.choice(len(self._kinds), p=self._shares))]
        if kind == "paired":
            both = pools.paired[int(rng.integers(len(pools.paired)))]
            return _found(kind, both, pools.paired_zoom, related=True)
        if kind == "web" and pools.web is not None:
            return _found(kind, pools.web.draw_related(rng, shared), WEB_ZOOM, related=True)
        if kind == "web_unpaired" and pools.web_unpaired is not None:
            return _found(kind, pools.web_unpaired.draw_any(rng), WEB_ZOOM, related=False)
        if kind == "generated":
            reals, fakes = pools.generated
            both = reals[int(rng.integers(len(reals)))], fakes[int(rng.integers(len(fakes)))]
            return _found(kind, both, GENERATED_ZOOM, related=False)
        return self._forged(kind, rng)

    def _forged(self, kind: Any, rng: np.random.Generator) -> MadePair:
        pool = self._pools.sources[int(rng.choice(len(self._pools.sources), p=self._source_shares))]
        chosen = int(rng.integers(len(pool.pictures)))
        picture = pool.pictures[chosen]
        face = _face(picture)
        with stage(f"forging: {kind}"):
            made = self._pools.forger.forge_visibly(kind, face, lambda: _face(pool.partners.draw(chosen, rng)), rng)
        return MadePair(
            kind,
            made.real,
            made.fake,
            _levels(made.mask),
            (picture.box, picture.box),
            pool.zoom,
            picture.source,
            True,
            (picture.path, picture.path),
        )


class PairDataset(Dataset[dict[str, torch.Tensor]]):
    """Items cut from made pairs; item i is a function of (the source, seed, i) alone.

    Each item holds, once per quality, `images` (2×3×S×S uint8; real, fake), `masks` (2×1×S×S float, 0..1) and
    `mask_known` (2, bool), with the quality as their first axis, and `related` (bool, `MadePair.related`).
    """

    def __init__(
        self,
        source: PairSource,
        geometry: CropGeometry,
        size: int,
        seed: int,
        length: int,
        *,
        augment: bool = True,
        qualities: int = 1,
        reuse: Reuse | None = None,
        untouched: float = UNTOUCHED,
        mix_amplitudes: float = 0.0,
    ) -> None:
        self._source = source
        self._geometry = geometry
        self._size = size
        self._seed = seed
        self._length = length
        self._augment = augment
        self._qualities = qualities
        self._reuse = reuse or Reuse()
        self._untouched = untouched
        self._mix_amplitudes = mix_amplitudes

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
        return {
            "images": torch.from_numpy(images).permute(0, 1, 4, 2, 3),
            "masks": masks,
            "mask_known": known,
            "related": torch.tensor([pair.made.related for pair in pairs]),
        }

    def pair(self, index: int) -> TrainingPair:
        """The pair of item `index` at its first quality."""
        return self.pairs(index)[0]

    def pairs(self, index: int) -> list[TrainingPair]:
        """The pair of item `index` at each of its qualities, as numpy. Raises IndexError."""
        if not 0 <= index < self._length:
            raise IndexError(index)
        made = self._source.make(self._reuse.number(index))
        rng = np.random.default_rng([self._seed, 1, index])
        if self._mix_amplitudes > 0 and rng.random() < self._mix_amplitudes:
            near = self._reuse.number(int(rng.integers(max(0, index - _NEAR), index + 1)))
            other, share = self._source.make(near).real, float(rng.uniform(0, 0.5))
            real, fake = mix_amplitudes([made.real, made.fake], other, share)
            made = replace(made, real=real, fake=fake)
        return self._cut(made, rng)

    def _cut(self, made: MadePair, rng: np.random.Generator) -> list[TrainingPair]:
        whole = [made.real, made.fake]
        zoom, shift = 1.0, (0.0, 0.0)
        if self._augment:
            with stage("degrading"):
                whole = code_again(whole, rng)
            zoom = float(np.exp(rng.uniform(*np.log(made.zooms))))
            shift = float(rng.uniform(-0.04, 0.04)), float(rng.uniform(-0.04, 0.04))
        with stage("cutting"):
            fake_region = jitter(self._geometry.region(made.boxes[1]), zoom, shift)
            aligned = made.mask is not None
            real_region = fake_region if aligned else jitter(self._geometry.region(made.boxes[0]), zoom, shift)
            regions = (real_region, fake_region)
            images = [crop_face(image, region, self._size) for image, region in zip(whole, regions, strict=True)]
            if self._augment and not aligned:
                images = as_coarse_as_each_other(images, [region[2] - region[0] for region in regions])
            cut: FloatArray | None = None
            if made.mask is not None:
                cut = crop_mask(np.float32(1 / 255) * made.mask, fake_region, self._size)
            if self._augment and rng.random() < 0.5:
                images = [np.ascontiguousarray(image[:, ::-1]) for image in images]
                cut = None if cut is None else np.ascontiguousarray(cut[:, ::-1])
        with stage("degrading"):
            views = [degrade(images, rng, self._untouched) if self._augment else images for _ in range(self._qualities)]
        return [TrainingPair(view[0], view[1], cut, made, regions) for view in views]


@dataclass(frozen=True, slots=True)
class Reuse:
    """How often a made pair is cut, and how far apart.

    times: items of every pair. lag: pairs between one use and the next, so that a batch sees different ones; less at
    the start, where there are not as many yet.
    """

    times: int = 1
    lag: int = 0

    def number(self, index: int) -> int:
        """Which pair item `index` is cut from; the first use of each is newer than all before it."""
        newest, use = divmod(index, self.times)
        return max(newest - use * self.lag, newest * (self.times - use) // self.times)

    @property
    def window(self) -> int:
        """How many of the newest pairs may still be asked for."""
        return (self.times - 1) * self.lag + 1


_NEAR = 64  # items back, whose pairs a pool still has


def as_coarse_as_each_other(images: Sequence[ImageArray], sides: Sequence[float]) -> list[ImageArray]:
    """Crops of two files (each S×S×3) at the resolution of the coarser one: upscaling must not reveal the class.

    sides: of the regions that they were cut from, pixels.
    """
    size = len(images[0])
    resolutions = [min(side, size) for side in sides]
    least = min(resolutions)
    factors = [resolution / least for resolution in resolutions]
    return [rescale(image, f) if f > 1.02 else image for image, f in zip(images, factors, strict=True)]


def jitter(region: Box, zoom: float, shift: tuple[float, float]) -> Box:
    """Scale a square region about its centre and move it by a share of its side."""
    x0, y0, x1, y1 = region
    side = x1 - x0
    centre_x, centre_y = (x0 + x1) / 2 + shift[0] * side, (y0 + y1) / 2 + shift[1] * side
    half = side * zoom / 2
    return centre_x - half, centre_y - half, centre_x + half, centre_y + half


def pair_up(pictures: Sequence[FacePicture]) -> list[tuple[FacePicture, FacePicture]]:
    """(real, fake) for every fake whose original is among `pictures`."""
    reals = originals(pictures)
    return [(reals[p.source], p) for p in pictures if p.fake and p.source in reals]


def _face(picture: FacePicture) -> FaceImage:
    with stage("reading"):
        return FaceImage(read_image(picture.path), picture.landmarks)


def _found(kind: Kind, both: tuple[FacePicture, FacePicture], zooms: Zoom, *, related: bool) -> MadePair:
    """Two pictures as they are; the forged region is their difference, where they show the same frame."""
    with stage("reading"):
        real, fake = read_image(both[0].path), read_image(both[1].path)
    mask = None
    if related:
        with stage("comparing"):
            mask = forged_region(fake, real)
    return MadePair(
        kind,
        real,
        fake,
        None if mask is None else _levels(mask),
        (both[0].box, both[1].box),
        zooms,
        both[1].source,
        related,
        (both[0].path, both[1].path),
    )


def _levels(mask: FloatArray) -> ImageArray:
    return np.asarray(np.rint(mask * 255), np.uint8)


def _shares(weights: Sequence[float]) -> list[float]:
    total = sum(weights)
    return [weight / total for weight in weights]


def forked_loader(data: Dataset[Any], batch_size: int, workers: int) -> Iterator[Any]:
    """Batches of a data set in its order, prepared by forked processes of one thread each.

    OpenCV's threads are stopped for the fork: a child whose parent has some waits for them forever.
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
