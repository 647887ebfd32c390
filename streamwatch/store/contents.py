"""What the store knows of the content of files: hashes by path, size and time of change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import Engine, bindparam, delete, insert, select

from streamwatch.records import Content
from streamwatch.store.database import lock, reading, transaction
from streamwatch.store.saving import chunks
from streamwatch.store.tables import contents


class Contents:
    """A cache of hashes. What it says of a path holds as long as size and time of change are the same."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def known(self, paths: Sequence[str]) -> dict[str, Content]:
        """What is known of these absolute paths."""
        with reading(self._engine) as connection:
            return {
                row["path"]: Content(**row)
                for chunk in chunks(paths)
                for row in connection.execute(select(contents).where(contents.c.path.in_(chunk))).mappings()
            }

    def note(self, fresh: Sequence[Content]) -> None:
        """Keep hashes, in place of older ones of the same paths."""
        rows = [asdict(content) for content in fresh]
        if rows:
            with transaction(self._engine) as connection:
                lock(connection, "contents")
                gone = delete(contents).where(contents.c.path == bindparam("gone"))
                connection.execute(gone, [{"gone": content.path} for content in fresh])
                connection.execute(insert(contents), rows)
