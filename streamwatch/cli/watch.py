"""`streamwatch watch`: watch streams."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from streamwatch.cli import common, running
from streamwatch.records import Alert, AlertKind, AlertPhase, Label, VideoVerdict
from streamwatch.sources import redact

if TYPE_CHECKING:
    from streamwatch.engine.outbox import Notice
    from streamwatch.sources.states import Transition

    Item = VideoVerdict | Alert | Transition | Notice

STREAM_FAILED = 1

SAY_EVERY = 5.0
"""Seconds between two lines on a stream whose label stays the same."""


def watch(
    urls: Annotated[
        list[str] | None,
        typer.Argument(metavar="[URL...]", help="Streams; default: the settings' `streams`."),
    ] = None,
    config: common.ConfigOption = None,
    pipeline: running.PipelineOption = "live",
    store: common.StoreOption = None,
    seconds: Annotated[
        float | None, typer.Option("--for", metavar="SECONDS", min=0.1, help="Stop after so long.")
    ] = None,
    device: running.DeviceOption = None,
    model: running.ModelOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Watch streams until stopped. Exit status 1 where one gave no picture at all, or none any more at the end.

    A verdict on the last minute of each stream is printed and stored every few seconds. A stream that breaks
    is connected again.
    """
    from streamwatch.engine.live import iter_watch
    from streamwatch.engine.outbox import Load

    settings = running.settings(config, pipeline, store=store, model=model, device=device)
    wanted = list(dict.fromkeys(urls or [stream.url for stream in settings.streams]))
    if not wanted:
        raise typer.BadParameter("give a URL, or list `streams` in the settings", param_hint="URL...")
    names = {redact(stream.url): stream.name for stream in settings.streams if stream.name}
    latest: dict[str, Label] = {}
    with running.stoppable(), contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
        show: Callable[[Item], None]
        if as_json:
            show = _show_json
        elif _in_a_terminal():
            show = _show_board(stack, [redact(url) for url in wanted], names)
        else:
            show = _show_lines(names)
        results = stack.enter_context(contextlib.closing(iter_watch(wanted, settings, seconds=seconds)))
        for item in results:
            if isinstance(item, Load):
                continue
            show(item)
            if isinstance(item, VideoVerdict):
                latest[item.source] = item.label
    if Label.ERROR in latest.values():
        raise typer.Exit(STREAM_FAILED)


def _in_a_terminal() -> bool:
    return sys.stdout.isatty()


def _show_json(item: Item) -> None:
    """Verdicts and alerts as JSON Lines on standard output, the rest for people on standard error."""
    from streamwatch.store import alert_event, verdict_line

    if isinstance(item, VideoVerdict):
        typer.echo(json.dumps({"event": "verdict", **verdict_line(item)}))
    elif isinstance(item, Alert):
        typer.echo(json.dumps(alert_event(item)))
    else:
        _note(_errors(), item, {})


def _show_lines(names: Mapping[str, str]) -> Callable[[Item], None]:
    """A line for every alert and for verdicts on standard output, the rest on standard error.

    A verdict has a line where its label is another one than before, and every few seconds.
    """
    out, notes = common.console(), _errors()
    said: dict[str, tuple[Label, float]] = {}

    def show(item: Item) -> None:
        if isinstance(item, VideoVerdict):
            label, at = said.get(item.source, (None, -math.inf))
            if item.label is not label or time.monotonic() - at >= SAY_EVERY:
                said[item.source] = item.label, time.monotonic()
                out.print(_verdict(item, names), soft_wrap=True)
        elif isinstance(item, Alert):
            out.print(_alert(item, names), soft_wrap=True)
        else:
            _note(notes, item, names)

    return show


def _show_board(
    stack: contextlib.ExitStack, sources: Sequence[str], names: Mapping[str, str]
) -> Callable[[Item], None]:
    """A table of the streams that stays where it is, below what happens."""
    from rich.live import Live

    from streamwatch.cli.board import Board
    from streamwatch.engine.outbox import Notice

    board = Board(sources, names)
    live = stack.enter_context(Live(board, console=common.console(), refresh_per_second=2))

    def show(item: Item) -> None:
        if isinstance(item, Alert):
            live.console.print(_alert(item, names), soft_wrap=True)
            return
        if not isinstance(item, Notice):
            board.hear(item)
        if not isinstance(item, VideoVerdict):
            _note(live.console, item, names)

    return show


def _errors() -> Console:
    return Console(stderr=True, highlight=False, markup=False)


def _note(console: Console, item: Transition | Notice, names: Mapping[str, str]) -> None:
    """Say what happened; that a stream is tried again is no news."""
    from streamwatch.engine.outbox import Notice
    from streamwatch.sources.states import StreamState

    if isinstance(item, Notice):
        console.print(Text(f"{common.instant(item.at)}  {common.plain(item.message)}", style="bold"), soft_wrap=True)
    elif item.state is not StreamState.CONNECTING:
        console.print(transition_text(item, names), soft_wrap=True)


def _alert(alert: Alert, names: Mapping[str, str]) -> Text:
    name = common.plain(names.get(alert.source, alert.source))
    phase = {AlertPhase.NEW: "ALERT", AlertPhase.UPDATE: "alert", AlertPhase.END: "alert over"}[alert.phase]
    style = {AlertPhase.NEW: "bold red", AlertPhase.UPDATE: "red", AlertPhase.END: "dim"}[alert.phase]
    at = alert.ended_at if alert.ended_at is not None else alert.started_at
    line = Text("" if at is None else f"{common.instant(at)}  ")
    line.append(f"{phase} {alert.kind}", style=style)
    return line.append(f" on {name}: {common.plain(alert.reason)} (alert {alert.id[:8]}, revision {alert.revision})")


def _verdict(verdict: VideoVerdict, names: Mapping[str, str]) -> Text:
    at = "–" if verdict.duration is None else common.media_time(verdict.duration)
    line = Text(f"{at:>9}  ")
    line.append(f"{verdict.label!s:<12}", style=running.STYLES[verdict.label])
    line.append(f"  {running.score(verdict.score):>4}  {common.plain(names.get(verdict.source, verdict.source))}")
    forgeries = [alert for alert in verdict.alerts if alert.kind is AlertKind.FORGERY]
    if forgeries:
        newest = max(forgeries, key=lambda alert: alert.start)
        line.append(f"  forged {common.media_time(newest.start)}–{common.media_time(newest.end)}")
    why = verdict.reason if verdict.failure is None else verdict.failure.message
    if why:
        line.append(f"  ({common.plain(why)})", style="dim")
    return line


def transition_text(change: Transition, names: Mapping[str, str]) -> Text:
    """A change of state on one line."""
    why = "" if change.cause is None else f" ({change.cause})"
    message = f": {common.plain(change.why)}" if change.why else ""
    retry = "" if change.retry_in is None else f"; trying again in {change.retry_in:.1f} s"
    name = common.plain(names.get(change.source, change.source))
    return Text(f"{common.instant(change.at)}  {name} {change.state}{why}{message}{retry}", style="dim")
