"""Shared code of the commands: options, and text that is safe to print."""

from __future__ import annotations

import functools
import json
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from facerec.landmarks.models import LANDMARK_MODELS

F = TypeVar("F", bound=Callable[..., Any])

_DETECTORS = (
    "facerec, yunet:PATH.onnx, scrfd:PATH.onnx, boxes:FILE.csv (columns file,x0,y0,x1,y1) or whole (every picture is "
    "one face)."
)

RAW_CSV = "facerec.raw_csv"
"""Key of a command's context that holds whether `--raw-csv` was given (`facerec.cli.output.write_csv_row` reads it)."""

_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
# Cc control, Cf format (direction overrides), Cs lone surrogate (a name that is not UTF-8), Zl and Zp line separators.
_STEERING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Joiners shape letters in several scripts and in emoji; they do not control the terminal.
_HARMLESS = frozenset({"\u200c", "\u200d"})


def device_option(function: F) -> F:
    """Add `--device auto|cpu|cuda` (argument `device`, a text for `resolve_device`)."""
    return click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help="Where the networks run. 'auto' uses the GPU when there is one; 'cuda' fails without one.",
    )(function)


def weights_root_option(stage: str) -> Callable[[F], F]:
    """Add `--weights-root` (argument `weights_root`, a Path or None) of a trainer of the package's folder `stage`."""
    return click.option(
        "--weights-root",
        type=click.Path(file_okay=False, path_type=Path),
        help=f"Write the weights to ROOT/{stage}/weights instead of the package's.",
    )


def recognizer_options(
    landmarks: str = LANDMARK_MODELS[0], detector: str = "facerec", descriptor: str | None = "resnet"
) -> Callable[[F], F]:
    """Add `--landmarks`, `--descriptor`, `--detector`, `--min-face` and `--device` (argument `models`).

    The command gets them as one `facerec.recognition.recognizer.RecognizerSettings`, in which options that were not
    given are None.

    Args:
        landmarks, detector, descriptor: the default that the help states; descriptor None for a command that makes no
            signature and has no such option.
    """

    def add(function: F) -> F:
        @functools.wraps(function)
        def command(*args: Any, min_face: float, descriptor: str | None = None, **others: Any) -> Any:
            from facerec.recognition.recognizer import RecognizerSettings  # late: a second or more

            names = {name: others.pop(name) for name in ("landmarks", "detector", "device")}
            settings = RecognizerSettings(**names, descriptor=descriptor, smallest=min_face)
            return function(*args, models=settings, **others)

        options = [
            click.option(
                "--landmarks",
                type=click.Choice(LANDMARK_MODELS),
                help=f"Landmark model; dssd has no weights until `facerec train dssd`.  [default: {landmarks}]",
            ),
            click.option(
                "--detector",
                metavar="NAME",
                help=f"{_DETECTORS}  [default: {detector}]",
            ),
            min_face_option,
            device_option,
        ]
        if descriptor is not None:
            shown = (
                "resnet, dfd, dfd-65536, dlib or onnx:PATH; photo: or frontal: before a network's name shows it only "
                f"that.  [default: {descriptor}]"
            )
            options.insert(1, click.option("--descriptor", metavar="NAME", help=shown))
        wrapped: Any = command
        for option in reversed(options):
            wrapped = option(wrapped)
        return cast(F, wrapped)

    return add


def format_options(*formats: str) -> Callable[[F], F]:
    """Add `--format` (argument `form`), one of `formats`, the first by default, and `--json`, short for jsonl.

    With csv among them also `--raw-csv`, which `facerec.cli.output.write_csv_row` heeds.
    """

    def add(function: F) -> F:
        @functools.wraps(function)
        def command(*args: Any, form: str | None, as_json: bool, **others: Any) -> Any:
            if as_json and form not in (None, "jsonl"):
                raise click.UsageError(f"expected --json or --format {form}, not both")
            return function(*args, form="jsonl" if as_json else form or formats[0], **others)

        form = click.option("--format", "form", type=click.Choice(formats), help=f"[default: {formats[0]}]")
        as_json = click.option("--json", "as_json", is_flag=True, help="Short for --format jsonl.")
        options = form(as_json(command))
        return cast(F, raw_csv_option(options) if "csv" in formats else options)

    return add


def raw_csv_option(function: F) -> F:
    """Add `--raw-csv` (no argument: `RAW_CSV` in the command's context)."""

    def keep(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
        ctx.meta[RAW_CSV] = value

    return click.option(
        "--raw-csv",
        is_flag=True,
        expose_value=False,
        callback=keep,
        help="Leave CSV cells that begin with = + - @ as they are; by default a leading ' keeps spreadsheets from "
        "running them.",
    )(function)


class GalleryAddress(click.Path):
    """A gallery file (a Path), or the address of one in Milvus (a text that begins with milvus:)."""

    def convert(self, value: Any, parameter: click.Parameter | None, ctx: click.Context | None) -> Path | str:
        """See the class."""
        return str(value) if str(value).startswith("milvus:") else Path(str(super().convert(value, parameter, ctx)))


def gallery_option(function: F) -> F:
    """Add the required `-g/--gallery` (argument `gallery_path`: a Path, or the text milvus:URI)."""
    return click.option(
        "-g",
        "--gallery",
        "gallery_path",
        required=True,
        type=GalleryAddress(),
        metavar="GALLERY",
        help="Gallery: a file, or milvus:PATH or milvus:http://HOST:PORT (with facerec[milvus]).",
    )(function)


def fpir_option(function: F) -> F:
    """Add `--fpir RATE` (argument `fpir`, None when not given)."""
    return click.option(
        "--fpir",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        default=None,
        help="Target false positive identification rate: share of strangers who may match somebody.  [default: 0.01]",
    )(function)


def threshold_option(of: str) -> Callable[[F], F]:
    """Add `--threshold` (argument `threshold`, None when not given): the lowest score of `of`."""
    return click.option(
        "--threshold",
        type=click.FloatRange(-1, 1),
        default=None,
        help=f"Lowest score of {of}, on the scale of `score` in the answers (in [-1, 1]; inclusive).",
    )


def detector_option(function: F) -> F:
    """Add `--detector NAME` (argument `detector`, a name for `facerec.landmarks.detection.detectors.load_detector`)."""
    return click.option(
        "--detector",
        metavar="NAME",
        default="facerec",
        show_default=True,
        help=_DETECTORS,
    )(function)


def min_face_option(function: F) -> F:
    """Add `--min-face PX` (argument `min_face`)."""
    return click.option(
        "--min-face",
        type=click.FloatRange(min=0),
        default=0.0,
        show_default=True,
        metavar="PX",
        help="Leave out faces whose box's shorter side is less, px of the photograph, and search every photograph down "
        "to it, tile by tile. 0: all faces that 640 px of the photograph show; where they show none for certain, down "
        "to 24 px.",
    )(function)


def workers_option(function: F) -> F:
    """Add `--workers N` (argument `workers`, None when not given: `share_cores` says how many that is)."""
    return click.option(
        "--workers",
        type=click.IntRange(min=1),
        show_default="one per core, on a GPU one",
        help="Number of photographs that are processed at a time.",
    )(function)


def ray_option(function: F) -> F:
    """Add `--ray ADDRESS` (argument `ray_address`, None when not given)."""
    return click.option(
        "--ray",
        "ray_address",
        metavar="ADDRESS",
        help="Describe with --workers actors of this Ray cluster: HOST:PORT, auto or local (with facerec[ray]).",
    )(function)


def quiet_option(function: F) -> F:
    """Add `-q/--quiet` (argument `quiet`): no progress and no summary on stderr."""
    return click.option("-q", "--quiet", is_flag=True, help="Show no progress and no summary, only errors.")(function)


def json_option(function: F) -> F:
    """Add `--json` (argument `as_json`): machine-readable output on stdout."""
    return click.option("--json", "as_json", is_flag=True, help="Write JSON to stdout.")(function)


def printable(text: str) -> str:
    """`text` on one line, with every control character and line break made visible.

    Use it for people's names and file names that are printed on a terminal; data files keep the text as it is.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible(character) for character in text)


def count(number: int, noun: str) -> str:
    """The number with its noun: "1 photo", "2 photos", "0 faces", "3 entries"."""
    if number == 1:
        return f"1 {noun}"
    if noun.endswith("person"):
        return f"{number} {noun.removesuffix('person')}people"
    many = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number} {many}"


def note(text: str, quiet: bool = False) -> None:
    """Write a message to stderr, unless `quiet`."""
    if not quiet:
        click.echo(text, err=True)


def write_json(value: Any) -> None:
    """`value` as indented JSON to stdout, people's names as they are written."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=_narrow_stdout(), allow_nan=False))


def _visible(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    if unicodedata.category(character) in _STEERING and character not in _HARMLESS:
        code = ord(character)
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return character


def _narrow_stdout() -> bool:
    """Whether stdout cannot take every character (a Windows code page, the C locale)."""
    return (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "") != "utf8"
