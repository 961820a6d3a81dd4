"""The layout of a gallery file: its tables, the steps between layouts, and how a file is made, checked and opened."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from facerec.landmarks.errors import ContractError, InvalidInputError
from facerec.recognition.store.derived_files import derived_file
from facerec.recognition.store.faults import DamagedGalleryError, NoGalleryError
from facerec.recognition.store.protocol import ModelContract
from facerec.recognition.store.writer_lock import GalleryLockedError, GalleryWriteError, utc_now

APPLICATION_ID = 0x46524543
"""Bytes 68 to 71 of a gallery file, "FREC": tells a gallery from any other SQLite file."""

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
    # `regions`: see `signature.pack_regions`; NULL for entries made before. `nobody`: 1 for a known stranger.
    """
    ALTER TABLE entries ADD COLUMN regions BLOB;
    ALTER TABLE people ADD COLUMN nobody INTEGER NOT NULL DEFAULT 0;
    """,
    # `yaws`: see `NewEntry`, a byte with a sign for each; NULL for photographs.
    "ALTER TABLE entries ADD COLUMN yaws BLOB",
)
"""Step i brings a file from `user_version` i to i + 1. Steps are added, never changed."""

_READ_AS = {
    2: (
        "CREATE TEMP VIEW entries AS SELECT *, NULL AS regions, NULL AS yaws FROM main.entries",
        "CREATE TEMP VIEW people AS SELECT *, 0 AS nobody FROM main.people",
    ),
    3: ("CREATE TEMP VIEW entries AS SELECT *, NULL AS yaws FROM main.entries",),
}
"""Views by which a reader sees a file of an older layout as one of the present layout."""

# How long a reader or writer waits for SQLite's own short locks (a commit, a checkpoint), seconds.
_BUSY_SECONDS = 10.0

_COPIES = 5  # tries to copy a gallery between two writes of another process


def check_is_gallery(path: Path) -> None:
    """Raise `InvalidInputError`, which says what there is instead, unless `path` is a gallery file."""
    connect(path, write=False).close()


def _check_is_file(path: Path) -> None:
    """Check `path` without opening it.

    The file itself is opened by SQLite alone. POSIX drops all of a process's locks on a file when the process closes
    any descriptor of it: whoever opened it here by itself would take away the locks of this process's other
    connections, and the next process to close the gallery would delete the journal that they still read.
    """
    if path.is_dir():
        raise InvalidInputError(f"expected a gallery file; {path} is a folder")
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise NoGalleryError(
            f"expected a gallery; there is no {path}. Make one: facerec enroll PHOTOS... -g {path}"
        ) from None
    except OSError as error:
        raise InvalidInputError(f"expected a gallery; {path} cannot be read: {error.strerror}") from None
    if not os.access(path, os.R_OK):
        raise InvalidInputError(f"expected a gallery; {path} cannot be read: Permission denied")
    if not size:
        raise InvalidInputError(f"expected a gallery made by facerec enroll; got {path}: it is empty")


def present_state(path: Path) -> str:
    """The state (`GalleryReader.state`) that whoever opens the gallery file `path` now sees, hex."""
    with contextlib.closing(connect(path, write=False)) as connection, sqlite_errors(path):
        row = connection.execute("SELECT state FROM contract").fetchone()
    if row is None:
        raise DamagedGalleryError(f"{path} is damaged: it has lost the record of its contract")
    return bytes(row[0]).hex()


def make_gallery_file(path: Path, contract: ModelContract) -> None:
    """Make an empty gallery at `path`, which appears complete or not at all and is readable by its owner only."""
    fresh = derived_file(path, f".new-{os.getpid()}")
    try:
        with sqlite_errors(path):
            os.close(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            connection = sqlite3.connect(fresh, isolation_level=None)
            try:
                # An entry of 2 KB fills SQLite's own 4 KB pages to half only.
                connection.execute("PRAGMA page_size = 16384")
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute("BEGIN")
                bring_up_to_date(connection, 0)
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


def is_outdated(path: Path, version: int, writable: bool) -> bool:
    """Whether the gallery at `path`, of layout `version`, must be brought up to date before it is written.

    Raises:
        ContractError: a newer facerec made it, or it is outdated, not `writable`, and cannot be read as it is.
    """
    if version > len(_MIGRATIONS):
        raise ContractError(
            f"{path} has layout {version}, made by a newer facerec; this one knows layouts up to "
            f"{len(_MIGRATIONS)}. Install the newer facerec"
        )
    if version < len(_MIGRATIONS) and not writable and _missing_views(version) is None:
        raise ContractError(
            f"{path} has layout {version}, made by an older facerec; bring it up to layout "
            f"{len(_MIGRATIONS)}: facerec gallery migrate -g {path}"
        )
    return version < len(_MIGRATIONS)


def bring_up_to_date(connection: sqlite3.Connection, version: int) -> None:
    """Take the steps from layout `version` to the present one, inside a transaction; 0 makes the tables."""
    for step in _MIGRATIONS[version:]:
        for statement in step.split(";"):
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")


def read_as_present(connection: sqlite3.Connection, version: int) -> None:
    """Let a reader see a file of layout `version` as one of the present layout. The file is not changed."""
    if views := _missing_views(version):
        connection.execute("PRAGMA query_only = OFF")
        for view in views:
            connection.execute(view)
        connection.execute("PRAGMA query_only = ON")


def _missing_views(version: int) -> tuple[str, ...] | None:
    """The views that make `version` readable; None where there are none that do."""
    if version == len(_MIGRATIONS):
        return ()
    return _READ_AS.get(version) if len(_MIGRATIONS) == 4 else None


def connect(path: Path, write: bool) -> sqlite3.Connection:
    """Open the gallery file at `path`, to read only or to `write`.

    Raises:
        NoGalleryError, InvalidInputError: there is none, or another file. Others: as `sqlite_errors`.
    """
    _check_is_file(path)
    if write:
        uri = f"{file_uri(path)}?mode=rw"
    elif os.access(path, os.W_OK) and os.access(path.absolute().parent, os.W_OK):
        # A reader of a WAL file keeps its place in a shared file beside it, so it opens for writing, too; query_only
        # below keeps it from writing.
        uri = f"{file_uri(path)}?mode=rw"
    elif _journal_is_empty(path):
        # A read-only folder or medium: nothing beside it can be made. Whoever goes on reading it takes a copy
        # (`read_snapshot`), since others may be allowed to write it.
        uri = f"{file_uri(path)}?mode=ro&immutable=1"
    else:
        uri = f"{file_uri(path)}?mode=ro"
    with sqlite_errors(path):
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
            if connection.execute("PRAGMA application_id").fetchone() != (APPLICATION_ID,):
                raise InvalidInputError(f"expected a gallery made by facerec enroll; got {path}: another SQLite file")
        except BaseException:
            connection.close()
            raise
    return connection


def read_snapshot(path: Path) -> sqlite3.Connection:
    """A connection that shows the gallery at `path` as it is now, whatever is written meanwhile.

    With a write-ahead journal, the usual case, it is a transaction that keeps no writer waiting. Where SQLite can keep
    no such journal (some network file systems) a reader would, and where this process may not even keep its place
    (a read-only folder) it would not be noticed: there the gallery is copied into memory first.
    """
    connection = connect(path, write=False)
    try:
        with sqlite_errors(path):
            immutable = not (os.access(path, os.W_OK) and os.access(path.absolute().parent, os.W_OK))
            (journal,) = connection.execute("PRAGMA journal_mode").fetchone()
            if journal == "wal" and not (immutable and _changes_elsewhere(path)):
                connection.execute("BEGIN")
                connection.execute("SELECT revision FROM contract").fetchone()  # the snapshot starts here
                return connection
            copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            for _ in range(_COPIES):
                before = path.stat()
                connection.backup(copy)
                after = path.stat()
                if (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size):
                    copy.execute("PRAGMA query_only = ON")
                    connection.close()
                    return copy
        raise GalleryLockedError(f"{path} was written by another process each time it was read; try again")
    except BaseException:
        connection.close()
        raise


def _changes_elsewhere(path: Path) -> bool:
    """Whether somebody may write `path`, which this process may not: not on a medium that is read-only for all."""
    return not (hasattr(os, "statvfs") and os.statvfs(path).f_flag & os.ST_RDONLY)


def fold_journal(connection: sqlite3.Connection, path: Path) -> bool:
    """Write the journal into the file and empty it, which erases the old pages, unless a reader still needs them.

    Returns:
        Whether the file alone is the gallery now. Otherwise the reader folds it when it closes.
    """
    if _journal_is_empty(path):
        return True
    try:
        connection.execute("PRAGMA busy_timeout = 0")
        (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error:
        return False
    finally:
        connection.execute(f"PRAGMA busy_timeout = {int(1000 * _BUSY_SECONDS)}")
    return not busy


@contextlib.contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Raise errors of SQLite or of the disk as facerec's own."""
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
        raise DamagedGalleryError(f"{path} is damaged: {error}") from error
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
            raise  # ours, not the file's
        if getattr(error, "sqlite_errorname", "") == "SQLITE_NOTADB":
            raise InvalidInputError(
                f"expected a gallery made by facerec enroll; got {path}: it is some other file"
            ) from error
        raise DamagedGalleryError(f"{path} is damaged: {error}") from error
    except UnicodeDecodeError as error:
        raise DamagedGalleryError(f"{path} is damaged: {error}") from error
    except OSError as error:
        raise GalleryWriteError(f"{path} cannot be written: {error.strerror or error}") from error


def file_uri(path: Path) -> str:
    """`path` as a URI, to which SQLite's own options may be appended."""
    return "file:" + quote(os.fsencode(path.absolute()))


def _journal_is_empty(path: Path) -> bool:
    journal = derived_file(path, "-wal")
    return not journal.exists() or journal.stat().st_size == 0
