"""Alerts for other programs: JSON Lines, CSV that is safe to open in a spreadsheet, Parquet."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterable
from typing import Any, BinaryIO, TextIO

from streamwatch.errors import LibraryMissing
from streamwatch.store.jsonl import alert_line
from streamwatch.store.loading import AlertRow

CSV_COLUMNS = (
    "id",
    "verdict_id",
    "source",
    "kind",
    "reason",
    "track",
    "label",
    "start",
    "end",
    "peak",
    "mean",
    "faces",
    "started_at",
    "ended_at",
    "stored_at",
    "revision",
    "state",
    "review_label",
    "review_comment",
    "reviewed_at",
)


_INSTANTS = ("started_at", "ended_at", "stored_at", "reviewed_at")

PARQUET_ROWS = 10_000
"""Alerts in one row group."""


def write_jsonl(alerts: Iterable[AlertRow], stream: TextIO) -> None:
    """One JSON object a line, in ASCII."""
    for alert in alerts:
        stream.write(json.dumps(alert_line(alert)) + "\n")


def write_csv(alerts: Iterable[AlertRow], stream: TextIO) -> None:
    """A header, then one alert a line (RFC 4180); what is not known is empty.

    A text that a spreadsheet would run as a formula gets an apostrophe in front
    (https://owasp.org/www-community/attacks/CSV_Injection).
    """
    writer = csv.DictWriter(stream, CSV_COLUMNS)
    writer.writeheader()
    for alert in alerts:
        writer.writerow({name: _harmless(value) for name, value in alert_line(alert).items()})


def write_parquet(alerts: Iterable[AlertRow], file: BinaryIO) -> None:
    """The same columns; instants as such, in UTC. Raises LibraryMissing where the extra `parquet` is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise LibraryMissing("pyarrow is missing: pip install 'streamwatch[parquet]'") from None
    kinds = {
        **dict.fromkeys(("verdict_id", "track", "faces", "revision"), pyarrow.int64()),
        **dict.fromkeys(("start", "end", "peak", "mean"), pyarrow.float64()),
        **dict.fromkeys(_INSTANTS, pyarrow.timestamp("us", "UTC")),
    }
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in CSV_COLUMNS])
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:
        rows = map(_typed, alerts)
        while batch := list(itertools.islice(rows, PARQUET_ROWS)):
            writer.write_table(pyarrow.Table.from_pylist(batch, schema))


def _typed(alert: AlertRow) -> dict[str, Any]:
    instants = {name: getattr(alert, name) for name in _INSTANTS}
    return {**alert_line(alert), **instants}


def _harmless(value: Any) -> Any:
    if isinstance(value, str) and value.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return f"'{value}"
    return value
