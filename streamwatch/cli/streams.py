"""`streamwatch streams`: the state of watched streams, their history, and which are watched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from streamwatch.cli import common
from streamwatch.cli.listing import Listing
from streamwatch.sources import redact
from streamwatch.sources.states import StreamState, Transition

if TYPE_CHECKING:
    from streamwatch.live.roster import Roster
    from streamwatch.store import StreamStatus

app = typer.Typer(no_args_is_help=True)


@app.callback()
def streams() -> None:
    """The state of watched streams, and their history."""


@app.command("list")
def list_streams(
    store: common.StoreOption = None, config: common.ConfigOption = None, as_json: common.JsonOption = False
) -> None:
    """List the streams: state, cause, frames per second received and analysed, lag, drops, failures within the last
    hour, last verdict.
    """
    from streamwatch.formats.jsonl import stream_line

    with common.open_store(store, config) as opened:
        found = opened.streams()
    if as_json:
        common.print_json_lines(map(stream_line, found))
    else:
        common.console().print(_status_table(found) if found else "no stream was ever watched")


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
    from streamwatch.formats.jsonl import transition_line
    from streamwatch.store import Filters

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


def _status_table(found: list[StreamStatus]) -> Listing:
    table = Listing("source", ("state", "since (UTC)", "failures/h", "verdict"), right={"failures/h"})
    for stream in found:
        change = stream.change
        label = "–" if stream.verdict is None else str(stream.verdict.verdict.label)
        cells = (
            str(change.state) if _known(stream) else "not watched",
            common.instant(change.at),
            str(stream.failures),
            label if stream.watched or label == "–" else f"was {label}",
        )
        table.add(common.plain(change.source), cells, list(map(common.plain, _remarks(stream))))
    return table


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


def _table(found: list[Transition]) -> Listing:
    table = Listing("source", ("time (UTC)", "state", "cause", "message"), at=1)
    for change in found:
        cause = "" if change.cause is None else str(change.cause)
        message = Text(common.plain(change.why), style="dim")
        table.add(common.plain(change.source), (common.instant(change.at), str(change.state), cause, message))
    return table
