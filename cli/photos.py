"""The photographs that a command is given: paths, patterns, lists of paths and standard input."""

from __future__ import annotations

import functools
import glob
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from facerec.cli.options import count, note, printable

F = TypeVar("F", bound=Callable[..., Any])

STANDARD_INPUT = Path("-")
"""The path that means standard input."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


@dataclass(frozen=True)
class GivenPhotos:
    """The photographs of a command.

    Attributes:
        files: their names in answers; `STANDARD_INPUT` for the photograph from standard input.
        passed_over: the files that were ignored, each with the reason (see
            `facerec.landmarks.photo_files.list_photos`).
        standard_input: the bytes read from standard input.
    """

    files: tuple[Path, ...]
    passed_over: tuple[tuple[Path, str], ...] = ()
    standard_input: bytes = b""

    def source(self, file: Path) -> Path | bytes:
        """Where the pixels of one of `files` come from."""
        return self.standard_input if file == STANDARD_INPUT else file


def photos_argument(name: str = "photos", metavar: str = "[PHOTO]...") -> Callable[[F], F]:
    """Add paths of photographs (argument `name`, a tuple of Path) and `--files-from FILE`.

    Patterns that the shell did not expand (a quoted glob, or any pattern in Windows' shell) become the files they
    match, in order. At least one path is required.
    """

    def add(function: F) -> F:
        @functools.wraps(function)
        def command(*args: Any, files_from: str | None, **others: Any) -> Any:
            listed = [] if files_from is None else read_file_list(files_from)
            given = (*others.pop(name), *listed)
            if not given:
                raise click.UsageError(
                    "expected at least one photograph or folder, or --files-from with a list of them"
                )
            paths = [path for text in given for path in photo_paths(text)]
            if files_from == "-" and STANDARD_INPUT in paths:
                raise click.UsageError("expected a photograph or a list of files on standard input, not both")
            return function(*args, **{name: tuple(paths)}, **others)

        argument = click.argument(name, nargs=-1, metavar=metavar)
        option = click.option(
            "--files-from", metavar="FILE", help="Read paths from this file, one per line; - reads standard input."
        )
        return cast(F, argument(option(command)))

    return add


class PhotoPath(click.ParamType[Path, Any]):
    """One photograph: a file, or - for standard input."""

    name = "photo"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """See the class."""
        if isinstance(value, Path):
            return value
        paths = photo_paths(str(value))
        if len(paths) != 1 or paths[0].is_dir():
            self.fail(f"expected one photograph; {printable(str(value))} is {_what_else(paths)}", param, ctx)
        return paths[0]


def _what_else(paths: Sequence[Path]) -> str:
    return "a folder" if len(paths) == 1 else f"{len(paths)} files"


def photo_paths(text: str) -> list[Path]:
    """The paths that one argument means.

    Raises:
        click.BadParameter: an address on the web, a pattern that no file matches, or a path that does not exist.
    """
    if text == "-":
        return [STANDARD_INPUT]
    if _URL.match(text):
        raise click.BadParameter(
            f"{printable(text)} is a web address; facerec downloads nothing. Save the picture and give its path"
        )
    from facerec.landmarks.tables import slashed

    path = slashed(Path(text))
    if os.path.lexists(path):
        return [path if path != STANDARD_INPUT else path.absolute()]  # ./- is a file of that name
    if glob.has_magic(text):
        if found := sorted(glob.glob(text, recursive=True)):
            return [Path(one) for one in found]
        raise click.BadParameter(f"no file matches {printable(text)}")
    raise click.BadParameter(f"there is no {printable(text)}")


def read_file_list(source: str) -> list[str]:
    """The paths in a file, or on standard input ("-"): one per line, or separated by NUL (find -print0).

    Raises click.BadParameter when it cannot be read or names nothing.
    """
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise click.BadParameter(f"{printable(source)} cannot be read: {error.strerror}") from None
    names = [os.fsdecode(name) for name in (data.split(b"\0") if b"\0" in data else data.splitlines())]
    if not (named := [name for name in names if name.strip()]):
        raise click.BadParameter(f"{printable(source)} names no file")
    return named


def given_photos(paths: Iterable[Path]) -> GivenPhotos:
    """The photographs under `paths`, in the order of the paths, each once; standard input is read when it is named.

    Raises `InvalidInputError` when there is none.
    """
    from facerec.landmarks.errors import InvalidInputError
    from facerec.landmarks.photo_files import list_photos

    wanted = list(paths)
    files: dict[str, Path] = {}
    passed_over: dict[Path, str] = {}
    for path in wanted:
        if path == STANDARD_INPUT:
            files.setdefault("-", path)
            continue
        listing = list_photos([path])
        passed_over |= dict(listing.passed_over)
        for file in listing.photos:
            files.setdefault(os.path.abspath(file), file)
    if not files:
        why = f"; ignored: {count_by_reason(passed_over.items())}" if passed_over else ""
        raise InvalidInputError(f"expected photographs; found none in {', '.join(map(str, wanted))}{why}")
    data = sys.stdin.buffer.read() if "-" in files else b""
    return GivenPhotos(tuple(files.values()), tuple(passed_over.items()), data)


def report_ignored(passed_over: Sequence[tuple[Path, str]], quiet: bool) -> None:
    """Write a message on the ignored files, counted by reason, with an example; nothing when there are none."""
    if passed_over:
        note(f"Ignored {count(len(passed_over), 'item')}: {count_by_reason(passed_over)}", quiet)


def count_by_reason(passed_over: Iterable[tuple[Path, str]]) -> str:
    """ "3 a film (e.g. people/ANNA/a.mp4), 1 not a picture (e.g. people/notes.txt)", most frequent first."""
    example: dict[str, Path] = {}
    numbers: Counter[str] = Counter()
    for path, why in passed_over:
        numbers[why] += 1
        example.setdefault(why, path)
    return "; ".join(f"{n} {why} (e.g. {printable(str(example[why]))})" for why, n in numbers.most_common())
