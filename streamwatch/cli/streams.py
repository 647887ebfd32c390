"""`streamwatch streams`: the state of watched streams, their history, and which are watched."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from streamwatch.cli import common
from streamwatch.cli.listing import Listing
from streamwatch.errors import ConfigError
from streamwatch.sources import redact
from streamwatch.sources.states import StreamState

if TYPE_CHECKING:
    from streamwatch.live.roster import Roster
    from streamwatch.store import StreamStatus
    from streamwatch.store.history import StreamChange

app = typer.Typer(no_args_is_help=True)


@app.callback()
def streams() -> None:
    """The state of watched streams, and their history."""


@app.command("list")
def list_streams(
    store: common.StoreOption = None, config: common.ConfigOption = None, as_json: common.JsonOption = False
) -> None:
    """List the streams: state, cause, frames per second received and analysed, lag, drops, failures within the last
    hour, last verdict. Names, and which streams are paused, come from the settings and from what was added.
    """
    from streamwatch.formats.jsonl import stream_line

    known = _KnownStreams.read(store, config)
    with common.open_store(store, config) as opened:
        found = opened.streams()
    if as_json:
        common.print_json_lines({**stream_line(stream), **known.words(stream.change.source)} for stream in found)
    else:
        common.console().print(_status_table(found, known) if found else "no stream was ever watched")


@app.command("add")
def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="URL of the stream.")],
    name: Annotated[str | None, typer.Option("--name", help="Name to show instead of the URL.")] = None,
    store: common.StoreOption = None,
    config: common.ConfigOption = None,
) -> None:
    """Add a stream to the running `watch`, or to the next one."""
    _roster(store, config).add(url, name)
    typer.echo(common.plain(f"{name or redact(url)}: added"))


WhichArgument = Annotated[str, typer.Argument(metavar="NAME|URL", help="Name or URL of the stream.")]


@app.command("remove")
def remove(which: WhichArgument, store: common.StoreOption = None, config: common.ConfigOption = None) -> None:
    """Stop watching a stream that was added. Its stored results are kept."""
    _roster(store, config).remove(which)
    typer.echo(common.plain(f"{redact(which)}: removed"))


@app.command("pause")
def pause(which: WhichArgument, store: common.StoreOption = None, config: common.ConfigOption = None) -> None:
    """Pause a stream until `resume`."""
    _roster(store, config).pause(which, paused=True)
    typer.echo(common.plain(f"{redact(which)}: paused"))


@app.command("resume")
def resume(which: WhichArgument, store: common.StoreOption = None, config: common.ConfigOption = None) -> None:
    """Watch a paused stream again."""
    _roster(store, config).pause(which, paused=False)
    typer.echo(common.plain(f"{redact(which)}: resumed"))


@dataclass(frozen=True)
class _KnownStreams:
    """What the settings and the roster say of streams, by their sources (credentials masked)."""

    names: Mapping[str, str]
    paused: Collection[str]

    @classmethod
    def read(cls, store: str | None, config: Path | None) -> _KnownStreams:
        """Where the roster may not be read, as by those who may only read the store, the settings alone."""
        roster = _roster(store, config)
        try:
            streams = roster.streams()
        except ConfigError as error:
            typer.echo(common.plain(f"{error}; streams that were added have no names here"), err=True)
            streams = list(roster.configured)
        return cls(
            {redact(stream.url): stream.name for stream in streams if stream.name},
            {redact(stream.url) for stream in streams if stream.paused},
        )

    def words(self, source: str) -> dict[str, Any]:
        """For a line of JSON."""
        return {"name": self.names.get(source), "paused": source in self.paused}

    def called(self, part: str | None) -> tuple[str, ...]:
        """Sources whose names have this in them, upper and lower case alike."""
        if part is None:
            return ()
        return tuple(source for source, name in self.names.items() if part.casefold() in name.casefold())


def _roster(store: str | None, config: Path | None) -> Roster:
    from streamwatch.live.roster import Roster, roster_path

    settings = common.read_settings(config, overrides={"store": {"url": store}} if store is not None else {})
    return Roster(roster_path(settings), settings.streams)


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
    """List the streams' changes of state with their causes, newest first."""
    from streamwatch.formats.jsonl import change_line
    from streamwatch.store import Filters

    known = _KnownStreams.read(store, config)
    rows = limit or common.TABLE_ROWS
    with common.open_store(store, config) as opened:
        wanted = limit if as_json else rows + 1
        named = known.called(source)
        found = opened.transitions(Filters(source=source, since=since, until=until, limit=wanted, named=named))
    if as_json:
        common.print_json_lines({**change_line(row), "name": known.names.get(row.change.source)} for row in found)
        return
    if until is not None:  # the newest that is listed need not be the newest that there is
        known = replace(known, paused=())
    common.console().print(_table(found[:rows], known) if found else "nothing happened to any stream")
    if limit is None and len(found) > rows:
        common.note_more(rows)


def _status_table(found: list[StreamStatus], known: _KnownStreams) -> Listing:
    table = Listing("stream", ("state", "since (UTC)", "failures/h", "verdict"), right={"failures/h"})
    for stream in found:
        source = stream.change.source
        label = "–" if stream.verdict is None else str(stream.verdict.verdict.label)
        cells = (
            _state(stream, paused=source in known.paused),
            common.instant(stream.change.at),
            str(stream.failures),
            label if stream.watched or label == "–" else f"was {label}",
        )
        remarks = [source] if source in known.names else []
        remarks += _remarks(stream)
        table.add(common.plain(known.names.get(source, source)), cells, list(map(common.plain, remarks)))
    return table


def _state(stream: StreamStatus, *, paused: bool) -> str:
    """The state; one that nobody watches is paused where that was asked for."""
    state = stream.change.state
    if stream.watched and state is not StreamState.STOPPED:
        return str(state)
    if paused:
        return "paused"
    return str(state) if state is StreamState.STOPPED else "not watched"


def _known(stream: StreamStatus) -> bool:
    """Whether the stream is still in its last reported state."""
    return stream.watched or stream.change.state is StreamState.STOPPED


def _remarks(stream: StreamStatus) -> list[str]:
    """What is to be known of a stream, below its name."""
    change, verdict = stream.change, stream.verdict
    remarks = []
    if stream.heard_at is not None and not _known(stream):
        remarks.append(f"last seen at {common.instant(stream.heard_at)}")
    if change.cause is not None:
        remarks.append(f"{change.cause}: {change.why}" if change.why else str(change.cause))
    if verdict is not None and stream.fps is not None:
        fps_in, fps_seen = stream.fps
        lag = "" if stream.lag is None else f", lag {stream.lag:.1f} s"
        remarks.append(
            f"{fps_in:.1f} frames/s in, {fps_seen:.1f} analysed{lag}, {verdict.verdict.frames.dropped} dropped"
        )
    if verdict is not None and verdict.verdict.reason:
        remarks.append(verdict.verdict.reason)
    return remarks


def _table(found: list[StreamChange], known: _KnownStreams) -> Listing:
    table = Listing("stream", ("time (UTC)", "state", "cause", "message"), at=1)
    newest: set[str] = set()
    for row in found:
        change = row.change
        source = change.source
        pauses = change.state is StreamState.STOPPED and source in known.paused and source not in newest
        newest.add(source)
        cells = (
            common.instant(change.at),
            "paused" if pauses else str(change.state),
            "" if change.cause is None else str(change.cause),
            Text(common.plain(_message(row)), style="dim"),
        )
        table.add(common.plain(known.names.get(source, source)), cells)
    return table


def _message(row: StreamChange) -> str:
    if row.last_at is None:
        return row.change.why
    times = "1 more time" if row.retries == 1 else f"{row.retries} more times"
    return f"{row.change.why} ({times}, until {common.instant(row.last_at)})"
