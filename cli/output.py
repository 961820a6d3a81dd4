"""Writing of data and progress: JSON lines, CSV and tables, all of them safe for any name."""

from __future__ import annotations

import csv
import io
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from facerec.cli.options import RAW_CSV
from facerec.cli.table import table_lines


def write_line(record: Mapping[str, Any]) -> None:
    """Write one JSON object per line, UTF-8, to stdout, and flush it."""
    from facerec.recognition.enrolment_summary import json_line

    click.echo(json_line(record).encode(), nl=False)


def write_csv_row(values: Sequence[object]) -> None:
    """Write one row of CSV, UTF-8, to stdout, and flush it. Names with commas, quotes or line breaks are quoted.

    A text that a spreadsheet would run as a formula gets an apostrophe before it (not with `--raw-csv`).
    """
    ctx = click.get_current_context(silent=True)
    raw = ctx is not None and ctx.meta.get(RAW_CSV, False)
    cells = ["" if value is None else value if raw else harmless_cell(value) for value in values]
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\r\n").writerow(cells)
    click.echo(stream.getvalue().encode("utf-8", "backslashreplace"), nl=False)


def harmless_cell(value: object) -> object:
    """`value`, with an apostrophe before a text that a spreadsheet would take for a formula; numbers stay numbers."""
    if not isinstance(value, str | Path) or not str(value).startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    try:
        float(str(value))
    except ValueError:
        return f"'{value}"
    return value


def write_table(columns: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[str] = ()) -> None:
    """Write a table to stdout, as wide as the terminal; in a pipe or a file, one plain line per row with whole values.

    Args:
        columns: headings.
        rows: cells; None leaves one empty.
        right: headings of the columns that are set flush right, for numbers.
    """
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    text = "".join(f"{line}\n" for line in table_lines(columns, rows, right, width))
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace"), nl=False)


@contextmanager
def spinner(label: str, quiet: bool = False) -> Iterator[None]:
    """Show on stderr, on a terminal only, what takes a moment."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(label):
        yield


@contextmanager
def photo_progress(total: int | None, label: str, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on stderr, on a terminal only. Yields `advance(photos)`."""
    if quiet or not sys.stderr.isatty():
        yield lambda photos: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as progress:
        task = progress.add_task(label, total=total)
        yield lambda photos: progress.advance(task, photos)


def duration(seconds: float) -> str:
    """ "12.3s", "3m12s" or "2h05m"."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
