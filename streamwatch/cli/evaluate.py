"""`streamwatch evaluate`: how good a detector is on labelled data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from streamwatch.cli import common, running, tables, web
from streamwatch.cli.groups import DefaultGroup
from streamwatch.doctor import needs_opencv
from streamwatch.errors import ConfigError
from streamwatch.evaluation.datasets.clip import Kind

if TYPE_CHECKING:
    from streamwatch.config import Settings
    from streamwatch.evaluation.coverage import Abstention
    from streamwatch.evaluation.datasets.clip import ClipSelection
    from streamwatch.evaluation.levels import ClassScores, Level, Proportion
    from streamwatch.evaluation.report import EvaluationReport

app = typer.Typer(
    cls=DefaultGroup,
    no_args_is_help=True,
    subcommand_metavar="DATASET | COMMAND [ARGS]...",
)

FAILURES_SHOWN = 10


@app.command("dataset")
@needs_opencv
def dataset(
    folder: Annotated[Path, typer.Argument(metavar="DATASET", help="Folder of the unpacked data set.")],
    kind: Annotated[Kind, typer.Option("--kind", help="Layout; auto detects it from the files.")] = "auto",
    model: running.ModelOption = None,
    device: running.DeviceOption = None,
    config: common.ConfigOption = None,
    split: Annotated[str, typer.Option("--split", help="Official split; sets without splits are used whole.")] = "test",
    methods: Annotated[
        list[str] | None, typer.Option("--method", metavar="NAME", help="Only these fakes; may be repeated.")
    ] = None,
    compression: Annotated[str, typer.Option("--compression", help="FaceForensics++: raw, c23 or c40.")] = "c23",
    frames: Annotated[int, typer.Option("--frames", min=1, help="Samples per video, spread evenly.")] = 16,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Folder for report.json, a table and the plots.")
    ] = None,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Repeat under 27 degradations, each at its strength.")
    ] = False,
    crop_scale: Annotated[
        float | None,
        typer.Option("--crop-scale", min=0.3, max=4.0, help="Crop side ÷ box side, instead of the model card's."),
    ] = None,
    join: Annotated[
        str | None,
        typer.Option(
            "--join", metavar="MODEL", help="Sets of web clips: join each score with that of a second detector."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=2, help="A subset of N, half of each class, always the same.")
    ] = None,
    as_json: common.JsonOption = False,
) -> None:
    """Measure a detector on a labelled data set: by face, by track and by video; or by clip, pair and method."""
    from streamwatch.evaluation.datasets.catalogue import kind_of
    from streamwatch.evaluation.datasets.clip import ClipSelection
    from streamwatch.evaluation.extra import load_pyplot, load_sklearn
    from streamwatch.evaluation.run import evaluate, write

    settings = running.settings(config, "archive", store=None, model=model, device=device)
    kind = kind_of(folder, kind)
    load_sklearn("metrics")  # what is missing is said before the work, not after it
    if out is not None:
        load_pyplot()
    if kind == "web":
        if robustness:
            raise ConfigError(
                "--robustness: not for sets of the kind web", "--kind index treats them as single pictures"
            )
        wanted = ClipSelection(split, tuple(methods or ()))
        _evaluate_web(folder, settings, wanted, frames, limit, crop_scale, join, out, as_json=as_json)
        return
    if join is not None:
        raise ConfigError(f"--join: for sets of the kind web alone, and {folder} is of the kind {kind}", "leave it out")
    with common.progress_bar() as bar:
        task = bar.add_task("scoring", total=None)
        done = evaluate(
            folder,
            settings,
            kind=kind,
            wanted=ClipSelection(split, tuple(methods or ()), compression),
            frames=frames,
            limit=limit,
            robustness=robustness,
            crop_scale=crop_scale,
            progress=lambda count, total: bar.update(task, completed=count, total=total),
        )
    written = write(done, out) if out is not None else []
    if as_json:
        typer.echo(json.dumps(done.report.to_json(), indent=2, ensure_ascii=False))
        return
    _print(done.report)
    for path in written:
        typer.echo(f"wrote {path}", err=True)


def _evaluate_web(
    folder: Path,
    settings: Settings,
    wanted: ClipSelection,
    frames: int,
    limit: int | None,
    crop_scale: float | None,
    join: str | None,
    out: Path | None,
    *,
    as_json: bool,
) -> None:
    from streamwatch.evaluation.web import evaluate_web, write

    with common.progress_bar() as bar:
        task = bar.add_task("faces", total=None)
        done = evaluate_web(
            folder,
            settings,
            wanted=wanted,
            frames=frames,
            limit=limit,
            crop_scale=crop_scale,
            join=join,
            progress=lambda stage, count, total: bar.update(task, description=stage, completed=count, total=total),
        )
    written = write(done, out) if out is not None else []
    if as_json:
        typer.echo(json.dumps(done.report.to_json(), indent=2, ensure_ascii=False))
        return
    web.print_report(done.report)
    for path in written:
        typer.echo(f"wrote {path}", err=True)


def _print(report: EvaluationReport) -> None:
    console = common.console()
    outcomes = ", ".join(f"{count} {label}" for label, count in sorted(report.outcomes.items()))
    part = " ".join(filter(None, (report.split, report.compression)))
    console.print(f"{report.model} on {report.kind} {part}".rstrip() + f": {report.clips} items ({outcomes})")
    console.print(f"fake from {report.thresholds.fake:.3f}, real up to {report.thresholds.real:.3f}\n")
    whole = [level for level in report.levels if not level.method]
    by_method = [level for level in report.levels if level.method]
    if any(level.separation for level in whole):
        console.print(_level_table(whole))
        console.print()
    console.print(_class_table(whole))
    if by_method:
        console.print()
        console.print(_method_table(by_method))
    if report.masks is not None:
        area = "–" if report.masks.pixel_auc is None else f"{report.masks.pixel_auc:.3f}"
        console.print(
            f"\nmasks of {report.masks.faces} faces with a known forged region: "
            f"IoU {report.masks.iou:.3f} at {report.masks.threshold:g}, pixel AUC {area}"
        )
    if report.abstention is not None:
        console.print(f"\nwrong at one half: {_abstention(report.abstention)}")
    if report.speed is not None:
        stages = ", ".join(f"{name} {value:.1f}" for name, value in report.speed.ms_per_face.items())
        console.print(
            f"\n{report.speed.faces} faces in {report.speed.pictures} pictures, {report.speed.faces_per_second:.1f} "
            f"faces/s on {report.speed.device}; ms per face: {stages}"
        )
    if report.robustness:
        console.print()
        console.print(_robustness_table(report))
    if report.failures:
        console.print(f"\nwithout a score: {len(report.failures)}")
        for failed in report.failures[:FAILURES_SHOWN]:
            console.print(f"  {common.plain(failed.path)}: {failed.label}, {common.plain(failed.error)}")
        if len(report.failures) > FAILURES_SHOWN:
            console.print("  … all of them with --json or in --out")


def _abstention(found: Abstention) -> str:
    parts = {
        "within the model's limits": found.within,
        "too small": found.too_small,
        "too blurred": found.too_blurred,
        "turned away": found.turned_away,
    }
    return ", ".join(f"{part.value:.1%} of {part.of} faces {name}" for name, part in parts.items() if part is not None)


def _level_table(levels: list[Level]) -> Table:
    """The levels side by side, a row per figure."""
    measured = [(level, level.separation) for level in levels if level.separation is not None]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    for level, _ in measured:
        table.add_column(level.level, justify="right", no_wrap=True)
    table.add_row("real, fake", *(f"{_count(level.real)}, {_count(level.fake)}" for level, _ in measured))
    table.add_row("AUC [95 %]", *(tables.auc(separation) for _, separation in measured))
    for name, figure in _FIGURES.items():
        table.add_row(name, *(f"{getattr(separation, figure):.3f}" for _, separation in measured))
    return table


def _method_table(levels: list[Level]) -> Table:
    """Each method of forgery against all real items, a row per level and method."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("level", "method"):
        table.add_column(name, no_wrap=True)
    for name in ("real, fake", "AUC [95 %]", "EER", "balanced acc.", "TPR at 5 % FPR"):
        table.add_column(name, justify="right", no_wrap=True)
    for level in levels:
        found = level.separation
        if found is not None:
            values = (found.eer, found.balanced_accuracy, found.tpr_at_5_percent_fpr)
            counts = f"{_count(level.real)}, {_count(level.fake)}"
            table.add_row(level.level, level.method, counts, tables.auc(found), *(f"{value:.3f}" for value in values))
    return table


_FIGURES = {
    "AP": "average_precision",
    "EER": "eer",
    "accuracy": "accuracy",
    "balanced accuracy": "balanced_accuracy",
    "TPR at 1 % FPR": "tpr_at_1_percent_fpr",
    "TPR at 5 % FPR": "tpr_at_5_percent_fpr",
    "log-loss": "log_loss",
    "ECE": "ece",
}


def _count(part: ClassScores | None) -> str:
    return "0" if part is None else str(part.called_fake.of)


def _class_table(levels: list[Level]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("level", "class"):
        table.add_column(name, no_wrap=True)
    for name in ("items", "called fake [95 %]", "called real [95 %]", "score 5 %", "25 %", "median", "75 %", "95 %"):
        table.add_column(name, justify="right", no_wrap=True)
    for level in levels:
        for name, part in (("real", level.real), ("fake", level.fake)):
            if part is not None:
                shares = [_share(rate) for rate in (part.called_fake, part.called_real)]
                quantiles = [f"{value:.3f}" for value in part.quantiles.values()]
                table.add_row(level.level, name, str(part.called_fake.of), *shares, *quantiles)
    return table


def _share(rate: Proportion) -> str:
    return f"{rate.value:.3f} [{rate.low:.2f}, {rate.high:.2f}]"


def _robustness_table(report: EvaluationReport) -> Table:
    """AUC of every level; of the last one also what the served thresholds make of the two classes."""
    levels = list(dict.fromkeys(level for row in report.robustness for level in row.auc))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("degradation", no_wrap=True)
    calls = ("real called fake", "fake called fake", "fake called real") if levels else ()
    for name in (*(f"AUC {level}" for level in levels), *calls, "faces", "without a score"):
        table.add_column(name, justify="right")
    for row in report.robustness:
        areas = [f"{row.auc[level]:.3f}" if level in row.auc else "–" for level in levels]
        rates = tables.calls(next((level for level in row.levels if level.level == levels[-1]), None)) if levels else []
        table.add_row(f"{row.family} {row.label}".rstrip(), *areas, *rates, str(row.faces), str(row.without_score))
    return table
