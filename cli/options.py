"""What the commands share: options, the choice of the device, and text that is safe to print."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from facerec.landmarks.errors import DeviceError, InvalidInputError

Device = Literal["cpu", "cuda"]
F = TypeVar("F", bound=Callable[..., Any])

_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
# Cc control, Cf format (direction overrides), Cs lone surrogate (a name that is not UTF-8), Zl and Zp line separators.
_STEERING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Joiners shape letters in several scripts and in emoji; they steer nothing.
_HARMLESS = frozenset({"\u200c", "\u200d"})


def device_option(function: F) -> F:
    """Add `--device auto|cpu|cuda` (argument `device`, a text for `resolve_device`)."""
    return click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help="Where the networks run. 'auto' takes the GPU when there is one; 'cuda' fails without one.",
    )(function)


def descriptor_option(default: str) -> Callable[[F], F]:
    """Add `--descriptor NAME` (argument `descriptor`, None when not given); `default` says what is taken then."""
    return click.option(
        "--descriptor",
        metavar="NAME",
        help="resnet, dfd, dfd-65536, dlib or onnx:PATH; photo: or frontal: before a network's name shows it only "
        f"that.  [default: {default}]",
    )


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


def detector_option(function: F) -> F:
    """Add `--detector NAME` (argument `detector`, a name for `facerec.landmarks.detection.detectors.load_detector`)."""
    return click.option(
        "--detector",
        metavar="NAME",
        default="facerec",
        show_default=True,
        help="facerec, yunet:PATH.onnx, scrfd:PATH.onnx, boxes:FILE.csv (columns file,x0,y0,x1,y1) or whole (every "
        "picture is one face).",
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
        "to it, tile by tile. 0: all faces that 640 px of the photograph show; where they show none, down to 24 px.",
    )(function)


def workers_option(function: F) -> F:
    """Add `--workers N` (argument `workers`, None when not given: `share_cores` says how many that is)."""
    return click.option(
        "--workers",
        type=click.IntRange(min=1),
        show_default="one a core, on a GPU one",
        help="Photographs at a time.",
    )(function)


def ray_option(function: F) -> F:
    """Add `--ray ADDRESS` (argument `ray_address`, None when not given)."""
    return click.option(
        "--ray",
        "ray_address",
        metavar="ADDRESS",
        help="Describe by --workers actors of this Ray cluster: HOST:PORT, auto or local (with facerec[ray]).",
    )(function)


def quiet_option(function: F) -> F:
    """Add `-q/--quiet` (argument `quiet`): no progress and no summary on stderr."""
    return click.option("-q", "--quiet", is_flag=True, help="No progress, no summary; errors only.")(function)


def json_option(function: F) -> F:
    """Add `--json` (argument `as_json`): machine-readable output on stdout."""
    return click.option("--json", "as_json", is_flag=True, help="Write JSON to stdout.")(function)


def resolve_device(requested: str) -> Device:
    """The device the networks run on: "cpu" or "cuda".

    Args:
        requested: "auto" (the GPU when torch can use one), "cpu" or "cuda".

    Raises:
        DeviceError: "cuda" was asked for and cannot be used; says why.
    """
    if requested == "cpu":
        return "cpu"
    if requested not in ("auto", "cuda"):
        raise InvalidInputError(f"expected the device 'auto', 'cpu' or 'cuda'; got {requested!r}")
    import torch  # late: half a second or more

    if torch.cuda.is_available():
        return "cuda"
    if requested == "auto":
        return "cpu"
    built = torch.version.cuda
    why = "torch finds no usable GPU" if built else "this torch was built without CUDA"
    raise DeviceError(f"expected a CUDA device for --device cuda; {why} (torch {torch.__version__}). Use --device cpu")


def share_cores(workers: int | None, device: str, photos: int) -> int:
    """How many photographs to work on at a time, each with its share of the cores for its networks.

    The networks are small: two photographs on a core each are done sooner than one after the other on two.

    Args:
        workers: as asked for, or None.
        device: where the networks run.
        photos: how many there are.
    """
    import torch
    from threadpoolctl import threadpool_limits

    # The fit's linear algebra is many small systems. A pool of its own for them, spinning beside torch's, doubles the
    # time of everything else. Called before the search's library comes in, which keeps its threads.
    threadpool_limits(1, user_api="blas")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    chosen = workers or (1 if device == "cuda" else max(1, min(cores, photos)))
    # Never more threads than OMP_NUM_THREADS allows.
    torch.set_num_threads(max(1, min(torch.get_num_threads(), cores // chosen)))
    return chosen


def printable(text: str) -> str:
    """`text` on one line, with every character that could steer a terminal or break a line made visible.

    For people's names and file names on their way to a terminal; data files keep the text as it is.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible(character) for character in text)


def note(text: str, quiet: bool = False) -> None:
    """A message for a person: to stderr, not at all when `quiet`."""
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
