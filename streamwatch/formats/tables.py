"""Tables for other programs: JSON Lines, CSV that is safe to open in a spreadsheet, Parquet."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import Enum
from typing import Any, BinaryIO, TextIO

from streamwatch.errors import LibraryMissing
from streamwatch.store.loading import VerdictRow

PARQUET_ROWS = 10_000
"""Rows of a row group."""


class Kind(Enum):
    """What a column holds. An instant is ISO 8601 in rows and text, and an instant in Parquet."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    INSTANT = "instant"


Columns = Mapping[str, Kind]

ALERTS: Columns = {
    "id": Kind.TEXT,
    "verdict_id": Kind.INTEGER,
    "source": Kind.TEXT,
    "kind": Kind.TEXT,
    "reason": Kind.TEXT,
    "track": Kind.INTEGER,
    "label": Kind.TEXT,
    "start": Kind.NUMBER,
    "end": Kind.NUMBER,
    "peak": Kind.NUMBER,
    "mean": Kind.NUMBER,
    "faces": Kind.INTEGER,
    "started_at": Kind.INSTANT,
    "ended_at": Kind.INSTANT,
    "stored_at": Kind.INSTANT,
    "revision": Kind.INTEGER,
    "state": Kind.TEXT,
    "review_label": Kind.TEXT,
    "review_comment": Kind.TEXT,
    "reviewed_at": Kind.INSTANT,
}
"""Those of `alert_line`."""

VERDICTS: Columns = {
    "verdict_id": Kind.INTEGER,
    "source": Kind.TEXT,
    "sha256": Kind.TEXT,
    "label": Kind.TEXT,
    "score": Kind.NUMBER,
    "reason": Kind.TEXT,
    "duration": Kind.NUMBER,
    "started_at": Kind.INSTANT,
    "stored_at": Kind.INSTANT,
    "decoded": Kind.INTEGER,
    "sampled": Kind.INTEGER,
    "analysed": Kind.INTEGER,
    "dropped": Kind.INTEGER,
    "tracks": Kind.INTEGER,
    "alerts": Kind.INTEGER,
    "model": Kind.TEXT,
    "model_sha256": Kind.TEXT,
    "config_sha256": Kind.TEXT,
    "error": Kind.TEXT,
    "error_message": Kind.TEXT,
}
"""Those of `verdict_cells`."""

SCORES: Columns = {
    "verdict_id": Kind.INTEGER,
    "source": Kind.TEXT,
    "track": Kind.INTEGER,
    "frame": Kind.INTEGER,
    "pts": Kind.NUMBER,
    "wall_time": Kind.INSTANT,
    **dict.fromkeys(("x0", "y0", "x1", "y1", "confidence", "logit", "probability"), Kind.NUMBER),
    **dict.fromkeys(("short_side", "sharpness", "pose", "upscaling"), Kind.NUMBER),
}
"""Those of `Store.iter_scores`: a row for each scored face."""


def verdict_cells(row: VerdictRow) -> dict[str, Any]:
    """A verdict as one row of a table."""
    verdict, failure = row.verdict, row.verdict.failure
    return {
        "verdict_id": row.id,
        "source": verdict.source,
        "sha256": verdict.sha256,
        "label": verdict.label.value,
        "score": verdict.score,
        "reason": verdict.reason,
        "duration": verdict.duration,
        "started_at": None if verdict.started_at is None else verdict.started_at.isoformat(),
        "stored_at": row.stored_at.isoformat(),
        "decoded": verdict.frames.decoded,
        "sampled": verdict.frames.sampled,
        "analysed": verdict.frames.analysed,
        "dropped": verdict.frames.dropped,
        "tracks": len(verdict.tracks),
        "alerts": len(verdict.alerts),
        "model": verdict.model.name,
        "model_sha256": verdict.model.sha256,
        "config_sha256": verdict.config_sha256,
        "error": None if failure is None else failure.kind,
        "error_message": None if failure is None else failure.message,
    }


def write_jsonl(rows: Iterable[Mapping[str, Any]], stream: TextIO) -> None:
    """One JSON object a line, in ASCII."""
    for row in rows:
        stream.write(json.dumps(row) + "\n")


def write_csv(rows: Iterable[Mapping[str, Any]], columns: Columns, stream: TextIO) -> None:
    """A header, then one row a line (RFC 4180); what is not known is empty.

    A text that a spreadsheet would run as a formula gets an apostrophe in front
    (https://owasp.org/www-community/attacks/CSV_Injection).
    """
    writer = csv.DictWriter(stream, list(columns))
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _harmless(value) for name, value in row.items()})


def write_parquet(rows: Iterable[Mapping[str, Any]], columns: Columns, file: BinaryIO) -> None:
    """Raises LibraryMissing where the extra `parquet` is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise LibraryMissing("pyarrow is missing", "pip install 'streamwatch[parquet]'") from None
    kinds = {
        Kind.TEXT: pyarrow.string(),
        Kind.INTEGER: pyarrow.int64(),
        Kind.NUMBER: pyarrow.float64(),
        Kind.INSTANT: pyarrow.timestamp("us", "UTC"),
    }
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in columns.items()])
    instants = [name for name, kind in columns.items() if kind is Kind.INSTANT]
    left = iter(rows)
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:
        while batch := [{**row, **_instants(row, instants)} for row in itertools.islice(left, PARQUET_ROWS)]:
            writer.write_table(pyarrow.Table.from_pylist(batch, schema))


def _instants(row: Mapping[str, Any], names: Iterable[str]) -> dict[str, datetime | None]:
    return {name: None if row[name] is None else datetime.fromisoformat(row[name]) for name in names}


def _harmless(value: Any) -> Any:
    if isinstance(value, str) and value.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return f"'{value}"
    return value
