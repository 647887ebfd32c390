"""`streamwatch db`: schema, retention, maintenance and backups of the store."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamwatch.cli import common
from streamwatch.errors import ConfigError

if TYPE_CHECKING:
    from streamwatch.store.retention import Pruned

app = typer.Typer(no_args_is_help=True)


@app.command()
def upgrade(store: common.StoreOption = None, config: common.ConfigOption = None) -> None:
    """Upgrade the store to the schema of this version, or create it."""
    from streamwatch.store import schema
    from streamwatch.store.database import parse_url, shown

    url = parse_url(common.store_url(store, config))
    typer.echo(f"{shown(url)}: schema {schema.upgrade(url)}")


@app.command()
def current(
    store: common.StoreOption = None, config: common.ConfigOption = None, as_json: common.JsonOption = False
) -> None:
    """Show which schema the store has, and which one this version needs. Changes nothing."""
    from streamwatch.store import schema
    from streamwatch.store.database import parse_url, shown

    url = parse_url(common.store_url(store, config))
    revision, needed = schema.revision_of(url), schema.head()
    if as_json:
        typer.echo(json.dumps({"store": shown(url), "current": revision, "head": needed}))
    elif revision == needed:
        typer.echo(f"{shown(url)}: schema {revision}, up to date")
    else:
        typer.echo(f"{shown(url)}: schema {revision or 'none'}; this version needs {needed}")


@app.command()
def downgrade(
    revision: Annotated[str, typer.Argument(metavar="REVISION", help="For instance 0005.")],
    yes: Annotated[
        bool, typer.Option("--yes", help="Confirm that newer columns and tables are deleted with their data.")
    ] = False,
    store: common.StoreOption = None,
    config: common.ConfigOption = None,
) -> None:
    """Downgrade the store to the schema of an older version, before that is installed. This version upgrades it again
    as soon as it opens it.
    """
    from streamwatch.store import schema
    from streamwatch.store.database import parse_url, shown

    url = parse_url(common.store_url(store, config))
    if not yes:
        message = "what only newer schemas can hold is deleted; run `streamwatch db backup` first, then give --yes"
        raise typer.BadParameter(message, param_hint="--yes")
    schema.downgrade(url, revision)
    typer.echo(f"{shown(url)}: schema {schema.revision_of(url) or 'none'}")


@app.command()
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only report what would be deleted.")] = False,
    store: common.StoreOption = None,
    config: common.ConfigOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Delete what exceeds the settings under `retention`, while others write. Reviewed alerts are kept."""
    settings = common.read_settings(config)
    if not settings.retention.asked_for:
        raise ConfigError("retention: nothing is set, so that everything is kept", "config.yaml explains its keys")
    with common.open_store(store or settings.store.url, None, to_write=not dry_run) as opened:
        done = opened.prune(settings.retention, clips=settings.alerts.clips, dry=dry_run)
    if as_json:
        typer.echo(json.dumps({"dry_run": dry_run, **asdict(done), "over": done.over}, indent=2))
    else:
        for line in _pruned(done, dry_run=dry_run):
            typer.echo(line)
    for line in done.trouble:
        typer.echo(common.plain(line), err=True)
    if done.trouble:
        raise typer.Exit(1)


@app.command()
def vacuum(store: common.StoreOption = None, config: common.ConfigOption = None) -> None:
    """Free the space of deleted rows, and update the statistics of the query planner.

    SQLite rewrites its file: other users wait, and as much free space is needed again. PostgreSQL keeps the space for
    future rows, and nobody waits.
    """
    with common.open_store(store, config, to_write=True) as opened:
        before, after = opened.vacuum()
        typer.echo(f"{opened.shown}: {before / 1e6:,.1f} MB before, {after / 1e6:,.1f} MB after")


@app.command()
def backup(
    path: Annotated[Path, typer.Argument(metavar="PATH", parser=common.parse_file, help="New file for the backup.")],
    store: common.StoreOption = None,
    config: common.ConfigOption = None,
) -> None:
    """Copy the store to a new file, as it is at one instant, while others write.

    SQLite: a store that can be named with --store. PostgreSQL: pg_dump's custom format, for pg_restore. Clips are
    files beside the store: copy them as well.
    """
    from streamwatch.store.database import parse_url, shown
    from streamwatch.store.maintenance import backup as copy

    url = parse_url(common.store_url(store, config))
    copy(url, path)
    typer.echo(f"{common.plain(f'{shown(url)}: {path}')}, {path.stat().st_size / 1e6:,.1f} MB")


def _pruned(done: Pruned, *, dry_run: bool) -> list[str]:
    lines = [f"{count:,} {name}" for name, count in done.rows.items()]
    if done.files:
        lines.append(f"{done.files:,} clips, {done.file_bytes / 1e6:,.1f} MB")
    what = ", ".join(lines) or "nothing"
    said = [f"would go: {what}" if dry_run else f"gone: {what}"]
    if done.in_use is not None and done.limit is not None:
        room = f"{done.in_use / 1e6:,.1f} MB in use, {done.limit / 1e6:,.1f} MB allowed"
        if done.over:
            room += (
                "; scores, then pictures and clips would go until it is below" if dry_run else "; nothing heavy is left"
            )
        said.append(room)
    return said
