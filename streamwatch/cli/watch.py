"""`streamwatch watch`: watch streams."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from streamwatch.cli import common, running
from streamwatch.records import Label, VideoVerdict

if TYPE_CHECKING:
    from streamwatch.sources.states import Transition

STREAM_FAILED = 1


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
    from streamwatch.engine.outbox import Notice
    from streamwatch.sources.states import StreamState
    from streamwatch.store import verdict_line

    settings = running.settings(config, pipeline, store=store, model=model, device=device)
    wanted = list(dict.fromkeys(urls or [stream.url for stream in settings.streams]))
    if not wanted:
        raise typer.BadParameter("give a URL, or list `streams` in the settings", param_hint="URL...")
    out, notes = common.console(), Console(stderr=True, highlight=False, markup=False)
    latest: dict[str, Label] = {}
    with running.stoppable(), contextlib.suppress(KeyboardInterrupt):
        results = iter_watch(wanted, settings, seconds=seconds)
        with contextlib.closing(results):
            for item in results:
                if isinstance(item, Notice):
                    notes.print(f"{common.instant(item.at)}  {common.plain(item.message)}", soft_wrap=True)
                    continue
                if not isinstance(item, VideoVerdict):
                    if item.state is not StreamState.CONNECTING:
                        notes.print(transition_text(item), soft_wrap=True)
                    continue
                latest[item.source] = item.label
                if as_json:
                    typer.echo(json.dumps(verdict_line(item)))
                else:
                    out.print(_verdict(item), soft_wrap=True)
    if Label.ERROR in latest.values():
        raise typer.Exit(STREAM_FAILED)


def _verdict(verdict: VideoVerdict) -> Text:
    at = "–" if verdict.duration is None else common.media_time(verdict.duration)
    line = Text(f"{at:>9}  ")
    line.append(f"{verdict.label!s:<12}", style=running.STYLES[verdict.label])
    line.append(f"  {running.score(verdict.score):>4}  {common.plain(verdict.source)}")
    if verdict.alerts:
        newest = max(verdict.alerts, key=lambda alert: alert.start)
        line.append(f"  forged {common.media_time(newest.start)}–{common.media_time(newest.end)}")
    why = verdict.reason if verdict.failure is None else verdict.failure.message
    if why:
        line.append(f"  ({common.plain(why)})", style="dim")
    return line


def transition_text(change: Transition) -> Text:
    """A change of state on one line."""
    why = "" if change.cause is None else f" ({change.cause})"
    message = change.message.removeprefix(f"{change.source}: ")
    message = f": {common.plain(message)}" if message else ""
    retry = "" if change.retry_in is None else f"; trying again in {change.retry_in:.1f} s"
    line = f"{common.instant(change.at)}  {common.plain(change.source)} {change.state}{why}{message}{retry}"
    return Text(line, style="dim")
