"""The lock that lets one process at a time write a gallery, and names it to others."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from facerec.landmarks.errors import FacerecError
from facerec.recognition.store.derived_files import derived_file

_NAMELESS_SECONDS = 2.0  # how long a lock's holder may take to write down who it is


class GalleryLockedError(FacerecError):
    """Another process is writing the gallery."""


class GalleryWriteError(FacerecError):
    """The gallery could not be written (full disk, read-only folder). What was enrolled before is still there."""


class WriterLock:
    """The right to write one gallery: an flock on a file beside it, which ends with the process that holds it.

    The lock is not on the gallery itself: closing any other descriptor of that file would drop SQLite's own locks.
    Where there is no flock (Windows), SQLite's locks still keep every transaction whole.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        """Use `acquire`."""
        self._path = path
        self._descriptor = descriptor

    @staticmethod
    def acquire(gallery: Path, wait_s: float) -> WriterLock:
        """Take the lock of the gallery file `gallery`, waiting up to `wait_s` seconds for who holds it.

        Raises:
            GalleryLockedError: it is still held; says by whom and since when.
            GalleryWriteError: no file can be made beside the gallery.
        """
        path = derived_file(gallery, ".lock")
        until = time.monotonic() + wait_s
        while True:
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
            except OSError as error:
                raise GalleryWriteError(f"{gallery} cannot be written: {path}: {error.strerror}") from None
            if _flock(descriptor):
                try:
                    # The former holder may have removed the file between our opening and our locking it.
                    current = os.stat(path).st_ino == os.fstat(descriptor).st_ino
                except FileNotFoundError:
                    current = False
                if current:
                    holder = {"pid": os.getpid(), "host": socket.gethostname(), "user": _user(), "since": utc_now()}
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, json.dumps(holder).encode(), 0)
                    return WriterLock(path, descriptor)
                os.close(descriptor)
                continue
            try:
                holder_text = os.pread(descriptor, 4096, 0)
            finally:
                os.close(descriptor)
            # Who has just taken the lock may not have written down yet who it is.
            if time.monotonic() >= (until if holder_text else until + _NAMELESS_SECONDS):
                raise GalleryLockedError(
                    f"{gallery} is being written by {_who(holder_text)}; try again when it is done"
                )
            time.sleep(0.1 if holder_text and until - time.monotonic() > 0.1 else 0.01)

    def release(self) -> None:
        """Give the lock back."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        os.close(self._descriptor)


def utc_now() -> str:
    """The time, UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _flock(descriptor: int) -> bool:
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container without a password entry
        return "an unnamed user"


def _who(holder_text: bytes) -> str:
    try:
        holder = json.loads(holder_text)
        age = datetime.now(UTC) - datetime.fromisoformat(holder["since"])
        return (
            f"process {holder['pid']} of {holder['user']} on {holder['host']} since {holder['since']} "
            f"({max(0, int(age.total_seconds()))} s ago)"
        )
    except (ValueError, KeyError, TypeError):  # just being written
        return "another process"
