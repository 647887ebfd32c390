"""Studies of a recipe: trained again with a part of it changed, to see what that part is worth.

Cross-forgery validation is the compass for choosing between recipes: validation on the training domain rises long
after what carries over to other tools has stopped to.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamwatch.errors import ConfigError
from streamwatch.evaluation.metrics import roc_auc
from streamwatch.training.batches import images_seen
from streamwatch.training.data import Kind
from streamwatch.training.families import FAMILIES
from streamwatch.training.inference import face_logits
from streamwatch.training.recipe import Recipe
from streamwatch.training.trainer import Trainer, TrainingProgress

SELF_BLENDS: tuple[Kind, ...] = ("whole_face", "hull")


@dataclass(frozen=True, slots=True)
class Variant:
    """A changed recipe. unseen: the kinds of forgery that it is tested on without having trained on them."""

    name: str
    recipe: Recipe
    unseen: tuple[Kind, ...] = ()


def crosses(recipe: Recipe) -> Iterator[Variant]:
    """The crosses that a recipe's kinds of pairs allow.

    Self-blends alone, against the fakes of real tools; those alone, against self-blends and synthesis; all that is
    made here but one family, against that family. A family that is left out lends the others nothing: without swaps
    regions and re-synthesis lay in no other face, without re-synthesis reenactment warps pixels only.
    """
    kinds = [kind for kind, weight in recipe.data.weights.items() if weight > 0]
    if set(SELF_BLENDS) <= set(kinds) and recipe.data.paired:
        yield Variant("self-blends-only", _trained_on(recipe, SELF_BLENDS), ("paired",))
    if recipe.data.paired:
        yield Variant("paired-only", _trained_on(recipe, ["paired"]), (*SELF_BLENDS, "generated"))
    for family in FAMILIES:
        if family in kinds:
            rest: list[Kind] = [kind for kind in kinds if kind in FAMILIES and kind != family]
            yield Variant(f"without-{family}", _trained_on(recipe, rest), (family,))


def ablations(recipe: Recipe) -> Iterator[Variant]:
    """The recipe as it is, then with one of its parts turned off (quality-agnostic training: on) at a time.

    Every variant sees as many pictures; in several qualities they are of as many fewer faces.
    """
    yield Variant("as it is", recipe)
    yield Variant("one patch size", _changed(recipe, switches={"multi_scale": False}))
    yield Variant("no frequency block and fusion", _changed(recipe, switches={"frequency": "none"}))
    yield Variant("fusion by addition", _changed(recipe, switches={"fusion": "add"}))
    yield Variant("no mask loss", _changed(recipe, loss={"mask": 0.0}))
    yield Variant("no contrastive loss", _changed(recipe, loss={"contrastive": 0.0}))
    kinds = [kind for kind, weight in recipe.data.weights.items() if weight > 0]
    for name, without in (("no self-blends", SELF_BLENDS), ("no forgeries made here", FAMILIES)):
        rest = [kind for kind in kinds if kind not in without]
        if rest and rest != kinds:
            yield Variant(name, _trained_on(recipe, rest))
    pairs = recipe.optimisation.pairs
    if recipe.data.qualities == 1 and pairs % 2 == 0 and pairs >= 4:
        yield Variant("two qualities", _changed(recipe, data={"qualities": 2}, optimisation={"pairs": pairs // 2}))


def web(recipe: Recipe) -> Iterator[Variant]:
    """The recipe as it is, then with one of its answers changed at a time.

    Every variant sees as many pictures. Judge by the figures of the dev sets.
    """
    yield Variant("as it is", recipe)
    yield Variant("first 4 blocks frozen", _changed(recipe, optimisation={"freeze": 4}))
    yield Variant("no ranking", _changed(recipe, loss={"ranking": 0.0}))
    yield Variant("scene-wise batches", _changed(recipe, data={"scene_pairs": 4}))
    weights = recipe.data.weights
    made = [kind for kind in FAMILIES if weights.get(kind, 0) > 0]
    found: list[Kind] = [kind for kind in weights if kind not in FAMILIES]
    for name, kinds in (("twice the web pairs", ["web", "web_unpaired"]), ("twice the forgeries made here", made)):
        yield Variant(name, _changed(recipe, data={"weights": _scaled(weights, kinds, 2.0)}))
    yield Variant("no forgeries made here", _trained_on(recipe, found))
    yield Variant("fewer degradations", _changed(recipe, data={"untouched": 0.5}))
    rate = recipe.optimisation.learning_rate
    for factor in (1 / 3, 2):
        yield Variant(
            f"learning rate {rate * factor:.0e}", _changed(recipe, optimisation={"learning_rate": rate * factor})
        )
    for scale in (1.0, 1.5):
        yield Variant(f"crop scale {scale:g}", _changed(recipe, geometry={"scale": scale}))
    yield Variant("styles mixed", _changed(recipe, optimisation={"mix_styles": 0.5}))
    yield Variant("amplitudes mixed", _changed(recipe, data={"mix_amplitudes": 0.3}))
    if recipe.data.qualities == 1 and recipe.optimisation.pairs % 2 == 0 and recipe.optimisation.pairs >= 4:
        pairs = recipe.optimisation.pairs // 2
        yield Variant("two qualities", _changed(recipe, data={"qualities": 2}, optimisation={"pairs": pairs}))
    yield Variant("256 px", _changed(recipe, switches={"input_size": 256}))
    if recipe.start is not None:
        recipe = recipe.model_copy(update={"start": None})
        yield Variant("from ImageNet", recipe)
    if recipe.preset == "m2tr-lite":
        yield Variant("EfficientNet-Lite2 from ImageNet", recipe.model_copy(update={"preset": "m2tr-lite2"}))


STUDIES: dict[str, Callable[[Recipe], Iterator[Variant]]] = {"crosses": crosses, "ablations": ablations, "web": web}


def chosen(variants: Sequence[Variant], names: Sequence[str]) -> list[Variant]:
    """The variants of these names in their order; all without names. Raises ConfigError for an unknown one."""
    known = {variant.name: variant for variant in variants}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(f"--variant {unknown[0]}: not in this study", f"its rows: {', '.join(known)}")
    return [known[name] for name in names] or list(variants)


def run_study(
    variants: Sequence[Variant],
    folder: Path,
    landmark_model: Path,
    *,
    cache: Path | None = None,
    listener: Callable[[Variant, TrainingProgress], None] = lambda variant, progress: None,
    device: str = "cpu",
) -> Path:
    """Train every variant under `folder`, each for its recipe's steps, and write `table.csv` there.

    A study that was cut off goes on. Returns the table, a row per variant, of the averaged weights after the last
    step: pictures seen, AUC on the reported `val` faces, mean AUC over held-back self-blends, mean over the `unseen`
    kinds (NaN without), the figures of the dev sets, and every held-back cell. Held-back faces are forged alike for all
    variants. Raises as `Trainer` does, and ConfigError where a variant has unseen kinds and a `start`: weights that may
    have learnt from what is left out.
    """
    if any(variant.recipe.start is not None and variant.unseen for variant in variants):
        raise ConfigError("a study trains from ImageNet: other weights may know what a variant leaves out")
    tested = {kind for variant in variants for kind, weight in variant.recipe.data.weights.items() if weight > 0}
    table = folder / "table.csv"
    rows: list[dict[str, Any]] = []
    for variant in variants:
        run = folder / variant.name.replace(" ", "-")
        trainer = Trainer(variant.recipe, run, landmark_model, cache=cache, device=device, tested=tested)
        trainer.run(lambda progress, variant=variant: listener(variant, progress))  # type: ignore[misc]
        rows.append(_measured(variant, trainer, run / "result.json"))
        with table.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(dict.fromkeys(name for row in rows for name in row)))
            writer.writeheader()
            writer.writerows(rows)
    return table


def _measured(variant: Variant, trainer: Trainer, path: Path) -> dict[str, Any]:
    if not path.is_file():
        state = trainer.state
        assert state.latest is not None
        cells = state.latest.cells()
        row: dict[str, Any] = {
            "variant": variant.name,
            "pictures": images_seen(variant.recipe, state.step),
            "seed": variant.recipe.seed,
            "minutes": state.minutes,
            **{f"dev_{name}": value for name, value in state.latest.dev.items()},
            "val": _reported(variant, trainer),
            "self_blends": _mean(cells, SELF_BLENDS),
            "unseen": _mean(cells, variant.unseen),
            **{str(kind): auc for kind, auc in cells.items()},
        }
        rounded = {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}
        path.write_text(json.dumps(rounded), encoding="utf-8")
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result


def _reported(variant: Variant, trainer: Trainer) -> float:
    """AUC on `val`; NaN where the data sets have none."""
    faces = trainer.split.reported
    fake = [face.fake for face in faces]
    if len(set(fake)) < 2:
        return math.nan
    geometry = variant.recipe.geometry.geometry()
    return roc_auc(fake, face_logits(trainer.average.module, faces, geometry, trainer.size, trainer.device))


def _mean(cells: Mapping[Kind, float], kinds: Sequence[Kind]) -> float:
    values = [cells[kind] for kind in kinds if not math.isnan(cells.get(kind, math.nan))]
    return sum(values) / len(values) if values else math.nan


def _scaled(weights: Mapping[Kind, float], kinds: Sequence[str], factor: float) -> dict[Kind, float]:
    return {kind: weight * (factor if kind in kinds else 1.0) for kind, weight in weights.items()}


def _trained_on(recipe: Recipe, kinds: Sequence[Kind]) -> Recipe:
    """The recipe with these kinds of pairs alone, in their own proportions."""
    weights = {kind: recipe.data.weights.get(kind) or 1.0 for kind in kinds}
    return _changed(recipe, data={"weights": weights})


def _changed(recipe: Recipe, **parts: Mapping[str, Any]) -> Recipe:
    """The recipe with some fields of its parts replaced."""
    values = recipe.model_dump()
    for part, fields in parts.items():
        values[part] = {**values[part], **fields}
    return Recipe.model_validate(values)
