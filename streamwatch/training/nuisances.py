"""How far what is not the forgery separates the classes of training crops, by kind of pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streamwatch.evaluation.nuisances import FILE_FACTS, Probe, file_facts, probe, probe_images
from streamwatch.faces.crops import CropGeometry
from streamwatch.training.data import Kind, MadePairs, PairDataset, Pools, TrainingPair

_SEED = 2_000_003


@dataclass(frozen=True, slots=True)
class KindProbe:
    """One kind of pair: the probe of its files, of its crops as they are cut, and after our degradations.

    files: side of the face's region and aspect of the picture, bytes per pixel and JPEG tables of the file.
    """

    kind: Kind
    files: Probe
    plain: Probe
    degraded: Probe


def probe_kinds(
    pools: Pools, kinds: list[Kind], geometry: CropGeometry, size: int, *, pairs: int = 100, rounds: int = 200
) -> list[KindProbe]:
    """Facts of the files alone, then sharpness and noise (`evaluation.nuisances`), on `pairs` pairs of each kind,
    cross-validated by source.

    Kinds whose forgery is itself a change of sharpness (re-synthesis, up-sampling) are separated by it: that is their
    trace. Those made of two files should not be. Raises ValueError where a kind has fewer than two sources.
    """
    found = []
    for kind in kinds:
        plain, degraded = (
            [data.pair(index) for index in range(pairs)]
            for data in (
                PairDataset(MadePairs(pools, {kind: 1.0}, _SEED), geometry, size, _SEED, pairs, augment=augment)
                for augment in (False, True)
            )
        )
        found.append(
            KindProbe(kind, _probe_files(plain, rounds), _probe_crops(plain, rounds), _probe_crops(degraded, rounds))
        )
    return found


def _probe_files(pairs: Sequence[TrainingPair], rounds: int) -> Probe:
    facts = [
        [region[2] - region[0], image.shape[1] / image.shape[0], *file_facts(path)]
        for place in (0, 1)
        for pair in pairs
        for region, image, path in [
            (pair.regions[place], (pair.made.real, pair.made.fake)[place], pair.made.files[place])
        ]
    ]
    labels = np.arange(len(facts)) >= len(pairs)
    return probe(np.array(facts), labels, _sources(pairs) * 2, ("side", "aspect", *FILE_FACTS), rounds=rounds)


def _probe_crops(pairs: Sequence[TrainingPair], rounds: int) -> Probe:
    return probe_images([pair.real for pair in pairs], [pair.fake for pair in pairs], _sources(pairs), rounds=rounds)


def _sources(pairs: Sequence[TrainingPair]) -> list[str]:
    return [pair.made.source for pair in pairs]
