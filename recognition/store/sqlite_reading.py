"""The reading half of a gallery file: contract, people, entries, vectors, digest, and its verification."""

from __future__ import annotations

import functools
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import FacerecError, InvalidInputError
from facerec.landmarks.types import Box
from facerec.recognition.signature import Signature, unpack_regions
from facerec.recognition.store.faults import DamagedGalleryError
from facerec.recognition.store.protocol import ModelContract, contract_mismatch
from facerec.recognition.store.records import (
    EntryIndex,
    EntryRecord,
    GalleryInfo,
    NewEntry,
    PersonRecord,
    PhotoRecord,
    Verification,
    content_digest,
    entry_checksum,
    unpack_yaws,
)
from facerec.recognition.store.schema import sqlite_errors

_P = ParamSpec("_P")
_R = TypeVar("_R")

# SQLite takes at most 999 values in one statement on old builds.
_VALUES_A_STATEMENT = 500


def _whole_rows(read: Callable[Concatenate[GalleryReader, _P], _R]) -> Callable[Concatenate[GalleryReader, _P], _R]:
    """Rows of a damaged file may hold values of any type: errors from that are reported as the damage."""

    @functools.wraps(read)
    def checked(gallery: GalleryReader, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            with sqlite_errors(gallery.path):
                return read(gallery, *args, **kwargs)
        except FacerecError:
            raise
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise DamagedGalleryError(f"{gallery.path} is damaged: {error}") from error

    return checked


class GalleryReader:
    """The reading half of a gallery file; `sqlite.Gallery` opens one and adds what changes it."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        """Read `path` through `connection`."""
        self.path = path
        self._connection = connection

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
        """Raise `ContractError` unless `contract` is the gallery's: with both sides and the command that helps."""
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
            nobodies=len(self.nobodies() & set(self.index().names)),
        )

    @_whole_rows
    def people(self) -> list[PersonRecord]:
        """The people that have entries, by name."""
        rows = self._all(
            "SELECT people.name, count(DISTINCT photos.id), count(*), min(yaw), max(yaw), max(visible_share), "
            "people.nobody "
            "FROM people JOIN photos ON photos.person = people.id JOIN entries ON entries.photo = photos.id "
            "GROUP BY people.id ORDER BY people.name"
        )
        filmed: dict[str, list[int]] = {}
        for name, yaws in self._all(
            "SELECT people.name, yaws FROM people JOIN photos ON photos.person = people.id "
            "JOIN entries ON entries.photo = photos.id WHERE yaws IS NOT NULL"
        ):
            filmed.setdefault(name, []).extend(unpack_yaws(yaws))
        return [
            PersonRecord(
                name,
                photos,
                n,
                (min(low, *filmed.get(name, [low])), max(high, *filmed.get(name, [high]))),
                share,
                bool(nobody),
            )
            for name, photos, n, low, high, share, nobody in rows
        ]

    @_whole_rows
    def nobodies(self) -> frozenset[str]:
        """Names of the known strangers: people who are enrolled so that they are taken for nobody else."""
        return frozenset(row[0] for row in self._all("SELECT name FROM people WHERE nobody"))

    @_whole_rows
    def entries(self, person: str | None = None, sha256: str | None = None) -> list[EntryRecord]:
        """All entries, or only one person's or one photograph's, without their vectors, in the order of `index`."""
        wanted = {"people.name": person, "sha256": sha256}
        asked = {column: value for column, value in wanted.items() if value is not None}
        rows = self._all(
            "SELECT entries.id, people.name, sha256, relative_path, absolute_path, face, yaw, pitch, roll, "
            "visible_share, quality, x0, y0, x1, y1, box_score, entries.created, regions, people.nobody, yaws "
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
                relative_path=stored_path(row[3]),
                absolute_path=stored_path(row[4]),
                face=row[5],
                pose=(row[6], row[7], row[8]),
                visible_share=row[9],
                quality=row[10],
                box=Box(*row[11:16]),
                created=row[16],
                regions=bytes(row[17] or b""),
                nobody=bool(row[18]),
                yaws=unpack_yaws(row[19] or b""),
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
            PhotoRecord(name, sha256, stored_path(relative), stored_path(absolute), faces, outcome, detail, n)
            for name, sha256, relative, absolute, faces, outcome, detail, n in rows
        ]

    def stored_entries(self, person: str, sha256: str) -> tuple[NewEntry, ...]:
        """The entries of one photograph, as they would be stored again."""
        return tuple(
            r.with_signature(self.signature(r.entry), self.texture(r.entry)) for r in self.entries(person, sha256)
        )

    @_whole_rows
    def index(self) -> EntryIndex:
        """All entries in their fixed order, without vectors: some 30 bytes per entry."""
        rows = self._all(
            "SELECT entries.id, people.name, sha256, coalesce(regions, x'') FROM entries "
            "JOIN photos ON photos.id = entries.photo JOIN people ON people.id = photos.person "
            "ORDER BY people.name, sha256, face"
        )
        return EntryIndex.of(rows, self.nobodies())

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
                "SELECT entries.id, people.name, sha256, face, checksum, visible, cells, coalesce(regions, x'') "
                "FROM entries "
                "JOIN photos ON photos.id = entries.photo JOIN people ON people.id = photos.person {}",
                "entries.id",
                wanted,
            )
        }
        for entry in wanted:
            if entry not in rows:
                raise InvalidInputError(f"expected an entry of {self.path}; there is no entry {entry}")
            name, sha256, face, checksum, seen, blob, regions = rows[entry]
            if (
                checksum != entry_checksum(name, sha256, face, seen, blob, regions)
                or len(blob) != 4 * cells_n * dimension
                or len(seen) != (cells_n + 7) // 8
            ):
                raise DamagedGalleryError(
                    f"{self.path} is damaged: entry {entry} is not what was stored; see facerec gallery verify -g "
                    f"{self.path}"
                )
        if not wanted:
            return np.zeros((0, cells_n, dimension), dtype=np.float32), np.zeros((0, cells_n), dtype=np.bool_)
        # Only now is anything made of the stated shape: a damaged one could ask for any amount of memory.
        cells = np.empty((len(wanted), cells_n, dimension), dtype=np.float32)
        visible = np.empty((len(wanted), cells_n), dtype=np.bool_)
        for i, entry in enumerate(wanted):
            *_, seen, blob, _ = rows[entry]
            cells[i] = np.frombuffer(blob, dtype="<f4").reshape(cells_n, dimension)
            visible[i] = np.unpackbits(np.frombuffer(seen, dtype=np.uint8), count=cells_n).astype(np.bool_)
        return cells, visible

    def signature(self, entry: int) -> Signature:
        """The signature of one entry."""
        cells, visible = self.vectors([entry])
        rows = self._all("SELECT coalesce(regions, x'') FROM entries WHERE id = ?", (entry,))
        return Signature(cells[0], visible[0], self.contract_digest, unpack_regions(rows[0][0]))

    def texture(self, entry: int) -> bytes:
        """The kept texture of an entry (see `description.stored_texture`); empty when none was kept."""
        rows = self._all("SELECT data FROM textures WHERE entry = ?", (entry,))
        return bytes(rows[0][0]) if rows else b""

    @_whole_rows
    def digest(self) -> str:
        """SHA-256 over contract, names, photograph digests, vectors and known strangers, hex.

        The same photographs under the same names give the same digest, in whatever order, by however many workers
        and from wherever they were enrolled.
        """
        rows = self._connection.execute(
            "SELECT people.name, sha256, face, checksum FROM entries JOIN photos ON photos.id = entries.photo "
            "JOIN people ON people.id = photos.person ORDER BY people.name, sha256, face"
        )
        return content_digest(self.contract_digest, rows, self.nobodies())

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
            missing = [photo.absolute_path for photo in self.photos() if not photo.absolute_path.exists()]
            if missing:
                gone = "1 photograph is" if len(missing) == 1 else f"{len(missing)} photographs are"
                remarks.append(f"{gone} no longer where they were enrolled, e.g. {missing[0]}")
        except (FacerecError, sqlite3.Error) as error:
            faults.append(str(error))
        return Verification(len(ids), tuple(faults), tuple(remarks))

    @_whole_rows
    def shared_photos(self) -> list[tuple[str, str]]:
        """Pairs of people that share a face of a photograph, as ("alice (alice/1.jpg)", "bob (bob/3.jpg)").

        A group photograph that two people have, each with a face of their own, is none.
        """
        rows = self._all(
            "SELECT p.name, a.relative_path, q.name, b.relative_path FROM photos a "
            "JOIN photos b ON a.sha256 = b.sha256 JOIN people p ON p.id = a.person JOIN people q ON q.id = b.person "
            "WHERE p.name < q.name AND EXISTS (SELECT 1 FROM entries e JOIN entries f ON e.face = f.face "
            "WHERE e.photo = a.id AND f.photo = b.id) ORDER BY p.name, q.name"
        )
        return [(f"{p} ({stored_path(a)})", f"{q} ({stored_path(b)})") for p, a, q, b in rows]

    def calibration(self) -> bytes:
        """The stored impostor scores; empty when there are none for the present revision."""
        rows = self._all("SELECT data FROM calibration WHERE revision = (SELECT revision FROM contract)")
        return bytes(rows[0][0]) if rows else b""

    # ---- inside --------------------------------------------------------------------------------------------------

    def _all(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        with sqlite_errors(self.path):
            return self._connection.execute(query, values).fetchall()

    def _one(self, query: str) -> Any:
        with sqlite_errors(self.path):
            row = self._connection.execute(query).fetchone()
        if row is None:
            raise DamagedGalleryError(f"{self.path} is damaged: it has lost the record of its contract")
        return row

    def _all_of(self, query: str, column: str, values: Sequence[object]) -> list[Any]:
        """`query` (with a place {} for the condition) for the rows whose `column` is one of `values`."""
        rows: list[Any] = []
        for start in range(0, len(values), _VALUES_A_STATEMENT):
            part = values[start : start + _VALUES_A_STATEMENT]
            rows += self._all(query.format(f"WHERE {column} IN ({', '.join('?' * len(part))})"), part)
        return rows


def path_blob(path: Path) -> bytes:
    """A path as it is stored: bytes, because file names need not be valid Unicode."""
    return os.fsencode(path)


def stored_path(blob: object) -> Path:
    """The path that `path_blob` stored."""
    return Path(os.fsdecode(blob))  # type: ignore[arg-type]
