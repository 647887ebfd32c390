"""`streamwatch evaluate fusion` and `evaluate scale`: choices that camera clips, forged here, decide."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.table import Table

from streamwatch.cli import common

if TYPE_CHECKING:
    from streamwatch.studies.tracks import TrackComparison

RecipeArgument = Annotated[str, typer.Argument(help="Recipe that names the camera clips.")]
DataOption = Annotated[Path | None, typer.Option("--data", help="Folder with the recipe's data sets.")]
ModelOption = Annotated[str, typer.Option("--model", help="Detector: a name, or a .safetensors file.")]
PreparedOption = Annotated[
    Path, typer.Option("--prepared", help="Folder where training keeps boxes, landmarks and auto-encoders.")
]
LandmarkOption = Annotated[
    Path, typer.Option("--landmark-model", help="face_landmark.tflite from the mediapipe 0.10 wheel.")
]
PREPARED, LANDMARKS = Path("runs/prepared"), Path("face_landmark.tflite")
Result = TypeVar("Result")


def measured(
    measure: Callable[..., Result],
    what: str,
    *,
    recipe: str,
    data: Path | None,
    model: str,
    prepared: Path,
    landmark_model: Path,
    **options: Any,
) -> Result:
    """`measure(detector, recipe, prepared, landmark_model, …)` under a progress bar that is named `what`."""
    from streamwatch.detectors import load_detector
    from streamwatch.training.recipe import load_recipe, with_root

    with common.progress_bar() as bar:
        task = bar.add_task(what, total=None)
        return measure(
            load_detector(model),
            with_root(load_recipe(recipe), data),
            prepared,
            landmark_model,
            report=lambda line: typer.echo(line, err=True),
            progress=lambda done, total: bar.update(task, completed=done, total=total),
            **options,
        )


def fusion(
    recipe: RecipeArgument = "m2tr-lite",
    data: DataOption = None,
    model: ModelOption = "m2tr-lite",
    prepared: PreparedOption = PREPARED,
    landmark_model: LandmarkOption = LANDMARKS,
    as_json: common.JsonOption = False,
) -> None:
    """Compare ways of fusing a track, on camera clips that are forged here.

    A temporal transformer (VTF) is trained on the clips of training and compared with plain rules on the others.
    """
    from streamwatch.studies.fusion import compare_fusions

    rows = measured(
        compare_fusions,
        "clips",
        recipe=recipe,
        data=data,
        model=model,
        prepared=prepared,
        landmark_model=landmark_model,
    )
    _print(rows, "fusion", as_json)


def scale(
    recipe: RecipeArgument = "m2tr-lite",
    data: DataOption = None,
    model: ModelOption = "m2tr-lite",
    scales: Annotated[
        list[float] | None, typer.Option("--scale", min=0.3, max=4.0, help="Crop side ÷ box side; may be repeated.")
    ] = None,
    prepared: PreparedOption = PREPARED,
    landmark_model: LandmarkOption = LANDMARKS,
    as_json: common.JsonOption = False,
) -> None:
    """Compare crop scales, on frames of camera clips that are forged here and were never trained on."""
    from streamwatch.studies.crop_scale import compare_scales

    rows = measured(
        compare_scales,
        "scales",
        recipe=recipe,
        data=data,
        model=model,
        prepared=prepared,
        landmark_model=landmark_model,
        scales=scales or [0.86, 1.0, 1.15, 1.3],
    )
    _print(rows, "crop side ÷ box side", as_json)


def _print(rows: Sequence[TrackComparison], what: str, as_json: bool) -> None:
    if as_json:
        documents = [{k: v for k, v in asdict(row).items() if v == v} for row in rows]  # NaN is no JSON
        typer.echo(json.dumps(documents, indent=2))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(what, no_wrap=True)
    table.add_column("AUC [95 %]", justify="right", no_wrap=True)
    gains = any(not math.isnan(row.gain) for row in rows)
    if gains:
        table.add_column("gain over the mean of logits [95 %]", justify="right", no_wrap=True)
    for row in rows:
        cells = [row.name, f"{row.auc:.3f} [{row.low:.3f}, {row.high:.3f}]"]
        if gains:
            cells.append(
                "–" if math.isnan(row.gain) else f"{row.gain:+.3f} [{row.gain_low:+.3f}, {row.gain_high:+.3f}]"
            )
        table.add_row(*cells)
    common.console().print(table)
