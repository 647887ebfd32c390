"""Lists of inputs that others have written: text, CSV, JSON Lines, Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from streamwatch.distribution import install_extra
from streamwatch.errors import LibraryMissing, SourceNotFound, SourceRefused, SourceUnreadable
from streamwatch.records import Metadata
from streamwatch.sources.location import Location
from streamwatch.sources.objects import read_object

PLACES = ("source", "path", "file", "filename", "url", "uri", "video")
"""Names of the column that says where an input is; the first of them that a manifest has."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One input of a manifest. place: what it calls it. origin: where it stands there, for messages."""

    place: Location
    origin: str
    metadata: Metadata = field(default_factory=dict)


def read_manifest(place: Location) -> Iterator[Entry]:
    """The inputs of a manifest, a file or an object in a store, by its suffix: `.csv` and `.tsv` with a header,
    `.jsonl` and `.ndjson`, `.parquet`; any other is text with one place a line.

    Columns other than that of the place are metadata; empty values are left out. Raises SourceNotFound, SourceRefused,
    SourceUnreadable with the line or row, and LibraryMissing where Parquet cannot be read.
    """
    suffix = PurePosixPath(place.text).suffix.lower()
    if suffix == ".parquet":
        yield from _records(_parquet_rows(place), place, "row")
        return
    text = _text_of(place)
    if suffix in (".csv", ".tsv"):
        yield from _records(_csv_rows(text, "\t" if suffix == ".tsv" else ",", place), place, "line")
    else:
        in_json = suffix in (".jsonl", ".ndjson")
        yield from _entries(text.splitlines(), str(place), lambda line: in_json)


def read_stream(lines: Iterable[str], name: str) -> Iterator[Entry]:
    """Inputs as another program writes them, one a line: a place, or a JSON object. Raises SourceUnreadable."""
    yield from _entries(lines, name, lambda line: line.startswith("{"))


def _entries(lines: Iterable[str], name: str, is_json: Callable[[str], bool]) -> Iterator[Entry]:
    """Empty lines, and those that begin with `#`, are skipped."""
    for number, line in enumerate(lines, start=1):
        item, origin = line.strip(), f"{name}, line {number}: "
        if not item or item.startswith("#"):
            continue
        if not is_json(item):
            yield Entry(Location(item), origin)
            continue
        try:
            value = json.loads(item)
        except (ValueError, RecursionError) as error:
            raise SourceUnreadable(f"{origin}not JSON ({error})") from None
        if isinstance(value, str):
            yield Entry(Location(value), origin)
        elif isinstance(value, dict):
            yield _entry(value, _column(value, origin), origin)
        else:
            raise SourceUnreadable(f"{origin}neither an object nor the place of an input")


def _records(rows: Iterable[tuple[int, dict[str, Any]]], place: Location, unit: str) -> Iterator[Entry]:
    column = None
    for number, row in rows:
        origin = f"{place}, {unit} {number}: "
        column = column or _column(row, f"{place}: ")
        yield _entry(row, column, origin)


def _column(row: Mapping[str, Any], origin: str) -> str:
    names = {str(name).strip().lower(): name for name in row}
    found = next((names[place] for place in PLACES if place in names), None)
    if found is None:
        has = ", ".join(map(str, row)) or "nothing"
        raise SourceUnreadable(f"{origin}no column says where an input is: name one {', '.join(PLACES)} (it has {has})")
    return str(found)


def _entry(row: Mapping[str, Any], column: str, origin: str) -> Entry:
    place = row.get(column)
    if not isinstance(place, str) or not place.strip():
        raise SourceUnreadable(f"{origin}{column} is empty", "it must be a path or a URL")
    values = {str(name).strip(): _plain(value) for name, value in row.items() if name != column}
    metadata = {name: value for name, value in values.items() if value not in (None, "")}
    return Entry(Location(place.strip()), origin, metadata)


def _plain(value: Any) -> Any:
    """As JSON holds it."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    return value.isoformat() if isinstance(value, (date, datetime)) else json.dumps(value, default=str)


def _opened(place: Location) -> BinaryIO:
    if place.is_object:
        return read_object(place)
    try:
        return place.path.open("rb")
    except FileNotFoundError as error:
        raise SourceNotFound(f"{place}: no such manifest") from error
    except OSError as error:
        raise SourceRefused(f"{place}: cannot be read ({error.strerror})") from error


def _text_of(place: Location) -> str:
    with _opened(place) as file:
        try:
            return file.read().decode("utf-8-sig")
        except OSError as error:
            raise SourceRefused(f"{place}: cannot be read ({error.strerror})") from error
        except UnicodeDecodeError as error:
            raise SourceUnreadable(f"{place}: not UTF-8 text with one path or URL a line") from error


def _csv_rows(text: str, delimiter: str, place: Location) -> Iterator[tuple[int, dict[str, Any]]]:
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restkey="", strict=True)
    try:
        for row in rows:
            if row.get(""):
                raise SourceUnreadable(f"{place}, line {rows.line_num}: more columns than the header names")
            yield rows.line_num, row
    except csv.Error as error:
        raise SourceUnreadable(f"{place}, after line {rows.line_num}: not CSV ({error})") from None


def _parquet_rows(place: Location) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise LibraryMissing("pyarrow is missing", install_extra("parquet")) from None
    number = 0
    try:
        with _opened(place) as opened, pyarrow.parquet.ParquetFile(opened) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pyarrow.ArrowException, OSError) as error:
        raise SourceUnreadable(f"{place}: not Parquet ({error})") from None
