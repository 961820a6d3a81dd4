"""Tables that people write: CSV as programs and spreadsheets save it, and the paths in it."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from facerec.landmarks.errors import InvalidInputError

_DELIMITERS = (",", ";", "\t")

TableRow = dict[str, str]
"""Cells by the names of their columns; a cell that the line lacks is ""."""


def read_table(path: Path) -> tuple[Sequence[str], list[tuple[int, TableRow]]]:
    """The columns of a CSV file and its rows, each with the number of its (last) line.

    Commas, semicolons (spreadsheets write them where the comma is in numbers) or tabs separate the columns: what splits
    the first line into most. Text is UTF-8, with or without a byte-order mark, or UTF-16 with one. A first line like
    "sep=;" is read over. Columns lose blanks around their names; lines without a cell are left out.

    Raises:
        InvalidInputError: a file that cannot be read, is no text, or holds an open quotation; names the file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"expected a table (CSV); {path} cannot be read: {error.strerror}") from None
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = data.decode(encoding)
        skipped = 0
        if text[:4].lower() == "sep=":
            text, skipped = text.partition("\n")[2], 1
        heads = [next(csv.reader(io.StringIO(text, newline=""), delimiter=mark), []) for mark in _DELIMITERS]
        mark, head = max(zip(_DELIMITERS, heads, strict=True), key=lambda pair: len(pair[1]))
        columns = [column.strip() for column in head]
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
        next(reader, None)
        rows = []
        for cells in reader:
            if any(cells):
                cells += [""] * (len(columns) - len(cells))
                rows.append((reader.line_num + skipped, dict(zip(columns, cells, strict=False))))
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"expected a table (CSV) in UTF-8; {path}: {error}") from None
    except csv.Error as error:
        raise InvalidInputError(f"expected a table (CSV); {path}: {error}") from None
    return columns, rows


def beside_table(table: Path, text: str) -> Path:
    """The file that a table calls `text`: from the table's folder. Windows' backslashes are read where they must be."""
    return slashed(table.parent / text)


def slashed(path: Path) -> Path:
    """`path`, or, when there is no such file here, the one that its backslashes mean on Windows."""
    if os.sep == "\\" or "\\" not in str(path) or os.path.lexists(path):
        return path
    return other if (other := Path(str(path).replace("\\", "/"))).exists() else path
