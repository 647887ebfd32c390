"""`streamwatch db`: the schema of the store."""

from __future__ import annotations

import json

import typer

from streamwatch.cli import common

app = typer.Typer(no_args_is_help=True)


@app.command()
def upgrade(store: common.StoreOption = None, config: common.ConfigOption = None) -> None:
    """Bring the store to the schema of this version, making it where there is none."""
    from streamwatch.store import schema
    from streamwatch.store.database import parse_url, shown

    url = parse_url(common.store_url(store, config))
    typer.echo(f"{shown(url)}: schema {schema.upgrade(url)}")


@app.command()
def current(
    store: common.StoreOption = None, config: common.ConfigOption = None, as_json: common.JsonOption = False
) -> None:
    """Say which schema the store has, and which one this version needs. Changes nothing."""
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
