"""Tables for other programs: JSON Lines, CSV that is safe to open in a spreadsheet, Parquet."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import Enum
from typing import Any, BinaryIO

from streamwatch.distribution import install_extra
from streamwatch.errors import LibraryMissing
from streamwatch.extensions import FORMATS
from streamwatch.store.loading import VerdictRow

_FORMULA = frozenset("=+-@\N{MINUS SIGN}")
"""What a formula begins with; full-width and small forms of it count as well."""
_SEPARATORS = re.compile("([;|\t\r\n\v\f\x1c-\x1e\x85\u2028\u2029])")
"""What separates cells or rows in some locale; a comma does not, as the text around it is quoted."""

PARQUET_ROWS = 10_000
"""Rows of a row group."""


class ColumnKind(Enum):
    """What a column holds. An instant is ISO 8601 in rows and text, and an instant in Parquet."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    INSTANT = "instant"


Columns = Mapping[str, ColumnKind]
Rows = Iterable[Mapping[str, Any]]

ALERTS: Columns = {
    "id": ColumnKind.TEXT,
    "verdict_id": ColumnKind.INTEGER,
    "source": ColumnKind.TEXT,
    "kind": ColumnKind.TEXT,
    "reason": ColumnKind.TEXT,
    "track": ColumnKind.INTEGER,
    "label": ColumnKind.TEXT,
    "start": ColumnKind.NUMBER,
    "end": ColumnKind.NUMBER,
    "peak": ColumnKind.NUMBER,
    "mean": ColumnKind.NUMBER,
    "faces": ColumnKind.INTEGER,
    "started_at": ColumnKind.INSTANT,
    "ended_at": ColumnKind.INSTANT,
    "stored_at": ColumnKind.INSTANT,
    "revision": ColumnKind.INTEGER,
    "state": ColumnKind.TEXT,
    "review_label": ColumnKind.TEXT,
    "review_comment": ColumnKind.TEXT,
    "reviewed_at": ColumnKind.INSTANT,
    "reviewed_by": ColumnKind.TEXT,
}
"""Those of `alert_line`."""

VERDICTS: Columns = {
    "verdict_id": ColumnKind.INTEGER,
    "source": ColumnKind.TEXT,
    "sha256": ColumnKind.TEXT,
    "label": ColumnKind.TEXT,
    "score": ColumnKind.NUMBER,
    "reason": ColumnKind.TEXT,
    "duration": ColumnKind.NUMBER,
    "started_at": ColumnKind.INSTANT,
    "stored_at": ColumnKind.INSTANT,
    "decoded": ColumnKind.INTEGER,
    "sampled": ColumnKind.INTEGER,
    "analysed": ColumnKind.INTEGER,
    "dropped": ColumnKind.INTEGER,
    "tracks": ColumnKind.INTEGER,
    "alerts": ColumnKind.INTEGER,
    "model": ColumnKind.TEXT,
    "model_sha256": ColumnKind.TEXT,
    "config_sha256": ColumnKind.TEXT,
    "error": ColumnKind.TEXT,
    "error_message": ColumnKind.TEXT,
}
"""Those of `verdict_cells`."""

SCORES: Columns = {
    "verdict_id": ColumnKind.INTEGER,
    "source": ColumnKind.TEXT,
    "track": ColumnKind.INTEGER,
    "frame": ColumnKind.INTEGER,
    "pts": ColumnKind.NUMBER,
    "wall_time": ColumnKind.INSTANT,
    **dict.fromkeys(("x0", "y0", "x1", "y1", "confidence", "logit", "probability"), ColumnKind.NUMBER),
    **dict.fromkeys(("short_side", "sharpness", "pose", "upscaling"), ColumnKind.NUMBER),
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


def write_table(rows: Rows, columns: Columns, form: str, file: BinaryIO) -> None:
    """Write rows in one of `table_formats()`. Raises LibraryMissing, and ConfigError for a broken extension."""
    write = FORMATS.load(form)
    with FORMATS.guard(form):
        write(rows, columns, file)


def table_formats() -> list[str]:
    """What a table can be written as; each name is also the suffix of such files."""
    return FORMATS.names()


def write_jsonl(rows: Rows, columns: Columns, file: BinaryIO) -> None:
    """One JSON object a line, in ASCII."""
    for row in rows:
        file.write(f"{json.dumps(row)}\n".encode("ascii"))


def write_csv(rows: Rows, columns: Columns, file: BinaryIO) -> None:
    """A header, then one row a line (RFC 4180), in UTF-8; what is not known is empty.

    Text that a spreadsheet would run as a formula gets an apostrophe in front, whichever character separates cells in
    its locale (https://owasp.org/www-community/attacks/CSV_Injection).
    """
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.DictWriter(text, list(columns))
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _harmless(value) for name, value in row.items()})
    text.detach()  # flushes it, and leaves the file open


def write_parquet(rows: Rows, columns: Columns, file: BinaryIO) -> None:
    """Raises LibraryMissing where the extra `parquet` is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise LibraryMissing("pyarrow is missing", install_extra("parquet")) from None
    kinds = {
        ColumnKind.TEXT: pyarrow.string(),
        ColumnKind.INTEGER: pyarrow.int64(),
        ColumnKind.NUMBER: pyarrow.float64(),
        ColumnKind.INSTANT: pyarrow.timestamp("us", "UTC"),
    }
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in columns.items()])
    instants = [name for name, kind in columns.items() if kind is ColumnKind.INSTANT]
    left = iter(rows)
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:
        while batch := [{**row, **_instants(row, instants)} for row in itertools.islice(left, PARQUET_ROWS)]:
            writer.write_table(pyarrow.Table.from_pylist(batch, schema))


def _instants(row: Mapping[str, Any], names: Iterable[str]) -> dict[str, datetime | None]:
    return {name: None if row[name] is None else datetime.fromisoformat(row[name]) for name in names}


def _harmless(value: Any) -> Any:
    """Text with an apostrophe in front of all that a spreadsheet may take for a formula, wherever its locale has a cell
    begin: at the beginning, and after what separates cells or rows.
    """
    if not isinstance(value, str):
        return value
    cells = [f"'{part}" if _is_formula(part) else part for part in _SEPARATORS.split(value)]
    text = "".join(cells)
    return f"'{text}" if text.startswith(("\t", "\r", "\n")) else text


def _is_formula(cell: str) -> bool:
    """Whether a cell begins like a formula, behind what readers may drop: blanks, quotes, invisible characters."""
    for character in cell:
        if character in "\"'" or character.isspace() or unicodedata.category(character) in ("Cc", "Cf"):
            continue
        return unicodedata.normalize("NFKC", character) in _FORMULA
    return False
