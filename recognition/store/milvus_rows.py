"""Rows of a gallery in Milvus: keys made from what they name, and records as rows and back."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.types import Box
from facerec.recognition.signature import mask_group, pack_regions
from facerec.recognition.store.faults import DamagedGalleryError
from facerec.recognition.store.records import EntryRecord, NewEntry, NewPhoto, PhotoRecord, entry_checksum
from facerec.recognition.store.writer_lock import utc_now


def entry_row(photo: NewPhoto, entry: NewEntry, key: str) -> dict[str, Any]:
    """The row of an entry of `photo`, whose key is `key`."""
    cells = np.ascontiguousarray(entry.signature.cells, dtype="<f4")
    seen, regions = np.packbits(entry.signature.visible).tobytes(), pack_regions(entry.signature.regions)
    box = entry.box
    return {
        "id": entry_number(key, entry.face),
        "person_key": person_key(photo.person),
        "sha256": photo.sha256,
        "photo": key,
        "seen": int(mask_group(entry.signature.visible[None])[0]),
        "cells": cells.ravel(),
        "data": {
            "person": photo.person,
            "sha256": photo.sha256,
            "face": entry.face,
            "pose": [float(angle) for angle in entry.pose],
            "yaws": [int(yaw) for yaw in entry.yaws],
            "visible_share": float(entry.visible_share),
            "quality": float(entry.quality),
            "box": [float(v) for v in (box.x0, box.y0, box.x1, box.y1, box.score)],
            "created": utc_now(),
            "visible": seen.hex(),
            "regions": regions.hex(),
            "checksum": entry_checksum(photo.person, photo.sha256, entry.face, seen, cells.tobytes(), regions).hex(),
        },
    }


def photo_row(photo: NewPhoto, key: str) -> dict[str, Any]:
    """The row of `photo`, whose key is `key`."""
    return {
        "id": key,
        "person_key": person_key(photo.person),
        "sha256": hexadecimal(photo.sha256),
        "none": [0.0, 0.0],
        "data": {
            "person": photo.person,
            "sha256": photo.sha256,
            "relative_path": path_text(photo.relative_path),
            "absolute_path": path_text(photo.absolute_path),
            "faces": photo.faces,
            "outcome": photo.outcome,
            "detail": photo.detail.encode("utf-8", "backslashreplace").decode(),
            "entries": len(photo.entries),
        },
    }


def row_vectors(
    address: str, row: dict[str, Any], shape: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Cells (C, D) and visibility (C,) of an entry's row; `InvalidInputError` unless they are what was stored."""
    data = row["data"]
    cells = np.asarray(row["cells"], dtype="<f4").reshape(shape)
    seen = bytes.fromhex(data["visible"])
    checksum = entry_checksum(data["person"], data["sha256"], data["face"], seen, cells.tobytes(), packed_regions(data))
    if checksum.hex() != data["checksum"]:
        raise DamagedGalleryError(f"{address} is damaged: entry {row['id']} is not what was stored")
    return cells, np.unpackbits(np.frombuffer(seen, dtype=np.uint8), count=shape[0]).astype(np.bool_)


def packed_regions(data: dict[str, Any]) -> bytes:
    """The regions in an entry's data; none in those that an older facerec wrote."""
    return bytes.fromhex(data.get("regions", ""))


def entry_record(row: dict[str, Any], photo: dict[str, Any], nobodies: frozenset[str]) -> EntryRecord:
    """The entry of `row`, whose photograph's row holds the data `photo`, in a gallery with known strangers."""
    data = row["data"]
    return EntryRecord(
        entry=int(row["id"]),
        person=data["person"],
        sha256=data["sha256"],
        relative_path=text_path(photo["relative_path"]),
        absolute_path=text_path(photo["absolute_path"]),
        face=data["face"],
        pose=(data["pose"][0], data["pose"][1], data["pose"][2]),
        visible_share=data["visible_share"],
        quality=data["quality"],
        box=Box(*data["box"]),
        created=data["created"],
        regions=packed_regions(data),
        nobody=data["person"] in nobodies,
        yaws=tuple(data.get("yaws", ())),
    )


def photo_record(data: dict[str, Any]) -> PhotoRecord:
    """The photograph whose row holds `data`."""
    return PhotoRecord(
        person=data["person"],
        sha256=data["sha256"],
        relative_path=text_path(data["relative_path"]),
        absolute_path=text_path(data["absolute_path"]),
        faces=data["faces"],
        outcome=data["outcome"],
        detail=data["detail"],
        faces_enrolled=data["entries"],
    )


def row_order(row: dict[str, Any]) -> tuple[str, str, int]:
    """Where an entry comes in the order of `EntryIndex`."""
    data = row["data"]
    return data["person"], data["sha256"], data["face"]


def person_key(person: str) -> str:
    """A name as it may stand in a condition: nothing a user typed does."""
    return hashlib.blake2b(person.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def hexadecimal(sha256: str) -> str:
    """`sha256` when it is hexadecimal, so that it may stand in a condition; raises `InvalidInputError` otherwise."""
    if not re.fullmatch(r"[0-9a-f]{1,128}", sha256):
        raise InvalidInputError(f"expected a digest in hexadecimal; got {sha256!r}")
    return sha256


def photo_key(person: str, sha256: str) -> str:
    """Key of a photograph of a person."""
    return f"{person_key(person)}-{hexadecimal(sha256)}"


def entry_number(photo_key: str, face: int) -> int:
    """Identifier of an entry, the same in every process: 63 bits, of which two among 10^9 entries are the same
    in one such gallery of twenty, and among 10^8 in one of two thousand."""
    total = hashlib.blake2b(f"{photo_key}/{face}".encode(), digest_size=8).digest()
    return int.from_bytes(total, "big") >> 1


def path_text(path: Path) -> str:
    """A path as text that Milvus can hold."""
    return quote(os.fsencode(path))  # file names need not be valid Unicode


def text_path(text: str) -> Path:
    """The path that `path_text` wrote."""
    return Path(os.fsdecode(unquote_to_bytes(text)))
