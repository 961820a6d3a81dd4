"""A review of a gallery: findings of the enrolment, views that people lack, and faces that stayed unknown.

As one value, as JSON, and as a page in one file on which decisions are taken (see `review_decisions`).
"""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from facerec.landmarks.errors import InvalidInputError, UnusablePhotoError
from facerec.landmarks.image import photo_digest, read_image
from facerec.landmarks.types import Box, Image
from facerec.landmarks.video import is_film
from facerec.recognition.enrolment import lacking_views
from facerec.recognition.found_faces import face_picture
from facerec.recognition.impostors import calibrate
from facerec.recognition.review import Finding, gallery_findings
from facerec.recognition.review_decisions import DECISIONS_FILE
from facerec.recognition.store.protocol import GalleryStore
from facerec.recognition.store.records import EntryRecord, PersonRecord

KINDS = {
    "same_photo": "One photograph under two names",
    "looks_like_another": "Pictures that are more similar to somebody else",
    "odd_picture": "Pictures that are similar to no other of their person",
    "one_person": "Names that may be one person",
    "near_duplicate": "Pictures that may be one picture saved twice",
}
"""Headings of the kinds of findings, in the order of the page."""

PEOPLE_LISTED = 1000
"""People who can be renamed or marked on the page; of a larger gallery, those whom a finding names."""


@dataclass(frozen=True, eq=False)
class UnknownFace:
    """A face that identification left unknown.

    Attributes:
        file: the photograph.
        face: its number in the photograph.
        box: where it is, px.
        best: the person who looks most like it; None in an empty gallery.
        score: of `best`; margin: how far that is below the threshold.
    """

    file: Path
    face: int
    box: Box
    best: str | None
    score: float | None
    margin: float | None

    def as_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {
            "file": str(self.file),
            "face": self.face,
            "best": self.best,
            "score": self.score,
            "margin": self.margin,
        }


def read_unknown(path: Path) -> list[UnknownFace]:
    """The unknown faces in the output of `facerec identify --format jsonl`; tracks of films are ignored.

    Raises:
        InvalidInputError: the file cannot be read, or a line is no answer.
    """
    found: list[UnknownFace] = []
    number = 0
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            number += 1
            record = json.loads(line)
            if "file" not in record or record["decision"] != "unknown" or record["known_stranger"] is not None:
                continue
            best: dict[str, Any] = next(iter(record["candidates"]), {})
            box = Box(*(float(record["box"][edge]) for edge in ("x0", "y0", "x1", "y1")))
            score, margin = best.get("score"), record["margin"]
            found.append(UnknownFace(Path(record["file"]), int(record["face"]), box, best.get("person"), score, margin))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"expected a file of answers; {path} cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInputError(
            f"expected lines of `facerec identify --format jsonl`; {path}, line {number}: "
            f"{type(error).__name__}: {error}"
        ) from error
    return found


@dataclass(frozen=True, eq=False)
class GalleryReview:
    """Everything that a person should check.

    Attributes:
        gallery: its address.
        findings: see `review.gallery_findings`.
        lacks: views that people lack (see `enrolment.lacking_views`).
        unknown: faces that identification left unknown.
        people: everybody in the gallery.
        entries: the entries that findings name, by identifier.
    """

    gallery: str
    findings: tuple[Finding, ...]
    lacks: Mapping[str, tuple[str, ...]]
    unknown: tuple[UnknownFace, ...]
    people: tuple[PersonRecord, ...]
    entries: Mapping[int, EntryRecord]

    @staticmethod
    def of(gallery: GalleryStore, address: str, unknown: Sequence[UnknownFace] = ()) -> GalleryReview:
        """Check a gallery as enrolment does."""
        findings = gallery_findings(gallery, calibrate(gallery))
        named = {entry for finding in findings for entry in finding.entries}
        entries = {record.entry: record for record in gallery.entries() if record.entry in named}
        people = tuple(gallery.people())
        return GalleryReview(address, tuple(findings), lacking_views(gallery), tuple(unknown), people, entries)

    def as_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {
            "gallery": self.gallery,
            "findings": [finding.as_json() for finding in self.findings],
            "lacks": {name: list(views) for name, views in self.lacks.items()},
            "unknown": [face.as_json() for face in self.unknown],
        }


def write_review_page(path: Path, review: GalleryReview) -> None:
    """Write the page: one file, nothing is loaded from elsewhere. It holds pictures of people: its owner alone may
    read it. Pictures are cut from the photographs as long as these lie where they lay."""
    sections = [
        (heading, [_finding(one, review.entries) for one in review.findings if one.kind == kind])
        for kind, heading in KINDS.items()
    ]
    named = {name for finding in review.findings for name in finding.people}
    listed = [one for one in review.people if len(review.people) <= PEOPLE_LISTED or one.name in named]
    template = Environment(loader=PackageLoader("facerec.recognition", "templates"), autoescape=True).get_template(
        "review.html.j2"
    )
    text = template.render(
        gallery=review.gallery,
        quoted=shlex.quote(review.gallery),
        sections=[(heading, found) for heading, found in sections if found],
        lacks=sorted(review.lacks.items()),
        unknown=[_unknown(face) for face in review.unknown],
        people=listed,
        file=DECISIONS_FILE,
    )
    path.touch(mode=0o600)
    path.write_bytes(text.encode("utf-8", "backslashreplace"))


def _finding(finding: Finding, entries: Mapping[int, EntryRecord]) -> dict[str, Any]:
    """What the page shows of a finding, with the decisions that it offers: words and the decision as JSON."""
    shown = [entries[entry] for entry in finding.entries]
    removals = [
        (
            f"remove the {'right' if k else 'left'} picture, of {one.person}",
            {"action": "remove_entry", "entry": one.entry, "person": one.person, "sha256": one.sha256},
        )
        for k, one in enumerate(shown)
    ]
    both_ways = [finding.people, finding.people[::-1]] if len(finding.people) == 2 else []
    merges = [(f"{a} is {b}: merge", {"action": "merge", "person": a, "name": b}) for a, b in both_ways]
    offered = {
        "same_photo": removals + merges,
        "looks_like_another": removals[:1] + merges,
        "odd_picture": removals[:1],
        "one_person": merges,
        "near_duplicate": removals,
    }[finding.kind]
    pictures = [
        {
            "data": _entry_picture(one),
            "person": one.person,
            "file": str(one.relative_path),
            "film": bool(one.yaws) or is_film(one.absolute_path),
        }
        for one in shown
    ]
    return {"sentence": finding.sentence, "pictures": pictures, "offered": offered}


def _unknown(face: UnknownFace) -> dict[str, Any]:
    sha256 = _digest(face.file)
    decision = {"action": "enroll", "file": str(face.file.absolute()), "sha256": sha256, "face": face.face}
    return {"face": face, "data": _picture(face.file, sha256, face.box), "decision": decision if sha256 else None}


def _digest(path: Path) -> str:
    try:
        return photo_digest(path)
    except UnusablePhotoError:
        return ""


def _entry_picture(record: EntryRecord) -> str:
    return _picture(record.absolute_path, record.sha256, record.box)


def _picture(path: Path, sha256: str, box: Box) -> str:
    """The face as the text of a data URL; "" when the photograph is gone, changed or no photograph."""
    if not sha256 or _digest(path) != sha256:
        return ""
    try:
        return "data:image/jpeg;base64," + base64.b64encode(face_picture(_read(path), box)).decode()
    except (UnusablePhotoError, InvalidInputError):
        return ""


@lru_cache(maxsize=2)
def _read(path: Path) -> Image:
    """The photograph; the faces of one follow each other."""
    return read_image(path)
