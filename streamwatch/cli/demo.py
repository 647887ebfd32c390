"""`streamwatch demo`: a clip with a forged span, made and scanned offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from streamwatch.cli import common
from streamwatch.records import Label

if TYPE_CHECKING:
    from streamwatch.demo import DemoResult


def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the clips and the store.")] = Path(
        "streamwatch-demo"
    ),
    as_json: common.JsonOption = False,
) -> None:
    """Make a clip with a forged span, scan it, show the verdict. Works offline."""
    from streamwatch.demo import run_demo

    settings = common.read_settings(overrides={"store": {"url": f"sqlite:///{out / 'streamwatch.db'}"}})
    stderr = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
        task = bar.add_task("starting", total=1.0)
        result = run_demo(
            out, settings, progress=lambda what, share: bar.update(task, description=what, completed=share)
        )
    if as_json:
        typer.echo(json.dumps(_document(result), indent=2))
    else:
        common.console().print(_table(result))
    if result.verdict.label is Label.ERROR:
        raise typer.Exit(1)


def _document(result: DemoResult) -> dict[str, Any]:
    from streamwatch.formats.jsonl import verdict_line

    return {
        "clip": str(result.clip),
        "annotated": str(result.annotated),
        "store": result.store,
        "forged": list(result.plan.forged),
        "found": [[span.start, span.end] for span in result.found],
        "share_found": result.share_found(),
        "excess": result.excess(),
        "verdict": verdict_line(result.verdict),
    }


def _table(result: DemoResult) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in _lines(result).items():
        table.add_row(name, Text(text))
    return table


def _lines(result: DemoResult) -> dict[str, str]:
    verdict, plan = result.verdict, result.plan
    lines = {"clip": f"{result.clip}, {plan.seconds:g} s, forged from {_seconds(*plan.forged)}"}
    if verdict.failure is not None:
        return {**lines, "failed": verdict.failure.message}
    score = "" if verdict.score is None else f", score {verdict.score:.2f}"
    reason = f" ({verdict.reason})" if verdict.reason else ""
    return {
        **lines,
        "verdict": f"{verdict.label.value}{score}{reason}, by {verdict.model.name}",
        "found": _found(result),
        "look at": str(result.annotated),
        "stored": f"{result.store} (streamwatch alerts list --store {result.store})",
    }


def _found(result: DemoResult) -> str:
    spans = " and ".join(_seconds(span.start, span.end) for span in result.found)
    share, excess = result.share_found(), result.excess()
    if not spans:
        return "nothing: the model missed the forged span"
    if share == 0:
        return f"{spans}: a false alarm, and the model missed the forged span"
    text = f"{spans}: {share:.0%} of the forged span"
    return f"{text}, and {excess:.1f} s of genuine video" if excess > 0 else text


def _seconds(start: float, end: float) -> str:
    return f"{start:.1f} to {end:.1f} s"
