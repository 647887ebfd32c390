"""`streamwatch config`: check settings, print their schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from streamwatch.cli import common
from streamwatch.config import Settings, load_settings
from streamwatch.errors import ConfigError
from streamwatch.sources import redact

app = typer.Typer(no_args_is_help=True)


@app.command()
def check(
    file: Path = typer.Argument(metavar="FILE", help="Settings file, as other commands take it by --config."),
    pipeline: str | None = typer.Option(None, help="Preset below the file: archive, live, forensic, or a YAML file."),
    as_json: common.JsonOption = False,
) -> None:
    """Check a settings file; names the key that is wrong. No command reads a file that is not named: give it to them by
    --config.
    """
    if not file.is_file():
        raise ConfigError(f"{file}: no such file", "name one: streamwatch config check FILE")
    settings = load_settings(file, pipeline)
    if as_json:
        typer.echo(json.dumps(shown(settings), indent=2))
    else:
        typer.echo(f"{common.plain(str(file))}: fine, digest {settings.digest()[:12]}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of the settings file, for editors and validators."""
    typer.echo(json.dumps(Settings.model_json_schema(), indent=2))


def shown(settings: Settings) -> dict[str, Any]:
    """The settings as plain values, the credentials in their URLs masked."""
    values = settings.model_dump(mode="json")
    values["store"]["url"] = redact(values["store"]["url"])
    for stream in values["streams"]:
        stream["url"] = redact(stream["url"])
    return values
