"""Records that all stores of galleries share: photographs, entries, people, and their order."""

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
from facerec.recognition.signature import REGIONS, Signature, unpack_regions

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
        yaws: of the views that a film's template holds beside that of `pose`, whole degrees; none for a photograph.
    """

    face: int
    signature: Signature
    pose: tuple[float, float, float]
    visible_share: float
    quality: float
    box: Box
    texture: bytes = b""
    yaws: tuple[int, ...] = ()


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
        detail: one sentence behind a reason code, or on which face of a group photograph was taken; otherwise empty.
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

    @property
    def in_group(self) -> bool:
        """Whether it is a group photograph, of which one face was taken for this person: others have other faces."""
        return self.outcome == "enrolled" and bool(self.detail)


@dataclass(frozen=True)
class PersonRecord:
    """A person of the gallery.

    Attributes:
        name: as enrolled.
        photos: number of photographs with an entry.
        entries: number of entries.
        yaw: (lowest, highest) yaw that the entries show, degrees.
        visible_share: largest share of the texture seen in one entry, in [0, 1].
        nobody: whether the person is a known stranger (`GalleryStore.mark`).
    """

    name: str
    photos: int
    entries: int
    yaw: tuple[float, float]
    visible_share: float
    nobody: bool = False


@dataclass(frozen=True)
class EntryRecord:
    """An entry without its vector. Attributes as in `NewEntry` and `NewPhoto`; `regions` are those of its signature,
    packed (`signature.pack_regions`), `nobody` whether its person is a known stranger."""

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
    regions: bytes = b""
    nobody: bool = False
    yaws: tuple[int, ...] = ()

    @property
    def shown_yaws(self) -> tuple[float, ...]:
        """Every yaw that it shows, degrees: that of its pose first."""
        return self.pose[0], *self.yaws

    def with_signature(self, signature: Signature, texture: bytes = b"") -> NewEntry:
        """The entry as it would be stored again."""
        return NewEntry(self.face, signature, self.pose, self.visible_share, self.quality, self.box, texture, self.yaws)


@dataclass(frozen=True, eq=False)
class EntryIndex:
    """All entries in a fixed order (person, photograph, face) that does not depend on when they were enrolled.

    Attributes:
        ids: (N,) int64, entry identifiers.
        person: (N,) int64, index into `names`, ascending.
        names: the people that have entries, sorted.
        photo: (N,) int64, equal for entries of the same picture bytes, also under different names.
        regions: (N, 32) uint8, the regions that each entry's picture shows (`signature.pack_regions`), zeros where
            they are not known; None where they are known of no entry.
        nobodies: which of `names` are known strangers.
    """

    ids: NDArray[np.int64]
    person: NDArray[np.int64]
    names: tuple[str, ...]
    photo: NDArray[np.int64]
    regions: NDArray[np.uint8] | None = None
    nobodies: frozenset[str] = frozenset()

    def seen(self, place: int) -> NDArray[np.bool_] | None:
        """(16, 16) the regions of the entry at `place`; None where they are not known."""
        row = None if self.regions is None else self.regions[place]
        return None if row is None or not row.any() else unpack_regions(row.tobytes())

    @staticmethod
    def of(rows: Sequence[tuple[int, str, str, bytes]], nobodies: frozenset[str] = frozenset()) -> EntryIndex:
        """The index of `rows` (entry, person, SHA-256 of the photograph, packed regions), which are in its order."""
        names = sorted({row[1] for row in rows})
        number = {name: i for i, name in enumerate(names)}
        picture = {sha256: i for i, sha256 in enumerate(sorted({row[2] for row in rows}))}
        regions = np.zeros((len(rows), REGIONS * REGIONS // 8), dtype=np.uint8)
        for i, row in enumerate(rows):
            if row[3]:
                regions[i] = np.frombuffer(row[3], dtype=np.uint8)
        return EntryIndex(
            ids=np.array([row[0] for row in rows], dtype=np.int64),
            person=np.array([number[row[1]] for row in rows], dtype=np.int64),
            names=tuple(names),
            photo=np.array([picture[row[2]] for row in rows], dtype=np.int64),
            regions=regions if regions.any() else None,
            nobodies=nobodies & number.keys(),
        )


@dataclass(frozen=True)
class GalleryInfo:
    """The values of `facerec gallery info`.

    Attributes:
        path: the file.
        contract: digest of the contract.
        contract_json: the contract spelt out.
        people, photos, entries: how many; photos are those with an entry.
        nobodies: how many of the people are known strangers.
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
    nobodies: int = 0


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
            (min(min(entry.shown_yaws) for entry in own), max(max(entry.shown_yaws) for entry in own)),
            max(entry.visible_share for entry in own),
            any(entry.nobody for entry in own),
        )
        for name, own in sorted(by_name.items())
    ]


def pairs_that_share(entries: Iterable[EntryRecord]) -> list[tuple[str, str]]:
    """Pairs of people that share a face of a photograph, see `Gallery.shared_photos`."""
    having: dict[tuple[str, int], list[EntryRecord]] = {}
    for entry in entries:
        having.setdefault((entry.sha256, entry.face), []).append(entry)
    pairs = {
        (a.person, b.person, a.relative_path, b.relative_path)
        for own in having.values()
        for a in own
        for b in own
        if a.person < b.person
    }
    return [(f"{p} ({a})", f"{q} ({b})") for p, q, a, b in sorted(pairs)]


def content_digest(contract: str, rows: Iterable[tuple[str, str, int, bytes]], nobodies: Iterable[str] = ()) -> str:
    """SHA-256, hex, over a contract, entries (person, photograph's SHA-256, face, checksum) in the index's order and
    the names of known strangers."""
    total = hashlib.sha256(contract.encode())
    for name, sha256, face, checksum in rows:
        total.update(json.dumps([name, sha256, face, checksum.hex()]).encode() + b"\n")
    for name in sorted(nobodies):
        total.update(json.dumps(["nobody", name]).encode() + b"\n")
    return total.hexdigest()


def pack_yaws(yaws: Sequence[int]) -> bytes:
    """`NewEntry.yaws` as stores keep them: a byte for each."""
    return np.clip(yaws, -127, 127).astype(np.int8).tobytes()


def unpack_yaws(data: bytes) -> tuple[int, ...]:
    """What `pack_yaws` packed."""
    return tuple(np.frombuffer(data, dtype=np.int8).tolist())


def entry_checksum(person: str, sha256: str, face: int, visible: bytes, cells: bytes, regions: bytes = b"") -> bytes:
    """Over a vector and whose it is: a changed name is as wrong as a changed vector."""
    total = hashlib.blake2b(json.dumps([person, sha256, face, len(visible)]).encode(), digest_size=16)
    total.update(visible)
    total.update(cells)
    total.update(regions)
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
