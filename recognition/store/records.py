"""What goes into a gallery and comes out of it, whichever store keeps it: photographs, entries, people, their order."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError, ReasonCode
from facerec.landmarks.types import Box
from facerec.recognition.signature import Signature

FacesPolicy = Literal["one", "largest", "all", "chosen"]
"""Which faces of a photograph are enrolled: the only one, the largest, all of them, or one that somebody chose."""

Outcome = Literal["enrolled"] | ReasonCode


@dataclass(frozen=True, eq=False)
class NewEntry:
    """One described face, ready to be stored.

    Attributes:
        face: index of the face in its photograph, 0 for the largest.
        signature: its masked signature.
        pose: (yaw, pitch, roll), degrees.
        visible_share: share of the texture that the camera saw, in [0, 1].
        quality: in [0, 1], see `DescribedFace.quality`.
        box: where the face is in the photograph, px.
        texture: its UV texture (`description.texture_bytes`) when it is kept for a later migration; otherwise empty.
    """

    face: int
    signature: Signature
    pose: tuple[float, float, float]
    visible_share: float
    quality: float
    box: Box
    texture: bytes = b""


@dataclass(frozen=True, eq=False)
class NewPhoto:
    """What became of one photograph of one person, ready to be stored.

    Attributes:
        person: name, any Unicode.
        sha256: digest of the file's bytes, hex.
        relative_path: path from the enrolled root.
        absolute_path: where it lay when it was enrolled.
        faces: which faces were asked for.
        outcome: "enrolled", or the reason code why not.
        detail: one sentence behind a reason code, otherwise empty.
        entries: the described faces; none unless enrolled.
    """

    person: str
    sha256: str
    relative_path: Path
    absolute_path: Path
    faces: FacesPolicy
    outcome: Outcome
    detail: str = ""
    entries: tuple[NewEntry, ...] = ()

    def __post_init__(self) -> None:
        if not self.person:
            raise InvalidInputError("expected a person's name; got an empty one")
        if (self.outcome == "enrolled") != bool(self.entries):
            raise InvalidInputError(f"expected entries exactly for an enrolled photograph; got {self.outcome!r}")


@dataclass(frozen=True)
class PhotoRecord:
    """A photograph the gallery knows. Attributes as in `NewPhoto`; `faces_enrolled` is the number of its entries."""

    person: str
    sha256: str
    relative_path: Path
    absolute_path: Path
    faces: FacesPolicy
    outcome: Outcome
    detail: str
    faces_enrolled: int


@dataclass(frozen=True)
class PersonRecord:
    """A person of the gallery.

    Attributes:
        name: as enrolled.
        photos: number of photographs with an entry.
        entries: number of entries.
        yaw: (lowest, highest) yaw among the entries, degrees.
        visible_share: largest share of the texture seen in one entry, in [0, 1].
    """

    name: str
    photos: int
    entries: int
    yaw: tuple[float, float]
    visible_share: float


@dataclass(frozen=True)
class EntryRecord:
    """An entry without its vector. Attributes as in `NewEntry` and `NewPhoto`."""

    entry: int
    person: str
    sha256: str
    relative_path: Path
    absolute_path: Path
    face: int
    pose: tuple[float, float, float]
    visible_share: float
    quality: float
    box: Box
    created: str


@dataclass(frozen=True, eq=False)
class EntryIndex:
    """All entries in a fixed order (person, photograph, face) that does not depend on when they were enrolled.

    Attributes:
        ids: (N,) int64, entry identifiers.
        person: (N,) int64, index into `names`, ascending.
        names: the people that have entries, sorted.
        photo: (N,) int64, equal for entries of the same picture bytes, also under different names.
    """

    ids: NDArray[np.int64]
    person: NDArray[np.int64]
    names: tuple[str, ...]
    photo: NDArray[np.int64]

    @staticmethod
    def of(rows: Sequence[tuple[int, str, str]]) -> EntryIndex:
        """The index of `rows` (entry, person, SHA-256 of the photograph), which are in its order."""
        names = sorted({name for _, name, _ in rows})
        number = {name: i for i, name in enumerate(names)}
        picture = {sha256: i for i, sha256 in enumerate(sorted({sha256 for _, _, sha256 in rows}))}
        return EntryIndex(
            ids=np.array([row[0] for row in rows], dtype=np.int64),
            person=np.array([number[row[1]] for row in rows], dtype=np.int64),
            names=tuple(names),
            photo=np.array([picture[row[2]] for row in rows], dtype=np.int64),
        )


@dataclass(frozen=True)
class GalleryInfo:
    """What `facerec gallery info` tells.

    Attributes:
        path: the file.
        contract: digest of the contract.
        contract_json: the contract spelt out.
        people, photos, entries: how many; photos are those with an entry.
        skipped: photographs without an entry, by reason code.
        shape: (C, D) of a signature; (0, 0) while the gallery is empty.
        bytes: size of the file.
        created: when the gallery was made, UTC.
        digest: digest of the content (see `Gallery.digest`).
    """

    path: Path
    contract: str
    contract_json: str
    people: int
    photos: int
    entries: int
    skipped: dict[str, int]
    shape: tuple[int, int]
    bytes: int
    created: str
    digest: str


@dataclass(frozen=True)
class Verification:
    """What `Gallery.verify` found: `faults` make the gallery unfit for use, `remarks` are worth knowing."""

    entries: int
    faults: tuple[str, ...]
    remarks: tuple[str, ...]


def people_of(entries: Iterable[EntryRecord]) -> list[PersonRecord]:
    """The people of `entries`, by name."""
    by_name: dict[str, list[EntryRecord]] = {}
    for entry in entries:
        by_name.setdefault(entry.person, []).append(entry)
    return [
        PersonRecord(
            name,
            len({entry.sha256 for entry in own}),
            len(own),
            (min(entry.pose[0] for entry in own), max(entry.pose[0] for entry in own)),
            max(entry.visible_share for entry in own),
        )
        for name, own in sorted(by_name.items())
    ]


def content_digest(contract: str, rows: Iterable[tuple[str, str, int, bytes]]) -> str:
    """SHA-256, hex, over a contract and entries (person, photograph's SHA-256, face, checksum) in the index's order."""
    total = hashlib.sha256(contract.encode())
    for name, sha256, face, checksum in rows:
        total.update(json.dumps([name, sha256, face, checksum.hex()]).encode() + b"\n")
    return total.hexdigest()


def entry_checksum(person: str, sha256: str, face: int, visible: bytes, cells: bytes) -> bytes:
    """Over a vector and whose it is: a changed name is as wrong as a changed vector."""
    total = hashlib.blake2b(json.dumps([person, sha256, face, len(visible)]).encode(), digest_size=16)
    total.update(visible)
    total.update(cells)
    return total.digest()


def person_name(text: str) -> str:
    """The form in which a name is stored: composed Unicode, no blanks around it.

    A file system may hand out the decomposed form of an accented letter; both must be the same person. Bytes of a
    folder name that are no Unicode are spelt out (``\\udcff``).
    """
    return unicodedata.normalize("NFC", plain_text(text)).strip()


def plain_text(text: str) -> str:
    """`text` without lone surrogates (bytes of a path that are no Unicode), which SQLite's text cannot hold."""
    return text.encode("utf-8", "backslashreplace").decode()
