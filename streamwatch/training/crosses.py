"""Cross-forgery validation: what a recipe learns of forgeries that it was not trained on.

The compass for choosing between recipes: validation on the training domain rises long after what carries over to
other tools has stopped to.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from streamwatch.training.data import Kind
from streamwatch.training.families import FAMILIES
from streamwatch.training.recipe import Recipe
from streamwatch.training.trainer import HeldBackAucs, Progress, Trainer, images_seen

SELF_BLENDS: tuple[Kind, ...] = ("whole_face", "hull")


@dataclass(frozen=True, slots=True)
class Cross:
    """Train on `trained`, look at `tested`, which it never saw."""

    name: str
    trained: tuple[Kind, ...]
    tested: tuple[Kind, ...]


def crosses(recipe: Recipe) -> Iterator[Cross]:
    """The crosses that a recipe's kinds of pairs allow.

    Self-blends alone, against the fakes of real tools; those alone, against self-blends and synthesis; all that is
    made here but one family, against that family.
    """
    kinds = [kind for kind, weight in recipe.data.weights.items() if weight > 0]
    if set(SELF_BLENDS) <= set(kinds) and recipe.data.paired:
        yield Cross("self-blends-only", SELF_BLENDS, ("paired",))
    if recipe.data.paired:
        yield Cross("paired-only", ("paired",), (*SELF_BLENDS, "generated"))
    for family in FAMILIES:
        if family in kinds:
            rest: tuple[Kind, ...] = tuple(kind for kind in kinds if kind in FAMILIES and kind != family)
            yield Cross(f"without-{family}", rest, (family,))


def cross_recipe(recipe: Recipe, cross: Cross) -> Recipe:
    """The recipe with the cross's kinds of pairs only, in their own proportions."""
    weights = {kind: recipe.data.weights.get(kind) or 1.0 for kind in cross.trained}
    data = recipe.data.model_copy(update={"weights": weights})
    return recipe.model_copy(update={"name": f"{recipe.name}-{cross.name}", "data": data})


def run_crosses(
    recipe: Recipe,
    folder: Path,
    landmark_model: Path,
    *,
    cache: Path | None = None,
    listener: Callable[[Cross, Progress], None] = lambda cross, progress: None,
    device: str = "cpu",
) -> Path:
    """Train every cross of the recipe under `folder`, each for the recipe's steps, and write `crosses.csv` there.

    A run that was cut off goes on. Returns the table: one row per trained cross, every held-back cell in it, and in
    `unseen` the mean of the cells that the cross did not train on. Raises as `Trainer` does.
    """
    table = folder / "crosses.csv"
    rows: list[dict[str, object]] = []
    for cross in crosses(recipe):
        trainer = Trainer(cross_recipe(recipe, cross), folder / cross.name, landmark_model, cache=cache, device=device)
        trainer.run(lambda progress, cross=cross: listener(cross, progress))  # type: ignore[misc]
        assert trainer.latest is not None
        rows.append(_row(recipe, cross, trainer.latest))
        with table.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return table


def _row(recipe: Recipe, cross: Cross, aucs: HeldBackAucs) -> dict[str, object]:
    cells: dict[str, float] = {kind: round(auc, 4) for kind, auc in aucs.cells().items()}
    unseen = [cells[kind] for kind in cross.tested if not math.isnan(cells.get(kind, math.nan))]
    return {
        "cross": cross.name,
        "pictures": images_seen(recipe, recipe.optimisation.steps),
        "tested_on": "+".join(cross.tested),
        "unseen": round(sum(unseen) / len(unseen), 4) if unseen else math.nan,
        **cells,
    }
