"""Pairs of web clips: a forged picture with its own original, with another moment of its scene, or with any real face.

Drawn by method, then scene, then picture, because clips come in large families: one publisher's samples are a third of
all fakes. A method's chance grows with the root of its number of clips, so that one of a single clip, whose scenes are
soon known by heart, is not shown as often as one of fifty.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from streamwatch.training.prepare import FacePicture

_CANDIDATES = 8
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class WebPairs:
    """Forged pictures by method and scene, and what they are paired with.

    fakes: method -> scene -> pictures. shares: chance of each method. reals: by scene; those of the fakes' own scenes
    for `draw_related`, of all scenes for `draw_any`.
    """

    fakes: Mapping[str, Mapping[str, Sequence[FacePicture]]]
    shares: Mapping[str, float]
    reals: Mapping[str, Sequence[FacePicture]]

    def __bool__(self) -> bool:
        return bool(self.fakes) and bool(self.reals)

    def draw_related(
        self, rng: np.random.Generator, scene_rng: np.random.Generator | None = None
    ) -> tuple[FacePicture, FacePicture]:
        """(real, fake) of one scene: of the same moment where the set has it.

        scene_rng: draws method and scene in place of `rng`.
        """
        fake = self._draw_fake(rng, scene_rng or rng)
        own = self.reals[fake.source]
        same = [picture for picture in own if picture.moment == fake.moment]
        return _one(same or own, rng), fake

    def draw_any(self, rng: np.random.Generator) -> tuple[FacePicture, FacePicture]:
        """(real, fake) of different scenes; of a few real pictures the one whose face is nearest in size."""
        fake = self._draw_fake(rng, rng)
        scenes = sorted(self.reals)
        drawn = [_one(self.reals[_one(scenes, rng)], rng) for _ in range(_CANDIDATES)]
        return min(drawn, key=lambda picture: abs(np.log(picture.side / fake.side))), fake

    def _draw_fake(self, rng: np.random.Generator, scene_rng: np.random.Generator) -> FacePicture:
        methods = list(self.shares)
        method = methods[int(scene_rng.choice(len(methods), p=list(self.shares.values())))]
        scenes = self.fakes[method]
        return _one(scenes[_one(sorted(scenes), scene_rng)], rng)


def web_pairs(pictures: Iterable[FacePicture]) -> tuple[WebPairs, WebPairs]:
    """(forged pictures of scenes with real footage, forged pictures without). Both classes of all scenes go in."""
    listed = list(pictures)
    reals: dict[str, list[FacePicture]] = defaultdict(list)
    for picture in listed:
        if not picture.fake:
            reals[picture.source].append(picture)
    fakes = [picture for picture in listed if picture.fake]
    related = [picture for picture in fakes if picture.source in reals]
    return _grouped(related, reals), _grouped([p for p in fakes if p.source not in reals], reals)


def _grouped(fakes: Sequence[FacePicture], reals: Mapping[str, Sequence[FacePicture]]) -> WebPairs:
    by_method: dict[str, dict[str, list[FacePicture]]] = defaultdict(lambda: defaultdict(list))
    clips: dict[str, set[str]] = defaultdict(set)
    for picture in fakes:
        by_method[picture.method][picture.source].append(picture)
        clips[picture.method].add(picture.clip)
    roots = {method: float(np.sqrt(len(clips[method]))) for method in sorted(by_method)}
    total = sum(roots.values())
    return WebPairs(by_method, {method: root / total for method, root in roots.items()}, reals)


def _one(items: Sequence[_T], rng: np.random.Generator) -> _T:
    return items[int(rng.integers(len(items)))]
