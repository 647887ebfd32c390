"""`streamwatch bench`: speed on this machine."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from streamwatch.cli import common, running
from streamwatch.doctor import require_opencv

if TYPE_CHECKING:
    from streamwatch.evaluation.bench_model import ModelResult
    from streamwatch.evaluation.bench_pipeline import PipelineResult

app = typer.Typer(no_args_is_help=True)


@app.command()
def model(
    presets: Annotated[
        list[str] | None, typer.Option("--preset", metavar="NAME", help="May be repeated; default: all.")
    ] = None,
    batches: Annotated[
        list[int] | None,
        typer.Option("--batch", min=1, help="Faces; may be repeated; default: 1, 4, 16."),
    ] = None,
    attention: Annotated[
        Literal["fused", "materialised", "both"], typer.Option(help="How attention is computed.")
    ] = "both",
    precision: Annotated[
        Literal["auto", "fp32", "bf16"], typer.Option(help="auto: bf16 where the hardware has it.")
    ] = "auto",
    device: running.DeviceOption = None,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: torch's default.")] = 0,
    seconds: Annotated[float, typer.Option(min=0.1, help="Least duration of each measurement.")] = 3.0,
    as_json: common.JsonOption = False,
) -> None:
    """Faces per second and peak memory of the networks, by batch size, each case in a process of its own."""
    require_opencv()
    from streamwatch.detectors.m2tr.config import PRESETS, resolve
    from streamwatch.evaluation.bench_model import ModelCase, bench_model

    names = presets or list(PRESETS)
    for name in names:
        resolve(name)
    kinds = {"fused": [False], "materialised": [True], "both": [False, True]}[attention]
    cases = [
        ModelCase(name, batch, materialised, precision, device or "auto", threads, seconds)
        for name, batch, materialised in itertools.product(names, batches or [1, 4, 16], kinds)
    ]
    results = []
    with Console(stderr=True).status("measuring") as status:
        for case, result in zip(cases, bench_model(cases), strict=True):
            status.update(f"{case.preset}, {case.batch} faces a batch")
            results.append(result)
    if as_json:
        typer.echo(json.dumps([asdict(result) for result in results], indent=2))
    else:
        common.console().print(_model_table(results))


@app.command()
def pipeline(
    clips: Annotated[list[str], typer.Argument(metavar="CLIPS...", help="Files, directories, globs.")],
    preset: running.PipelineOption = "archive",
    config: common.ConfigOption = None,
    detector: running.ModelOption = None,
    device: running.DeviceOption = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Files at once.")] = None,
    as_json: common.JsonOption = False,
) -> None:
    """The stages alone, the engine end to end, and a loop written by hand, on the same clips."""
    require_opencv()
    from streamwatch.evaluation.bench_pipeline import bench_pipeline
    from streamwatch.sources import expand_inputs

    settings = running.settings(config, preset, store=None, model=detector, device=device, workers=workers)
    inputs = expand_inputs(clips)
    with Console(stderr=True).status("measuring") as status:
        result = bench_pipeline(inputs, settings, lambda what: status.update(f"measuring {what}"))
    if as_json:
        typer.echo(json.dumps(_pipeline_document(result), indent=2))
        return
    console = common.console()
    console.print(_stage_table(result))
    console.print()
    console.print(_summary_table(result))


def _model_table(results: list[ModelResult]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("preset", "input", "precision", "attention", "batch", "faces/s", "peak MiB", "working MiB"):
        text = name in ("preset", "precision", "attention")
        table.add_column(name, justify="left" if text else "right", no_wrap=True)
    for result in results:
        case = result.case
        table.add_row(
            case.preset,
            str(result.input_size),
            result.precision,
            "materialised" if case.materialised else "fused",
            str(case.batch),
            f"{result.faces_per_second:.2f}",
            f"{result.peak_mib:.0f}",
            f"{result.working_mib:.0f}",
        )
    return table


def _stage_table(result: PipelineResult) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stage", no_wrap=True)
    for name in ("items", "", "alone, 1 core", "CPU seconds", "share"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    total = sum(stage.cpu_seconds for stage in result.stages)
    for stage in result.stages:
        table.add_row(
            stage.name,
            str(stage.items),
            stage.unit,
            f"{stage.per_second:.1f}/s",
            f"{stage.cpu_seconds:.2f}",
            f"{stage.cpu_seconds / total:.0%}",
        )
    return table


def _summary_table(result: PipelineResult) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    work = f"{result.clips} clips, {result.media_seconds:.0f} s, {result.cores} cores"
    table.add_column(work, no_wrap=True)
    for name in ("seconds", "frames/s", "× real time"):
        table.add_column(name, justify="right", no_wrap=True)
    rows = (
        ("what the stage costs allow", result.bound, result.frames),
        ("end to end", result.end_to_end, result.frames),
        ("loop by hand", result.loop, result.loop_frames),
    )
    for name, seconds, frames in rows:
        table.add_row(name, f"{seconds:.2f}", f"{frames / seconds:.2f}", f"{result.media_seconds / seconds:.1f}")
    table.add_row("start-up, not counted", f"{result.start_up:.2f}", "", "")
    table.add_row()
    table.add_row("efficiency (allowed ÷ end to end)", f"{result.efficiency:.2f}", "", "")
    table.add_row("faster than the loop", f"{result.speed_up:.2f}×", "", "")
    table.add_row("faces, pipeline and loop", f"{result.faces}, {result.loop_faces}", "", "")
    return table


def _pipeline_document(result: PipelineResult) -> dict[str, object]:
    stages = [{**asdict(stage), "per_second": stage.per_second} for stage in result.stages]
    return {
        **asdict(result),
        "stages": stages,
        "efficiency": result.efficiency,
        "speed_up": result.speed_up,
    }
