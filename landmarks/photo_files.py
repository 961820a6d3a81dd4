"""From given paths to the photographs under them; ignored files are listed with the reason."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from facerec.landmarks.errors import InvalidInputError

PHOTO_EXTENSIONS: frozenset[str] = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm"}
    | {".jp2", ".avif", ".tga"}
    # Not decodable everywhere, but listed: a folder of a phone's pictures must be answered with a reason.
    | {".heic", ".heif", ".jxl"}
)
"""Lower-case endings of photographs: a file called so is listed whatever it holds, and decoding says why not."""

FILM_EXTENSIONS: frozenset[str] = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".m2ts", ".wmv", ".flv", ".3gp"}
)
"""Lower-case endings of films."""

NOT_A_PICTURE = "not a picture"
FILM = "a film"
NOT_A_FILE = "not a regular file (a pipe, a socket or a device)"
LINKED_BACK = "a folder that is already listed (a link leads to it)"
NO_PHOTOS = "a folder without photographs"

_HEAD = 64
"""Bytes from which a file's kind is recognised."""

_PICTURE_STARTS = (
    b"\xff\xd8\xff",  # JPEG
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"II*\0",  # TIFF
    b"MM\0*",
    b"\0\0\0\x0cjP  ",  # JPEG 2000
    b"\xff\x4f\xff\x51",
    b"\0\0\0\x0cJXL ",
    b"\xff\x0a",  # JPEG XL without a container
)
_FILM_STARTS = (
    b"\x1aE\xdf\xa3",  # Matroska, WebM
    b"\x30\x26\xb2\x75",  # Windows Media
    b"FLV\x01",
    b"\0\0\x01\xba",  # MPEG
    b"\0\0\x01\xb3",
)
_PICTURE_BRANDS = frozenset({b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_TARGA_END = b"TRUEVISION-XFILE.\0"
"""How Targa pictures end. They begin with nothing of their own, and old ones, without this end, need their name."""
_BITMAP = re.compile(rb"BM.{4}\0\0\0\0", re.DOTALL)
_NETPBM = re.compile(rb"P[1-6]\s+[\d#]")


@dataclass(frozen=True)
class PhotoListing:
    """What lies under the paths that were given.

    Attributes:
        photos: the photographs, in the order in which their paths were given, those of a folder sorted; each once.
        passed_over: everything else that is not hidden, each with the reason; a reason is one of few short phrases, so
            that they can be counted.
    """

    photos: tuple[Path, ...]
    passed_over: tuple[tuple[Path, str], ...] = ()


def list_photos(paths: Iterable[Path | str]) -> PhotoListing:
    """The photographs under `paths` and what was passed over.

    A folder is walked, linked folders included, each folder once. Of its files those are photographs whose last ending
    is in `PHOTO_EXTENSIONS` (in either case), and those whose content begins like a picture, whatever they are called.
    Names that begin with a dot are passed over in silence. A file that is named is taken whatever it is: decoding says
    what is wrong with it. Pipes, sockets and devices in a folder are not opened; a folder that cannot be read stops
    nothing.

    Raises `InvalidInputError` for a path that does not exist.
    """
    photos: dict[str, Path] = {}
    passed_over: dict[Path, str] = {}
    for path in map(Path, paths):
        if path.is_dir():
            found: Iterable[tuple[Path, str]] = _walk(path, set())
        elif path.exists():
            found = ((path, ""),)
        else:
            raise InvalidInputError(f"expected a photograph or a folder of photographs; there is no {path}")
        for file, why in found:
            if why:
                passed_over[file] = why
            else:
                photos.setdefault(os.path.abspath(file), file)
    return PhotoListing(tuple(photos.values()), tuple(passed_over.items()))


def find_photos(paths: Iterable[Path | str]) -> list[Path]:
    """The photographs of `list_photos`, without what was passed over."""
    return list(list_photos(paths).photos)


def photo_names(files: Iterable[Path]) -> dict[Path, str]:
    """A name for the results of each photograph: its own without the ending; the second of that name gets "~2".

    One rule for every command: a file that belongs to a face of a photograph is NAME-N.KIND, N counting its faces from
    0, the largest; one that belongs to the whole photograph is NAME.KIND.

    Names that differ in case alone count as the same: some file systems take them for one.
    """
    taken: set[str] = set()
    names: dict[Path, str] = {}
    for file in files:
        own = chain([file.stem], (f"{file.stem}~{number}" for number in count(2)))
        names[file] = next(name for name in own if name.casefold() not in taken)
        taken.add(names[file].casefold())
    return names


def _walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[tuple[Path, str]]:
    """The files below a folder, in order, each with why it is passed over, "" for a photograph."""
    try:
        state = folder.stat()
        place = (state.st_dev, state.st_ino)
        if place in seen:
            yield folder, LINKED_BACK
            return
        seen.add(place)
        entries = sorted(folder.iterdir())
    except OSError as error:
        yield folder, f"cannot be opened: {error.strerror}"
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(entry, seen)
        else:
            yield entry, _reason_to_ignore(entry)


def _reason_to_ignore(file: Path) -> str:
    """Why a file of a folder is passed over; "" for a photograph."""
    ending = file.suffix.lower()
    try:
        mode = file.stat().st_mode
    except OSError as error:  # a link to nowhere: a photograph by its name is answered with a reason later
        return "" if ending in PHOTO_EXTENSIONS else f"cannot be opened: {error.strerror}"
    if not stat.S_ISREG(mode):
        return NOT_A_FILE
    if ending in PHOTO_EXTENSIONS:
        return ""
    if ending in FILM_EXTENSIONS:
        return FILM
    try:
        with file.open("rb") as stream:
            head = stream.read(_HEAD)
            stream.seek(max(0, file.stat().st_size - len(_TARGA_END)))
            if not _is_picture(head) and stream.read() != _TARGA_END:
                return FILM if _is_film(head) else NOT_A_PICTURE
    except OSError as error:
        return f"cannot be opened: {error.strerror}"
    return ""


def _is_picture(head: bytes) -> bool:
    if head.startswith(_PICTURE_STARTS) or _BITMAP.match(head) or _NETPBM.match(head):
        return True
    return head[8:12] == b"WEBP" if head.startswith(b"RIFF") else head[4:8] == b"ftyp" and head[8:12] in _PICTURE_BRANDS


def _is_film(head: bytes) -> bool:
    return head.startswith(_FILM_STARTS) or head[4:8] == b"ftyp" or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")
