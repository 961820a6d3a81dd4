"""A gallery: one SQLite file that holds the people, their entries and the contract that made them.

There is one commit point. Everything that must agree lies in one file and changes in one transaction, so a process
that is killed loses at most the batch it was writing. Writers exclude each other by a lock file that the operating
system releases with the process; readers take a snapshot and never wait. Vectors are float32 blobs, each with a
checksum that is tested whenever it is read: a damaged gallery gives an error, never a wrong match.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import hashlib
import json
import os
import sqlite3
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, Self, TypeVar
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import ContractError, FacerecError, InvalidInputError, ReasonCode
from facerec.landmarks.types import Box
from facerec.recognition.signature import Signature
from facerec.recognition.store.writer_lock import (
    GalleryLockedError,
    GalleryWriteError,
    WriterLock,
    derived_file,
    utc_now,
)

_P = ParamSpec("_P")
_R = TypeVar("_R")

APPLICATION_ID = 0x46524543
"""Bytes 68 to 71 of a gallery file, "FREC": tells a gallery from any other SQLite file."""

FacesPolicy = Literal["one", "largest", "all"]
"""Which faces of a photograph are enrolled: the only one, the largest, or all of them."""

Outcome = Literal["enrolled"] | ReasonCode

SKIPPED_SUFFIX = ".skipped.jsonl"
"""Ending of the file beside a gallery that lists what the last enrolment skipped."""

VECTORS_SUFFIX = ".vectors"
"""Ending of the mapped copy of the vectors (see `vector_file`)."""

DERIVED_SUFFIXES = (SKIPPED_SUFFIX, VECTORS_SUFFIX, ".ivf", ".hnsw", ".pq")
"""Endings of files beside a gallery that are made from it. They are dropped when a person is removed."""

_MIGRATIONS = (
    """
    CREATE TABLE contract (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        digest TEXT NOT NULL,
        json TEXT NOT NULL,
        cells INTEGER,
        dimension INTEGER,
        created TEXT NOT NULL,
        revision INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE people (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE
    ) STRICT;
    CREATE TABLE photos (
        id INTEGER PRIMARY KEY,
        person INTEGER NOT NULL REFERENCES people (id) ON DELETE CASCADE,
        sha256 TEXT NOT NULL,
        relative_path BLOB NOT NULL,
        absolute_path BLOB NOT NULL,
        faces TEXT NOT NULL,
        outcome TEXT NOT NULL,
        detail TEXT NOT NULL,
        created TEXT NOT NULL,
        UNIQUE (person, sha256)
    ) STRICT;
    CREATE INDEX photos_by_content ON photos (sha256);
    CREATE TABLE entries (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        photo INTEGER NOT NULL REFERENCES photos (id) ON DELETE CASCADE,
        face INTEGER NOT NULL,
        yaw REAL NOT NULL, pitch REAL NOT NULL, roll REAL NOT NULL,
        visible_share REAL NOT NULL,
        quality REAL NOT NULL,
        x0 REAL NOT NULL, y0 REAL NOT NULL, x1 REAL NOT NULL, y1 REAL NOT NULL, box_score REAL NOT NULL,
        created TEXT NOT NULL,
        checksum BLOB NOT NULL,
        visible BLOB NOT NULL,
        cells BLOB NOT NULL,
        UNIQUE (photo, face)
    ) STRICT;
    CREATE TABLE calibration (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        revision INTEGER NOT NULL,
        data BLOB NOT NULL
    ) STRICT;
    """,
    # `state` names one content of one gallery: two copies that went different ways never share it, as they may share
    # a revision.
    """
    ALTER TABLE contract ADD COLUMN state BLOB NOT NULL DEFAULT x'';
    UPDATE contract SET state = randomblob(16);
    CREATE TABLE textures (
        entry INTEGER PRIMARY KEY REFERENCES entries (id) ON DELETE CASCADE,
        data BLOB NOT NULL
    ) STRICT;
    """,
)
"""Step i brings a file from `user_version` i to i + 1. Steps are added, never changed."""

# SQLite takes at most 999 values in one statement on old builds.
_VALUES_A_STATEMENT = 500

# How long a reader or writer waits for SQLite's own short locks (a commit, a checkpoint), seconds.
_BUSY_SECONDS = 10.0


class ModelContract(Protocol):
    """What a gallery must know of the models that made its signatures (see `recognizer.Contract`)."""

    @property
    def digest(self) -> str:
        """Digest of everything that shapes a signature's numbers."""
        ...

    def as_json(self) -> str:
        """The same, spelt out as a JSON object of strings."""
        ...


class GalleryStore(Protocol):
    """What enrolment and identification need of a gallery: one file (`Gallery`), or Milvus (`milvus_gallery`).

    The methods are those of `Gallery`, with the same meaning.
    """

    @property
    def contract_digest(self) -> str: ...  # noqa: D102
    @property
    def contract_json(self) -> str: ...  # noqa: D102
    @property
    def shape(self) -> tuple[int, int]: ...  # noqa: D102
    @property
    def state(self) -> str: ...  # noqa: D102
    def check_contract(self, contract: ModelContract) -> None: ...  # noqa: D102
    def info(self) -> GalleryInfo: ...  # noqa: D102
    def people(self) -> list[PersonRecord]: ...  # noqa: D102
    def entries(self, person: str | None = None, sha256: str | None = None) -> list[EntryRecord]: ...  # noqa: D102
    def photos(self, digests: Sequence[str] | None = None) -> list[PhotoRecord]: ...  # noqa: D102
    def stored_entries(self, person: str, sha256: str) -> tuple[NewEntry, ...]: ...  # noqa: D102
    def shared_photos(self) -> list[tuple[str, str]]: ...  # noqa: D102
    def index(self) -> EntryIndex: ...  # noqa: D102
    def vectors(self, ids: Sequence[int] | NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]: ...  # noqa: D102
    def digest(self) -> str: ...  # noqa: D102
    def verify(self) -> Verification: ...  # noqa: D102
    def add(self, photos: Sequence[NewPhoto]) -> None: ...  # noqa: D102
    def relocate(self, moved: Sequence[tuple[str, str, Path, Path]]) -> None: ...  # noqa: D102
    def remove_people(self, names: Sequence[str]) -> int: ...  # noqa: D102
    def remove_photos(self, photos: Sequence[tuple[str, str]]) -> int: ...  # noqa: D102
    def remove_entries(self, ids: Sequence[int]) -> int: ...  # noqa: D102
    def rename(self, old: str, new: str) -> None: ...  # noqa: D102
    def merge(self, names: Sequence[str], into: str) -> None: ...  # noqa: D102
    def store_calibration(self, data: bytes) -> None: ...  # noqa: D102
    def calibration(self) -> bytes: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


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
        texture: its UV texture (`enrolment.texture_bytes`) when it is kept for a later migration; otherwise empty.
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


def _whole_rows(read: Callable[Concatenate[Gallery, _P], _R]) -> Callable[Concatenate[Gallery, _P], _R]:
    """Rows of a damaged file may hold values of any type: what then goes wrong is said to be the damage."""

    @functools.wraps(read)
    def checked(gallery: Gallery, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            with _sqlite_errors(gallery.path):
                return read(gallery, *args, **kwargs)
        except FacerecError:
            raise
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InvalidInputError(f"{gallery.path} is damaged: {error}") from error

    return checked


class Gallery:
    """An open gallery. Made by `Gallery.open` or `Gallery.create`; close it, or use it as a context manager.

    A gallery that was opened for reading is a snapshot: it shows the state at the moment of opening, whatever is
    enrolled or removed meanwhile. It may be used from several threads; one that was opened for writing may not.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: WriterLock | None) -> None:
        """Use `open` or `create`."""
        self.path = path
        self._connection = connection
        self._lock = lock

    # ---- opening -------------------------------------------------------------------------------------------------

    @classmethod
    def open(
        cls, path: Path | str, contract: ModelContract | None = None, *, write: bool = False, wait_s: float = 0.0
    ) -> Gallery:
        """Open an existing gallery.

        Args:
            path: the file; any ending.
            contract: the models at hand. When given, it must be the gallery's own.
            write: take the writer's lock.
            wait_s: how long to wait for another writer, seconds.

        Raises:
            InvalidInputError: there is no such file, or it is not a gallery.
            ContractError: the gallery was made by other models, or by a newer facerec.
            GalleryLockedError: someone else writes it.
        """
        path = Path(path)
        _check_is_gallery(path)
        lock = WriterLock.acquire(path, wait_s) if write else None
        try:
            gallery = cls(path, _connect(path, write), lock)
        except BaseException:
            if lock:
                lock.release()
            raise
        try:
            with _sqlite_errors(path):
                gallery._bring_up_to_date()
                if not write:
                    gallery._connection.execute("BEGIN")
                    gallery._connection.execute("SELECT revision FROM contract").fetchone()  # the snapshot starts here
            if contract is not None:
                gallery.check_contract(contract)
        except BaseException:
            gallery.close()
            raise
        return gallery

    @classmethod
    def create(
        cls, path: Path | str, contract: ModelContract, *, exist_ok: bool = False, wait_s: float = 0.0
    ) -> Gallery:
        """Make an empty gallery and open it for writing; with `exist_ok`, open the one that is there.

        The file appears complete or not at all. It is readable by its owner only: signatures are biometric data.

        Raises:
            InvalidInputError: the file exists (without `exist_ok`) or is not a gallery, or the folder does not exist.
            ContractError, GalleryLockedError: as `open`.
        """
        path = Path(path)
        if exist_ok and path.exists():
            return cls.open(path, contract, write=True, wait_s=wait_s)
        if not path.absolute().parent.is_dir():
            raise InvalidInputError(f"expected a gallery path in an existing folder; there is no {path.parent}")
        lock = WriterLock.acquire(path, wait_s)
        try:
            if path.exists():  # looked at again under the lock: two may have started at once
                if not exist_ok:
                    raise InvalidInputError(f"expected a path for a new gallery; {path} exists")
                _check_is_gallery(path)
            else:
                _make_file(path, contract)
            gallery = cls(path, _connect(path, write=True), lock)
        except BaseException:
            lock.release()
            raise
        try:
            gallery.check_contract(contract)
        except BaseException:
            gallery.close()
            raise
        return gallery

    def close(self) -> None:
        """Close the file. A writer first folds its journal into the file, so that the file alone is the gallery."""
        try:
            if self._lock:
                with contextlib.suppress(sqlite3.Error):  # a reader holds the journal; the last one to close folds it
                    self._connection.execute("PRAGMA busy_timeout = 0")
                    self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self._connection.close()
            if self._lock:
                self._lock.release()
                self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- contract ------------------------------------------------------------------------------------------------

    @property
    def contract_digest(self) -> str:
        """Digest of the contract under which every entry was made."""
        return str(self._one("SELECT digest FROM contract")[0])

    @property
    def contract_json(self) -> str:
        """The contract spelt out."""
        return str(self._one("SELECT json FROM contract")[0])

    @property
    def shape(self) -> tuple[int, int]:
        """(C, D) of the stored signatures; (0, 0) while there is none."""
        cells, dimension = self._one("SELECT cells, dimension FROM contract")
        return (int(cells), int(dimension)) if cells is not None else (0, 0)

    @property
    def revision(self) -> int:
        """Counts the changes of the content; what was derived from another revision is stale."""
        (revision,) = self._one("SELECT revision FROM contract")
        return int(revision)

    @property
    def state(self) -> str:
        """Names the present content, unlike that of every other state of every gallery, hex."""
        (state,) = self._one("SELECT state FROM contract")
        return bytes(state).hex()

    def check_contract(self, contract: ModelContract) -> None:
        """Raise `ContractError` unless `contract` is the gallery's: names both sides and the command that mends it."""
        if contract.digest != self.contract_digest:
            raise contract_mismatch(str(self.path), self.contract_digest, self.contract_json, contract)

    # ---- reading -------------------------------------------------------------------------------------------------

    @_whole_rows
    def info(self) -> GalleryInfo:
        """Counts, contract and digest."""
        (created,) = self._one("SELECT created FROM contract")
        (entries,) = self._one("SELECT count(*) FROM entries")
        (photos,) = self._one("SELECT count(DISTINCT photo) FROM entries")
        (people,) = self._one(
            "SELECT count(DISTINCT photos.person) FROM photos JOIN entries ON entries.photo = photos.id"
        )
        skipped = self._all(
            "SELECT outcome, count(*) FROM photos WHERE outcome != 'enrolled' GROUP BY outcome ORDER BY outcome"
        )
        return GalleryInfo(
            path=self.path,
            contract=self.contract_digest,
            contract_json=self.contract_json,
            people=people,
            photos=photos,
            entries=entries,
            skipped=dict(skipped),
            shape=self.shape,
            bytes=self.path.stat().st_size,
            created=created,
            digest=self.digest(),
        )

    @_whole_rows
    def people(self) -> list[PersonRecord]:
        """The people that have entries, by name."""
        rows = self._all(
            "SELECT people.name, count(DISTINCT photos.id), count(*), min(yaw), max(yaw), max(visible_share) "
            "FROM people JOIN photos ON photos.person = people.id JOIN entries ON entries.photo = photos.id "
            "GROUP BY people.id ORDER BY people.name"
        )
        return [PersonRecord(name, photos, n, (low, high), share) for name, photos, n, low, high, share in rows]

    @_whole_rows
    def entries(self, person: str | None = None, sha256: str | None = None) -> list[EntryRecord]:
        """All entries, or only one person's or one photograph's, without their vectors, in the order of `index`."""
        wanted = {"people.name": person, "sha256": sha256}
        asked = {column: value for column, value in wanted.items() if value is not None}
        rows = self._all(
            "SELECT entries.id, people.name, sha256, relative_path, absolute_path, face, yaw, pitch, roll, "
            "visible_share, quality, x0, y0, x1, y1, box_score, entries.created "
            "FROM entries JOIN photos ON photos.id = entries.photo JOIN people ON people.id = photos.person "
            + ("WHERE " + " AND ".join(f"{column} = ?" for column in asked) + " " if asked else "")
            + "ORDER BY people.name, sha256, face",
            tuple(asked.values()),
        )
        return [
            EntryRecord(
                entry=row[0],
                person=row[1],
                sha256=row[2],
                relative_path=_stored_path(row[3]),
                absolute_path=_stored_path(row[4]),
                face=row[5],
                pose=(row[6], row[7], row[8]),
                visible_share=row[9],
                quality=row[10],
                box=Box(*row[11:16]),
                created=row[16],
            )
            for row in rows
        ]

    @_whole_rows
    def photos(self, digests: Sequence[str] | None = None) -> list[PhotoRecord]:
        """The photographs the gallery knows, those without an entry included; with `digests`, only those contents."""
        query = (
            "SELECT people.name, sha256, relative_path, absolute_path, faces, outcome, detail, "
            "(SELECT count(*) FROM entries WHERE entries.photo = photos.id) "
            "FROM photos JOIN people ON people.id = photos.person {} ORDER BY people.name, sha256"
        )
        rows = self._all(query.format("")) if digests is None else self._all_of(query, "sha256", digests)
        return [
            PhotoRecord(name, sha256, _stored_path(relative), _stored_path(absolute), faces, outcome, detail, n)
            for name, sha256, relative, absolute, faces, outcome, detail, n in rows
        ]

    def stored_entries(self, person: str, sha256: str) -> tuple[NewEntry, ...]:
        """The entries of one photograph, as they would be stored again."""
        return tuple(
            NewEntry(r.face, self.signature(r.entry), r.pose, r.visible_share, r.quality, r.box, self.texture(r.entry))
            for r in self.entries(person, sha256)
        )

    @_whole_rows
    def index(self) -> EntryIndex:
        """All entries in their fixed order, without vectors: some 30 bytes an entry."""
        rows = self._all(
            "SELECT entries.id, people.name, sha256 FROM entries "
            "JOIN photos ON photos.id = entries.photo JOIN people ON people.id = photos.person "
            "ORDER BY people.name, sha256, face"
        )
        return EntryIndex.of(rows)

    @_whole_rows
    def vectors(self, ids: Sequence[int] | NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Cells (N, C, D) float32 and visibility (N, C) of the entries `ids`, in that order.

        Raises:
            InvalidInputError: an entry is not there, or its bytes are not the ones that were stored.
        """
        cells_n, dimension = self.shape
        wanted = [int(i) for i in ids]
        rows = {
            row[0]: row[1:]
            for row in self._all_of(
                "SELECT entries.id, people.name, sha256, face, checksum, visible, cells FROM entries "
                "JOIN photos ON photos.id = entries.photo JOIN people ON people.id = photos.person {}",
                "entries.id",
                wanted,
            )
        }
        for entry in wanted:
            if entry not in rows:
                raise InvalidInputError(f"expected an entry of {self.path}; there is no entry {entry}")
            name, sha256, face, checksum, seen, blob = rows[entry]
            if (
                checksum != entry_checksum(name, sha256, face, seen, blob)
                or len(blob) != 4 * cells_n * dimension
                or len(seen) != (cells_n + 7) // 8
            ):
                raise InvalidInputError(
                    f"{self.path} is damaged: entry {entry} is not what was stored; see facerec gallery verify -g "
                    f"{self.path}"
                )
        if not wanted:
            return np.zeros((0, cells_n, dimension), dtype=np.float32), np.zeros((0, cells_n), dtype=np.bool_)
        # Only now is anything made of the stated shape: a damaged one could ask for any amount of memory.
        cells = np.empty((len(wanted), cells_n, dimension), dtype=np.float32)
        visible = np.empty((len(wanted), cells_n), dtype=np.bool_)
        for i, entry in enumerate(wanted):
            *_, seen, blob = rows[entry]
            cells[i] = np.frombuffer(blob, dtype="<f4").reshape(cells_n, dimension)
            visible[i] = np.unpackbits(np.frombuffer(seen, dtype=np.uint8), count=cells_n).astype(np.bool_)
        return cells, visible

    def signature(self, entry: int) -> Signature:
        """The signature of one entry."""
        cells, visible = self.vectors([entry])
        return Signature(cells[0], visible[0], self.contract_digest)

    def texture(self, entry: int) -> bytes:
        """The kept texture of an entry (see `enrolment.stored_texture`); empty when none was kept."""
        rows = self._all("SELECT data FROM textures WHERE entry = ?", (entry,))
        return bytes(rows[0][0]) if rows else b""

    @_whole_rows
    def digest(self) -> str:
        """SHA-256 over contract, names, photograph digests and vectors, hex.

        The same photographs under the same names give the same digest, in whatever order, by however many workers
        and from wherever they were enrolled.
        """
        rows = self._connection.execute(
            "SELECT people.name, sha256, face, checksum FROM entries JOIN photos ON photos.id = entries.photo "
            "JOIN people ON people.id = photos.person ORDER BY people.name, sha256, face"
        )
        return content_digest(self.contract_digest, rows)

    def verify(self) -> Verification:
        """Check the whole file: SQLite's own structure, references, shapes, checksums, unit length, sources."""
        faults: list[str] = []
        remarks: list[str] = []
        ids: list[int] = []
        try:
            faults += [f"SQLite: {row[0]}" for row in self._all("PRAGMA integrity_check") if row[0] != "ok"]
            faults += [f"table {row[0]} refers to a missing {row[2]}" for row in self._all("PRAGMA foreign_key_check")]
            ids = [row[0] for row in self._all("SELECT id FROM entries ORDER BY id")]
            for entry in ids:
                try:
                    self.signature(entry)  # checks shape, checksum and unit length
                except InvalidInputError as error:
                    faults.append(f"entry {entry}: {error}")
            faults += [
                f"photograph {row[0]} counts as enrolled but has no entry"
                for row in self._all(
                    "SELECT sha256 FROM photos WHERE outcome = 'enrolled' AND id NOT IN (SELECT photo FROM entries)"
                )
            ]
            remarks += [f"{a} and {b}: the same photograph under two names" for a, b in self.shared_photos()]
            missing = [photo.absolute_path for photo in self.photos() if not photo.absolute_path.is_file()]
            if missing:
                remarks.append(f"{len(missing)} photographs are no longer where they were enrolled, e.g. {missing[0]}")
        except (FacerecError, sqlite3.Error) as error:
            faults.append(str(error))
        return Verification(len(ids), tuple(faults), tuple(remarks))

    @_whole_rows
    def shared_photos(self) -> list[tuple[str, str]]:
        """Pairs of people that share a photograph, as ("bob (bob/3.jpg)", "alice (alice/1.jpg)")."""
        rows = self._all(
            "SELECT p.name, a.relative_path, q.name, b.relative_path FROM photos a "
            "JOIN photos b ON a.sha256 = b.sha256 JOIN people p ON p.id = a.person JOIN people q ON q.id = b.person "
            "WHERE p.name < q.name AND a.outcome = 'enrolled' AND b.outcome = 'enrolled' ORDER BY p.name, q.name"
        )
        return [(f"{p} ({_stored_path(a)})", f"{q} ({_stored_path(b)})") for p, a, q, b in rows]

    # ---- writing -------------------------------------------------------------------------------------------------

    def add(self, photos: Sequence[NewPhoto]) -> None:
        """Store a batch in one transaction: all of it is there afterwards, or nothing.

        A photograph that the same person already has is replaced.

        Raises:
            ContractError: a signature was made under another contract or has another shape.
            GalleryWriteError: the disk is full or read-only; the gallery is as it was before.
        """
        for photo in photos:
            for entry in photo.entries:
                self._check_signature(entry.signature)
        with self._transaction() as connection:
            for photo in photos:
                self._add_photo(connection, photo)
            _changed(connection)

    def relocate(self, moved: Sequence[tuple[str, str, Path, Path]]) -> None:
        """Note new places of known photographs: (person, sha256, relative path, absolute path)."""
        with self._transaction() as connection:
            connection.executemany(
                "UPDATE photos SET relative_path = ?, absolute_path = ? "
                "WHERE sha256 = ? AND person = (SELECT id FROM people WHERE name = ?)",
                [(_path_blob(rel), _path_blob(full), sha256, person) for person, sha256, rel, full in moved],
            )

    def remove_people(self, names: Sequence[str]) -> int:
        """Remove people with everything known of them; returns the number of entries that went with them.

        The bytes are gone, too, see `wipe`.

        Raises:
            InvalidInputError: a name is not in the gallery; nothing is removed then.
        """
        self._check_known(names)
        before = self._one("SELECT count(*) FROM entries")[0]
        with self._transaction() as connection:
            connection.executemany("DELETE FROM people WHERE name = ?", [(name,) for name in names])
            _changed(connection)
        removed = int(before - self._one("SELECT count(*) FROM entries")[0])
        self.wipe()
        return removed

    def remove_photos(self, photos: Sequence[tuple[str, str]]) -> int:
        """Remove photographs, each (person, sha256), and people that have none left. Otherwise as `remove_people`."""
        before = self._one("SELECT count(*) FROM entries")[0]
        with self._transaction() as connection:
            connection.executemany(
                "DELETE FROM photos WHERE person = (SELECT id FROM people WHERE name = ?) AND sha256 = ?", photos
            )
            connection.execute("DELETE FROM people WHERE id NOT IN (SELECT person FROM photos)")
            _changed(connection)
        removed = int(before - self._one("SELECT count(*) FROM entries")[0])
        self.wipe()
        return removed

    def rename(self, old: str, new: str) -> None:
        """Call the person `old` `new` from now on; the old name leaves the file.

        Raises:
            InvalidInputError: there is no `old`, or there is a `new` already (see `merge`).
        """
        self._check_known([old])
        if self._all("SELECT 1 FROM people WHERE name = ?", (new,)):
            raise InvalidInputError(
                f"expected a name that is not in {self.path}; {new!r} is. Make the two one person: "
                f"facerec gallery merge {old!r} --into {new!r} -g {self.path}"
            )
        self._give_to([old], new)

    def merge(self, names: Sequence[str], into: str) -> None:
        """Make the people `names` and `into` one person, called `into`; a photograph that two of them have stays once.

        Raises:
            InvalidInputError: one of them is not in the gallery; nothing is changed then.
        """
        self._check_known([*names, into])
        self._give_to([name for name in names if name != into], into)

    def _give_to(self, names: Sequence[str], into: str) -> None:
        """Give the photographs of `names` to `into`. An entry's checksum covers whose it is, so it is made anew, which
        a damaged entry must not survive: all are read first."""
        if not into:
            raise InvalidInputError("expected a person's name; got an empty one")
        self.vectors([entry.entry for name in names for entry in self.entries(name)])
        with self._transaction() as connection:
            connection.execute("INSERT INTO people (name) VALUES (?) ON CONFLICT DO NOTHING", (into,))
            (person,) = connection.execute("SELECT id FROM people WHERE name = ?", (into,)).fetchone()
            for name in names:
                (other,) = connection.execute("SELECT id FROM people WHERE name = ?", (name,)).fetchone()
                # Of a photograph that both have, the one with entries stays.
                connection.execute(
                    "DELETE FROM photos WHERE person = ?1 AND outcome != 'enrolled' AND sha256 IN "
                    "(SELECT sha256 FROM photos WHERE person = ?2)",
                    (person, other),
                )
                connection.execute("UPDATE OR IGNORE photos SET person = ? WHERE person = ?", (person, other))
                connection.execute("DELETE FROM people WHERE id = ?", (other,))
            rows = connection.execute(
                "SELECT entries.id, sha256, face, visible, cells FROM entries JOIN photos ON photos.id = entries.photo "
                "WHERE person = ?",
                (person,),
            ).fetchall()
            connection.executemany(
                "UPDATE entries SET checksum = ? WHERE id = ?",
                [(entry_checksum(into, sha256, face, seen, cells), entry) for entry, sha256, face, seen, cells in rows],
            )
            _changed(connection)
        self.wipe()

    def _check_known(self, names: Sequence[str]) -> None:
        known = {name for (name,) in self._all("SELECT name FROM people")}
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, sorted(known), n=3)
                hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
                raise InvalidInputError(f"expected a person of {self.path}; there is no {name!r}{hint}")

    def remove_entries(self, ids: Sequence[int]) -> int:
        """Remove single entries, and photographs and people that have none left. Otherwise as `remove_people`."""
        known = {row[0] for row in self._all("SELECT id FROM entries")}
        for entry in ids:
            if entry not in known:
                raise InvalidInputError(f"expected an entry of {self.path}; there is no entry {entry}")
        with self._transaction() as connection:
            connection.executemany("DELETE FROM entries WHERE id = ?", [(entry,) for entry in ids])
            connection.execute(
                "DELETE FROM photos WHERE outcome = 'enrolled' AND id NOT IN (SELECT photo FROM entries)"
            )
            connection.execute("DELETE FROM people WHERE id NOT IN (SELECT person FROM photos)")
            _changed(connection)
        self.wipe()
        return len(set(ids))

    def wipe(self) -> None:
        """Let no byte of what was removed remain: rewrite the file, empty its journal, drop what was derived from it.

        Raises:
            GalleryLockedError: a reader still holds the old state. What was removed is out of the gallery all the
                same, and the last process to close the gallery empties the journal.
        """
        for file in self.path.absolute().parent.iterdir():
            end = file.name.removeprefix(self.path.name)
            # Also what an interrupted build or migration left.
            if end != file.name and end.startswith((*DERIVED_SUFFIXES, ".migrating-")):
                file.unlink(missing_ok=True)
        with _sqlite_errors(self.path):
            self._connection.execute("VACUUM")
            (busy, _, _) = self._one("PRAGMA wal_checkpoint(TRUNCATE)")
        if busy:
            raise GalleryLockedError(
                f"removed from {self.path}, but another process still reads its old state: the bytes leave the disk "
                f"when that process ends"
            )

    def store_calibration(self, data: bytes) -> None:
        """Keep impostor scores (see `threshold.ImpostorScores`) for the present revision."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO calibration SELECT 1, revision, ? FROM contract", (sqlite3.Binary(data),)
            )

    def calibration(self) -> bytes:
        """The stored impostor scores; empty when there are none for the present revision."""
        rows = self._all("SELECT data FROM calibration WHERE revision = (SELECT revision FROM contract)")
        return bytes(rows[0][0]) if rows else b""

    def replace_content(self, other: Path) -> None:
        """Take contract, people and entries of the gallery file `other` in one transaction, dropping the own ones.

        This is how a migration ends: readers see the old state or the new one, never a mixture.
        """
        _check_is_gallery(other)
        connection = self._connection
        with _sqlite_errors(self.path):
            connection.execute("ATTACH DATABASE ? AS other", (f"{_uri(other)}?mode=rw",))
        try:
            with self._transaction():
                revision = self.revision
                for table in ("calibration", "textures", "entries", "photos", "people", "contract"):
                    connection.execute(f"DELETE FROM main.{table}")
                for table in ("contract", "people", "photos", "entries", "textures", "calibration"):
                    connection.execute(f"INSERT INTO main.{table} SELECT * FROM other.{table}")
                # Ahead of both: whatever was derived from either is stale.
                connection.execute("UPDATE main.contract SET revision = revision + ? + 1", (revision,))
                connection.execute("UPDATE main.calibration SET revision = (SELECT revision FROM main.contract)")
        finally:
            connection.execute("DETACH DATABASE other")
        self.wipe()

    # ---- inside --------------------------------------------------------------------------------------------------

    def _check_signature(self, signature: Signature) -> None:
        if signature.contract != self.contract_digest:
            raise ContractError(
                f"expected signatures of contract {self.contract_digest[:12]} for {self.path}; "
                f"got contract {signature.contract[:12]}"
            )
        shape = self.shape
        if shape not in ((0, 0), signature.cells.shape):
            raise ContractError(f"expected signatures of shape {shape} for {self.path}; got {signature.cells.shape}")

    def _add_photo(self, connection: sqlite3.Connection, photo: NewPhoto) -> None:
        now = utc_now()
        connection.execute("INSERT INTO people (name) VALUES (?) ON CONFLICT DO NOTHING", (photo.person,))
        (person,) = connection.execute("SELECT id FROM people WHERE name = ?", (photo.person,)).fetchone()
        connection.execute("DELETE FROM photos WHERE person = ? AND sha256 = ?", (person, photo.sha256))
        place = (_path_blob(photo.relative_path), _path_blob(photo.absolute_path))
        row = connection.execute(
            "INSERT INTO photos (person, sha256, relative_path, absolute_path, faces, outcome, detail, created) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (person, photo.sha256, *place, photo.faces, photo.outcome, _plain(photo.detail), now),
        ).lastrowid
        for entry in photo.entries:
            cells = np.ascontiguousarray(entry.signature.cells, dtype="<f4").tobytes()
            visible = np.packbits(entry.signature.visible).tobytes()
            connection.execute(
                "UPDATE contract SET cells = ?, dimension = ? WHERE cells IS NULL", entry.signature.cells.shape
            )
            stored = connection.execute(
                "INSERT INTO entries (photo, face, yaw, pitch, roll, visible_share, quality, x0, y0, x1, y1, "
                "box_score, created, checksum, visible, cells) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    row,
                    entry.face,
                    *(float(angle) for angle in entry.pose),
                    float(entry.visible_share),
                    float(entry.quality),
                    *(float(v) for v in (entry.box.x0, entry.box.y0, entry.box.x1, entry.box.y1, entry.box.score)),
                    now,
                    entry_checksum(photo.person, photo.sha256, entry.face, visible, cells),
                    visible,
                    cells,
                ),
            ).lastrowid
            if entry.texture:
                connection.execute("INSERT INTO textures VALUES (?, ?)", (stored, entry.texture))

    def _bring_up_to_date(self) -> None:
        (version,) = self._one("PRAGMA user_version")
        if version > len(_MIGRATIONS):
            raise ContractError(
                f"{self.path} has layout {version}, made by a newer facerec; this one knows layouts up to "
                f"{len(_MIGRATIONS)}. Install the newer facerec"
            )
        if version < len(_MIGRATIONS):
            if not self._lock:
                raise ContractError(
                    f"{self.path} has layout {version}, made by an older facerec; bring it up to layout "
                    f"{len(_MIGRATIONS)}: facerec gallery migrate -g {self.path}"
                )
            with self._transaction() as connection:
                for number in range(version, len(_MIGRATIONS)):
                    for statement in _MIGRATIONS[number].split(";"):
                        connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        if not self._lock:
            raise InvalidInputError(f"expected {self.path} to be open for writing; it is open for reading")
        with _sqlite_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite rolls back by itself when the disk is full
                    self._connection.execute("ROLLBACK")
                raise

    def _all(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        with _sqlite_errors(self.path):
            return self._connection.execute(query, values).fetchall()

    def _one(self, query: str) -> Any:
        with _sqlite_errors(self.path):
            row = self._connection.execute(query).fetchone()
        if row is None:
            raise InvalidInputError(f"{self.path} is damaged: it has lost the record of its contract")
        return row

    def _all_of(self, query: str, column: str, values: Sequence[object]) -> list[Any]:
        """`query` (with a place {} for the condition) for the rows whose `column` is one of `values`."""
        rows: list[Any] = []
        for start in range(0, len(values), _VALUES_A_STATEMENT):
            part = values[start : start + _VALUES_A_STATEMENT]
            rows += self._all(query.format(f"WHERE {column} IN ({', '.join('?' * len(part))})"), part)
        return rows


def content_digest(contract: str, rows: Iterable[tuple[str, str, int, bytes]]) -> str:
    """SHA-256, hex, over a contract and entries (person, photograph's SHA-256, face, checksum) in the index's order."""
    total = hashlib.sha256(contract.encode())
    for name, sha256, face, checksum in rows:
        total.update(json.dumps([name, sha256, face, checksum.hex()]).encode() + b"\n")
    return total.hexdigest()


def person_name(text: str) -> str:
    """The form in which a name is stored: composed Unicode, no blanks around it.

    A file system may hand out the decomposed form of an accented letter; both must be the same person. Bytes of a
    folder name that are no Unicode are spelt out (``\\udcff``).
    """
    return unicodedata.normalize("NFC", _plain(text)).strip()


def _connect(path: Path, write: bool) -> sqlite3.Connection:
    if write:
        uri = f"{_uri(path)}?mode=rw"
    elif os.access(path, os.W_OK) and os.access(path.absolute().parent, os.W_OK):
        # A reader of a WAL file keeps its place in a shared file beside it, so it opens for writing, too; query_only
        # below keeps it from writing.
        uri = f"{_uri(path)}?mode=rw"
    elif _journal_is_empty(path):
        uri = f"{_uri(path)}?mode=ro&immutable=1"  # a read-only folder or medium: nothing beside it can be made
    else:
        uri = f"{_uri(path)}?mode=ro"
    with _sqlite_errors(path):
        connection = sqlite3.connect(
            uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            if write:
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA secure_delete = ON")
            else:
                connection.execute("PRAGMA query_only = ON")
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except BaseException:
            connection.close()
            raise
    return connection


def _make_file(path: Path, contract: ModelContract) -> None:
    fresh = derived_file(path, f".new-{os.getpid()}")
    try:
        with _sqlite_errors(path):
            os.close(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            connection = sqlite3.connect(fresh, isolation_level=None)
            try:
                # An entry of 2 KB fills SQLite's own 4 KB pages to half only.
                connection.execute("PRAGMA page_size = 16384")
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute("BEGIN")
                for step in _MIGRATIONS:
                    for statement in step.split(";"):
                        connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")
                connection.execute(
                    "INSERT INTO contract (id, digest, json, created, revision, state) "
                    "VALUES (1, ?, ?, ?, 0, randomblob(16))",
                    (contract.digest, contract.as_json(), utc_now()),
                )
                connection.execute("COMMIT")
            finally:
                connection.close()
            os.replace(fresh, path)
    finally:
        for suffix in ("", "-wal", "-shm"):
            derived_file(fresh, suffix).unlink(missing_ok=True)


def _check_is_gallery(path: Path) -> None:
    if path.is_dir():
        raise InvalidInputError(f"expected a gallery file; {path} is a folder")
    try:
        with path.open("rb") as stream:
            header = stream.read(100)
    except FileNotFoundError:
        raise InvalidInputError(
            f"expected a gallery; there is no {path}. Make one: facerec enroll PHOTOS... -g {path}"
        ) from None
    except OSError as error:
        raise InvalidInputError(f"expected a gallery; {path} cannot be read: {error.strerror}") from None
    if not header.startswith(b"SQLite format 3\x00"):
        what = "it is empty" if not header else "it is some other file"
        raise InvalidInputError(f"expected a gallery made by facerec enroll; got {path}: {what}")
    if len(header) < 100 or int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise InvalidInputError(f"expected a gallery made by facerec enroll; got {path}: another SQLite file")


@contextlib.contextmanager
def _sqlite_errors(path: Path) -> Iterator[None]:
    """Say in the words of this project what SQLite or the disk ran into."""
    try:
        yield
    except sqlite3.OperationalError as error:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise GalleryLockedError(f"{path} is being written by another process: {error}") from error
        if name.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN")):
            raise GalleryWriteError(
                f"{path} cannot be written ({error}); what it held before is still there"
            ) from error
        raise InvalidInputError(f"{path} is damaged: {error}") from error
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
            raise  # ours, not the file's
        raise InvalidInputError(f"{path} is damaged: {error}") from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path} is damaged: {error}") from error
    except OSError as error:
        raise GalleryWriteError(f"{path} cannot be written: {error.strerror or error}") from error


def _changed(connection: sqlite3.Connection) -> None:
    """Count the change, and drop what was derived from the content before it."""
    connection.execute("UPDATE contract SET revision = revision + 1, state = randomblob(16)")
    connection.execute("DELETE FROM calibration")


def contract_mismatch(gallery: str, digest: str, as_json: str, contract: ModelContract) -> ContractError:
    """The error for models of another contract than the gallery's, `digest` and `as_json`."""
    return ContractError(
        f"{gallery} was made under contract {digest[:12]}, the models in use have contract {contract.digest[:12]}; "
        f"their signatures cannot be compared{_differences(as_json, contract.as_json())}\n"
        f"Use the models the gallery was made with, or describe its photographs again: "
        f"facerec gallery migrate -g {gallery}"
    )


def _differences(gallery_json: str, models_json: str) -> str:
    try:
        ours, theirs = json.loads(gallery_json), json.loads(models_json)
        keys = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
    except (ValueError, AttributeError):
        return ""
    return ": " + ", ".join(f"{key} {_short(ours.get(key))} there, {_short(theirs.get(key))} here" for key in keys)


def _short(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 24 else text[:12] + "..."


def entry_checksum(person: str, sha256: str, face: int, visible: bytes, cells: bytes) -> bytes:
    """Over a vector and whose it is: a changed name is as wrong as a changed vector."""
    total = hashlib.blake2b(json.dumps([person, sha256, face, len(visible)]).encode(), digest_size=16)
    total.update(visible)
    total.update(cells)
    return total.digest()


def _uri(path: Path) -> str:
    return "file:" + quote(os.fsencode(path.absolute()))


def _journal_is_empty(path: Path) -> bool:
    journal = derived_file(path, "-wal")
    return not journal.exists() or journal.stat().st_size == 0


def _path_blob(path: Path) -> bytes:
    return os.fsencode(path)  # a blob: file names need not be valid Unicode


def _stored_path(blob: object) -> Path:
    return Path(os.fsdecode(blob))  # type: ignore[arg-type]


def _plain(text: str) -> str:
    """`text` without lone surrogates (bytes of a path that are no Unicode), which SQLite's text cannot hold."""
    return text.encode("utf-8", "backslashreplace").decode()
