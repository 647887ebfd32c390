"""What the commands on stored results share: options, and how things are written for people."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from streamwatch import logs
from streamwatch.config import LogSettings, Settings, load_settings
from streamwatch.errors import ConfigError
from streamwatch.extensions import FORMATS
from streamwatch.files import open_private
from streamwatch.plain import plain as plain
from streamwatch.records import AlertKind, Label
from streamwatch.store.cursors import Cursor
from streamwatch.store.states import ReviewState
from streamwatch.times import instant as instant
from streamwatch.times import media_time as media_time

if TYPE_CHECKING:
    from streamwatch.formats.tables import Columns
    from streamwatch.store import Filters, Store

TABLE_ROWS = 50
"""Rows of a table where no --limit is given. JSON and exports have no such limit."""

PIPED_COLUMNS = 100_000
"""Where nobody sees where a line ends."""

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_instant(text: str) -> datetime:
    """`2h` ago (m, h, d, w), or ISO 8601: `2026-03-01`, `2026-03-01T10:00+02:00`; UTC if no offset is given."""
    ago = re.fullmatch(r"(\d{1,4})([mhdw])", text)
    if ago:
        return datetime.now(timezone.utc) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        instant = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no instant; write 2h, 7d, 2026-03-01 or 2026-03-01T10:00Z") from None
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=timezone.utc)


def parse_duration(text: str) -> float:
    """Seconds: `90`, or `10m` (m, h, d, w)."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw]?)", text)
    if not found or not float(found[1]):
        raise typer.BadParameter(f"{text!r} is no duration; write 90 (seconds), 10m or 8h")
    return float(found[1]) * timedelta(**{_UNITS.get(found[2], "seconds"): 1}).total_seconds()


def parse_cursor(text: str) -> Cursor:
    """A cursor as listings give them."""
    try:
        return Cursor.parse(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}; `list` says where it ended, --json in every line") from None


@dataclass(frozen=True, slots=True)
class Target:
    """Where a command is to write. is_folder: the path ends in a slash, or is a folder's."""

    path: Path
    is_folder: bool

    def file(self, name: str) -> Path:
        """The path itself, or the file of this name in the folder."""
        return self.path / name if self.is_folder else self.path


def parse_target(text: str) -> Target:
    """A file, or a folder: one that is there, or a path that ends in a slash."""
    return Target(Path(text), text.endswith("/") or Path(text).is_dir())


def parse_file(text: str) -> Path:
    """The path of a file: `Path` alone would take `folder/` for one that is called `folder`."""
    if text.endswith("/"):
        raise typer.BadParameter(f"{text} is a folder; name a file, such as {text}results")
    return Path(text)


StoreOption = Annotated[
    str | None,
    typer.Option("--store", metavar="URL", help="sqlite:///FILE or postgresql://…; default: from the settings."),
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Settings file; none is read that is not named.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
SourceOption = Annotated[
    str | None, typer.Option("--source", metavar="TEXT", help="Only sources whose path or URL contains this.")
]
LabelOption = Annotated[Label | None, typer.Option("--label", help="Only this label.")]
SinceOption = Annotated[
    datetime | None,
    typer.Option(
        "--since", metavar="TIME", parser=parse_instant, help="At this time or later: 2h, 7d (ago), or ISO 8601."
    ),
]
UntilOption = Annotated[
    datetime | None, typer.Option("--until", metavar="TIME", parser=parse_instant, help="Before this time; as --since.")
]
MinScoreOption = Annotated[
    float | None, typer.Option("--min-score", min=0.0, max=1.0, help="Only with a (peak) score of at least this.")
]
StateOption = Annotated[
    ReviewState | None, typer.Option("--state", help="Only alerts in this state, or verdicts with such an alert.")
]
KindOption = Annotated[AlertKind | None, typer.Option("--kind", help="Only alerts of this kind, or verdicts with one.")]
LimitOption = Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="Show at most N, newest first.")]

AfterOption = Annotated[
    Cursor | None,
    typer.Option("--after", metavar="CURSOR", parser=parse_cursor, help="Continue a listing after this cursor."),
]


def read_settings(
    config: Path | None = None, pipeline: str | None = None, overrides: Mapping[str, Any] | None = None
) -> Settings:
    """As `load_settings`; from now on the log is written as they say."""
    settings = load_settings(config, pipeline, overrides)
    logs.configure(settings.log)
    return settings


@contextmanager
def log_options(level: str | None, *, as_json: bool) -> Iterator[None]:
    """Have the log written as these options say: in the environment, they stand above every settings file, and reach
    the processes that are started here.
    """
    given: dict[str, str] = {**({"level": level} if level else {}), **({"format": "json"} if as_json else {})}
    names = {key: f"STREAMWATCH__LOG__{key.upper()}" for key in given}
    before = {name: os.environ.get(name) for name in names.values()}
    os.environ.update({names[key]: value for key, value in given.items()})
    try:
        logs.configure(load_settings().log)
    except ConfigError:  # a command that needs settings says what is wrong with them
        logs.configure(LogSettings.model_validate(given))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def store_url(store: str | None, config: Path | None) -> str:
    """The URL given on the command line, or else the settings'."""
    return store if store is not None else read_settings(config).store.url


def progress_bar() -> Progress:
    """A bar on standard error, for people only: description, bar, count, time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )


def print_line(bar: Progress, line: str) -> None:
    """Print a line on standard error, above the bar where there is one."""
    bar.console.print(line, soft_wrap=True, markup=False, highlight=False)


def open_store(store: str | None, config: Path | None, *, to_write: bool = False) -> Store:
    """Open a store that exists: a mistyped file name is an error here, not a new and empty store. One that is opened to
    be read is not changed, nor upgraded.
    """
    from streamwatch.store import Store

    url = store_url(store, config)
    return Store.open(url, create=False) if to_write else Store.open_to_read(url)


def filters(
    source: str | None,
    label: Label | None,
    since: datetime | None,
    until: datetime | None,
    min_score: float | None,
    state: ReviewState | None,
    limit: int | None,
    kind: AlertKind | None = None,
    after: Cursor | None = None,
) -> Filters:
    """The options as `Filters`."""
    from streamwatch.store import Filters

    return Filters(source, label, since, until, min_score, state, limit, kind, after)


@contextmanager
def writing_to(option: str, path: Path) -> Iterator[None]:
    """Turn a failure to write into a ConfigError that names the option."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{option} {path}: cannot be written ({error.strerror})", "name another place") from None


TEXT_TABLES = ("jsonl", "csv")
"""What may go to standard output; other formats of tables need a file."""


def table_formats() -> list[str]:
    """What a table can be written as."""
    from streamwatch.formats.tables import table_formats as names

    return names()


def check_format(form: str, allowed: Sequence[str]) -> None:
    """Raise BadParameter for a `--format` that there is none of, ConfigError for one that several claim."""
    FORMATS.check(form)
    if form not in allowed:
        raise typer.BadParameter(f"{form!r} is not one of {', '.join(allowed)}", param_hint="--format")


def write_table(rows: Iterable[Mapping[str, Any]], columns: Columns, form: str, output: Path | None) -> None:
    """To a file, or to standard output. Raises ConfigError where the file cannot be written."""
    from streamwatch.formats import tables

    if output is not None:
        with writing_to("--output", output), open_private(output) as file:
            tables.write_table(rows, columns, form, file)
        return
    if form not in TEXT_TABLES:
        raise typer.BadParameter(f"{form} needs a file", param_hint="--output")
    tables.write_table(rows, columns, form, sys.stdout.buffer)
    sys.stdout.flush()


def print_json_lines(lines: Iterable[dict[str, Any]]) -> None:
    """JSON Lines on standard output."""
    for line in lines:
        sys.stdout.write(json.dumps(line) + "\n")


def console() -> Console:
    """Standard output for people: as wide as the terminal, or as $COLUMNS says; where it is a file or a pipe, lines are
    as long as they are, for programs that go by lines.
    """
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if known else PIPED_COLUMNS, markup=False, highlight=False)


def note_more(shown: int, after: Cursor | None = None) -> None:
    """Say on standard error that a table was cut; after: where the next page begins, if there are pages."""
    page = "" if after is None else f"; --after {after} goes on"
    typer.echo(f"the newest {shown} are shown; --limit N shows more, --json all{page}", err=True)
