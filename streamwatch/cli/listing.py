"""Tables of rows that have one long name each, such as a path or URL, at any width."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.text import Text

GAP, INDENT = 2, 2
"""Blanks between columns, and before what stands below a row."""

Cell = str | Text


@dataclass(frozen=True, slots=True)
class _Row:
    name: Text
    cells: list[Text]
    remarks: list[Text]


class Listing:
    """A header and rows. Where a line has no room for all, the name has a line of its own below the row, and so have
    those cells, from the last one on, that do not fit.

    name: header of the column of names. columns: headers of the others. at: place of the names among these. right:
    columns whose cells stand at their right side.
    """

    def __init__(self, name: str, columns: Sequence[str], *, at: int = 0, right: Collection[str] = ()) -> None:
        self._name = name
        self._columns = list(columns)
        self._at = at
        self._right = set(right)
        self._rows: list[_Row] = []

    def add(self, name: Cell, cells: Sequence[Cell], remarks: Sequence[Cell] = ()) -> None:
        """Add a row; remarks: what is to be said below it, a line or more each."""
        texts = [Text(remark, style="dim") if isinstance(remark, str) else remark for remark in remarks if remark]
        self._rows.append(_Row(_text(name), list(map(_text, cells)), texts))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        columns = list(range(len(self._columns)))
        widths = [max(cell_len(self._columns[column]), *self._lengths(column)) for column in columns]
        longest = max([cell_len(self._name), *(row.name.cell_len for row in self._rows)])
        whole = longest + sum(GAP + width for width in widths) <= options.max_width
        shown = columns if whole else list(_fitting(widths, options.max_width))
        header = [Text(self._columns[column]) for column in shown]
        line = self._line(header, Text(self._name), shown, widths, longest, whole)
        line.stylize("bold")
        yield line
        for row in self._rows:
            yield self._line([row.cells[column] for column in shown], row.name, shown, widths, longest, whole)
            if not whole:
                yield _below(row.name)
            left = [column for column in columns[len(shown) :] if row.cells[column].plain]
            if left:
                said = Text(", ").join(Text(f"{self._columns[column]} ").append(row.cells[column]) for column in left)
                yield _below(said)
            yield from map(_below, row.remarks)

    def _lengths(self, column: int) -> list[int]:
        return [row.cells[column].cell_len for row in self._rows] or [0]

    def _line(
        self, cells: list[Text], name: Text, shown: list[int], widths: list[int], longest: int, whole: bool
    ) -> Text:
        placed = [
            _aligned(cell, widths[column], at_right=self._columns[column] in self._right)
            for cell, column in zip(cells, shown, strict=True)
        ]
        if whole:
            placed.insert(self._at, _aligned(name, longest, at_right=False))
        line = Text(" " * GAP, no_wrap=True, overflow="ignore").join(placed)
        line.rstrip()
        return line


def _text(cell: Cell) -> Text:
    return Text(cell) if isinstance(cell, str) else cell


def _aligned(cell: Text, width: int, *, at_right: bool) -> Text:
    aligned = cell.copy()
    aligned.align("right" if at_right else "left", width)
    return aligned


def _below(text: Text) -> Padding:
    folded = text.copy()
    folded.overflow = "fold"
    return Padding(folded, (0, 0, 0, INDENT), expand=False)


def _fitting(widths: Sequence[int], room: int) -> Iterator[int]:
    """The first columns, as many as there is room for, and one at least."""
    used = 0
    for column, width in enumerate(widths):
        used += width + (GAP if column else 0)
        if used > room and column:
            return
        yield column
