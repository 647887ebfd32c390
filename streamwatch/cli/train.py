"""`streamwatch train`: run a recipe, resume it, preview its data."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from streamwatch.cli import common

if TYPE_CHECKING:
    from rich.progress import TaskID

    from streamwatch.training.recipe import Recipe
    from streamwatch.training.studies import Variant
    from streamwatch.training.trainer import HeldBackAucs
    from streamwatch.training.trainer import Progress as Step


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            help="YAML file, or the name of a recipe that ships: m2tr-lite, m2tr-lite-small, m2tr-lite-self-made, "
            "statistics."
        ),
    ],
    data: Annotated[Path | None, typer.Option("--data", help="Folder with the recipe's data sets.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the run; an unfinished run there goes on. runs/NAME"),
    ] = None,
    landmark_model: Annotated[
        Path,
        typer.Option("--landmark-model", help="face_landmark.tflite, out of the mediapipe 0.10 wheel."),
    ] = Path("face_landmark.tflite"),
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Other than the recipe's.")] = None,
    start: Annotated[
        Path | None, typer.Option("--start", metavar="SAFETENSORS", help="Weights to go on from, not ImageNet's.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
    preview: Annotated[
        Path | None, typer.Option("--preview", metavar="PNG", help="Draw fifty training pairs and end.")
    ] = None,
    study: Annotated[
        Literal["crosses", "ablations"] | None,
        typer.Option(
            "--study",
            help="Instead, train changed recipes and table them: on some forgeries, tested on others (crosses); "
            "with one part turned off (ablations).",
        ),
    ] = None,
) -> None:
    """Train a detector, calibrate it and write its weights and card; a run that was cut off goes on.

    Held-back sources choose the checkpoint, its calibration and its thresholds; `val` is only reported.
    """
    from streamwatch.training.statistics.recipe import is_statistics_recipe

    if is_statistics_recipe(recipe):
        if steps is not None or start is not None or preview is not None or study is not None:
            raise typer.BadParameter("a statistics recipe takes --data and --out, and no other option")
        _statistics(recipe, data, out)
        return
    from streamwatch.detectors.m2tr.detector import resolve_device
    from streamwatch.training.plots import draw_progress, pair_sheet, write_image
    from streamwatch.training.recipe import load_recipe
    from streamwatch.training.release import release
    from streamwatch.training.trainer import Trainer, with_root, with_start, with_steps

    chosen = with_start(with_steps(with_root(load_recipe(recipe), data), steps), start)
    device = str(resolve_device(device))
    folder = out or Path("runs") / chosen.name
    if study is not None:
        _study(study, chosen, out or Path("runs") / f"{chosen.name}-{study}", landmark_model, device)
        return
    trainer = Trainer(chosen, folder, landmark_model, report=lambda line: typer.echo(line, err=True), device=device)
    if preview is not None:
        pairs = [trainer.data.pair(index) for index in range(min(50, len(trainer.data)))]
        typer.echo(write_image(preview, pair_sheet(pairs)))
        return

    with common.progress_bar() as bar:
        task = bar.add_task("training", total=chosen.optimisation.steps, completed=trainer.step)

        def show(step: Step) -> None:
            state = f"loss {step.loss:.3f}{_aucs(step.latest)}"
            bar.update(task, completed=step.step, description=state)
            if step.evaluated:
                common.say(bar, f"step {step.step} of {step.steps}: {state}")
                draw_progress(trainer)

        trainer.run(show)
        measuring = bar.add_task("measuring", total=None)
        weights = folder / f"{chosen.name}.safetensors"
        card = release(
            trainer, weights, progress=lambda done, total: bar.update(measuring, completed=done, total=total)
        )
    for picture in draw_progress(trainer):
        typer.echo(f"drawn    {picture}")
    typer.echo(f"weights  {weights}")
    for name, value in card.metrics.items():
        typer.echo(f"{name:28} {value:g}")


def _statistics(recipe: str, data: Path | None, out: Path | None) -> None:
    from streamwatch.training.statistics.recipe import load_statistics_recipe
    from streamwatch.training.statistics.release import train_statistics

    chosen = load_statistics_recipe(recipe)
    if data is not None:
        chosen = chosen.model_copy(update={"data": chosen.data.model_copy(update={"root": data})})
    folder = out or Path("runs") / chosen.name
    with common.writing_to("--out", folder), common.progress_bar() as bar:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)

        released = train_statistics(chosen, folder, progress=show)
    typer.echo(f"weights  {released.weights}")
    typer.echo(f"logits   {released.logits}")
    for name, value in released.card.metrics.items():
        typer.echo(f"{name:28} {value:g}")


def _study(study: str, recipe: Recipe, folder: Path, landmark_model: Path, device: str) -> None:
    from streamwatch.training.studies import STUDIES, run_study

    variants = list(STUDIES[study](recipe))
    with common.progress_bar() as bar:
        task = bar.add_task("training", total=recipe.optimisation.steps)

        def show(variant: Variant, step: Step) -> None:
            bar.update(task, completed=step.step, description=variant.name)
            if step.evaluated:
                common.say(bar, f"{variant.name}: step {step.step} of {step.steps}{_aucs(step.latest)}")

        table = run_study(
            variants,
            folder,
            landmark_model,
            cache=folder.parent / "prepared",
            listener=show,
            device=device,
        )
    typer.echo(table.read_text(encoding="utf-8"), nl=False)
    typer.echo(f"wrote {table}", err=True)


def _aucs(latest: HeldBackAucs | None) -> str:
    if latest is None:
        return ""
    cells = {kind: auc for kind, auc in latest.cells().items() if not math.isnan(auc)}
    weakest = min(cells, key=cells.__getitem__)
    return f" · held-back AUC: mean {sum(cells.values()) / len(cells):.3f}, weakest {weakest} {cells[weakest]:.3f}"
