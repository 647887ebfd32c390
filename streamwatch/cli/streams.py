"""`streamwatch streams`: what happened to the streams that were watched."""

from __future__ import annotations

import typer
from rich.table import Table
from rich.text import Text

from streamwatch.cli import common
from streamwatch.sources.states import Transition

app = typer.Typer(no_args_is_help=True)


@app.callback()
def streams() -> None:
    """What happened to the streams that were watched."""


@app.command("history")
def history(
    source: common.SourceOption = None,
    since: common.SinceOption = None,
    until: common.UntilOption = None,
    limit: common.LimitOption = None,
    store: common.StoreOption = None,
    config: common.ConfigOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """List the streams' changes of state with their causes, the newest first."""
    from streamwatch.store import Filters, transition_line

    rows = limit or common.TABLE_ROWS
    with common.open_store(store, config) as opened:
        wanted = limit if as_json else rows + 1
        found = opened.transitions(Filters(source=source, since=since, until=until, limit=wanted))
    if as_json:
        common.print_json_lines(map(transition_line, found))
        return
    common.console().print(_table(found[:rows]) if found else "nothing happened to any stream")
    if limit is None and len(found) > rows:
        common.note_more(rows)


def _table(found: list[Transition]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("time (UTC)", no_wrap=True)
    table.add_column("source", overflow="fold", ratio=1)
    table.add_column("state", no_wrap=True)
    table.add_column("cause", no_wrap=True)
    table.add_column("message", overflow="fold", ratio=2)
    for change in found:
        table.add_row(
            common.instant(change.at),
            Text(common.plain(change.source)),
            str(change.state),
            "" if change.cause is None else str(change.cause),
            Text(common.plain(change.message), style="dim"),
        )
    return table
