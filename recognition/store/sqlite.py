"""A gallery in one SQLite file that holds the people, their entries and the contract that made them.

There is one commit point. Everything that must agree lies in one file and changes in one transaction, so a process
that is killed loses at most the batch it was writing. Writers exclude each other by a lock file that the operating
system releases with the process; readers take a snapshot and never wait. Vectors are float32 blobs, each with a
checksum that is tested whenever it is read: a damaged gallery gives an error, never a wrong match.
"""

from __future__ import annotations

import contextlib
import difflib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from facerec.landmarks.errors import ContractError, FacerecError, InvalidInputError
from facerec.recognition.impostors import keep_calibrated
from facerec.recognition.signature import Signature, pack_regions
from facerec.recognition.store.derived_files import DERIVED_SUFFIXES
from facerec.recognition.store.faults import NameTakenError, UnknownPersonError
from facerec.recognition.store.protocol import ModelContract, check_one_kind
from facerec.recognition.store.records import NewPhoto, entry_checksum, pack_yaws, plain_text
from facerec.recognition.store.schema import (
    bring_up_to_date,
    check_is_gallery,
    connect,
    file_uri,
    fold_journal,
    is_outdated,
    make_gallery_file,
    present_state,
    read_as_present,
    read_snapshot,
    sqlite_errors,
)
from facerec.recognition.store.sqlite_reading import GalleryReader, path_blob
from facerec.recognition.store.writer_lock import WriterLock, utc_now

_REWRITTEN_IN_MEMORY = 256 << 20
"""Bytes up to which a file is rewritten by way of memory: no copy of anybody in a temporary folder, and none needed."""


class Gallery(GalleryReader):
    """An open gallery. Made by `Gallery.open` or `Gallery.create`; close it, or use it as a context manager.

    A gallery that was opened for reading is a snapshot: it shows the state at the moment of opening, whatever is
    enrolled or removed meanwhile. It may be used from several threads; one that was opened for writing may not.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: WriterLock | None) -> None:
        """Use `open` or `create`."""
        super().__init__(path, connection)
        self._lock = lock
        self._content_changed = False
        self.erased = True
        """Whether the bytes of what was removed have left the disk; otherwise a reader still holds the old state, and
        they leave when it closes the gallery or moves on to the new state."""

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
        if write:
            check_is_gallery(path)  # before a lock is laid beside it
        lock = WriterLock.acquire(path, wait_s) if write else None
        try:
            gallery = cls(path, connect(path, write) if write else read_snapshot(path), lock)
        except BaseException:
            if lock:
                lock.release()
            raise
        try:
            with sqlite_errors(path):
                (version,) = gallery._one("PRAGMA user_version")
                if is_outdated(path, version, writable=write) and write:
                    with gallery._transaction() as connection:
                        bring_up_to_date(connection, version)
                if not write:
                    read_as_present(gallery._connection, version)
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
                check_is_gallery(path)
            else:
                make_gallery_file(path, contract)
            gallery = cls(path, connect(path, write=True), lock)
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
        """Close the file.

        A writer that changed the content first measures its impostor scores unless they are there
        (`impostors.keep_calibrated`). Whoever closes folds the journal into the file, so that the file alone is the
        gallery and holds no byte of what was removed.
        """
        try:
            if self._lock and self._content_changed:
                with contextlib.suppress(FacerecError):  # derived: whoever reads the gallery measures them again
                    keep_calibrated(self)
        finally:
            with contextlib.suppress(sqlite3.Error):
                if self._connection.in_transaction:  # a snapshot
                    self._connection.execute("ROLLBACK")
                fold_journal(self._connection, self.path)  # a reader, too: it may be the one that others waited for
            self._connection.close()
            if self._lock:
                self._lock.release()
                self._lock = None

    def current_state(self) -> str:
        """The state that whoever opens the gallery now sees; a snapshot may be of an older one."""
        return present_state(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._content_changed = False  # no seconds of measuring between an interruption and its end
        self.close()

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
            self._count_change(connection)

    def relocate(self, moved: Sequence[tuple[str, str, Path, Path]]) -> None:
        """Note new places of known photographs: (person, sha256, relative path, absolute path)."""
        with self._transaction() as connection:
            connection.executemany(
                "UPDATE photos SET relative_path = ?, absolute_path = ? "
                "WHERE sha256 = ? AND person = (SELECT id FROM people WHERE name = ?)",
                [(path_blob(rel), path_blob(full), sha256, person) for person, sha256, rel, full in moved],
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
            self._count_change(connection)
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
            self._count_change(connection)
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
            raise NameTakenError(
                f"expected a name that is not in {self.path}; {new!r} is. Make the two one person: "
                f"facerec gallery merge {old!r} --into {new!r} -g {self.path}"
            )
        self._give_to([old], new)

    def merge(self, names: Sequence[str], into: str) -> None:
        """Make the people `names` and `into` one person, called `into`; a photograph that two of them have stays once.

        Raises:
            InvalidInputError: one of them is not in the gallery, or some are known strangers and others are not;
                nothing is changed then.
        """
        self._check_known([*names, into])
        check_one_kind(self.path, [*names, into], self.nobodies())
        self._give_to([name for name in names if name != into], into)

    def mark(self, names: Sequence[str], nobody: bool) -> None:
        """Make the people `names` known strangers, or people again: `nobody` says which.

        A known stranger is searched like everybody, so that nobody else's name is given to them, and is no match.

        Raises:
            InvalidInputError: a name is not in the gallery; nothing is changed then.
        """
        self._check_known(names)
        with self._transaction() as connection:
            connection.executemany("UPDATE people SET nobody = ? WHERE name = ?", [(nobody, name) for name in names])
            self._count_change(connection)

    def _give_to(self, names: Sequence[str], into: str) -> None:
        """Give the photographs of `names` to `into`. An entry's checksum covers whose it is, so it is made again, which
        a damaged entry must not survive: all are read first."""
        if not into:
            raise InvalidInputError("expected a person's name; got an empty one")
        self.vectors([entry.entry for name in names for entry in self.entries(name)])
        with self._transaction() as connection:
            connection.execute("INSERT INTO people (name) VALUES (?) ON CONFLICT DO NOTHING", (into,))
            (person,) = connection.execute("SELECT id FROM people WHERE name = ?", (into,)).fetchone()
            if names:  # all are of one kind (`merge`), or one goes on under another name
                connection.execute(
                    "UPDATE people SET nobody = (SELECT nobody FROM people WHERE name = ?) WHERE id = ?",
                    (names[0], person),
                )
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
                "SELECT entries.id, sha256, face, visible, cells, coalesce(regions, x'') FROM entries "
                "JOIN photos ON photos.id = entries.photo WHERE person = ?",
                (person,),
            ).fetchall()
            connection.executemany(
                "UPDATE entries SET checksum = ? WHERE id = ?",
                [(entry_checksum(into, *rest), entry) for entry, *rest in rows],
            )
            self._count_change(connection)
        self.wipe()

    def _check_known(self, names: Sequence[str]) -> None:
        known = {name for (name,) in self._all("SELECT name FROM people")}
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, sorted(known), n=3)
                hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
                raise UnknownPersonError(f"expected a person of {self.path}; there is no {name!r}{hint}")

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
            self._count_change(connection)
        self.wipe()
        return len(set(ids))

    def wipe(self) -> None:
        """Let no byte of what was removed remain: rewrite the file, empty its journal, drop what was derived from it.

        A reader that still holds the old state is left alone: what was removed is out of the gallery all the same,
        `erased` is False, and the bytes leave the disk when that reader closes the gallery.
        """
        for file in self.path.absolute().parent.iterdir():
            end = file.name.removeprefix(self.path.name)
            # Also what an interrupted build or migration left.
            if end != file.name and end.startswith((*DERIVED_SUFFIXES, ".migrating-")):
                file.unlink(missing_ok=True)
        with sqlite_errors(self.path):
            if self.path.stat().st_size <= _REWRITTEN_IN_MEMORY:
                self._connection.execute("PRAGMA temp_store = MEMORY")
            self._connection.execute("VACUUM")
            self.erased = fold_journal(self._connection, self.path)

    def store_calibration(self, data: bytes) -> None:
        """Keep impostor scores (see `impostors.ImpostorScores`) for the present revision."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO calibration SELECT 1, revision, ? FROM contract", (sqlite3.Binary(data),)
            )

    def replace_content(self, other: Path) -> None:
        """Take contract, people and entries of the gallery file `other` in one transaction, dropping the own ones.

        This is how a migration ends: readers see the old state or the new one, never a mixture.
        """
        check_is_gallery(other)
        connection = self._connection
        with sqlite_errors(self.path):
            connection.execute("ATTACH DATABASE ? AS other", (f"{file_uri(other)}?mode=rw",))
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
            self._content_changed = True
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
        place = (path_blob(photo.relative_path), path_blob(photo.absolute_path))
        row = connection.execute(
            "INSERT INTO photos (person, sha256, relative_path, absolute_path, faces, outcome, detail, created) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (person, photo.sha256, *place, photo.faces, photo.outcome, plain_text(photo.detail), now),
        ).lastrowid
        for entry in photo.entries:
            cells = np.ascontiguousarray(entry.signature.cells, dtype="<f4").tobytes()
            visible = np.packbits(entry.signature.visible).tobytes()
            regions = pack_regions(entry.signature.regions)
            connection.execute(
                "UPDATE contract SET cells = ?, dimension = ? WHERE cells IS NULL", entry.signature.cells.shape
            )
            stored = connection.execute(
                "INSERT INTO entries (photo, face, yaw, pitch, roll, visible_share, quality, x0, y0, x1, y1, "
                "box_score, created, checksum, visible, cells, regions, yaws) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    row,
                    entry.face,
                    *(float(angle) for angle in entry.pose),
                    float(entry.visible_share),
                    float(entry.quality),
                    *(float(v) for v in (entry.box.x0, entry.box.y0, entry.box.x1, entry.box.y1, entry.box.score)),
                    now,
                    entry_checksum(photo.person, photo.sha256, entry.face, visible, cells, regions),
                    visible,
                    cells,
                    regions or None,
                    pack_yaws(entry.yaws) or None,
                ),
            ).lastrowid
            if entry.texture:
                connection.execute("INSERT INTO textures VALUES (?, ?)", (stored, entry.texture))

    def _count_change(self, connection: sqlite3.Connection) -> None:
        """Count the change, and drop what was derived from the content before it."""
        connection.execute("UPDATE contract SET revision = revision + 1, state = randomblob(16)")
        connection.execute("DELETE FROM calibration")
        self._content_changed = True

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        if not self._lock:
            raise InvalidInputError(f"expected {self.path} to be open for writing; it is open for reading")
        with sqlite_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite rolls back by itself when the disk is full
                    self._connection.execute("ROLLBACK")
                raise
