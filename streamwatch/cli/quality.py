"""`streamwatch evaluate quality`: how good the fakes of a data set are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from streamwatch.cli import common

if TYPE_CHECKING:
    from streamwatch.evaluation.quality.measure import Mean, QualityReport

INPUT_FAILED = 1


def quality(
    real: Annotated[str, typer.Argument(metavar="REAL", help="An original, or the folder of the originals.")],
    fake: Annotated[str, typer.Argument(metavar="FAKE", help="Its fake, or the folder of the fakes.")],
    frames: Annotated[
        int, typer.Option("--frames", min=1, help="Frames per video, evenly spread, each with the next one.")
    ] = 30,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder for JSON, CSV and plot.")] = Path(
        "quality"
    ),
    as_json: common.JsonOption = False,
) -> None:
    """Mask-SSIM, perceptual distance, E_warp and feature space of fakes and their originals.

    Folders are paired by file stem, `000_003` with `000`. Exit status 1 where a video could not be used.
    """
    from streamwatch.config import FaceSettings
    from streamwatch.evaluation.extra import load_pyplot, load_sklearn
    from streamwatch.evaluation.quality.measure import QualityMeter
    from streamwatch.evaluation.quality.pairing import match
    from streamwatch.evaluation.quality.perceptual import ImageNetFeatures
    from streamwatch.evaluation.quality.report import document, write
    from streamwatch.faces import load_face_detector

    matching = match(real, fake)
    load_sklearn("manifold")
    load_pyplot()  # what is missing is said before the work, not after it
    meter = QualityMeter(load_face_detector(FaceSettings()), ImageNetFeatures(), frames)
    console = Console(stderr=True)
    columns = (TextColumn("measuring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=len(matching.reals) + len(matching.fakes) + len(matching.pairs))
        report = meter.measure(matching, lambda name: bar.advance(task))
    with common.writing_to("--out", out):
        written = write(report, out)
    if as_json:
        typer.echo(json.dumps(document(report), indent=2))
    else:
        common.console().print(_table(report))
        for path in written:
            typer.echo(path)
        _remark(report)
    if report.failures:
        raise typer.Exit(INPUT_FAILED)


def _table(report: QualityReport) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("metric", "mean", "over", "better"):
        table.add_column(name, justify="right" if name == "mean" else "left", no_wrap=True)
    for name, mean, unit, better in (
        ("Mask-SSIM", report.mean_mask_ssim(), "pair", "higher"),
        ("perceptual distance", report.mean_perceptual(), "pair", "lower"),
        ("E_warp of the originals", report.mean_warping_error(fake=False), "video", ""),
        ("E_warp of the fakes", report.mean_warping_error(fake=True), "video", "lower"),
    ):
        table.add_row(name, _value(mean), f"{mean.count} {unit}{'' if mean.count == 1 else 's'}", better)
    return table


def _value(mean: Mean) -> str:
    return "–" if mean.value is None else f"{mean.value:.4g}"


def _remark(report: QualityReport) -> None:
    """Say on standard error what the numbers leave out."""
    lines = [f"{failure.kind}: {failure.message}" for failure in report.failures]
    lines += report.notes
    lines += [f"{name}: has no partner" for name in report.unpaired]
    if not any(report.feature_map):
        lines.append("too few videos with a face for a plot of the feature space")
    for line in lines:
        typer.echo(common.plain(line), err=True)
