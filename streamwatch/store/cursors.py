"""Places in a listing, so that the next page begins where the last one ended, whatever has come in between."""

from __future__ import annotations

import base64
import json
import math
from dataclasses import dataclass
from datetime import datetime

LONGEST = 1000
"""Characters of a cursor: an instant, an id, a number."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The place of a row. at: the instant that it is listed by. start: media seconds of an alert, 0 for a verdict.

    Its text holds letters, digits, `-` and `_` alone.
    """

    at: datetime
    id: str
    start: float = 0.0

    def __str__(self) -> str:
        document = json.dumps([self.at.isoformat(), self.id, self.start], separators=(",", ":"))
        return base64.urlsafe_b64encode(document.encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """The cursor of a text. Raises ValueError for one that no listing gave."""
        try:
            if len(text) > LONGEST:
                raise ValueError("too long")
            at, key, start = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
            cursor = cls(datetime.fromisoformat(at), str(key), float(start))
            if cursor.at.utcoffset() is None or not math.isfinite(cursor.start):
                raise ValueError("no moment")
        except (ValueError, TypeError, RecursionError, OverflowError) as error:
            raise ValueError(f"{text[:40]!r} is no cursor of a listing") from error
        return cursor
