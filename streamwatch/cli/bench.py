"""`streamwatch bench`: speed on this machine."""

from __future__ import annotations

import itertools
import json
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from streamwatch.cli import common, running
from streamwatch.doctor import require_opencv
from streamwatch.records import Label

if TYPE_CHECKING:
    from streamwatch.bench.honesty import Row as HonestyRow
    from streamwatch.bench.model import ModelResult
    from streamwatch.bench.pipeline import PipelineResult
    from streamwatch.bench.store import StoreResult
    from streamwatch.bench.streams import StreamsResult
    from streamwatch.cluster.histogram import Histogram

app = typer.Typer(no_args_is_help=True)

_LABELS = (Label.REAL, Label.INCONCLUSIVE, Label.FAKE, Label.NO_FACE, Label.ERROR)


@app.command()
def model(
    presets: Annotated[
        list[str] | None, typer.Option("--preset", metavar="NAME", help="Preset; may be repeated; default: all.")
    ] = None,
    batches: Annotated[
        list[int] | None,
        typer.Option("--batch", min=1, help="Faces per batch; may be repeated; default: 1, 4, 16."),
    ] = None,
    attention: Annotated[
        Literal["fused", "materialised", "both"], typer.Option(help="How attention is computed.")
    ] = "both",
    precision: Annotated[
        Literal["auto", "fp32", "bf16"], typer.Option(help="auto: bf16 where the hardware has it.")
    ] = "auto",
    device: running.DeviceOption = None,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: torch's default.")] = 0,
    seconds: Annotated[float, typer.Option(min=0.1, help="Minimum duration of each measurement.")] = 3.0,
    as_json: common.JsonOption = False,
) -> None:
    """Faces per second and peak memory of the detectors, by batch size, each case in a process of its own."""
    require_opencv()
    from streamwatch.bench.model import STATISTICS, ModelCase, bench_model
    from streamwatch.detectors.m2tr.config import PRESETS, resolve

    names = presets or [*PRESETS, STATISTICS]
    for name in names:
        if name != STATISTICS:
            resolve(name)
    kinds = {"fused": [False], "materialised": [True], "both": [False, True]}[attention]
    cases = [
        ModelCase(name, batch, materialised, precision, device or "auto", threads, seconds)
        for name, batch, materialised in itertools.product(names, batches or [1, 4, 16], kinds)
        if name != STATISTICS or materialised is kinds[0]  # it has no attention to compute in two ways
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
    """Speed of the stages alone, of a whole scan, and of a loop written by hand, on the same clips."""
    require_opencv()
    from streamwatch.bench.pipeline import bench_pipeline
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


@app.command()
def streams(
    count: Annotated[int, typer.Argument(metavar="COUNT", min=1, help="Number of streams.")] = 4,
    seconds: Annotated[
        float, typer.Option("--for", metavar="TIME", parser=common.parse_duration, help="Duration: 90, 10m, 8h.")
    ] = 60.0,
    faults: Annotated[bool, typer.Option("--faults", help="Break streams, processes and the store in turn.")] = False,
    clip: Annotated[
        Path | None, typer.Option("--clip", metavar="FILE", help="Clip to serve: H.264 in MP4 without B-pictures.")
    ] = None,
    preset: running.PipelineOption = "live",
    config: common.ConfigOption = None,
    detector: running.ModelOption = None,
    device: running.DeviceOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Live streams from a real RTSP server on this machine: how many are sustained, their latency and cost."""
    require_opencv()
    from streamwatch.bench.streams import bench_streams

    settings = running.settings(config, preset, store=None, model=detector, device=device)
    with Console(stderr=True).status("measuring") as status:
        result = bench_streams(count, settings, seconds, clip=clip, faults=faults, progress=status.update)
    if as_json:
        typer.echo(json.dumps(_streams_document(result), indent=2))
        return
    for table in _streams_tables(result):
        common.console().print(table)
        common.console().print()


@app.command()
def kills(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files to scan.")],
    times: Annotated[int, typer.Option("--times", min=1, help="How often a scan is killed.")] = 20,
    seed: Annotated[int, typer.Option(help="Random seed of the moments.")] = 1,
    detector: running.ModelOption = None,
    device: running.DeviceOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Scans killed at random moments and restarted: rows that are doubled or missing against an undisturbed scan. Exit
    status 1 where there are any.
    """
    require_opencv()
    from streamwatch.bench.kills import bench_kills

    with Console(stderr=True).status("measuring") as status:
        result = bench_kills(paths, _scan_options(detector, device), times, seed=seed, progress=status.update)
    if as_json:
        typer.echo(json.dumps(asdict(result), indent=2))
    else:
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_row("kills", f"{result.kills}, over {result.rounds} scans; at most {result.most} of one scan")
        table.add_row("undisturbed", f"{result.seconds:.1f} s, {result.rows} rows")
        table.add_row("rows doubled", str(result.doubled))
        table.add_row("rows missing", str(result.missing))
        common.console().print(table)
    if result.doubled or result.missing:
        raise typer.Exit(1)


@app.command()
def memory(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Each is scanned by itself.")],
    workers: Annotated[
        int, typer.Option(min=1, help="Workers of each scan; they share the segments of a long file.")
    ] = 1,
    detector: running.ModelOption = None,
    device: running.DeviceOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Memory of a scan, file by file: whether it grows with the length of a file."""
    require_opencv()
    from streamwatch.bench.memory import bench_memory

    with Console(stderr=True).status("measuring") as status:
        options = [*_scan_options(detector, device), "--workers", str(workers)]
        results = bench_memory(files, options, progress=status.update)
    if as_json:
        typer.echo(json.dumps([asdict(result) for result in results], indent=2))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("file", overflow="fold")
    for name in ("seconds", "peak MiB", "95 % below MiB", "beside the first"):
        table.add_column(name, justify="right", no_wrap=True)
    for result in results:
        share = result.peak / results[0].peak - 1
        table.add_row(
            result.source, *(f"{value:.0f}" for value in (result.seconds, result.peak, result.p95)), f"{share:+.1%}"
        )
    common.console().print(table)


@app.command()
def triage(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files to scan.")],
    preset: running.PipelineOption = "archive",
    config: common.ConfigOption = None,
    detector: running.ModelOption = None,
    device: running.DeviceOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Time that `scan --triage` saves, and verdicts that it changes, against a full analysis of the same files."""
    require_opencv()
    from streamwatch.bench.triage import bench_triage
    from streamwatch.sources import expand_inputs

    settings = running.settings(config, preset, store=None, model=detector, device=device)
    with Console(stderr=True).status("measuring") as status:
        result = bench_triage(expand_inputs(paths), settings, progress=status.update)
    if as_json:
        typer.echo(json.dumps({**asdict(result), "saved": result.saved}, indent=2))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(f"{result.files} files, {result.media_seconds:.0f} s", no_wrap=True)
    for name in ("seconds", "frames analysed"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_row("looked at in full", f"{result.full_seconds:.1f}", str(result.full_frames))
    table.add_row("skimmed, then looked at", f"{result.triage_seconds:.1f}", str(result.triage_frames))
    table.add_row("time saved", f"{result.saved:.0%}", "")
    table.add_row("labels changed", str(len(result.changes)), "")
    common.console().print(table)
    for change in result.changes:
        typer.echo(common.plain(f"{change.source}: {change.full}, with triage {change.triage}"))


@app.command()
def honesty(
    clips: Annotated[list[Path], typer.Argument(metavar="CLIP...", help="Honest clips: files.", exists=True)],
    kinds: Annotated[
        list[str] | None, typer.Option("--kind", metavar="NAME", help="Kind; may be repeated; default: all.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.5, help="Seconds of each clip that are used.")] = 4.0,
    config: common.ConfigOption = None,
    detector: running.ModelOption = None,
    device: running.DeviceOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Whether honest clips are still honest once interlaced, mirrored, stretched, damaged, …; exit status 1 where one
    becomes fake that as it is is not.
    """
    require_opencv()
    from streamwatch.bench.honesty import KINDS, bench_honesty, rows
    from streamwatch.detectors import load_detector
    from streamwatch.pipeline.analyser import Analyser
    from streamwatch.pipeline.plan import Plan
    from streamwatch.pipeline.scoring import LocalClient

    for kind in kinds or ():
        if kind not in KINDS:
            raise typer.BadParameter(f"{kind}: not one of {', '.join(KINDS)}", param_hint="--kind")
    plan = Plan.resolve(running.settings(config, "archive", store=None, model=detector, device=device))
    analyser = Analyser(plan, LocalClient(load_detector(plan.weights, plan.settings.detector.device)))
    with Console(stderr=True).status("measuring") as status, tempfile.TemporaryDirectory() as folder:
        measured = bench_honesty(
            clips, analyser, Path(folder), seconds=seconds, kinds=kinds or (), progress=status.update
        )
        cells = list(measured)
    found = rows(cells)
    if as_json:
        typer.echo(json.dumps([asdict(cell) for cell in cells], indent=2))
    else:
        common.console().print(_honesty_table(found))
        for row in found:
            for clip in row.new_fakes:
                typer.echo(common.plain(f"{clip}: fake once {row.kind}"))
    if any(row.new_fakes for row in found):
        raise typer.Exit(1)


def _honesty_table(found: list[HonestyRow]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("kind", no_wrap=True)
    for name in (*_LABELS, "new fakes", "mean shift", "largest"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in found:
        moved = ("–" if value is None else f"{value:.3f}" for value in (row.shift, row.largest))
        counts = (str(row.labels[label]) for label in _LABELS)
        table.add_row(row.kind, *counts, str(len(row.new_fakes)), *moved)
    return table


def _scan_options(detector: str | None, device: str | None) -> list[str]:
    given = (("--model", detector), ("--device", device))
    return [part for name, value in given if value for part in (name, value)]


@app.command()
def decode(
    clip: Annotated[Path, typer.Argument(metavar="FILE", help="A video in a stream's format.")],
    preset: running.PipelineOption = "live",
    config: common.ConfigOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Cores that decoding a live stream needs, against the `ffmpeg` program on the same file."""
    require_opencv()
    from streamwatch.bench.decode import bench_decode

    result = bench_decode(clip, running.settings(config, preset, store=None, model=None, device=None))
    if as_json:
        typer.echo(json.dumps({**asdict(result), "ratio": result.ratio}, indent=2))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(f"{result.codec} {result.width}×{result.height}, {result.seconds:.0f} s", no_wrap=True)
    table.add_column("cores a stream", justify="right")
    table.add_row("watch", f"{result.ours:.3f}")
    table.add_row("ffmpeg -f null", "not installed" if result.ffmpeg is None else f"{result.ffmpeg:.3f}")
    if result.ratio is not None:
        table.add_row("ratio", f"{result.ratio:.2f}")
    common.console().print(table)


@app.command("store")
def store_(
    count: Annotated[
        int, typer.Option("--verdicts", min=0, help="Verdicts to add; 0: measure the store as it is.")
    ] = 10_000,
    scores: Annotated[
        int, typer.Option("--scores-per-verdict", min=0, help="Mean number of scored faces per verdict.")
    ] = 20,
    sources: Annotated[int, typer.Option("--sources", min=10, help="Number of cameras and files.")] = 5_000,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Queries of each listing.")] = 3,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Rows per listing.")] = 50,
    seed: Annotated[int, typer.Option(help="Random seed of the rows.")] = 1,
    store: Annotated[
        str | None,
        typer.Option(
            "--store", metavar="URL", help="An empty store, or one that this command made; default: a temporary file."
        ),
    ] = None,
    as_json: common.JsonOption = False,
) -> None:
    """A store of synthetic rows: speed of inserts, and of listings with any combination of filters."""
    from streamwatch.bench.store import bench_store
    from streamwatch.bench.synthetic_store import StoreShape

    with tempfile.TemporaryDirectory(prefix="streamwatch-") as folder, Console(stderr=True).status("filling") as status:
        result = bench_store(
            store or f"sqlite:///{folder}/store.db",
            StoreShape(count, scores, sources, seed),
            repeats=repeats,
            limit=limit,
            progress=status.update,
        )
    if as_json:
        typer.echo(json.dumps(asdict(result), indent=2))
        return
    for table in _store_tables(result):
        common.console().print(table)
        common.console().print()


def _store_tables(result: StoreResult) -> Iterator[Table]:
    facts = Table(box=None, pad_edge=False, show_header=False)
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    held = ("verdicts", "scores", "tracks", "spans", "alerts", "sources")
    facts.add_row("database", result.database)
    facts.add_row("rows", ", ".join(f"{result.rows[name]:,} {name}" for name in held))
    facts.add_row("size", f"{result.bytes / 1e6:,.1f} MB")
    if result.filled is not None:
        filled = result.filled
        inserted = sum(filled.rows.values())
        facts.add_row("filled", f"{inserted:,} rows, {inserted / filled.seconds:,.0f} a second")
        if filled.rows.get("scores"):
            facts.add_row("", f"of these scores: {filled.rows['scores'] / filled.score_seconds:,.0f} a second")
    facts.add_row("saved as by a run", f"{result.saved_scores:,.0f} scores a second")
    yield facts
    overview = Table(box=None, pad_edge=False, header_style="bold")
    overview.add_column("listing, and the slowest of it", overflow="fold")
    for name in ("cases", "rows", "median ms", "worst ms"):
        overview.add_column(name, justify="right", no_wrap=True)
    for listing in dict.fromkeys(case.listing for case in result.cases):
        cases = result.of(listing)
        medians = statistics.median(case.median_ms for case in cases)
        worst = max(case.worst_ms for case in cases)
        overview.add_row(f"{listing} list", str(len(cases)), "", f"{medians:.1f}", f"{worst:.1f}")
        for case in result.slowest(listing, 5):
            words = ", ".join(f"{name} {value}" for name, value in case.filters.items()) or "no filter"
            overview.add_row(f"  {words}", "", str(case.rows), f"{case.median_ms:.1f}", f"{case.worst_ms:.1f}")
    yield overview


def _streams_tables(result: StreamsResult) -> Iterator[Table]:
    held = Table(box=None, pad_edge=False, header_style="bold")
    held.add_column("stream", justify="right")
    columns = ("decoded", "sampled", "analysed", "dropped", "unaccounted", "faces stored", "reconnects")
    for name in columns:
        held.add_column(name, justify="right", no_wrap=True)
    for number, stream in enumerate(result.streams, start=1):
        frames = stream.frames
        counts = (frames.decoded, frames.sampled, frames.analysed, frames.dropped)
        lost = ", ".join(f"{times} {cause}" for cause, times in stream.reconnects.items())
        held.add_row(str(number), *map(str, (*counts, stream.unaccounted, stream.stored)), lost or "0")
    yield held
    facts = Table(box=None, pad_edge=False, show_header=False)
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in _streams_facts(result):
        facts.add_row(name, value)
    yield facts
    if result.faults:
        yield _faults_table(result)


def _streams_facts(result: StreamsResult) -> Iterator[tuple[str, str]]:
    counts = result.batches
    low, high, most = result.latencies
    analysed = sum(stream.frames.analysed for stream in result.streams)
    yield "held", f"{len(result.streams)} streams for {result.seconds:.0f} s, {analysed} frames analysed"
    yield "capture to store", f"median {low:.2f} s, 95 % within {high:.2f} s, longest {most:.2f} s"
    sizes, waits, times = counts.sizes, counts.waits, counts.times
    yield (
        "batches",
        f"{counts.batches}, {sizes.mean or 0:.2f} faces on average, 95 % up to {sizes.quantile(0.95) or 0:.0f}; "
        f"{counts.shared} of more than one stream",
    )
    yield "wait for a batch", _milliseconds(waits)
    yield "scoring a batch", _milliseconds(times)
    yield "detector busy", f"{result.utilisation:.0%} of its lanes' time"
    cores = ", ".join(f"{role} {share:.2f}" for role, share in result.cores.items())
    yield "cores", f"{sum(result.cores.values()):.2f}: {cores}"
    memory, files = result.memory, result.files
    yield "memory", f"{memory.first / 2**20:.0f} → {memory.last / 2**20:.0f} MiB ({memory.share:+.1%})"
    yield "open files", f"{files.first:.0f} → {files.last:.0f}"
    for role, (memory, files) in result.by_role.items():
        grown = (
            f"{memory.first / 2**20:.0f} → {memory.last / 2**20:.0f} MiB, {files.first:.0f} → {files.last:.0f} files"
        )
        yield f"  {role}", grown
    for line in result.notices:
        yield "notice", common.plain(line)


def _milliseconds(seconds: Histogram) -> str:
    middle, most = (1000 * (seconds.quantile(share) or 0.0) for share in (0.5, 0.95))
    return f"median {middle:.0f} ms, 95 % within {most:.0f} ms"


def _faults_table(result: StreamsResult) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("fault", no_wrap=True)
    for name in ("times", "detected after s", "recovered after s", "not recovered"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("causes")
    kinds = dict.fromkeys(fault.kind for fault in result.faults)
    for kind in kinds:
        faults = [fault for fault in result.faults if fault.kind == kind]
        detected = [fault.detected for fault in faults if fault.detected is not None]
        recovered = [fault.recovered for fault in faults if fault.recovered is not None]
        causes = Counter(fault.cause for fault in faults if fault.cause is not None)
        table.add_row(
            kind,
            str(len(faults)),
            f"{min(detected):.1f}–{max(detected):.1f}" if detected else "not reported",
            f"{min(recovered):.1f}–{max(recovered):.1f}" if recovered else "–",
            str(len(faults) - len(recovered)),
            ", ".join(f"{cause} {times}" for cause, times in causes.items()),
        )
    return table


def _streams_document(result: StreamsResult) -> dict[str, object]:
    counts = result.batches
    histograms = {
        name: {"bounds": histogram.bounds, "counts": histogram.counts, "total": histogram.total}
        for name, histogram in (("sizes", counts.sizes), ("waits", counts.waits), ("times", counts.times))
    }
    numbers = ("requests", "batches", "faces", "shared", "exhausted", "busy")
    return {
        "seconds": result.seconds,
        "fps": result.fps,
        "streams": [asdict(stream) for stream in result.streams],
        "latency": dict(zip(("median", "p95", "longest"), result.latencies, strict=True)),
        "batches": {**{name: getattr(counts, name) for name in numbers}, **histograms},
        "utilisation": result.utilisation,
        "cores": result.cores,
        "memory": asdict(result.memory),
        "files": asdict(result.files),
        "by_role": {
            role: {"memory": asdict(memory), "files": asdict(files)} for role, (memory, files) in result.by_role.items()
        },
        "faults": [asdict(fault) for fault in result.faults],
        "notices": result.notices,
    }


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
