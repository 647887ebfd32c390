"""Which streams are to be watched: those of the settings, and those that `streamwatch streams` added since.

Both stand in files that a running watch follows. What is added goes into a file of its own, for its owner's eyes only:
URLs carry passwords, and the store holds none.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import yaml
from pydantic import ValidationError

from streamwatch.config import Section, Settings, StreamSettings
from streamwatch.errors import ConfigError
from streamwatch.files import PRIVATE, replacing
from streamwatch.sources import Location, redact
from streamwatch.sources.container import check_watchable
from streamwatch.store.database import parse_url, sqlite_file
from streamwatch.validation import problems

HEADER = "# Streams of `streamwatch streams add`, `remove` and `pause`; a running `watch` follows this file.\n"


class _Document(Section):
    streams: tuple[StreamSettings, ...] = ()


def roster_path(settings: Settings) -> Path | None:
    """The file of added streams; None for a store on a server where `live.roster` does not name one."""
    if settings.live.roster is not None:
        return settings.live.roster
    file = sqlite_file(parse_url(settings.store.url))
    return None if file is None else file.with_name(f"{file.name}.streams.yaml")


class Roster:
    """The streams of a file, and those of the settings below them. path: None where nothing can be added."""

    def __init__(self, path: Path | None, configured: Sequence[StreamSettings]) -> None:
        self._path = path
        self.configured = tuple(configured)
        """Those of the settings."""

    def streams(self) -> list[StreamSettings]:
        """Every stream once, those of the settings first; one that was paused says so. Raises ConfigError."""
        return self._merged(self._added())

    def _merged(self, added: Sequence[StreamSettings]) -> list[StreamSettings]:
        found = {stream.url: stream for stream in self.configured}
        for stream in added:
            known = found.get(stream.url)
            found[stream.url] = stream if known is None else known.model_copy(update={"paused": stream.paused})
        return list(found.values())

    def add(self, url: str, name: str | None) -> None:
        """Add a stream. Raises ConfigError where there is one with that URL or name, SourceRefused for its scheme."""
        check_watchable(Location(url))
        with self._changed() as streams:
            for known in self._merged(streams):
                if known.url == url or (name is not None and known.name == name):
                    raise ConfigError(f"{known.name or redact(known.url)}: is watched already")
            streams.append(StreamSettings(url=url, name=name))

    def remove(self, which: str) -> None:
        """Remove a stream that was added, by its name or URL. Raises ConfigError for one of the settings."""
        with self._changed() as streams:
            stream = self._find(which, streams)
            if any(stream.url == known.url for known in self.configured):
                raise ConfigError(f"{which}: stands in the settings", "remove it there, or pause it")
            streams[:] = [known for known in streams if known.url != stream.url]

    def pause(self, which: str, *, paused: bool) -> None:
        """Have a stream left alone for a while, or watched again. Raises ConfigError for an unknown one."""
        with self._changed() as streams:
            stream = self._find(which, streams)
            streams[:] = [known for known in streams if known.url != stream.url]
            streams.append(stream.model_copy(update={"paused": paused}))

    def _find(self, which: str, added: Sequence[StreamSettings]) -> StreamSettings:
        for stream in self._merged(added):
            if which in (stream.name, stream.url, redact(stream.url)):
                return stream
        raise ConfigError(f"{redact(which)}: no such stream", "`streamwatch streams list` shows them")

    def _added(self) -> list[StreamSettings]:
        if self._path is None:
            return []
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ConfigError(f"{self._path}: cannot be read ({error.strerror})") from None
        try:
            values = yaml.safe_load(text) or {}
            return list(_Document.model_validate(values).streams)
        except yaml.YAMLError as error:
            raise ConfigError(f"{self._path}: not valid YAML: {' '.join(str(error).split())}") from None
        except ValidationError as error:
            raise ConfigError(f"{self._path}: {problems(error)}") from None

    @contextlib.contextmanager
    def _changed(self) -> Iterator[list[StreamSettings]]:
        """The added streams, to be changed; written at once, by one process at a time."""
        path = self._path
        if path is None:
            raise ConfigError("live.roster: with a store on a server it must name the file of added streams")
        try:
            with _open_lock(path.with_suffix(".lock")) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                streams = self._added()
                yield streams
                _write(path, streams)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written ({error.strerror})") from None


def _open_lock(path: Path) -> BinaryIO:
    """A file to lock; a link is not followed, and nothing is emptied."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, PRIVATE), "r+b")


def _write(path: Path, streams: Sequence[StreamSettings]) -> None:
    document: dict[str, Any] = {"streams": [stream.model_dump(exclude_defaults=True) for stream in streams]}
    with replacing(path) as draft:
        draft.write_text(HEADER + yaml.safe_dump(document, allow_unicode=True, sort_keys=False), encoding="utf-8")


class RosterFollower:
    """Reads the streams to watch again whenever one of its files has changed.

    read: gives the streams; raises ConfigError. files: those that it reads, there or not.
    """

    def __init__(self, read: Callable[[], Sequence[StreamSettings]], files: Sequence[Path]) -> None:
        self._read = read
        self._files = list(files)
        self._stamps: list[tuple[int, int] | None] | None = None

    def poll(self) -> Sequence[StreamSettings] | None:
        """The streams where a file has changed since the last poll, or at the first one; else None. Raises
        ConfigError, once for each change.
        """
        stamps = [_stamp(file) for file in self._files]
        if stamps == self._stamps:
            return None
        self._stamps = stamps
        return self._read()

    def forget(self) -> None:
        """Make the next poll like the first one."""
        self._stamps = None


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino
