"""How commands write data and show progress: JSON lines, CSV, tables; all of it safe for any name."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click

from facerec.cli.options import printable


def write_line(record: Mapping[str, Any]) -> None:
    """One JSON object a line, UTF-8, to stdout, at once."""
    from facerec.recognition.enrolment import json_line

    click.echo(json_line(record).encode(), nl=False)


def write_csv_row(values: Sequence[object]) -> None:
    """One row of CSV, UTF-8, to stdout, at once. Names with commas, quotes or line breaks are quoted."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\r\n").writerow(["" if value is None else value for value in values])
    click.echo(stream.getvalue().encode("utf-8", "backslashreplace"), nl=False)


def write_table(columns: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[str] = ()) -> None:
    """A table to stdout; what could steer the terminal is made visible.

    Args:
        columns: headings.
        rows: cells; None leaves one empty.
        right: headings of the columns that are set flush right, for numbers.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        # Text, not str: a name like "[bold]" is a name, not markup.
        table.add_row(*(Text("" if cell is None else printable(str(cell))) for cell in row))
    stream = io.StringIO()
    # Into a pipe or a file nothing is wrapped, so that a line stays a row.
    width = None if sys.stdout.isatty() else 100_000
    Console(file=stream, width=width, color_system=None, emoji=False, highlight=False).print(table)
    lines = "".join(line.rstrip() + "\n" for line in stream.getvalue().splitlines())
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    click.echo(lines.encode(encoding, "backslashreplace"), nl=False)


@contextmanager
def photo_progress(total: int | None, label: str, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr, for a person at a terminal; elsewhere nothing moves. Yields `advance(photos)`."""
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
