"""Where a source is, parsed once."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from streamwatch.sources.redact import redact, scheme_of

OBJECT_STORES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
"""Schemes of object stores, with the package that speaks each. Of these only s3 is tested."""


class Location:
    """A path, or a URL, which may hold credentials: `str` and `repr` mask them, and only `text` has them.

    Two locations are equal where their texts are. Not a dataclass: `asdict` and pydantic take those apart, secrets
    included.
    """

    __slots__ = ("_name", "_scheme", "_text")

    def __init__(self, source: str | Path) -> None:
        self._text = os.fspath(source)
        self._scheme = scheme_of(self._text)
        self._name = redact(self._text)

    @classmethod
    def of(cls, source: str | Path | Location) -> Location:
        """For arguments that may be either."""
        return source if isinstance(source, Location) else cls(source)

    @property
    def text(self) -> str:
        """As it was given, with credentials: for what opens it."""
        return self._text

    @property
    def name(self) -> str:
        """As it may be shown and stored, credentials masked."""
        return self._name

    @property
    def scheme(self) -> str:
        """Lower case; empty for a path."""
        return self._scheme

    @property
    def host(self) -> str:
        """Of a URL, lower case; empty where there is none."""
        try:
            return urlsplit(self._text).hostname or "" if self._scheme else ""
        except ValueError:
            return ""

    @property
    def is_url(self) -> bool:
        """Whether it is a URL (`scheme://…`) and not a path; `a:b.mp4` and `C:\\x.mp4` are paths."""
        return bool(self._scheme)

    @property
    def is_object(self) -> bool:
        """Whether it is a URL of an object store."""
        return self._scheme in OBJECT_STORES

    @property
    def has_content(self) -> bool:
        """Whether it is a file or an object, whose content can be hashed, and not some other URL."""
        return self.is_object or not self.is_url

    @property
    def path(self) -> Path:
        """Of what is not a URL."""
        return Path(self._text)

    def absolute(self) -> Location:
        """The same source from any working directory: what another process opens it by, and the store knows its content
        by. A URL is that already.
        """
        return self if self.is_url else Location(self.path.absolute())

    def __str__(self) -> str:
        return self._name

    def __repr__(self) -> str:
        return f"Location({self._name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Location) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> tuple[type[Location], tuple[str]]:
        return Location, (self._text,)
