"""Where other distributions add to the program: the tables of what it comes with, and the entry points beside them.

A distribution names what it adds as entry points (https://packaging.python.org/specifications/entry-points/) in one of
the groups below; `docs/extending.md` has an example of each. What is built in is declared in the same form. Nothing is
imported before it is used.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from streamwatch.errors import ConfigError, StreamwatchError


@dataclass(frozen=True, slots=True)
class ExtensionPoint:
    """Objects by name.

    group: of the entry points. builtin: name → `module:object`. reserved: further names that are the program's own.
    """

    group: str
    builtin: Mapping[str, str]
    reserved: Sequence[str] = field(default=())

    def added(self) -> list[str]:
        """The names that other distributions add, sorted; not those that they may not have."""
        return sorted(name for name in _entry_points(self.group, tuple(sys.path)) if not self._is_own(name))

    def names(self) -> list[str]:
        """The built-in names, and those that other distributions add."""
        return [*self.builtin, *self.added()]

    def check(self, name: str) -> None:
        """Raise ConfigError where a distribution claims a name that is the program's own, or several claim one."""
        found = _entry_points(self.group, tuple(sys.path)).get(name, ())
        if found and self._is_own(name):
            raise ConfigError(f"{_described(found[0])}: the name {name} is built in", _remedy(found[0]))
        if len(found) > 1:
            others = " and ".join(_described(point) for point in found)
            raise ConfigError(f"{others} have one name", _remedy(found[-1]))

    def load(self, name: str) -> Any:
        """The object of one of `names()`. Raises ConfigError where its distribution is broken, and as `check`."""
        self.check(name)
        if name in self.builtin:
            return EntryPoint(name, self.builtin[name], self.group).load()
        (point,) = _entry_points(self.group, tuple(sys.path))[name]
        try:
            return point.load()
        except Exception as error:
            raise _broken(point, "cannot be loaded", error) from error

    @contextmanager
    def guard(self, name: str) -> Iterator[None]:
        """Where the object of another distribution is called: what it raises leaves as a ConfigError that names it, but
        for a StreamwatchError, and for an OSError, of which it may be innocent.
        """
        try:
            yield
        except (StreamwatchError, OSError):
            raise
        except Exception as error:
            if self._is_own(name):
                raise
            raise _broken(_entry_points(self.group, tuple(sys.path))[name][0], "failed", error) from error

    def _is_own(self, name: str) -> bool:
        return name in self.builtin or name in self.reserved


@functools.lru_cache(maxsize=16)
def _entry_points(group: str, search_path: tuple[str, ...]) -> dict[str, tuple[EntryPoint, ...]]:
    """Those on `sys.path` (`search_path`) by name. Looking takes some 20 ms."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=group):
        found[point.name] = (*found.get(point.name, ()), point)
    return found


def _described(point: EntryPoint) -> str:
    dist = point.dist
    owner = "" if dist is None else f" of {dist.name} {dist.version}"
    return f"{point.group}: {point.name} = {point.value}{owner}"


def _remedy(point: EntryPoint) -> str:
    return f"update it or remove it: pip uninstall {'' if point.dist is None else point.dist.name}".rstrip()


def _broken(point: EntryPoint, what: str, error: Exception) -> ConfigError:
    return ConfigError(f"{_described(point)} {what} ({type(error).__name__}: {error})", _remedy(point))


DETECTORS = ExtensionPoint(
    "streamwatch.detectors",
    {
        "m2tr": "streamwatch.detectors.m2tr.detector:M2TRDetector",
        "statistics": "streamwatch.detectors.statistics.detector:StatisticsDetector",
    },
    reserved=("m2tr-lite", "m2tr-b4", "texture"),
)
"""Kinds of detector, as the presets of model cards name them, to classes with `LoadableDetector`'s methods."""

SOURCES = ExtensionPoint(
    "streamwatch.sources",
    dict.fromkeys(("s3", "gs", "az", "abfs"), "streamwatch.sources.objects:ObjectFile"),
    reserved=("file", "http", "https", "rtmp", "rtmps", "rtsp", "rtsps", "srt", "udp"),
)
"""Schemes of URLs to what opens them: called with a URL and `DecodeSettings`, it gives a `MediaFile`. FFmpeg itself
opens those of the reserved schemes.
"""

SINKS = ExtensionPoint(
    "streamwatch.sinks",
    {
        **dict.fromkeys(("https", "http"), "streamwatch.sinks.webhook:Webhook"),
        **dict.fromkeys(("mqtts", "mqtt"), "streamwatch.sinks.mqtt:Mqtt"),
    },
)
"""Schemes of URLs to what delivers alerts there: called with `SinkSettings`, it gives a `Sink`."""

FORMATS = ExtensionPoint(
    "streamwatch.formats",
    {
        "jsonl": "streamwatch.formats.tables:write_jsonl",
        "csv": "streamwatch.formats.tables:write_csv",
        "parquet": "streamwatch.formats.tables:write_parquet",
    },
    reserved=("vtt", "otio", "edl", "fcpxml"),
)
"""Suffixes of files to what writes a table: called with rows, `Columns` and a binary file. Those of time lines are
reserved.
"""

POINTS = (DETECTORS, SOURCES, SINKS, FORMATS)
