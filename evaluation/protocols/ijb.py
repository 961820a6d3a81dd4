"""Templates by CSV, as IJB has them: several pictures of a person that are compared as one.

    DATA/gallery*.csv      or search_gallery*.csv, *_1N_gallery*.csv: one identification for each of them
    DATA/probes*.csv       or search_probe*.csv, *_1N_probe*.csv: all are probes, known or unknown to each gallery
    DATA/templates*.csv    or verify_metadata*.csv: further templates, for pairs
    DATA/comparisons*.csv  or verify_comparisons*.csv, *_matches*.csv: "TEMPLATE,TEMPLATE[,FOLD]"

The lists of templates have the columns TEMPLATE_ID, SUBJECT_ID, FILE or FILENAME, and optionally MEDIA_ID or
SIGHTING_ID (frames of one video count as one medium) and FACE_X, FACE_Y, FACE_WIDTH, FACE_HEIGHT (the face that is
meant, px). Upper and lower case are one. IJB-A's folders of one split are such folders as they are.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from facerec.evaluation.protocols.recognition import (
    Identification,
    PairSet,
    Picture,
    PictureList,
    RecognitionProtocol,
    Template,
)
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.types import Box

EXPECTED = (
    "expected a folder with lists of templates: gallery.csv and probes.csv, or templates.csv and comparisons.csv, or "
    "both (columns TEMPLATE_ID,SUBJECT_ID,FILENAME and optionally MEDIA_ID,FACE_X,FACE_Y,FACE_WIDTH,FACE_HEIGHT)"
)

_GALLERIES = ("gallery*.csv", "search_gallery*.csv", "*_1N_gallery*.csv")
_PROBES = ("probes*.csv", "search_probe*.csv", "*_1N_probe*.csv")
_TEMPLATES = ("templates*.csv", "verify_metadata*.csv")
_COMPARISONS = ("comparisons*.csv", "verify_comparisons*.csv", "*_matches*.csv")
_BOX = ("face_x", "face_y", "face_width", "face_height")


@dataclass
class _Templates:
    """Templates as they are collected from the lists; the same identifier in two lists is one template."""

    root: Path
    pictures: PictureList = field(default_factory=PictureList)
    order: list[str] = field(default_factory=list)
    person: dict[str, str] = field(default_factory=dict)
    members: dict[str, dict[int, str]] = field(default_factory=dict)  # picture index -> medium

    def read(self, file: Path) -> list[str]:
        """Add the templates of `file`; their identifiers in order of appearance."""
        there: dict[str, None] = {}
        for line, row in _rows(file):
            name, person, photo = row["template_id"], row["subject_id"], row.get("file") or row.get("filename") or ""
            if not (name and person and photo):
                raise InvalidInputError(
                    f"{file}, line {line}: expected TEMPLATE_ID, SUBJECT_ID and FILENAME; got {name!r}, {person!r}, "
                    f"{photo!r}"
                )
            if self.person.setdefault(name, person) != person:
                raise InvalidInputError(
                    f"{file}, line {line}: expected template {name} to show one person; got {person} and "
                    f"{self.person[name]}"
                )
            box = _box(row, f"{file}, line {line}")
            # One photograph may show the faces of several templates: it is a picture of its own for each face.
            called = photo if box is None else f"{photo} [{box.x0:g},{box.y0:g},{box.x1:g},{box.y1:g}]"
            index = self.pictures.add(Picture(self.root / photo, called, person, box=box))
            if name not in self.members:
                self.order.append(name)
            medium = row.get("media_id") or row.get("sighting_id") or photo
            self.members.setdefault(name, {})[index] = medium
            there[name] = None
        if not there:
            raise InvalidInputError(f"{file}: expected at least one template; got none")
        return list(there)

    def done(self) -> tuple[Template, ...]:
        return tuple(
            Template(name, self.person[name], tuple(self.members[name]), tuple(self.members[name].values()))
            for name in self.order
        )


def read_ijb(data: Path, pictures: Path | None = None) -> RecognitionProtocol:
    """Identification and verification of templates.

    Args:
        data: the folder with the lists (of one split, where there are several).
        pictures: the folder that the lists' file names are relative to; `data` by default.

    Raises:
        InvalidInputError: no such lists, other columns, a template of two people, a comparison of unknown templates, or
            pictures that are missing on disk.
    """
    galleries, probes = _find_lists(data, _GALLERIES), _find_lists(data, _PROBES)
    further, comparisons = _find_lists(data, _TEMPLATES), _find_lists(data, _COMPARISONS)
    if bool(galleries) != bool(probes) or not (galleries or comparisons):
        there = ", ".join(path.name for path in (*galleries, *probes, *further, *comparisons)) or "none of them"
        raise InvalidInputError(f"{EXPECTED}; {data} has {there}")
    templates = _Templates(pictures or data)
    enrolled = {file.stem: templates.read(file) for file in galleries}
    probing = list(dict.fromkeys(name for file in probes for name in templates.read(file)))
    for file in further:
        templates.read(file)
    place = {name: index for index, name in enumerate(templates.order)}
    identifications: list[Identification] = []
    for stem, names in enrolled.items():
        people = {templates.person[name] for name in names}
        identifications.append(
            Identification(
                "all" if len(enrolled) == 1 and not comparisons else stem,
                gallery=tuple(place[name] for name in names),
                probes=tuple(place[name] for name in probing if templates.person[name] in people),
                unknown=tuple(place[name] for name in probing if templates.person[name] not in people),
            )
        )
    pairs = tuple(_pairs(file, place, templates.person) for file in comparisons)
    listed = templates.pictures.done()
    return RecognitionProtocol(
        name="ijb",
        pictures=listed,
        identifications=tuple(identifications),
        pairs=pairs,
        settings={
            "lists": [path.name for path in (*galleries, *probes, *further, *comparisons)],
            "templates": len(templates.order),
            "people": len(set(templates.person.values())),
        },
        templates=templates.done(),
    )


def _find_lists(data: Path, patterns: Sequence[str]) -> list[Path]:
    return sorted({path for pattern in patterns for path in data.glob(pattern) if path.is_file()})


def _rows(file: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            columns = {(name or "").strip().lower() for name in reader.fieldnames or ()}
            absent = sorted({"template_id", "subject_id"} - columns)
            if not columns & {"file", "filename"}:
                absent.append("filename")
            if absent:
                raise InvalidInputError(f"{file}: {EXPECTED}; missing: {', '.join(name.upper() for name in absent)}")
            return [
                (
                    reader.line_num,
                    {
                        (key or "").strip().lower(): (value or "").strip()
                        for key, value in row.items()
                        if key is not None
                    },
                )
                for row in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"expected a CSV file of templates; cannot read {file}: {error}") from None


def _box(row: dict[str, str], where: str) -> Box | None:
    cells = [row.get(name, "") for name in _BOX]
    if not any(cells):
        return None
    try:
        x, y, width, height = (float(cell) for cell in cells)
        return Box(x - 0.5, y - 0.5, x + width - 0.5, y + height - 0.5)
    except (ValueError, InvalidInputError):
        raise InvalidInputError(
            f"{where}: expected FACE_X, FACE_Y, FACE_WIDTH, FACE_HEIGHT in px; got {cells}"
        ) from None


def _pairs(file: Path, place: dict[str, int], person: dict[str, str]) -> PairSet:
    first, second, same, fold = [], [], [], []
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            for row in reader:
                cells = [cell.strip() for cell in row]
                if not any(cells) or (reader.line_num == 1 and "template" in cells[0].lower()):
                    continue
                if len(cells) not in (2, 3) or cells[0] not in place or cells[1] not in place:
                    raise InvalidInputError(
                        f"{file}, line {reader.line_num}: expected two templates of the lists (and optionally a fold); "
                        f"got {','.join(row)!r}"
                    )
                first.append(place[cells[0]])
                second.append(place[cells[1]])
                same.append(person[cells[0]] == person[cells[1]])
                fold.append(cells[2] if len(cells) == 3 else "all")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"expected a CSV file of comparisons; cannot read {file}: {error}") from None
    if not first:
        raise InvalidInputError(f"{file}: expected at least one comparison; got none")
    return PairSet(file.stem, tuple(first), tuple(second), tuple(same), tuple(fold))
