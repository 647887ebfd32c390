"""`streamwatch watch`: watch streams."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from streamwatch.cli import common, running
from streamwatch.config import Settings
from streamwatch.enums import StrEnum
from streamwatch.errors import ConfigError
from streamwatch.live.stream_selection import StreamSelection
from streamwatch.records import Alert, AlertKind, AlertPhase, Label, VideoVerdict
from streamwatch.sources import redact

if TYPE_CHECKING:
    from streamwatch.live.outbox import OperatorNotice
    from streamwatch.live.watch import WatchEvent, WatchOutput
    from streamwatch.sources.states import Transition

STREAM_FAILED = 1

SAY_EVERY = 5.0
"""Seconds between two lines on a stream whose label stays the same."""


class Background(StrEnum):
    """What to do with the watch in the background."""

    START = "start"
    ATTACH = "attach"
    STOP = "stop"


def watch(
    urls: Annotated[
        list[str] | None,
        typer.Argument(metavar="[URL...]", help="Streams; default: `streams` of the settings, and added ones."),
    ] = None,
    config: common.ConfigOption = None,
    pipeline: running.PipelineOption = "live",
    store: common.StoreOption = None,
    seconds: Annotated[
        float | None, typer.Option("--for", metavar="SECONDS", min=0.1, help="Stop after this many seconds.")
    ] = None,
    device: running.DeviceOption = None,
    address: running.AddressOption = None,
    model: running.ModelOption = None,
    metrics_port: Annotated[
        int | None,
        typer.Option("--metrics-port", metavar="PORT", min=1, max=65535, help="Serve Prometheus metrics on this port."),
    ] = None,
    background: Annotated[
        Background | None,
        typer.Option("--background", help="Start, attach to, or stop a watch on a running Ray cluster."),
    ] = None,
    as_json: common.JsonOption = False,
) -> None:
    """Watch streams until stopped. Exit status 1 where one never delivered a picture, or was down at the end.

    A verdict on the last seconds of each stream is stored every second, and printed every few. A stream that breaks is
    reconnected. Without a URL, the settings' `streams` and those of `streamwatch streams add` are watched, and
    followed as they change.
    """
    from streamwatch.cluster.statistics import DetectorLoad
    from streamwatch.live.watch import iter_watch

    read = functools.partial(
        running.settings, config, pipeline, store=store, model=model, device=device, address=address
    )
    log = read().log  # a watch in the background, which reads them again, has neither the options nor the environment

    def load() -> Settings:
        settings = read(log=log)
        if metrics_port is None:
            return settings
        return settings.model_copy(update={"metrics": settings.metrics.model_copy(update={"port": metrics_port})})

    wanted = StreamSelection(urls or [], load, config)
    settings = wanted.settings
    if background is not None and seconds is not None:
        raise typer.BadParameter("a watch in the background goes on until it is stopped", param_hint="--for")
    if background in (Background.ATTACH, Background.STOP) and metrics_port is not None:
        raise typer.BadParameter("is for the command that starts the watch", param_hint="--metrics-port")
    if background is Background.STOP:
        _stop_background(settings)
        return
    if background is Background.ATTACH:
        _attach(wanted, as_json=as_json)
        return
    wanted.check()
    if background is Background.START:
        _start_background(wanted)
        return
    latest: dict[str, Label] = {}
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
        show = _shower(stack, wanted, as_json=as_json)
        over = stack.enter_context(running.drained())
        publish = stack.enter_context(listen(settings, wanted.names))
        results = iter_watch(wanted.urls, settings, follow=wanted.follow, stop=over, seconds=seconds)
        for item in stack.enter_context(contextlib.closing(results)):
            publish(item)
            if not isinstance(item, DetectorLoad):
                show(item)
            if isinstance(item, VideoVerdict):
                latest[item.source] = item.label
    if Label.ERROR in latest.values():
        raise typer.Exit(STREAM_FAILED)


def _start_background(wanted: StreamSelection) -> None:
    from streamwatch.live.background import Hooks, start_supervisor

    settings = wanted.settings
    hooks = Hooks(wanted.again(), lambda: listen(settings, wanted.names))
    if not start_supervisor(settings, hooks):
        raise ConfigError("a watch goes on in the background already", "--background attach shows it, stop ends it")
    typer.echo("watching in the background; --background attach shows it, --background stop ends it")


def _attach(wanted: StreamSelection, *, as_json: bool) -> None:
    """Show the events of the watch in the background until it ends, or this command is stopped."""
    from streamwatch.live.background import attach

    with running.stoppable(), contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
        show = _shower(stack, wanted, as_json=as_json)
        for item in stack.enter_context(contextlib.closing(attach(wanted.settings))):
            show(item)


def _stop_background(settings: Settings) -> None:
    from streamwatch.live.background import stop_supervisor

    stop_supervisor(settings)
    typer.echo("the watch in the background has ended; its last verdicts are stored")


def _shower(stack: contextlib.ExitStack, wanted: StreamSelection, *, as_json: bool) -> Callable[[WatchEvent], None]:
    """What shows an item in the way that was asked for, or that suits standard output."""
    if as_json:
        return _show_json()
    if _in_a_terminal():
        return _show_board(stack, [redact(url) for url in wanted.urls], wanted.names)
    return _show_lines(wanted.names)


@contextlib.contextmanager
def listen(settings: Settings, names: Mapping[str, str]) -> Iterator[Callable[[WatchOutput], None]]:
    """Gives a function that passes each output of a watch to metrics and traces, where the settings ask for them."""
    receivers: list[Callable[[WatchOutput], None]] = []
    with contextlib.ExitStack() as stack:
        if settings.metrics.port is not None:
            from streamwatch.telemetry.metrics import WatchMetrics, serve_metrics

            metrics = WatchMetrics(names)
            stack.enter_context(serve_metrics(settings.metrics, [metrics]))
            receivers.append(metrics.receive)
        if settings.tracing.every:
            from streamwatch.telemetry.tracing import trace_frames

            receivers.append(stack.enter_context(trace_frames(settings.tracing, names)).receive)

        def publish(item: WatchOutput) -> None:
            for receive in receivers:
                receive(item)

        yield publish


def _in_a_terminal() -> bool:
    return sys.stdout.isatty()


def _show_json() -> Callable[[WatchEvent], None]:
    """Verdicts and alerts as JSON Lines on standard output, the rest for people on standard error."""
    from streamwatch.formats.jsonl import verdict_line
    from streamwatch.store.events import alert_event

    note = _notes(_errors(), {})

    def show(item: WatchEvent) -> None:
        if isinstance(item, VideoVerdict):
            typer.echo(json.dumps({"event": "verdict", **verdict_line(item)}))
        elif isinstance(item, Alert):
            typer.echo(json.dumps(alert_event(item)))
        else:
            note(item)

    return show


def _show_lines(names: Mapping[str, str]) -> Callable[[WatchEvent], None]:
    """A line for every alert and for verdicts on standard output, the rest on standard error.

    A verdict has a line where its label is another one than before, and every few seconds.
    """
    out, note = common.console(), _notes(_errors(), names)
    printed: dict[str, tuple[Label, float]] = {}

    def show(item: WatchEvent) -> None:
        if isinstance(item, VideoVerdict):
            label, at = printed.get(item.source, (None, -math.inf))
            if item.label is not label or time.monotonic() - at >= SAY_EVERY:
                printed[item.source] = item.label, time.monotonic()
                out.print(_verdict(item, names), soft_wrap=True)
        elif isinstance(item, Alert):
            out.print(_alert(item, names), soft_wrap=True)
        else:
            note(item)

    return show


def _show_board(
    stack: contextlib.ExitStack, sources: Sequence[str], names: Mapping[str, str]
) -> Callable[[WatchEvent], None]:
    """A table of the streams that stays where it is, below what happens."""
    from rich.live import Live

    from streamwatch.cli.board import Board
    from streamwatch.live.outbox import OperatorNotice

    board = Board(sources, names)
    live = stack.enter_context(Live(board, console=common.console(), refresh_per_second=2))
    note = _notes(live.console, names)

    def show(item: WatchEvent) -> None:
        if isinstance(item, Alert):
            live.console.print(_alert(item, names), soft_wrap=True)
            return
        if not isinstance(item, OperatorNotice):
            board.receive(item)
        if not isinstance(item, VideoVerdict):
            note(item)

    return show


def _errors() -> Console:
    return Console(stderr=True, highlight=False, markup=False)


def _notes(console: Console, names: Mapping[str, str]) -> Callable[[Transition | OperatorNotice], None]:
    """Prints what happened, except that a stream is retried or fails with the same cause as before."""
    from streamwatch.live.outbox import OperatorNotice
    from streamwatch.sources.states import StreamState

    printed: dict[str, tuple[object, ...]] = {}

    def note(item: Transition | OperatorNotice) -> None:
        if isinstance(item, OperatorNotice):
            line = Text(f"{common.instant(item.at)}  {common.plain(item.message)}", style="bold")
            console.print(line, soft_wrap=True)
            return
        report = item.state, item.cause, item.message
        if item.state is not StreamState.CONNECTING and printed.get(item.source) != report:
            printed[item.source] = report
            console.print(transition_text(item, names), soft_wrap=True)

    return note


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
