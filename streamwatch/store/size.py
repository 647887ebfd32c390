"""How many bytes a store holds."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, func, select, text

from streamwatch.store.database import reading, sqlite_file
from streamwatch.store.tables import clips, evidence, metadata, scores

SCORE_BYTES = 183
"""A score in PostgreSQL with its place in the index (measured: docs/store.md)."""
EVIDENCE_BYTES = 250
"""What an evidence takes up there beside its pictures."""


def bytes_in_use(engine: Engine) -> int:
    """Bytes of what is stored, clips beside the database too. Room that deleted rows left, and that rows to come will
    take, does not count, though the files of the database hold it.
    """
    with reading(engine) as connection:
        of_clips = connection.execute(select(func.coalesce(func.sum(clips.c.bytes), 0))).scalar_one()
        return int(of_clips) + (_of_pages(connection) if sqlite_file(engine.url) else _of_rows(connection))


def file_bytes(engine: Engine) -> int:
    """Bytes that the database takes up on its disk, with the room of deleted rows, without clips."""
    file = sqlite_file(engine.url)
    if file is not None:
        return file.stat().st_size
    with reading(engine) as connection:
        return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())


def _of_pages(connection: Connection) -> int:
    pages, free, size = (
        connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _of_rows(connection: Connection) -> int:
    """PostgreSQL does not say how much of a table is in use: the heavy tables count by their rows."""
    pictures = func.octet_length(evidence.c.crop_jpeg) + func.coalesce(func.octet_length(evidence.c.mask_png), 0)
    scored = connection.execute(select(func.count()).select_from(scores)).scalar_one()
    proofs, of_pictures = connection.execute(
        select(func.count(), func.coalesce(func.sum(pictures), 0)).select_from(evidence)
    ).one()
    light = [table.name for table in metadata.sorted_tables if table not in (scores, evidence)]
    total = text("SELECT sum(pg_total_relation_size(name::regclass)) FROM unnest(CAST(:names AS text[])) AS name")
    others = connection.execute(total, {"names": light}).scalar_one()
    return int(scored * SCORE_BYTES + proofs * EVIDENCE_BYTES + of_pictures + others)
