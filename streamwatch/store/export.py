"""Alerts for other programs: JSON Lines, and CSV that is safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from typing import Any, TextIO

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


def _harmless(value: Any) -> Any:
    if isinstance(value, str) and value.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return f"'{value}"
    return value
