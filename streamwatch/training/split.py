"""What a recipe's data sets are used for: what trains, what is held back, what is reported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from streamwatch.errors import ConfigError
from streamwatch.evaluation.web_faces import FoundFace
from streamwatch.sources.pictures import read_image
from streamwatch.training.clips import clip_pictures
from streamwatch.training.data import (
    Kind,
    Pools,
    SourcePool,
    pair_up,
)
from streamwatch.training.dev import check_apart, dev_faces
from streamwatch.training.families import FAMILIES, Forger
from streamwatch.training.pack import PackedPairs
from streamwatch.training.prepare import FacePicture, hold_back, prepare
from streamwatch.training.recipe import DataPart, Recipe
from streamwatch.training.resynthesis import load_or_train
from streamwatch.training.web import web_pairs
from streamwatch.training.web_clips import web_clip_pictures

CLIPS = "clips"
"""Name of the data set that is made from the recipe's camera clips."""

WEB_CLIPS = "web_clips"
"""Name of the data set that is made from the recipe's whole web clips."""


@dataclass(frozen=True, slots=True, eq=False)
class DataSplit:
    """What a recipe's data sets are used for.

    pools: training pairs; a family that the recipe does not train on lends no other family its means. held_faces,
    held_generated: pictures of both classes, of the paired and of the generated sets; held_reals: real pictures by
    data set; held_pools: the same, to be forged by every means. What is held back chooses the checkpoint and
    calibrates it; no gradient sees it.
    reported: `val` pictures of the paired sets, which decide nothing. dev: faces of the dev sets.
    """

    pools: Pools
    held_faces: list[FacePicture]
    held_generated: list[FacePicture]
    held_reals: dict[str, list[FacePicture]]
    held_pools: Pools
    reported: list[FacePicture]
    dev: tuple[FoundFace, ...] = ()


def prepare_set(
    part: DataPart, name: str, cache: Path, landmark_model: Path, report: Callable[[str], None]
) -> list[FacePicture]:
    """The pictures of one data set of a recipe; those of `clips` and `web_clips` are cut from clips first."""
    folder = part.root / name
    if name == WEB_CLIPS and part.web_clips is not None:
        folder = web_clip_pictures(part.root / part.web_clips, cache / WEB_CLIPS, report=report)
    if name == CLIPS and part.clips is not None:
        folder = clip_pictures(part.root / part.clips, cache / CLIPS, report=report)
    return prepare(folder, cache / f"{name}.npz", landmark_model)


def split_data(
    recipe: Recipe,
    cache: Path,
    landmark_model: Path,
    report: Callable[[str], None],
    *,
    tested: Iterable[Kind] = (),
) -> DataSplit:
    """Prepare the data sets of a recipe and divide them.

    tested: kinds to be forged from held-back faces beside those that the recipe trains on. Raises SourceNotFound,
    ConfigError or WeightsError.
    """
    part = recipe.data
    trained = {kind for kind, weight in part.weights.items() if weight > 0}
    train: dict[str, list[FacePicture]] = {}
    held: dict[str, list[FacePicture]] = {}
    reported: list[FacePicture] = []
    for name in dict.fromkeys((*part.paired, *part.sources, *part.generated, *part.web)):
        pictures = prepare_set(part, name, cache, landmark_model, report)
        train[name], held[name] = hold_back([p for p in pictures if p.split == "train"], part.held_back)
        if name in part.paired:
            reported += [p for p in pictures if p.split == "val"]
        report(f"{name}: {len(train[name])} pictures to train on, {len(held[name])} held back")

    def sources(of: dict[str, list[FacePicture]]) -> list[SourcePool]:
        named = [(options, [p for p in of[name] if not p.fake]) for name, options in part.sources.items()]
        return [SourcePool(reals, options.weight, options.zoom) for options, reals in named if reals]

    forger = Forger()
    if {"resynthesis", "reenactment"} & {*trained, *tested}:
        readers = [partial(read_image, p.path) for name in part.sources for p in train[name] if not p.fake]
        forger = Forger(load_or_train(cache, readers, report=report))
    web = [p for name in part.web for p in train[name]]
    dev = dev_faces([part.root / name for name in part.dev], cache)
    check_apart(web, dev)
    related, unrelated = web_pairs(web)
    pools = Pools(
        paired=[pair for name in part.paired for pair in pair_up(train[name])],
        sources=sources(train),
        generated=(
            [p for name in part.generated for p in train[name] if not p.fake],
            [p for name in part.generated for p in train[name] if p.fake],
        ),
        web=related,
        web_unpaired=unrelated,
        forger=Forger(forger.resynthesisers if "resynthesis" in trained else (), transplants="swap" in trained),
        paired_zoom=part.paired_zoom,
    )
    held_faces = [p for name in part.paired for p in held[name]]
    _check(recipe, trained, pools, held_faces)
    return DataSplit(
        pools,
        held_faces=held_faces,
        held_generated=[p for name in part.generated for p in held[name]],
        held_reals={name: [p for p in held[name] if not p.fake] for name in part.sources},
        held_pools=Pools((), sources(held), forger=forger),
        reported=reported,
        dev=dev,
    )


def packed_split(recipe: Recipe, packed: PackedPairs, cache: Path, report: Callable[[str], None]) -> DataSplit:
    """What a run on a pack has: the dev sets that are there. Raises ConfigError for a pack of another geometry."""
    geometry = recipe.geometry.geometry()
    if packed.geometry != geometry:
        raise ConfigError(f"{packed.folder}: packed for crops by {packed.geometry}, the recipe's are by {geometry}")
    folders = [recipe.data.root / name for name in recipe.data.dev]
    here = [folder for folder in folders if folder.is_dir()]
    for folder in folders:
        if folder not in here:
            report(f"{folder}: not here; without it the checkpoint is chosen by what is")
    report(f"{packed.folder}: {len(packed)} pairs")
    nothing = Pools((), ())
    return DataSplit(nothing, [], [], {}, nothing, [], dev_faces(here, cache))


def _check(recipe: Recipe, trained: set[Kind], pools: Pools, held_faces: Sequence[FacePicture]) -> None:
    """Raise ConfigError where pictures lack: to make pairs of a kind that is trained on, or to calibrate with."""
    data, where = recipe.data, f"recipe {recipe.name}: data"
    if "paired" in trained and not pools.paired:
        raise ConfigError(
            f"{where}.weights.paired: no fake of {', '.join(data.paired) or 'data.paired (empty)'} has its original "
            "among the real pictures",
            "an index.csv names it (source_video, with one real picture each), or set the weight to 0",
        )
    if "generated" in trained and not all(pools.generated):
        raise ConfigError(
            f"{where}.weights.generated: {', '.join(data.generated) or 'data.generated (empty)'} lacks real or fake "
            "pictures to train on",
            "set the weight to 0",
        )
    for kind, pairs in (("web", pools.web), ("web_unpaired", pools.web_unpaired)):
        if kind in trained and not pairs:
            raise ConfigError(
                f"{where}.weights.{kind}: {', '.join(data.web) or 'data.web (empty)'} has no such forged pictures",
                "set the weight to 0",
            )
    if trained & set(FAMILIES) and not pools.sources:
        raise ConfigError(f"{where}.sources: no real picture to forge in {', '.join(data.sources) or 'any data set'}")
    if len({picture.fake for picture in held_faces}) < 2:
        raise ConfigError(
            f"{where}.paired: real and fake pictures are needed to calibrate with, and what is held back of "
            f"{', '.join(data.paired) or 'no data set'} has not both",
            "name a larger set, or raise data.held_back",
        )
