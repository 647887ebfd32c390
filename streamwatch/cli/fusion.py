"""`streamwatch evaluate fusion`: which way of fusing a track tells forged from real best."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from streamwatch.cli import common


def fusion(
    recipe: Annotated[str, typer.Argument(help="Recipe that names the camera clips.")] = "m2tr-lite",
    data: Annotated[Path | None, typer.Option("--data", help="Folder with the recipe's data sets.")] = None,
    model: Annotated[str, typer.Option("--model", help="Detector: a name, or a .safetensors file.")] = "m2tr-lite",
    prepared: Annotated[
        Path, typer.Option("--prepared", help="Where training keeps boxes, landmarks and auto-encoders.")
    ] = Path("runs/prepared"),
    landmark_model: Annotated[
        Path, typer.Option("--landmark-model", help="face_landmark.tflite, out of the mediapipe 0.10 wheel.")
    ] = Path("face_landmark.tflite"),
    as_json: common.JsonOption = False,
) -> None:
    """Compare ways of fusing a track, on camera clips that are forged here.

    A temporal transformer (VTF) is trained on every second clip and compared with plain rules on the others.
    """
    from streamwatch.detectors import load_detector
    from streamwatch.training.recipe import load_recipe
    from streamwatch.training.temporal import compare_fusions
    from streamwatch.training.trainer import with_root

    with common.progress_bar() as bar:
        task = bar.add_task("clips", total=None)
        rows = compare_fusions(
            load_detector(model),
            with_root(load_recipe(recipe), data),
            prepared,
            landmark_model,
            report=lambda line: typer.echo(line, err=True),
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows], indent=2))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("fusion", no_wrap=True)
    table.add_column("AUC [95 %]", justify="right", no_wrap=True)
    for row in rows:
        table.add_row(row.rule, f"{row.auc:.3f} [{row.low:.3f}, {row.high:.3f}]")
    common.console().print(table)
