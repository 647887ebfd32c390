"""Which streams `watch` is to watch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import typer

from streamwatch.config import Settings, StreamSettings
from streamwatch.sources import redact


class StreamSelection:
    """The streams of the command line, for good; or those of the settings and the roster, followed as they change.

    load: gives the settings as they stand. config: the file that they come from, if one was named.

    urls: at first. follow: see `iter_watch`; None for those of the command line. names: what sources are called, kept
    up to date.
    """

    def __init__(self, urls: Sequence[str], load: Callable[[], Settings], config: Path | None) -> None:
        self.settings = load()
        self.names: dict[str, str] = {}
        self.follow: Callable[[], list[str] | None] | None = None
        self.urls = list(dict.fromkeys(urls))
        self._load = load
        if urls:
            self._name(self.settings.streams)
            return
        from streamwatch.live.roster import RosterFollower, roster_path

        path = roster_path(self.settings)
        self._path = None if path is None else path.absolute()
        files = [file for file in (self._path, None if config is None else config.absolute()) if file is not None]
        self._follower = RosterFollower(self._read, files)
        self.follow = self._changed_urls
        self.urls = self._changed_urls() or []

    def check(self) -> None:
        """Raise BadParameter where there is nothing to watch, nor ever was."""
        added = self.follow is not None and self._path is not None and self._path.exists()
        if not self.urls and not added:
            hint = "give one, list `streams` in the settings, or add one with `streamwatch streams add URL`"
            raise typer.BadParameter(hint, param_hint="URL...")

    def again(self) -> Callable[[], list[str] | None]:
        """A `follow` for another process, which begins with all that is wanted."""
        if self.follow is None:
            first = [self.urls]
            return lambda: first.pop() if first else None
        self._follower.forget()
        return self.follow

    def _changed_urls(self) -> list[str] | None:
        streams = self._follower.poll()
        return None if streams is None else [stream.url for stream in streams if not stream.paused]

    def _read(self) -> list[StreamSettings]:
        from streamwatch.live.roster import Roster

        fresh = self._load()
        if fresh.model_copy(update={"streams": ()}) != self.settings.model_copy(update={"streams": ()}):
            typer.echo("settings other than `streams` have changed: they are used by the next watch", err=True)
        streams = Roster(self._path, fresh.streams).streams()
        self._name(streams)
        return streams

    def _name(self, streams: Sequence[StreamSettings]) -> None:
        self.names.clear()
        self.names.update({redact(stream.url): stream.name for stream in streams if stream.name})
