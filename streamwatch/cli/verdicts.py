"""`streamwatch verdicts`: what was said of each source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamwatch.cli import common
from streamwatch.cli.listing import Listing

if TYPE_CHECKING:
    from streamwatch.store import VerdictRow

app = typer.Typer(no_args_is_help=True)

COPIES_SHOWN = 3


@app.callback()
def verdicts() -> None:
    """What was said of each source."""


@app.command("list")
def list_verdicts(
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
    """List verdicts, newest first. --json gives the lines of results.jsonl, each with its cursor."""
    from streamwatch.formats.jsonl import verdict_line

    with common.open_store(store, config) as opened:
        if as_json:
            wanted = common.filters(source, label, since, until, min_score, state, limit, kind, after)
            found = opened.iter_verdicts(wanted)
            common.print_json_lines(
                {**verdict_line(row.verdict), "copies": list(row.copies), "cursor": str(row.cursor)} for row in found
            )
            return
        rows = limit or common.TABLE_ROWS
        page = opened.verdicts(common.filters(source, label, since, until, min_score, state, rows + 1, kind, after))
    common.console().print(_table(page[:rows]) if page else "no verdicts")
    if len(page) > rows:
        common.note_more(rows, page[rows - 1].cursor)


@app.command()
def export(
    scores: Annotated[
        bool, typer.Option("--scores", help="One row per scored face instead of one per verdict.")
    ] = False,
    file_format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="[jsonl|csv|parquet]",
            autocompletion=common.table_formats,
            help="Output format; or one that an extension adds.",
        ),
    ] = "jsonl",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", metavar="FILE", parser=common.parse_file, help="Output file; default: standard output."
        ),
    ] = None,
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
    """Write verdicts, or the scores of all their faces, as a table for other programs."""
    from streamwatch.formats.tables import SCORES, VERDICTS, verdict_cells

    common.check_format(file_format, common.table_formats())
    wanted = common.filters(source, label, since, until, min_score, state, limit, kind)
    with common.open_store(store, config) as opened:
        if scores:
            common.write_table(opened.iter_scores(wanted), SCORES, file_format, output)
        else:
            common.write_table(map(verdict_cells, opened.iter_verdicts(wanted)), VERDICTS, file_format, output)


def _table(found: list[VerdictRow]) -> Listing:
    columns = ("time (UTC)", "label", "score", "length", "tracks", "alerts")
    table = Listing("source", columns, at=1, right=columns[2:])
    for row in found:
        verdict = row.verdict
        cells = (
            common.instant(row.occurred_at),
            str(verdict.label),
            "–" if verdict.score is None else f"{verdict.score:.2f}",
            "–" if verdict.duration is None else common.media_time(verdict.duration),
            str(len(verdict.tracks)),
            str(len(verdict.alerts)),
        )
        table.add(common.plain(verdict.source), cells, list(map(common.plain, _remarks(row))))
    return table


def _remarks(row: VerdictRow) -> Iterator[str]:
    """Where copies lie, and why there is no plain answer."""
    yield from (f"also {path}" for path in row.copies[:COPIES_SHOWN])
    if len(row.copies) > COPIES_SHOWN:
        yield f"and {len(row.copies) - COPIES_SHOWN} more copies"
    failure = row.verdict.failure
    yield row.verdict.reason if failure is None else f"{failure.kind}: {failure.message}"
