"""Who is on which photograph: from folders, files and tables to the plan of an enrolment, and what it would do."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from facerec.landmarks.errors import InvalidInputError, UnusablePhotoError
from facerec.landmarks.image import find_photos, photo_digest
from facerec.recognition.store.protocol import GalleryStore
from facerec.recognition.store.records import FacesPolicy, person_name

Layout = Literal["folders", "flat", "csv"]
"""How photographs name people: PERSON/photo.jpg, PERSON_1.jpg, or a table with the columns path and person."""

_COUNTER = re.compile(r"(?:[ _.-]*\(\d+\)|[ _.-]+\d+)$")


@dataclass(frozen=True)
class EnrolmentItem:
    """One photograph of one person.

    Attributes:
        person: name, as stored.
        path: the file.
        relative_path: the same from the folder, or the table's folder, that was given.
        sha256: digest of its bytes, hex, when they came without a file, whose name `path` then only states; "":
            they are in the file.
    """

    person: str
    path: Path
    relative_path: Path
    sha256: str = ""

    def digest(self) -> str | UnusablePhotoError:
        """SHA-256 of the photograph's bytes, hex, or why they cannot be read."""
        return self.sha256 or read_digest(self.path)

    @property
    def absolute_path(self) -> Path:
        """Where the file is, as the gallery stores it."""
        return self.path if self.sha256 else Path(os.path.abspath(self.path))


@dataclass(frozen=True)
class EnrolmentPlan:
    """Who is on which photograph.

    Attributes:
        layout: how names were taken from paths.
        items: the photographs, sorted by person and path.
        ignored: files that name no person, each with the reason.
        folders: the folders that were given: all of their photographs are among the items.
    """

    layout: Layout
    items: tuple[EnrolmentItem, ...]
    ignored: tuple[tuple[Path, str], ...] = ()
    folders: tuple[Path, ...] = ()

    @property
    def people(self) -> int:
        """Number of people named."""
        return len({item.person for item in self.items})


def plan_enrolment(paths: Sequence[Path], layout: Layout | Literal["auto"] = "auto") -> EnrolmentPlan:
    """Find the photographs under `paths` and whose they are.

    folders: ROOT/PERSON/.../photo.jpg; photographs right in a given folder are of the person the folder is called by,
    unless other people's folders lie beside them. flat: PERSON.jpg, PERSON_2.jpg, "PERSON (3).jpg". csv: a table with
    the columns path (from the table's folder) and person. auto: csv for a file that ends in .csv; flat for files, and
    for one folder without sub-folders of photographs; otherwise folders.

    Raises:
        InvalidInputError: a path does not exist, a table lacks a column, or no photograph is found.
    """
    if not paths:
        raise InvalidInputError("expected at least one folder, photograph or table to enrol")
    if layout == "auto":
        layout = _detect_layout(paths)
    if layout == "csv":
        named, ignored = _from_tables(paths)
    elif layout == "folders":
        named, ignored = _from_folders(paths)
    else:
        named, ignored = _from_names(paths)
    items: dict[tuple[str, str], EnrolmentItem] = {}
    for name, path, relative in named:
        person = person_name(name)
        if not person:
            ignored.append((path, "it names no person"))
            continue
        items.setdefault((person, os.path.abspath(path)), EnrolmentItem(person, path, relative))
    if not items:
        why = f" ({ignored[0][0]}: {ignored[0][1]})" if ignored else ""
        raise InvalidInputError(f"expected photographs to enrol; found none in {', '.join(map(str, paths))}{why}")
    ordered = sorted(items.values(), key=lambda item: (item.person, os.fsencode(item.relative_path)))
    folders = tuple(path for path in paths if layout != "csv" and path.is_dir())
    return EnrolmentPlan(layout, tuple(ordered), tuple(ignored), folders)


def _detect_layout(paths: Sequence[Path]) -> Layout:
    if all(path.suffix.lower() == ".csv" for path in paths):
        return "csv"
    folders = [path for path in paths if path.is_dir()]
    if not folders:
        return "flat"
    if len(folders) > 1 or any(photo.parent != folders[0] for photo in find_photos(folders)):
        return "folders"
    return "flat"


_Named = list[tuple[str, Path, Path]]
_Ignored = list[tuple[Path, str]]


def _from_folders(paths: Sequence[Path]) -> tuple[_Named, _Ignored]:
    named: _Named = []
    ignored: _Ignored = []
    for root in paths:
        photos = find_photos([root])
        if not root.is_dir():
            ignored += [(photo, "layout folders takes folders, not single files") for photo in photos]
            continue
        nested = any(photo.parent != root for photo in photos)
        for photo in photos:
            relative = photo.relative_to(root)
            if len(relative.parts) > 1:
                named.append((relative.parts[0], photo, relative))
            elif nested:
                ignored.append((photo, "it lies beside the folders of people, so it names no person"))
            else:
                name = Path(os.path.abspath(root)).name
                named.append((name, photo, Path(name) / relative))
    return named, ignored


def _from_names(paths: Sequence[Path]) -> tuple[_Named, _Ignored]:
    named: _Named = []
    for root in paths:
        for photo in find_photos([root]):
            relative = photo.relative_to(root) if root.is_dir() else Path(photo.name)
            named.append((_COUNTER.sub("", photo.stem) or photo.stem, photo, relative))
    return named, []


def _from_tables(paths: Sequence[Path]) -> tuple[_Named, _Ignored]:
    named: _Named = []
    ignored: _Ignored = []
    for table in paths:
        try:
            with table.open(encoding="utf-8-sig", newline="") as stream:
                rows = csv.DictReader(stream, strict=True)
                columns = rows.fieldnames or []
                if not {"path", "person"} <= set(columns):
                    raise InvalidInputError(
                        f"expected a table with the columns path and person; {table} has {', '.join(columns) or 'none'}"
                    )
                for row in rows:
                    place = Path(row["path"] or "")
                    if not row["path"] or row["person"] is None:
                        ignored.append((table, f"line {rows.line_num} names no photograph and person"))
                        continue
                    named.append((row["person"], table.parent / place, place))
        except OSError as error:
            raise InvalidInputError(f"expected a table; {table} cannot be read: {error.strerror}") from None
        except (UnicodeDecodeError, csv.Error) as error:
            raise InvalidInputError(f"expected a table in UTF-8; {table}: {error}") from None
    return named, ignored


def read_digest(path: Path) -> str | UnusablePhotoError:
    """SHA-256 of a photograph's bytes, hex, or why they cannot be read."""
    try:
        return photo_digest(path)
    except UnusablePhotoError as error:
        return error
    except ValueError as error:  # a NUL in a path of a table
        return UnusablePhotoError("unreadable", f"cannot be opened: {error}")


@dataclass(frozen=True)
class EnrolmentPreview:
    """What an enrolment would do, as far as it can be said without looking for faces.

    Attributes:
        layout: how names were taken from paths.
        people: name and number of photographs.
        photos: photographs planned.
        known: of these, how many the gallery knows already (enrolled or skipped).
        unreadable: of these, how many cannot be opened.
        shared: photographs whose bytes are planned under two names or more.
        ignored: files that name no person.
    """

    layout: Layout
    people: dict[str, int]
    photos: int
    known: int
    unreadable: int
    shared: int
    ignored: tuple[tuple[Path, str], ...]

    def as_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {
            "dry_run": True,
            "layout": self.layout,
            "people": self.people,
            "photos": self.photos,
            "known": self.known,
            "unreadable": self.unreadable,
            "shared": self.shared,
            "ignored": [{"file": str(path), "detail": why} for path, why in self.ignored],
        }


def preview_enrolment(plan: EnrolmentPlan, gallery: GalleryStore | None, faces: FacesPolicy) -> EnrolmentPreview:
    """Look at the files of `plan` and at the gallery, if there is one already; change nothing."""
    digests = [item.digest() for item in plan.items]
    read = sorted({digest for digest in digests if isinstance(digest, str)})
    records = gallery.photos(read) if gallery is not None else []
    known = {(record.person, record.sha256) for record in records if record.faces == faces}
    people_of: dict[str, set[str]] = {}
    for item, digest in zip(plan.items, digests, strict=True):
        if isinstance(digest, str):
            people_of.setdefault(digest, set()).add(item.person)
    return EnrolmentPreview(
        layout=plan.layout,
        people=dict(sorted(Counter(item.person for item in plan.items).items())),
        photos=len(plan.items),
        known=sum((item.person, digest) in known for item, digest in zip(plan.items, digests, strict=True)),
        unreadable=sum(not isinstance(digest, str) for digest in digests),
        shared=sum(len(people) > 1 for people in people_of.values()),
        ignored=plan.ignored,
    )
