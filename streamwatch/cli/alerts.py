"""`streamwatch alerts`: the spans that a person should see."""

from __future__ import annotations

import getpass
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from streamwatch.cli import common, running
from streamwatch.cli.listing import Listing
from streamwatch.errors import ConfigError
from streamwatch.files import make_private_folder, replacing
from streamwatch.records import Alert, Evidence, Label, MaskCoverage, ModelRef
from streamwatch.store.states import ReviewState

if TYPE_CHECKING:
    from streamwatch.detectors import Reason
    from streamwatch.formats.timelines import TimelineFormat
    from streamwatch.store import AlertRow, Store
    from streamwatch.store.clips import ClipRow
    from streamwatch.store.deliveries import Delivery
    from streamwatch.store.reviews import Review

app = typer.Typer(no_args_is_help=True)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The alert's id, or its first characters.")]


def export_formats() -> list[str]:
    """What alerts can be written as: tables, then time lines."""
    from streamwatch.formats.timelines import TimelineFormat

    return [*common.table_formats(), *TimelineFormat]


@app.command("list")
def list_alerts(
    source: common.SourceOption = None,
    label: common.LabelOption = None,
    since: common.SinceOption = None,
    until: common.UntilOption = None,
    min_score: common.MinScoreOption = None,
    state: common.StateOption = None,
    kind: common.KindOption = None,
    limit: common.LimitOption = None,
    after: common.AfterOption = None,
    store: common.StoreOption = None,
    config: common.ConfigOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """List alerts, newest first."""
    from streamwatch.formats.jsonl import alert_line

    with common.open_store(store, config) as opened:
        if as_json:
            wanted = common.filters(source, label, since, until, min_score, state, limit, kind, after)
            found = opened.iter_alerts(wanted)
            common.print_json_lines({**alert_line(alert), "cursor": str(alert.cursor)} for alert in found)
            return
        rows = limit or common.TABLE_ROWS
        page = opened.alerts(common.filters(source, label, since, until, min_score, state, rows + 1, kind, after))
    common.console().print(_table(page[:rows]) if page else "no alerts")
    if len(page) > rows:
        common.note_more(rows, page[rows - 1].cursor)


@app.command()
def show(
    alert_id: IdArgument,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write face crops and mask overlays as PNG.")
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Score the stored faces again and explain the score: as a heat map (Grad-CAM) or in words.",
        ),
    ] = False,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME|FILE", help="For --explain; default: the model of the verdict."),
    ] = None,
    store: common.StoreOption = None,
    config: common.ConfigOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Show an alert with its evidence, and with --explain why it fired.

    --explain writes a PNG panel per face to --out, or else here.
    """
    if model is not None and not explain:
        raise typer.BadParameter("it needs --explain", param_hint="--model")
    from streamwatch.formats.jsonl import review_line

    with common.open_store(store, config) as opened:
        full_id = opened.find_alert(alert_id)
        row, alert = opened.alert_row(full_id), opened.alert(full_id)
        verdict_model = opened.verdict_model(row.verdict_id)
        clip, deliveries = opened.clip(full_id), opened.deliveries.of_alert(full_id)
        reviews, copies = opened.reviews(full_id), opened.copies(row.verdict_id)
    written: list[Path] = []
    if out is not None:
        from streamwatch.drawing.evidence import write_evidence

        with common.writing_to("--out", out):
            written = write_evidence(alert, out)
    second = None
    if explain and not alert.evidence:
        raise typer.BadParameter("the alert has no faces to explain", param_hint="--explain")
    if explain:
        second = _second_look(alert, verdict_model, model, out or Path())
        written += second.files
    if as_json:
        details = {
            **_details(row, alert, written, second),
            "clip": _clip_line(clip),
            "deliveries": _delivery_values(deliveries),
            "reviews": list(map(review_line, reviews)),
            "copies": copies,
        }
        typer.echo(json.dumps(details, indent=2))
        return
    console = common.console()
    console.print(_facts(row, alert, verdict_model, clip, deliveries, reviews, copies))
    if alert.evidence:
        console.print(_evidence_table(alert, second))
    if second is not None:
        for line in _reason_lines(second):
            console.print(common.plain(line), soft_wrap=True, highlight=False)
    for path in written:
        console.print(common.plain(str(path)), soft_wrap=True)


@dataclass(frozen=True, slots=True)
class _Second:
    """What --explain found: by which model, scores and reasons in the order of the evidence, the panels."""

    model: ModelRef
    same_model: bool
    scores: list[float]
    reasons: list[tuple[Reason, ...]]
    files: list[Path]


def _second_look(alert: Alert, of_verdict: ModelRef, model: str | None, folder: Path) -> _Second:
    from streamwatch.detectors import load_detector, registered
    from streamwatch.drawing.explain import explain, write_panels

    if model is None and of_verdict.name not in registered():
        raise ConfigError(
            f"--model is missing: the verdict is by {of_verdict.name} {of_verdict.sha256[:8]}, which does not ship "
            "with streamwatch",
            "name its .safetensors file",
        )
    detector = load_detector(model or of_verdict.name)
    used = ModelRef(detector.name, detector.card.sha256)
    same = used.sha256 == of_verdict.sha256
    if not same:
        typer.echo(
            f"these are not the weights of the verdict: {used.name} {used.sha256[:8]} explains, {of_verdict.name} "
            f"{of_verdict.sha256[:8]} judged; --model FILE names those",
            err=True,
        )
    found = explain(alert, detector)
    with common.writing_to("--out", folder):
        files = write_panels(alert, found, folder, used=used, verdict=of_verdict)
    return _Second(used, same, [item.score for item in found], [item.reasons for item in found], files)


@app.command()
def export(
    file_format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="[jsonl|csv|parquet|vtt|otio|edl|fcpxml]",
            autocompletion=export_formats,
            help="Output format; or a table that an extension adds.",
        ),
    ] = "jsonl",
    output: Annotated[
        common.Target | None,
        typer.Option(
            "--output",
            metavar="PATH",
            parser=common.parse_target,
            help="A file, or for timelines a folder with a file per source: one that is there, ends in / or has no "
            "suffix. Default: standard output.",
        ),
    ] = None,
    rate: Annotated[
        float, typer.Option("--rate", min=1, max=240, help="Frames per second of time codes (otio, edl, fcpxml).")
    ] = 25.0,
    source: common.SourceOption = None,
    label: common.LabelOption = None,
    since: common.SinceOption = None,
    until: common.UntilOption = None,
    min_score: common.MinScoreOption = None,
    state: common.StateOption = None,
    kind: common.KindOption = None,
    limit: common.LimitOption = None,
    store: common.StoreOption = None,
    config: common.ConfigOption = None,
) -> None:
    """Write alerts for other programs: as a table, or as marks on the timelines of their sources."""
    from streamwatch.formats.jsonl import alert_line
    from streamwatch.formats.tables import ALERTS
    from streamwatch.formats.timelines import TimelineFormat

    common.check_format(file_format, export_formats())
    with common.open_store(store, config) as opened:
        found = opened.iter_alerts(common.filters(source, label, since, until, min_score, state, limit, kind))
        if file_format in common.table_formats():
            file = None if output is None else _table_file(output)
            common.write_table(map(alert_line, found), ALERTS, file_format, file)
        else:
            _write_timelines(list(found), opened, TimelineFormat(file_format), output, rate)


def _write_timelines(
    found: list[AlertRow], opened: Store, form: TimelineFormat, output: common.Target | None, rate: float
) -> None:
    """To standard output, or the file named, where there is one source; else to a folder, a file for each."""
    from streamwatch.formats.timelines import file_names, timelines, write_timeline

    lines = list(timelines(found, opened.durations(sorted({alert.verdict_id for alert in found}))))
    to_folder = output is not None and (output.is_folder or not output.path.suffix)
    if len(lines) > 1 and not to_folder:
        message = f"{len(lines)} sources have alerts: name a folder for their files, or one of them with --source"
        raise typer.BadParameter(message, param_hint="--output")
    if output is None:
        for line in lines:
            typer.echo(write_timeline(line, form, rate), nl=False)
        return
    names = file_names([line.source for line in lines], form.value)
    with common.writing_to("--output", output.path):
        if to_folder:
            make_private_folder(output.path)
        for line, name in zip(lines, names, strict=True):
            file = output.path / name if to_folder else output.path
            with replacing(file, durable=False) as draft:
                draft.write_text(write_timeline(line, form, rate), encoding="utf-8")
            typer.echo(common.plain(f"{line.source}: {file}"), err=True)


def _table_file(output: common.Target) -> Path:
    if output.is_folder and not output.path.is_dir():
        raise typer.BadParameter(f"{output.path}/ is a folder, and a table is a file", param_hint="--output")
    return output.path


@app.command()
def review(
    alert_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids, or their first characters.")],
    label: Annotated[Label | None, typer.Option("--label", help="What the reviewer found it to be.")] = None,
    comment: Annotated[str | None, typer.Option("--comment", help="A comment of the reviewer.")] = None,
    by: Annotated[
        str | None, typer.Option("--by", metavar="NAME", help="Who reviews; default: the login name.")
    ] = None,
    reopen: Annotated[bool, typer.Option("--reopen", help="Withdraw the review; it stays in the history.")] = False,
    store: common.StoreOption = None,
    config: common.ConfigOption = None,
) -> None:
    """Record the review of alerts by a person. Earlier reviews are kept: `alerts show` lists them."""
    if reopen and (label is not None or comment is not None):
        raise typer.BadParameter("it takes neither --label nor --comment", param_hint="--reopen")
    reviewer = by or _login_name()
    with common.open_store(store, config, to_write=True) as opened:
        for alert_id in [opened.find_alert(prefix) for prefix in alert_ids]:
            if reopen:
                opened.reopen(alert_id, reviewer)
            else:
                opened.review(alert_id, label, comment, reviewer)
            typer.echo(f"{alert_id}: {'new' if reopen else 'reviewed'}")


def _login_name() -> str | None:
    """Of whoever runs the command; None where the system has none, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


def _table(found: list[AlertRow]) -> Listing:
    columns = ("id", "time (UTC)", "kind", "span", "peak", "label", "state")
    table = Listing("source", columns, at=2, right={"span", "peak"})
    for alert in found:
        cells = (
            alert.id[:8],
            common.instant(alert.started_at or alert.stored_at),
            str(alert.kind),
            _span(alert),
            running.score(alert.peak),
            str(alert.label),
            _state(alert),
        )
        table.add(common.plain(alert.source), cells)
    return table


def _facts(
    row: AlertRow,
    alert: Alert,
    model: ModelRef,
    clip: ClipRow | None,
    deliveries: list[Delivery],
    reviews: list[Review],
    copies: list[str],
) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    facts = {
        "alert": row.id,
        "source": row.source,
        "copies": "\n".join(map(common.plain, copies)),
        "kind": f"{row.kind} ({row.label})",
        "span": _span(row) if row.track_id is None else f"{_span(row)} of track {row.track_id}",
        "peak, mean": None if row.peak is None or row.mean is None else f"{row.peak:.3f}, {row.mean:.3f}",
        "rests on": row.reason,
        "why": _words(alert.evidence[0]) if alert.evidence else None,
        "model": f"{model.name} {model.sha256[:8]}",
        "captured": _capture(row),
        "stored": f"{common.instant(row.stored_at)} UTC, revision {row.revision}",
        "state": _state(row),
        "reviews": "\n".join(map(_review_text, reviews)),
        "clip": None if clip is None else clip.path or f"none: {clip.failure}",
        "deliveries": "\n".join(map(_delivery_text, deliveries)),
    }
    for name, value in facts.items():
        if value:
            table.add_row(name, Text("\n".join(map(common.plain, value.splitlines()))))
    return table


def _review_text(review: Review) -> str:
    said = "withdrawn" if review.state is ReviewState.NEW else str(review.label or "seen")
    by = "" if review.by is None else f" by {review.by}"
    comment = "" if review.comment is None else f": {' '.join(review.comment.split())}"
    return f"{common.instant(review.at)} UTC{by}, {said}{comment}"


def _delivery_text(delivery: Delivery) -> str:
    what = f"{delivery.sink}, revision {delivery.revision}"
    tries = f"{delivery.attempts} {'try' if delivery.attempts == 1 else 'tries'}"
    if delivery.delivered_at is not None:
        return f"{what}: at {common.instant(delivery.delivered_at)} UTC ({tries})"
    return f"{what}: not yet ({tries}{f', {delivery.failure}' if delivery.failure else ''})"


def _clip_line(clip: ClipRow | None) -> dict[str, Any] | None:
    if clip is None:
        return None
    times = (clip.started_at, clip.ended_at)
    started_at, ended_at = (None if time is None else time.isoformat() for time in times)
    return {
        "path": clip.path,
        "sha256": clip.sha256,
        "bytes": clip.bytes,
        "started_at": started_at,
        "ended_at": ended_at,
        "failure": clip.failure,
    }


def _delivery_values(deliveries: list[Delivery]) -> list[dict[str, Any]]:
    return [
        {
            "sink": delivery.sink,
            "revision": delivery.revision,
            "attempts": delivery.attempts,
            "delivered_at": None if delivery.delivered_at is None else delivery.delivered_at.isoformat(),
            "failure": delivery.failure,
        }
        for delivery in deliveries
    ]


def _reason_lines(second: _Second) -> list[str]:
    """The strongest reasons of every face, numbered as in the table; empty for a model that gives none."""
    from streamwatch.drawing.explain import reason_lines

    return [
        f"evidence {number}: {line}"
        for number, reasons in enumerate(second.reasons, start=1)
        for line in reason_lines(reasons)
    ]


def _evidence_table(alert: Alert, second: _Second | None) -> Table:
    from streamwatch.fusion.regions import brief

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("evidence", "time", "frame", "score", *([] if second is None else ["again"]), "box (x0 y0 x1 y1)"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("mask", overflow="fold")
    for number, item in enumerate(alert.evidence, start=1):
        mask = "no" if item.mask_png is None else "yes"
        table.add_row(
            str(number),
            common.media_time(item.pts),
            str(item.frame_index),
            f"{item.score:.3f}",
            *([] if second is None else [f"{second.scores[number - 1]:.3f}"]),
            " ".join(f"{side:.0f}" for side in item.box),
            mask if item.coverage is None else brief(item.coverage),
        )
    return table


def _details(row: AlertRow, alert: Alert, written: list[Path], second: _Second | None) -> dict[str, Any]:
    from streamwatch.formats.jsonl import alert_line

    details = {
        **alert_line(row),
        "evidence": [
            {
                "frame": item.frame_index,
                "pts": item.pts,
                "wall_time": None if item.wall_time is None else item.wall_time.isoformat(),
                "box": item.box,
                "region": item.region,
                "score": item.score,
                "mask": item.mask_png is not None,
                "coverage": None if item.coverage is None else _coverage(item.coverage),
            }
            for item in alert.evidence
        ],
        "files": [str(path) for path in written],
    }
    if second is not None:
        details["explained"] = {
            "model": {"name": second.model.name, "sha256": second.model.sha256},
            "model_of_verdict": second.same_model,
            "scores": second.scores,
            "reasons": [[asdict(reason) for reason in reasons] for reasons in second.reasons],
        }
    return details


def _coverage(coverage: MaskCoverage) -> dict[str, Any]:
    from streamwatch.fusion.regions import describe, most_covered

    return {**asdict(coverage), "most": most_covered(coverage), "words": describe(coverage)}


def _words(item: Evidence) -> str | None:
    from streamwatch.fusion.regions import describe

    return None if item.coverage is None else f"{describe(item.coverage)} (strongest face)"


def _span(row: AlertRow) -> str:
    return f"{common.media_time(row.start)}–{common.media_time(row.end)}"


def _state(row: AlertRow) -> str:
    return f"{row.state}: {row.review_label}" if row.review_label is not None else str(row.state)


def _capture(row: AlertRow) -> str | None:
    if row.started_at is None:
        return None
    return f"{common.instant(row.started_at)} – {common.instant(row.ended_at) if row.ended_at else '…'} UTC"
