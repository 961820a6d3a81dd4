"""The plan of an enrolment: who is on which photograph, from folders, files and tables; and its preview."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from facerec.landmarks.errors import InvalidInputError, UnusablePhotoError
from facerec.landmarks.image import photo_digest
from facerec.landmarks.photo_files import NO_PHOTOS, find_photos, list_photos
from facerec.landmarks.tables import beside_table, read_table
from facerec.recognition.store.protocol import GalleryStore
from facerec.recognition.store.records import FacesPolicy, person_name

Layout = Literal["folders", "flat", "csv"]
"""How photographs name people: PERSON/photo.jpg, PERSON_1.jpg, or a table with the columns path and person."""

_COUNTER = re.compile(r"(?:[ _.-]*\(\d+\)|[ _.-]+\d+)$")

_CAMERA = re.compile(
    r"(?:IMG|DSCN?F?|DSC_?|DCIM|PXL|MVIMG|GOPR|GX|GH|SAM|CIMG|PICT?|P|R|WIN|VID|IMAGE|PHOTO|PICTURE|FOTO|BILD|SCAN|"
    r"SCREENSHOT|WHATSAPP[ _]IMAGE|SIGNAL|IMG[-_]?E)?[-_ ]*\(?\d[\d_.()\- ]*(?:[-_ ]?WA\d+|_HDR|~\d+)?$",
    re.IGNORECASE,
)
"""File names that cameras, telephones and scanners give: at most one known word, and numbers."""


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
        ignored: photographs that name no person, each with the reason, one of few short phrases.
        passed_over: what is no photograph, and folders of people without one, likewise.
        folders: the folders that were given: all of their photographs are among the items.
    """

    layout: Layout
    items: tuple[EnrolmentItem, ...]
    ignored: tuple[tuple[Path, str], ...] = ()
    passed_over: tuple[tuple[Path, str], ...] = ()
    folders: tuple[Path, ...] = ()

    @property
    def people(self) -> int:
        """Number of people named."""
        return len({item.person for item in self.items})

    @property
    def example(self) -> str:
        """How a name was taken from a path, by the first photograph: "QUENTIN <- new/QUENTIN/me.jpg"."""
        return f"{self.items[0].person} <- {self.items[0].path}" if self.items else ""


def plan_enrolment(paths: Sequence[Path], layout: Layout | Literal["auto"] = "auto") -> EnrolmentPlan:
    """Find the photographs under `paths` and whose they are.

    folders: ROOT/PERSON/.../photo.jpg; photographs right in a given folder are of the person the folder is called by,
    unless other people's folders lie beside them; photographs that are given themselves are of the person their folder
    is called by. flat: PERSON.jpg, PERSON_2.jpg, "PERSON (3).jpg". csv: a table with the columns path (from the table's
    folder) and person, separated by commas, semicolons or tabs.

    auto: csv for files that end in .csv. flat where the photographs of a single folder are numbered by person (ann.jpg,
    ann_2.jpg, bob.jpg), and for files that are given by their bare names (ann.jpg bob.jpg) and are called as people
    may be. Otherwise folders. Then nobody is called by a bare number or a camera's name for a file (IMG_1234).

    Raises:
        InvalidInputError: a path does not exist, a table lacks a column, two folders that are given have one name, or
            no photograph is found.
    """
    if not paths:
        raise InvalidInputError("expected at least one folder, photograph or table to enrol")
    chosen = _detect_layout(paths) if layout == "auto" else layout
    passed_over: _Ignored = []
    if chosen == "csv":
        named, ignored = read_person_tables(paths)
    elif chosen == "folders":
        named, ignored, passed_over = _from_folders(paths)
    else:
        named, ignored, passed_over = _from_names(paths, any_name=layout == "flat")
    items: dict[tuple[str, str], EnrolmentItem] = {}
    for name, path, relative in named:
        person = person_name(name)
        if not person:
            ignored.append((path, "it names no person"))
            continue
        items.setdefault((person, os.path.abspath(path)), EnrolmentItem(person, path, relative))
    if not items:
        left_out = ignored or passed_over
        why = f" ({left_out[0][0]}: {left_out[0][1]})" if left_out else ""
        raise InvalidInputError(f"expected photographs to enrol; found none in {', '.join(map(str, paths))}{why}")
    ordered = sorted(items.values(), key=lambda item: (item.person, os.fsencode(item.relative_path)))
    folders = tuple(path for path in paths if chosen != "csv" and path.is_dir())
    return EnrolmentPlan(chosen, tuple(ordered), tuple(ignored), tuple(passed_over), folders)


def _detect_layout(paths: Sequence[Path]) -> Layout:
    if all(path.suffix.lower() == ".csv" for path in paths):
        return "csv"
    photos = find_photos(paths)
    given = [path for path in paths if path.is_dir()]
    folders = {photo.parent for photo in photos}
    if len(folders) != 1 or len(given) > 1 or (given and len(given) < len(paths)):
        return "folders"
    people = Counter(_numbered(photo.stem) for photo in photos if not _names_nobody(photo.stem))
    if folders == {Path()} and not given:  # files, by their bare names
        return "flat" if people.total() == len(photos) else "folders"
    one_level = not given or folders == set(given)
    return "flat" if one_level and len(people) > 1 and max(people.values()) > 1 else "folders"


_Named = list[tuple[str, Path, Path]]
_Ignored = list[tuple[Path, str]]

_BESIDE = "it lies beside the folders of people, so it names no person"


def _from_folders(paths: Sequence[Path]) -> tuple[_Named, _Ignored, _Ignored]:
    named: _Named = []
    ignored: _Ignored = []
    passed_over: _Ignored = []
    roots = [path for path in paths if path.is_dir()]
    beside = {root.absolute().parent for root in roots}
    homes: dict[str, Path] = {}  # of the people who are called by a folder that was given, or whose photographs were

    def home(folder: Path) -> str:
        place = Path(os.path.abspath(folder))
        if (other := homes.setdefault(place.name, place)) != place:
            raise InvalidInputError(
                f"expected distinct names of people's folders; {other} and {place} are both called {place.name}. Give "
                "the folders above them, or a table with the columns path and person"
            )
        return place.name

    for root in paths:
        listing = list_photos([root])
        passed_over += listing.passed_over
        if not root.is_dir():
            if root.suffix.lower() == ".csv":
                ignored.append((root, "a table; give tables without other paths"))
            elif root.absolute().parent in beside:
                ignored.append((root, _BESIDE))
            else:
                name = home(root.parent)
                named.append((name, root, Path(name) / root.name))
            continue
        nested = any(photo.parent != root for photo in listing.photos)
        shown = set()
        for photo in listing.photos:
            relative = photo.relative_to(root)
            if len(relative.parts) > 1:
                named.append((relative.parts[0], photo, relative))
                shown.add(relative.parts[0])
            elif nested:
                ignored.append((photo, _BESIDE))
            else:
                name = home(root)
                named.append((name, photo, Path(name) / relative))
        passed_over += [(folder, NO_PHOTOS) for folder in _folders_in(root) if nested and folder.name not in shown]
        if not listing.photos:
            passed_over.append((root, NO_PHOTOS))
    return named, ignored, passed_over


def _folders_in(root: Path) -> list[Path]:
    return sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _from_names(paths: Sequence[Path], any_name: bool) -> tuple[_Named, _Ignored, _Ignored]:
    named: _Named = []
    ignored: _Ignored = []
    passed_over: _Ignored = []
    for root in paths:
        listing = list_photos([root])
        passed_over += listing.passed_over
        for photo in listing.photos:
            if not any_name and _names_nobody(photo.stem):
                ignored.append(
                    (photo, "a number or a camera's file name is not a person's name; --layout flat accepts it")
                )
                continue
            relative = photo.relative_to(root) if root.is_dir() else Path(photo.name)
            named.append((_numbered(photo.stem), photo, relative))
    return named, ignored, passed_over


def _numbered(stem: str) -> str:
    """A file's name without its ending and its number: "ann_2" and "ann (3)" are of ann."""
    return _COUNTER.sub("", stem) or stem


def _names_nobody(stem: str) -> bool:
    """Whether a file is called by a bare number, a date or as cameras and telephones call their files."""
    return not any(character.isalpha() for character in stem) or _CAMERA.match(stem) is not None


def read_person_tables(tables: Sequence[Path]) -> tuple[_Named, _Ignored]:
    """The rows of tables with the columns path and person: (person, file, path as written) each, and what was ignored.

    Raises `InvalidInputError` for a table that cannot be read or lacks a column.
    """
    named: _Named = []
    ignored: _Ignored = []
    for table in tables:
        columns, rows = read_table(table)
        if not {"path", "person"} <= set(columns):
            raise InvalidInputError(
                f"expected a table with the columns path and person; {table} has {', '.join(columns) or 'none'}"
            )
        for line, row in rows:
            if not row["path"] or row["person"] is None:
                ignored.append((Path(f"{table}:{line}"), "a line that names no photograph and person"))
                continue
            file = beside_table(table, row["path"])
            named.append((row["person"], file, Path(row["path"])))
    return named, ignored


def reasons_json(left_out: Sequence[tuple[Path, str]]) -> list[dict[str, str]]:
    """What was left out, each with the reason, as JSON-ready values."""
    return [{"file": str(path), "detail": why} for path, why in left_out]


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
        example: the same, by the first photograph: "QUENTIN <- new/QUENTIN/me.jpg".
        people: name and number of photographs.
        photos: photographs planned.
        known: of these, how many the gallery knows already (enrolled or skipped).
        unreadable: of these, how many cannot be opened.
        shared: photographs whose bytes are planned under two names or more.
        ignored, passed_over: see `EnrolmentPlan`.
    """

    layout: Layout
    example: str
    people: dict[str, int]
    photos: int
    known: int
    unreadable: int
    shared: int
    ignored: tuple[tuple[Path, str], ...]
    passed_over: tuple[tuple[Path, str], ...]

    def as_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {
            "dry_run": True,
            "layout": self.layout,
            "example": self.example,
            "people": self.people,
            "photos": self.photos,
            "known": self.known,
            "unreadable": self.unreadable,
            "shared": self.shared,
            "ignored": reasons_json(self.ignored),
            "passed_over": reasons_json(self.passed_over),
        }


def preview_enrolment(plan: EnrolmentPlan, gallery: GalleryStore | None, faces: FacesPolicy) -> EnrolmentPreview:
    """Compare the files of `plan` with the gallery, if there is one already; change nothing."""
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
        example=plan.example,
        people=dict(sorted(Counter(item.person for item in plan.items).items())),
        photos=len(plan.items),
        known=sum((item.person, digest) in known for item, digest in zip(plan.items, digests, strict=True)),
        unreadable=sum(not isinstance(digest, str) for digest in digests),
        shared=sum(len(people) > 1 for people in people_of.values()),
        ignored=plan.ignored,
        passed_over=plan.passed_over,
    )
