"""What a database holds, read without the store."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from streamwatch.store.database import create_store_engine, parse_url
from streamwatch.store.tables import metadata


def dump(url: str) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table."""
    engine = create_store_engine(parse_url(url))
    with engine.connect() as connection:
        rows = {
            table.name: [
                dict(row) for row in connection.execute(select(table).order_by(*table.primary_key.columns)).mappings()
            ]
            for table in metadata.sorted_tables
        }
    engine.dispose()
    return rows


def count(url: str, table: str) -> int:
    """The number of a table's rows."""
    return len(dump(url)[table])
