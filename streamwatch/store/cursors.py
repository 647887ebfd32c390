"""Places in a listing, so that the next page begins where the last one ended, whatever has come in between."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import datetime


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
            at, key, start = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
            cursor = cls(datetime.fromisoformat(at), str(key), float(start))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{text!r} is no cursor of a listing") from error
        if cursor.at.utcoffset() is None:
            raise ValueError(f"{text!r} is no cursor of a listing")
        return cursor
