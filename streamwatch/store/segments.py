"""What was found in parts of long files whose verdict is still to come. They go with the verdict's transaction."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Engine, delete, insert, select

from streamwatch.records import ResultKey, SegmentResult
from streamwatch.store.database import lock, reading
from streamwatch.store.tables import segments


class Segments:
    """The parts of files that a store has."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find(self, key: ResultKey) -> dict[str, bytes]:
        """What it has on a content, by place."""
        query = select(segments.c.place, segments.c.data).where(*_of(key))
        with reading(self._engine) as connection:
            return {row.place: row.data for row in connection.execute(query)}


def save_segment(connection: Connection, found: SegmentResult, now: datetime) -> None:
    """Keep what was found in a part, in place of what was found before."""
    lock(connection, f"segment {found.key} {found.place}")
    connection.execute(delete(segments).where(*_of(found.key), segments.c.place == found.place))
    values = {**found.key._asdict(), "place": found.place, "data": found.data, "stored_at": now}
    connection.execute(insert(segments), values)


def drop_segments(connection: Connection, key: ResultKey) -> None:
    """Delete the parts of a content."""
    connection.execute(delete(segments).where(*_of(key)))


def _of(key: ResultKey) -> list[ColumnElement[bool]]:
    return [segments.c[name] == value for name, value in key._asdict().items()]
