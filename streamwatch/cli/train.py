"""`streamwatch train`: run a recipe, resume it, preview its data."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from streamwatch.cli import common

PACKED_SIDE = 256
"""Pixels of the windows of packed pairs."""

if TYPE_CHECKING:
    from rich.progress import TaskID

    from streamwatch.studies.variants import Variant
    from streamwatch.training.held_back import HeldBackAucs
    from streamwatch.training.recipe import Recipe
    from streamwatch.training.trainer import Trainer
    from streamwatch.training.trainer import TrainingProgress as Step


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            help="YAML file, or the name of a built-in recipe: m2tr-lite, m2tr-lite-small, m2tr-lite-self-made, "
            "m2tr-lite-web, m2tr-lite-web-small, m2tr-beside, statistics, texture, texture-192."
        ),
    ],
    data: Annotated[Path | None, typer.Option("--data", help="Folder with the recipe's data sets.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the run; an unfinished run there is resumed. runs/NAME"),
    ] = None,
    landmark_model: Annotated[
        Path,
        typer.Option("--landmark-model", help="face_landmark.tflite from the mediapipe 0.10 wheel."),
    ] = Path("face_landmark.tflite"),
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Number of steps instead of the recipe's.")
    ] = None,
    start: Annotated[
        Path | None, typer.Option("--start", metavar="SAFETENSORS", help="Initial weights instead of ImageNet's.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
    preview: Annotated[
        Path | None,
        typer.Option("--preview", metavar="PNG", help="Draw fifty training pairs, probe each kind, and exit."),
    ] = None,
    pack: Annotated[
        Path | None,
        typer.Option("--pack", metavar="FOLDER", help="Write --count training pairs there, and exit."),
    ] = None,
    count: Annotated[int, typer.Option("--count", min=1, help="Pairs that --pack writes.")] = 10_000,
    from_pack: Annotated[
        Path | None,
        typer.Option("--from-pack", metavar="FOLDER", help="Train on packed pairs; the data sets are not needed."),
    ] = None,
    profile: Annotated[
        int | None,
        typer.Option(
            "--profile", metavar="STEPS", min=1, help="Print a table of the time spent in this many steps, and exit."
        ),
    ] = None,
    study: Annotated[
        Literal["crosses", "ablations", "web"] | None,
        typer.Option(
            "--study",
            help="Instead, train variants of the recipe and compare them: on some forgeries, tested on others "
            "(crosses); with one part turned off (ablations); with one answer changed (web).",
        ),
    ] = None,
    variants: Annotated[
        list[str] | None,
        typer.Option("--variant", metavar="NAME", help="With --study: only this row of its table; may be repeated."),
    ] = None,
) -> None:
    """Train a detector, calibrate it and write its weights and card; an interrupted run is resumed.

    Held-back sources choose the checkpoint, its calibration and its thresholds; `val` is only reported.
    """
    from streamwatch.training.fitted.recipe import is_fitted_recipe

    if is_fitted_recipe(recipe):
        others = (steps, start, preview, study, variants, pack, from_pack, profile)
        if any(option is not None for option in others) or device not in ("auto", "cpu"):
            raise typer.BadParameter(
                "a recipe of this kind is fitted on a CPU; it takes --data, --out, --landmark-model and no other option"
            )
        _fit(recipe, data, out, landmark_model)
        return
    from streamwatch.training.process import prepare_process

    prepare_process()
    from streamwatch.detectors.m2tr.detector import resolve_device
    from streamwatch.evaluation.extra import load_pyplot, load_sklearn
    from streamwatch.training.recipe import load_recipe, with_root, with_start, with_steps
    from streamwatch.training.trainer import Trainer

    chosen = with_start(with_steps(with_root(load_recipe(recipe), data), steps), start)
    device = str(resolve_device(device))
    load_sklearn("metrics")  # what is missing is said before the work, not at the first evaluation
    load_pyplot()
    folder = out or Path("runs") / chosen.name
    if study is not None:
        _study(study, chosen, out or Path("runs") / f"{chosen.name}-{study}", landmark_model, device, variants)
        return
    if profile is not None:
        _profile(chosen, landmark_model, device, profile, folder.parent / "prepared")
        return
    trainer = Trainer(
        chosen,
        folder,
        landmark_model,
        report=lambda line: typer.echo(line, err=True),
        device=device,
        pack=from_pack,
    )
    if pack is not None:
        _pack(trainer, pack, count)
    elif preview is not None:
        _preview(trainer, preview)
    else:
        _train(trainer)


def _train(trainer: Trainer) -> None:
    """Train to the end, and write what can be served."""
    from streamwatch.training.plots import draw_progress
    from streamwatch.training.release import release

    with common.progress_bar() as bar:
        steps = trainer.recipe.optimisation.steps
        task = bar.add_task("training", total=steps, completed=trainer.state.step)

        def show(step: Step) -> None:
            state = f"loss {step.loss:.3f}{_aucs(step.latest)}"
            bar.update(task, completed=step.step, description=state)
            if step.evaluated:
                common.print_line(bar, f"step {step.step} of {step.steps}: {state}")
                draw_progress(trainer)

        trainer.run(show)
        if not trainer.split.held_faces:
            common.print_line(
                bar,
                f"{trainer.folder}: trained; there are no held-back faces to calibrate with here. Give the same "
                "command without --from-pack where the data sets are, with this folder as --out",
            )
            return
        measuring = bar.add_task("measuring", total=None)
        weights = trainer.folder / f"{trainer.recipe.name}.safetensors"
        card = release(
            trainer, weights, progress=lambda done, total: bar.update(measuring, completed=done, total=total)
        )
    for picture in draw_progress(trainer):
        typer.echo(f"drawn    {picture}")
    typer.echo(f"weights  {weights}")
    for name, value in card.metrics.items():
        typer.echo(f"{name:28} {value:g}")


def _preview(trainer: Trainer, picture: Path) -> None:
    """Draw the first pairs, and say what separates the classes of each kind without looking at faces."""
    from streamwatch.training.plots import pair_sheet, write_image

    dataset = trainer.pairs.dataset
    pairs = [dataset.pair(index) for index in range(min(50, len(dataset)))]
    typer.echo(write_image(picture, pair_sheet(pairs)))
    _probe(trainer)


def _fit(recipe: str, data: Path | None, out: Path | None, landmark_model: Path) -> None:
    from streamwatch.training.fitted.recipe import load_fitted_recipe
    from streamwatch.training.fitted.release import train_fitted

    chosen = load_fitted_recipe(recipe)
    if data is not None:
        chosen = chosen.model_copy(update={"data": chosen.data.model_copy(update={"root": data})})
    folder = out or Path("runs") / chosen.name
    with common.writing_to("--out", folder), common.progress_bar() as bar:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)

        released = train_fitted(
            chosen, folder, landmark_model, progress=show, report=lambda line: common.print_line(bar, line)
        )
    typer.echo(f"weights  {released.weights}")
    typer.echo(f"logits   {released.logits}")
    for name, value in released.card.metrics.items():
        typer.echo(f"{name:28} {value:g}")


def _probe(trainer: Trainer) -> None:
    """How far facts of files, and sharpness and noise, alone separate the classes of each kind of pair."""
    from streamwatch.training.nuisances import probe_kinds

    kinds = [kind for kind, weight in trainer.recipe.data.weights.items() if weight > 0]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("kind of pair", no_wrap=True)
    for name in ("AUC of size and file", "of sharpness and noise", "after degradations"):
        table.add_column(name, justify="right", no_wrap=True)
    geometry = trainer.recipe.geometry.geometry()
    for found in probe_kinds(trainer.split.pools, kinds, geometry, trainer.size):
        table.add_row(found.kind, *(f"{probe.auc.value:.3f}" for probe in (found.files, found.plain, found.degraded)))
    common.console().print(table)


def _pack(trainer: Trainer, folder: Path, count: int) -> None:
    from streamwatch.training.pack import write_pack

    geometry = trainer.recipe.geometry.geometry()
    with common.progress_bar() as bar:
        task = bar.add_task("packing", total=count)
        write_pack(
            trainer.pairs.source,
            folder,
            count,
            geometry,
            side=PACKED_SIDE,
            progress=lambda done, total: bar.update(task, completed=done),
        )
    size = sum(path.stat().st_size for path in folder.iterdir()) / 2**20
    typer.echo(f"wrote {folder}: {count} pairs, {size:.0f} MiB")


def _profile(recipe: Recipe, landmark_model: Path, device: str, steps: int, cache: Path) -> None:
    from streamwatch.training.profile import WARM_UP, profile
    from streamwatch.training.recipe import with_steps
    from streamwatch.training.trainer import Trainer

    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            with_steps(recipe, 2 * (steps + WARM_UP) + 1),
            Path(folder),
            landmark_model,
            cache=cache,
            report=lambda line: typer.echo(line, err=True),
            device=device,
        )
        found = profile(trainer, steps)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stage", no_wrap=True)
    for name in ("ms/picture", "CPU ms/picture", "share of CPU"):
        table.add_column(name, justify="right", no_wrap=True)
    for stage in found.stages:
        table.add_row(stage.name, f"{stage.wall_ms:.2f}", f"{stage.cpu_ms:.2f}", f"{stage.share:.1%}")
    total_wall, total_cpu = (sum(getattr(s, name) for s in found.stages) for name in ("wall_ms", "cpu_ms"))
    table.add_row("all, one after the other", f"{total_wall:.2f}", f"{total_cpu:.2f}", "", style="bold")
    console = common.console()
    console.print(table)
    console.print(
        f"\n{found.pictures_per_second:.1f} pictures/s with {recipe.optimisation.workers} processes preparing pairs; "
        f"waiting for them: {found.waiting:.0%} of the time"
    )


def _study(
    study: str, recipe: Recipe, folder: Path, landmark_model: Path, device: str, names: list[str] | None
) -> None:
    from streamwatch.studies.variants import STUDIES, chosen, run_study

    variants = chosen(list(STUDIES[study](recipe)), names or ())
    with common.progress_bar() as bar:
        task = bar.add_task("training", total=recipe.optimisation.steps)

        def show(variant: Variant, step: Step) -> None:
            bar.update(task, completed=step.step, description=variant.name)
            if step.evaluated:
                common.print_line(bar, f"{variant.name}: step {step.step} of {step.steps}{_aucs(step.latest)}")

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
    parts = []
    if cells := {kind: auc for kind, auc in latest.cells().items() if not math.isnan(auc)}:
        weakest = min(cells, key=cells.__getitem__)
        mean = sum(cells.values()) / len(cells)
        parts.append(f" · held-back AUC: mean {mean:.3f}, weakest {weakest} {cells[weakest]:.3f}")
    if latest.dev:
        parts.append(f" · dev: AUC {latest.dev['auc']:.3f}, pairs won {latest.dev['won']:.3f}")
    return "".join(parts)
