"""Tables that fit the terminal: numbers stay whole, paths are shorten in the middle, sentences wrap between words."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from facerec.cli.options import printable

GAP = "  "

_NAME = 10
"""Least width of a name or a path, in columns of the terminal: its beginning and its end."""

_SENTENCE = 24
"""Least width of a sentence in a column of its own; with less it is written below its row."""

_WIDEST = 40
"""Largest width of a name or a path while others need more, so that one long name widens no row."""


@dataclass(frozen=True)
class _Column:
    """A column: its heading, whether it holds numbers, whether it holds sentences, and the width of its widest cell."""

    head: str
    number: bool
    sentence: bool
    width: int

    @property
    def least(self) -> int:
        """Least width of this column."""
        if self.number:
            return self.width
        return min(self.width, max(cell_width(self.head), _SENTENCE if self.sentence else _NAME))


def table_lines(
    columns: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[str] = (), width: int | None = None
) -> list[str]:
    """Format a table as lines: first the headings, then, on a terminal, a rule, then the rows.

    If the table is too wide for the terminal, sentences are wrapped and names and paths are shorten in the middle. If
    that does not suffice, sentences are written below their rows, and finally every row becomes a block of lines
    "heading  value".

    Args:
        columns: headings.
        rows: cells; None leaves one empty. Control characters are made visible.
        right: headings of the columns of numbers, which are set flush right.
        width: columns of the terminal; None when there is no
        terminal: every value stays whole and every row is one line.
    """
    cells = [["" if cell is None else printable(str(cell)) for cell in row] for row in rows]
    described = [_column(head, head in right, [row[i] for row in cells]) for i, head in enumerate(columns)]
    if width is None:
        return _plain(described, cells)
    if (widths := _widths(described, width)) is not None:
        return _set(described, cells, widths, None)
    sentences = [i for i, column in enumerate(described) if column.sentence]
    below = max(sentences, key=lambda i: described[i].width, default=None)
    if below is not None:
        kept = [column for i, column in enumerate(described) if i != below]
        if (widths := _widths(kept, width)) is not None:
            rest = [[cell for i, cell in enumerate(row) if i != below] for row in cells]
            return _set(kept, rest, widths, ([row[below] for row in cells], width))
    return _blocks(described, cells, width)


def cell_width(text: str) -> int:
    """Width of a text in columns of a terminal; wide characters take two."""
    from rich.cells import cell_len

    return len(text) if text.isascii() else cell_len(text)


def shorten(text: str, width: int) -> str:
    """Shorten `text` in the middle to at most `width` columns; more of its end than of its beginning stays."""
    if cell_width(text) <= width:
        return text
    head, tail = "", ""
    for character in text:
        if cell_width(head + character) > (width - 1) * 2 // 5:
            break
        head += character
    for character in reversed(text):
        if cell_width(head + character + tail) > width - 1:
            break
        tail = character + tail
    return f"{head}\u2026{tail}"


def _column(head: str, number: bool, cells: Sequence[str]) -> _Column:
    widest = max((cell_width(cell) for cell in cells), default=0)
    sentence = not number and sum(cell.count(" ") > 2 for cell in cells) * 2 > sum(map(bool, cells))
    return _Column(head, number, sentence, max(cell_width(head), widest))


def _widths(columns: Sequence[_Column], width: int) -> list[int] | None:
    """A width for each column, together at most `width` with the gaps; None where that is impossible."""
    room = width - len(GAP) * (len(columns) - 1)
    widths = [column.least for column in columns]
    if sum(widths) > room:
        return None
    if sum(column.width for column in columns) <= room:
        return [column.width for column in columns]
    # Names and paths come first, up to what most of them need; a sentence gets the rest, because it can wrap.
    for most in (_WIDEST, width):
        for wanted in (False, True):
            growing = True
            while growing and sum(widths) < room:
                growing = False
                for i, column in enumerate(columns):
                    limit = min(column.width, width if column.sentence else most)
                    if column.sentence is wanted and widths[i] < limit and sum(widths) < room:
                        widths[i] += 1
                        growing = True
    return widths


def _set(
    columns: Sequence[_Column],
    rows: Sequence[Sequence[str]],
    widths: Sequence[int],
    below: tuple[Sequence[str], int] | None,
) -> list[str]:
    """Lines of the table at `widths`; `below` are sentences that stand below the rows, and the terminal's width."""
    lines = [_line(columns, [column.head for column in columns], widths)]
    lines.append(GAP.join("-" * w for w in widths))
    for number, row in enumerate(rows):
        parts = [
            textwrap.wrap(cell, w, break_on_hyphens=False) or [""] if column.sentence else [shorten(cell, w)]
            for column, cell, w in zip(columns, row, widths, strict=True)
        ]
        for k in range(max(map(len, parts), default=1)):
            lines.append(_line(columns, [part[k] if k < len(part) else "" for part in parts], widths))
        if below is not None:
            said, width = below
            lines += textwrap.wrap(said[number], width, initial_indent="    ", subsequent_indent="    ")
    return lines


def _line(columns: Sequence[_Column], cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = []
    for column, cell, w in zip(columns, cells, widths, strict=True):
        blank = " " * max(0, w - cell_width(cell))
        padded.append(blank + cell if column.number else cell + blank)
    return GAP.join(padded).rstrip()


def _plain(columns: Sequence[_Column], rows: Sequence[Sequence[str]]) -> list[str]:
    """Format every row as one line with whole values; an exceptionally wide value shifts only its own row."""
    widths = [column.width if column.number else min(column.width, _WIDEST) for column in columns]
    heads = [column.head for column in columns]
    return [_line(columns, heads, widths), *(_line(columns, row, widths) for row in rows)]


def _blocks(columns: Sequence[_Column], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    heads = max(cell_width(column.head) for column in columns)
    indent = " " * (heads + len(GAP))
    lines: list[str] = []
    for row in rows:
        for column, cell in zip(columns, row, strict=True):
            if cell:
                start = column.head + " " * (heads - cell_width(column.head)) + GAP
                room = max(width - len(indent), _NAME)
                parts = textwrap.wrap(cell, room, break_on_hyphens=False) if column.sentence else [shorten(cell, room)]
                lines += [start + parts[0], *(indent + part for part in parts[1:])]
        lines.append("")
    return lines[:-1]
