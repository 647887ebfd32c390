"""`streamwatch report`: a page for a video."""

from __future__ import annotations

import contextlib
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamwatch.cli import common, running
from streamwatch.cli.scan import INPUT_FAILED, ScanBar
from streamwatch.distribution import __version__
from streamwatch.files import make_private_folder
from streamwatch.records import Label

if TYPE_CHECKING:
    from streamwatch.config import Settings
    from streamwatch.detectors import ReasoningDetector
    from streamwatch.records import VideoVerdict
    from streamwatch.report import VideoReport
    from streamwatch.sources import Input


def report(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A video file, or an http(s) URL with an end.")],
    html: Annotated[
        common.Target | None,
        typer.Option(
            "--html",
            metavar="PATH",
            parser=common.parse_target,
            help="File for the page, or folder: one that is there, or that ends in /. Default: <stem>.report.html "
            "here. An earlier page is replaced, nothing else.",
        ),
    ] = None,
    pipeline: running.PipelineOption = "archive",
    config: common.ConfigOption = None,
    store: common.StoreOption = None,
    device: running.DeviceOption = None,
    model: running.ModelOption = None,
    resume: Annotated[bool, typer.Option("--resume/--no-resume", help="Reuse the result in the store.")] = True,
) -> None:
    """Write a self-contained HTML report on a video. Exit status 1 where it could not be analysed.

    The result comes from the store if it is there, else the file is analysed now, as `scan` does.
    """
    from streamwatch.report import check_replaceable, write_page
    from streamwatch.sources import read_inputs

    settings = running.settings(config, pipeline, store=store, model=model, device=device)
    inputs = read_inputs([file])
    if len(inputs) > 1:
        raise typer.BadParameter(f"{file} names {len(inputs)} videos, and a page is on one", param_hint="FILE")
    target = _target(inputs[0], html)
    with common.writing_to("--html", target):
        if html is not None and html.is_folder:
            make_private_folder(html.path)
        check_replaceable(target)
    verdict = _analyse(inputs[0], settings, resume=resume)
    page = _report(verdict, inputs[0], settings)
    with common.writing_to("--html", target):
        write_page(page, target)
    score = "" if verdict.score is None else f", score {verdict.score:.2f}"
    typer.echo(f"{common.plain(str(target))}: {verdict.label}{score}")
    if verdict.failure is not None:
        typer.echo(common.plain(f"{verdict.failure.kind}: {verdict.failure.message}"), err=True)
        raise typer.Exit(INPUT_FAILED)


def _target(source: Input, html: common.Target | None) -> Path:
    from streamwatch.files import shortened
    from streamwatch.formats.timelines import file_names

    suffix = "report.html"
    place = source.source
    default = file_names([place.name], suffix)[0] if place.is_url else f"{shortened(place.path.stem)}.{suffix}"
    return Path(default) if html is None else html.file(default)


def _analyse(source: Input, settings: Settings, *, resume: bool) -> VideoVerdict:
    from streamwatch.archive.scan import iter_scan

    with running.stoppable() as check, ScanBar(1, check) as bar:
        results = iter_scan([source], settings, progress=bar.update, resume=resume, command="report")
        with contextlib.closing(results):
            (analysis,) = results
    return analysis.verdict


def _report(verdict: VideoVerdict, source: Input, settings: Settings) -> VideoReport:
    """The verdict as the store has it, with evidence and reviews, and what else the page shows."""
    from dataclasses import replace

    from streamwatch.detectors.card import card_path, file_sha256
    from streamwatch.pipeline.plan import Plan
    from streamwatch.provenance import read_provenance
    from streamwatch.records import ResultKey
    from streamwatch.report import VideoReport
    from streamwatch.store import Store

    plan = Plan.resolve(settings)
    now = datetime.now(timezone.utc)
    reviews, analysed_at = {}, None if verdict.label is Label.ERROR else now
    if verdict.sha256 is not None:
        with Store.open(settings.store.url) as opened:
            row = opened.find_row(ResultKey(verdict.sha256, verdict.model.sha256, verdict.config_sha256))
            if row is not None and verdict.label is not Label.ERROR:
                verdict, analysed_at = replace(row.verdict, source=verdict.source), row.stored_at
                reviews = {alert.id: alert for alert in opened.alerts_of(row.id)}
    return VideoReport(
        verdict=verdict,
        settings=settings,
        card=plan.card,
        card_sha256=file_sha256(card_path(plan.weights)),
        policy=plan.policy,
        provenance=read_provenance(source.source),
        reviews=reviews,
        analysed_at=analysed_at,
        written_at=now,
        version=__version__,
        reasoner=_reasoner(plan.weights),
    )


def _reasoner(weights: Path) -> ReasoningDetector | None:
    """The detector, if it can say in words why; one that cannot is not loaded."""
    from streamwatch.detectors import ReasoningDetector, gives_reasons, load_detector

    detector = load_detector(weights) if gives_reasons(weights) else None
    return detector if isinstance(detector, ReasoningDetector) else None
