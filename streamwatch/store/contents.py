"""What the store knows of the content of files: hashes by path, size and time of change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from datetime import datetime

from sqlalchemy import Engine, bindparam, delete, insert, select, update

from streamwatch.records import Content
from streamwatch.store.database import lock, reading, retried, transaction
from streamwatch.store.saving import chunks
from streamwatch.store.tables import contents


class Contents:
    """A cache of hashes. The hash of a path is valid as long as size and modification time are the same.

    clock: gives the aware "now".
    """

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock

    @retried
    def known(self, paths: Sequence[str]) -> dict[str, Content]:
        """What is known of these absolute paths. That they were asked for is noted once a day."""
        today = self._clock().date()
        columns = [contents.c[field.name] for field in fields(Content)]
        found: dict[str, Content] = {}
        old: list[str] = []
        with reading(self._engine) as connection:
            for chunk in chunks(paths):
                query = select(*columns, contents.c.seen_on).where(contents.c.path.in_(chunk))
                for *values, seen_on in connection.execute(query):
                    content = Content(*values)
                    found[content.path] = content
                    if seen_on != today:
                        old.append(content.path)
        for chunk in chunks(old):
            with transaction(self._engine) as connection:
                connection.execute(update(contents).where(contents.c.path.in_(chunk)).values(seen_on=today))
        return found

    @retried
    def note(self, fresh: Sequence[Content]) -> None:
        """Keep hashes, in place of older ones of the same paths."""
        rows = [{**asdict(content), "seen_on": self._clock().date()} for content in fresh]
        if rows:
            with transaction(self._engine) as connection:
                lock(connection, "contents")
                gone = delete(contents).where(contents.c.path == bindparam("gone"))
                connection.execute(gone, [{"gone": content.path} for content in fresh])
                connection.execute(insert(contents), rows)
