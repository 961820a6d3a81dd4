"""A mapped copy of a gallery's vectors: for galleries that do not fit in memory, or are opened often.

`GALLERY.vectors` is derived from the gallery and never authoritative. It names the state of the content from which it
was made and is refused for any other. The small parts are tested by a digest when it is opened, each row by its own CRC
when it is first read, so a damaged copy gives an error and never a wrong score.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError
from facerec.recognition.masked_score import Vectors
from facerec.recognition.signature import REGIONS
from facerec.recognition.store.derived_files import VECTORS_SUFFIX, derived_file
from facerec.recognition.store.records import EntryIndex
from facerec.recognition.store.sqlite_reading import GalleryReader

_MAGIC = b"facerec vectors 2\n"
_OLDER_MAGIC = b"facerec vectors 1\n"
_REGION_BYTES = REGIONS * REGIONS // 8
_PAGE = 4096  # sections begin on pages, as mapped memory does
_BLOCK_BYTES = 64 << 20  # copied at a time


class NoIndexError(InvalidInputError):
    """There is no such derived file for the gallery's present state."""


class VectorFile:
    """The vectors of one state of one gallery, mapped. Threads may share it."""

    def __init__(
        self,
        path: Path,
        index: EntryIndex,
        shape: tuple[int, int],
        sums: NDArray[np.uint32],
        seen: NDArray[np.uint8],
        cells: NDArray[np.float32],
    ) -> None:
        """Use `open` or `build`."""
        self.path = path
        self.index = index
        self.shape = shape
        self._sums, self._seen, self._cells = sums, seen, cells
        self._sound = np.zeros(len(sums), dtype=np.bool_)  # rows that were tested; only ever set

    @staticmethod
    def build(gallery: GalleryReader) -> VectorFile:
        """Copy the vectors of `gallery` to the file beside it, replacing an older one, and open it.

        Raises:
            InvalidInputError: the gallery is empty or damaged.
        """
        index, (cells_n, dimension) = gallery.index(), gallery.shape
        if not len(index.ids):
            raise InvalidInputError(f"expected a gallery with entries to index; {gallery.path} is empty")
        regions = index.regions if index.regions is not None else np.zeros((len(index.ids), _REGION_BYTES), np.uint8)
        parts: dict[str, NDArray[Any]] = {
            "ids": index.ids,
            "person": index.person,
            "photo": index.photo,
            "regions": regions,
        }
        sums = np.empty(len(index.ids), dtype=np.uint32)
        names = json.dumps(index.names).encode()
        header: dict[str, Any] = {
            "state": gallery.state,
            "contract": gallery.contract_digest,
            "shape": [cells_n, dimension],
            "entries": len(index.ids),
            "names": len(names),
        }
        path = derived_file(gallery.path, VECTORS_SUFFIX)
        fresh = derived_file(path, f".new-{os.getpid()}")
        try:
            with os.fdopen(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "w+b") as stream:
                places = _places(header)
                stream.truncate(places["end"])
                row_bytes = 4 * cells_n * dimension
                step = max(1, _BLOCK_BYTES // row_bytes)
                for start in range(0, len(index.ids), step):
                    cells, visible = gallery.vectors(index.ids[start : start + step])
                    packed = np.packbits(visible, axis=1)
                    sums[start : start + len(cells)] = _row_sums(packed, cells)
                    stream.seek(places["seen"] + start * packed.shape[1])
                    stream.write(packed.tobytes())
                    stream.seek(places["cells"] + start * row_bytes)
                    stream.write(np.ascontiguousarray(cells, dtype="<f4").data)
                for name, value in (*parts.items(), ("sums", sums)):
                    stream.seek(places[name])
                    stream.write(value.tobytes())
                stream.seek(places["names"])
                stream.write(names)
                header["digest"] = _digest(header, names, *(a.tobytes() for a in (*parts.values(), sums)))
                stream.seek(0)
                stream.write(_MAGIC + json.dumps(header).encode())
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)
        return VectorFile.open(gallery)

    @staticmethod
    def open(gallery: GalleryReader) -> VectorFile:
        """Map the file beside `gallery`.

        Raises:
            NoIndexError: there is none for the gallery's present state; names the command that makes it.
            InvalidInputError: it is damaged.
        """
        path = derived_file(gallery.path, VECTORS_SUFFIX)
        try:
            with path.open("rb") as stream:
                start = stream.read(_PAGE)
        except FileNotFoundError:
            raise no_index(gallery.path, path, "there is none") from None
        if start.startswith(_OLDER_MAGIC):
            raise no_index(gallery.path, path, "an older facerec made it")
        if not start.startswith(_MAGIC):
            raise _damage_error(path)
        with _name_damage(path):
            header = json.loads(start[len(_MAGIC) :].rstrip(b"\0"))
            state, contract = str(header["state"]), str(header["contract"])
            n, shape = int(header["entries"]), (int(header["shape"][0]), int(header["shape"][1]))
            places = _places(header)
            if path.stat().st_size != places["end"]:
                raise _damage_error(path)
            mapped = np.memmap(path, dtype=np.uint8, mode="r")

            def part(name: str, kind: type, count: int) -> NDArray[Any]:
                return mapped[places[name] :][: count * np.dtype(kind).itemsize].view(kind)

            ids, person, photo = (part(name, np.int64, n) for name in ("ids", "person", "photo"))
            sums = part("sums", np.uint32, n)
            names = part("names", np.uint8, int(header["names"])).tobytes()
            stated = header.pop("digest")
            regions = part("regions", np.uint8, n * _REGION_BYTES).reshape(n, _REGION_BYTES)
            if stated != _digest(header, names, *(a.tobytes() for a in (ids, person, photo, regions, sums))):
                raise _damage_error(path)
            width = (shape[0] + 7) // 8
            seen = part("seen", np.uint8, n * width).reshape(n, width)
            cells = part("cells", np.float32, n * shape[0] * shape[1]).reshape(n, *shape)
            index = EntryIndex(
                ids=np.array(ids),
                person=np.array(person),
                names=tuple(json.loads(names)),
                photo=np.array(photo),
                regions=np.array(regions) if regions.any() else None,
                nobodies=gallery.nobodies(),
            )
        if (state, contract) != (gallery.state, gallery.contract_digest):
            raise no_index(gallery.path, path, "it is of an older state of the gallery")
        return VectorFile(path, index, shape, sums, seen, cells)

    def rows(self, places: slice | NDArray[np.int64]) -> Vectors:
        """Cells (N, C, D) and visibility (N, C) of the rows `places` of `index`; a slice of cells is not copied.

        Raises:
            InvalidInputError: a row is not what was written.
        """
        seen, cells = np.asarray(self._seen[places]), np.asarray(self._cells[places])
        if not self._sound[places].all():
            if not np.array_equal(_row_sums(seen, cells), self._sums[places]):
                raise _damage_error(self.path)
            self._sound[places] = True
        visible = np.unpackbits(seen, axis=1, count=self.shape[0]).astype(np.bool_)
        return cells, visible


def no_index(gallery: Path, path: Path, why: str, option: str = "") -> NoIndexError:
    """The error for a derived file that is not there or is stale."""
    return NoIndexError(f"expected {path}; {why}. Make it: facerec gallery index{option} -g {gallery}")


@contextlib.contextmanager
def _name_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except InvalidInputError:
        raise
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, MemoryError) as error:
        raise _damage_error(path) from error


def _damage_error(path: Path) -> InvalidInputError:
    return InvalidInputError(f"{path} is damaged; remove it: everything in it is in the gallery")


def _places(header: dict[str, Any]) -> dict[str, int]:
    """Offset of each section, bytes, and the size of the file."""
    n, (cells, dimension) = header["entries"], header["shape"]
    sizes = {
        "header": _PAGE,
        "ids": 8 * n,
        "person": 8 * n,
        "photo": 8 * n,
        "regions": _REGION_BYTES * n,
        "sums": 4 * n,
        "names": header["names"],
        "seen": n * ((cells + 7) // 8),
        "cells": 4 * n * cells * dimension,
    }
    if min(n, cells, dimension, *sizes.values()) <= 0:
        raise ValueError("a section without content")
    places, at = {}, 0
    for name, size in sizes.items():
        places[name] = at
        at += -(-size // _PAGE) * _PAGE
    return {**places, "end": at}


def _digest(header: dict[str, Any], *parts: bytes) -> str:
    total = hashlib.blake2b(json.dumps(header, sort_keys=True).encode(), digest_size=16)
    for part in parts:
        total.update(part)
    return total.hexdigest()


def _row_sums(seen: NDArray[np.uint8], cells: NDArray[np.float32]) -> NDArray[np.uint32]:
    """CRC-32 of each row's visibility and cells."""
    cells = np.ascontiguousarray(cells, dtype="<f4")
    sums = [zlib.crc32(c.data, zlib.crc32(s.data)) for s, c in zip(np.ascontiguousarray(seen), cells, strict=True)]
    return np.array(sums, dtype=np.uint32)
