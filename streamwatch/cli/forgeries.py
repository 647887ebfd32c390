"""`streamwatch evaluate forgeries`: a detector's scores of forgeries from faces that its training never saw."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from streamwatch.cli import common, studies, tables

if TYPE_CHECKING:
    from streamwatch.evaluation.levels import Level


def forgeries(
    recipe: Annotated[str, typer.Argument(help="Recipe that the detector was trained with.")] = "m2tr-lite",
    data: studies.DataOption = None,
    model: studies.ModelOption = "m2tr-lite",
    pairs: Annotated[int, typer.Option("--pairs", min=2, help="Real-fake pairs of each family.")] = 60,
    prepared: studies.PreparedOption = studies.PREPARED,
    landmark_model: studies.LandmarkOption = studies.LANDMARKS,
    as_json: common.JsonOption = False,
) -> None:
    """Forge held-back faces by every family, and by blends that no recipe trains on, and score them."""
    from streamwatch.studies.forgeries import judge_forgeries

    levels = studies.measured(
        judge_forgeries,
        "families",
        recipe=recipe,
        data=data,
        model=model,
        prepared=prepared,
        landmark_model=landmark_model,
        pairs=pairs,
    )
    if as_json:
        typer.echo(json.dumps([asdict(level) for level in levels], indent=2))
    else:
        common.console().print(_table(levels))


def _table(levels: Sequence[Level]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("forgery", no_wrap=True)
    for name in ("pairs", "AUC [95 %]", "real called fake", "fake called fake", "fake called real"):
        table.add_column(name, justify="right")
    for level in levels:
        if level.fake is not None and level.separation is not None:
            count = str(level.fake.called_fake.of)
            table.add_row(level.method.replace("_", " "), count, tables.auc(level.separation), *tables.calls(level))
    return table
