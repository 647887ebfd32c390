"""`streamwatch models`: which detectors there are, what their cards say, and how others get in."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import yaml
from rich.table import Table

from streamwatch.cli import common
from streamwatch.errors import ConfigError, WeightsError

if TYPE_CHECKING:
    from streamwatch.detectors import ModelCard

app = typer.Typer(no_args_is_help=True)


class ImportKind(str, Enum):
    """Kinds of checkpoints that `models import` converts."""

    M2TR = "m2tr"
    RETINAFACE_RESNET50 = "retinaface-resnet50"


@app.command("list")
def list_models(as_json: common.JsonOption = False) -> None:
    """List the registered forgery detectors."""
    from streamwatch.detectors import registered

    cards = {name: _card_or_none(name) for name in registered()}
    if as_json:
        rows = [{"name": name, "card": asdict(card) if card else None} for name, card in cards.items()]
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("name", no_wrap=True)
    table.add_column("input", justify="right", no_wrap=True)
    table.add_column("date", no_wrap=True)
    table.add_column("metrics", overflow="fold")
    for name, card in cards.items():
        if card is None:
            table.add_row(name, "", "", f"no weights, or broken: streamwatch models show {name}")
        else:
            metrics = ", ".join(f"{common.plain(key)} {value:g}" for key, value in card.metrics.items())
            table.add_row(name, str(card.input.size), common.plain(card.date), metrics)
    common.console().print(table)


@app.command()
def show(
    model: Annotated[str, typer.Argument(metavar="NAME", help="A name, or a .safetensors file.")],
    as_json: common.JsonOption = False,
) -> None:
    """Show a detector's card: data, recipe, input, calibration, metrics, licence."""
    from streamwatch.detectors import read_card, weights_path

    values = asdict(read_card(weights_path(model)))
    if as_json:
        typer.echo(json.dumps(values, indent=2))
    else:
        plain = json.loads(json.dumps(values))
        text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=98)
        typer.echo("\n".join(map(common.plain, text.splitlines())))


@app.command("import")
def import_weights(
    kind: Annotated[ImportKind, typer.Argument(metavar="KIND", help="m2tr or retinaface-resnet50.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The published PyTorch checkpoint.")],
    output: Annotated[
        Path | None, typer.Option("--output", metavar="F", help="Default: FILE with the suffix .safetensors.")
    ] = None,
    fake_class: Annotated[
        int, typer.Option(min=0, max=1, help="m2tr: which output means fake (authors' Celeb-DF lists: 0).")
    ] = 1,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing output.")] = False,
) -> None:
    """Convert a published checkpoint to safetensors, once."""
    target = output or file.with_suffix(".safetensors")
    if target.exists() and not force:
        raise ConfigError(f"{target}: exists already", "name another --output, or give --force")
    if not file.is_file():
        raise WeightsError(f"{file}: no such file")
    with common.writing_to("--output", target):
        if kind is ImportKind.M2TR:
            from streamwatch.detectors import import_m2tr

            import_m2tr(file, target, fake_class=fake_class)
            typer.echo(f"{target}: use it as detector.model: {target}")
        else:
            from streamwatch.faces.resnet50 import import_resnet50

            import_resnet50(file, target)
            typer.echo(f"{target}: use it with faces.detector: {kind.value} and faces.weights: {target}")


def _card_or_none(name: str) -> ModelCard | None:
    from streamwatch.detectors import read_card, weights_path

    try:
        path = weights_path(name)
    except (WeightsError, ConfigError):
        return None
    return read_card(path)
