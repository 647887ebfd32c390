"""`streamwatch doctor`: what this machine has, what is broken, and the fix."""

from __future__ import annotations

import json
from pathlib import Path

import typer
from rich.table import Table
from rich.text import Text

from streamwatch.cli import common
from streamwatch.doctor import Check, Status, examine

STYLES = {Status.OK: "green", Status.INFO: "dim", Status.WARN: "yellow", Status.FAIL: "bold red"}


def doctor(
    config: Path | None = typer.Option(None, help="Settings whose store and weights are checked."),
    store: str | None = typer.Option(None, help="Store to check; default: from the settings."),
    as_json: bool = typer.Option(False, "--json", help="Print the checks as JSON."),
) -> None:
    """Check this machine. Exit status 1 where something that streamwatch needs is broken."""
    settings = common.read_settings(config, overrides={"store": {"url": store}} if store else None)
    checks = list(examine(settings, Path.cwd()))
    if as_json:
        typer.echo(json.dumps([check.to_json() for check in checks], indent=2))
    else:
        common.console().print(_table(checks))
    if any(check.status is Status.FAIL for check in checks):
        raise typer.Exit(1)


def _table(checks: list[Check]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        style = STYLES[check.status]
        table.add_row(Text(check.status.value, style), check.name, common.plain(check.detail))
        if check.fix:
            table.add_row("", "", Text(common.plain(f"fix: {check.fix}"), style))
    return table
