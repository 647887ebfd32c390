"""How far what is not the forgery tells the classes of training crops apart, by kind of pair."""

from __future__ import annotations

from dataclasses import dataclass

from streamwatch.evaluation.nuisances import Probe, probe_images
from streamwatch.faces.crops import CropGeometry
from streamwatch.training.data import Kind, MadePairs, PairDataset, Pools

_SEED = 2_000_003


@dataclass(frozen=True, slots=True)
class KindProbe:
    """One kind of pair: the probe of its crops as they are cut, and after our degradations."""

    kind: Kind
    plain: Probe
    degraded: Probe


def probe_kinds(
    pools: Pools, kinds: list[Kind], geometry: CropGeometry, size: int, *, pairs: int = 100, rounds: int = 200
) -> list[KindProbe]:
    """Sharpness and noise alone (`evaluation.nuisances`), cross-validated by source, on `pairs` crops of each kind.

    Kinds whose forgery is itself a change of sharpness (re-synthesis, up-sampling) are told apart by it: that is their
    trace. Those made of two files should not be. Raises ValueError where a kind has fewer than two sources.
    """
    found = []
    for kind in kinds:
        probes = []
        for augment in (False, True):
            data = PairDataset(MadePairs(pools, {kind: 1.0}, _SEED), geometry, size, _SEED, pairs, augment=augment)
            drawn = [data.pair(index) for index in range(pairs)]
            groups = [pair.made.source for pair in drawn]
            probes.append(
                probe_images([pair.real for pair in drawn], [pair.fake for pair in drawn], groups, rounds=rounds)
            )
        found.append(KindProbe(kind, probes[0], probes[1]))
    return found
