"""Decisions that a person took on a review's findings: read them from a file and apply them to the gallery.

A decision names what it is about in full (an entry with its person and photograph, an unknown face with its file and
the file's digest), so that one that no longer fits the gallery or the photograph is refused instead of hitting
somebody else.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from facerec.landmarks.errors import InvalidInputError, UnusablePhotoError
from facerec.landmarks.image import photo_digest, read_image
from facerec.recognition.description import Describer, new_entry
from facerec.recognition.recognizer import UndescribedFace
from facerec.recognition.store.protocol import GalleryStore
from facerec.recognition.store.records import NewPhoto, person_name

DECISIONS_FILE = "decisions.json"

Action = Literal["remove_entry", "rename", "merge", "mark_nobody", "enroll"]

_NEEDED: dict[str, tuple[str, ...]] = {
    "remove_entry": ("entry", "person", "sha256"),
    "rename": ("person", "name"),
    "merge": ("person", "name"),
    "mark_nobody": ("person",),
    "enroll": ("file", "sha256", "face", "name"),
}


@dataclass(frozen=True)
class ReviewDecision:
    """One decision. What an action does not need is None.

    Attributes:
        action: "remove_entry" (`entry` of `person`, from the photograph `sha256`), "rename" (`person` to `name`),
            "merge" (`person` is `name`, who keeps the name), "mark_nobody" (`person` is a known stranger) or "enroll"
            (face number `face` of `file`, whose bytes have the digest `sha256`, is `name`).
        nobody: of "enroll": the face is enrolled as a known stranger.
    """

    action: Action
    entry: int | None = None
    person: str | None = None
    name: str | None = None
    file: str | None = None
    sha256: str | None = None
    face: int | None = None
    nobody: bool = False

    @staticmethod
    def of_json(record: Any) -> ReviewDecision:
        """Read one decision.

        Raises:
            InvalidInputError: it is none, or lacks what its action needs.
        """
        action = record.get("action") if isinstance(record, dict) else None
        if action not in _NEEDED:
            raise InvalidInputError(f"expected an action of {', '.join(_NEEDED)}; got {action!r}")
        missing = [key for key in _NEEDED[action] if record.get(key) in (None, "")]
        if missing:
            raise InvalidInputError(
                f"expected {', '.join(_NEEDED[action])} of {action!r}; {', '.join(missing)} missing"
            )
        known: dict[str, Any] = {}
        for key in _NEEDED[action]:
            known[key] = int(record[key]) if key in ("entry", "face") else str(record[key])
        known |= {key: person_name(known[key]) for key in ("person", "name") if key in known}
        return ReviewDecision(action, **known, nobody=bool(record.get("nobody", False)))

    def __str__(self) -> str:
        match self.action:
            case "remove_entry":
                return f"remove entry {self.entry} of {self.person}"
            case "rename":
                return f"rename {self.person} to {self.name}"
            case "merge":
                return f"merge {self.person} into {self.name}"
            case "mark_nobody":
                return f"mark {self.person} as a known stranger"
            case _:
                kind = "known stranger " if self.nobody else ""
                return f"enrol face {self.face} of {self.file} as {kind}{self.name}"


def read_decisions(path: Path) -> list[ReviewDecision]:
    """The decisions of a file that the page of `facerec gallery review --html` saved.

    Raises:
        InvalidInputError: it is no such file; the message says what is wrong in it.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return [ReviewDecision.of_json(one) for one in record["decisions"]]
    except OSError as error:
        raise InvalidInputError(f"expected a file of decisions; {path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, InvalidInputError) as error:
        raise InvalidInputError(
            f"expected a file of decisions as the page of `facerec gallery review` saves it; {path}: {error}"
        ) from error


@dataclass(frozen=True)
class DecisionOutcome:
    """The outcome of a decision: `refused` gives the reason why it was not applied, "" when it was."""

    decision: ReviewDecision
    refused: str = ""

    def as_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {"decision": str(self.decision), "done": not self.refused, "refused": self.refused or None}


def apply_decisions(
    decisions: list[ReviewDecision], gallery: GalleryStore, load: Callable[[], Describer]
) -> list[DecisionOutcome]:
    """Apply decisions: entries are removed first, then faces enrolled, then people merged, renamed and marked.

    A decision that no longer fits is refused with a reason; the others are still applied.

    Args:
        decisions: from `read_decisions`.
        gallery: open for writing.
        load: gives the models; called only when a face is to be enrolled.
    """
    order = {"remove_entry": 0, "enroll": 1, "merge": 2, "rename": 3, "mark_nobody": 4}
    describer: Describer | None = None
    outcomes = []
    for decision in sorted(decisions, key=lambda one: order[one.action]):
        if decision.action == "enroll" and describer is None:
            describer = load()
            gallery.check_contract(describer.contract)
        try:
            _carry_out(decision, gallery, describer)
            outcomes.append(DecisionOutcome(decision))
        except (InvalidInputError, UnusablePhotoError) as error:
            outcomes.append(DecisionOutcome(decision, str(error)))
    return outcomes


def _carry_out(decision: ReviewDecision, gallery: GalleryStore, describer: Describer | None) -> None:
    person, name = decision.person or "", decision.name or ""
    match decision.action:
        case "remove_entry":
            there = {record.entry: (record.person, record.sha256) for record in gallery.entries(person)}
            entry = decision.entry if decision.entry is not None else -1
            if there.get(entry) != (person, decision.sha256):
                raise InvalidInputError(f"entry {entry} is no longer that of {person}: the gallery changed since")
            gallery.remove_entries([entry])
        case "rename":
            gallery.rename(person, name)
        case "merge":
            gallery.merge([person, name], name)
        case "mark_nobody":
            gallery.mark([person], True)
        case "enroll":
            assert describer is not None
            if any(record.person == name for record in gallery.photos([decision.sha256 or ""])):
                raise InvalidInputError(f"{name} already has this photograph")
            known = {record.name: record.nobody for record in gallery.people()}
            if known.get(name, decision.nobody) != decision.nobody:
                raise InvalidInputError(f"{name} is {'a person' if decision.nobody else 'a known stranger'} already")
            gallery.add([_chosen_face(decision, describer)])
            if decision.nobody:
                gallery.mark([name], True)


def _chosen_face(decision: ReviewDecision, describer: Describer) -> NewPhoto:
    path, face = Path(decision.file or ""), decision.face or 0
    if not path.is_file():
        raise InvalidInputError("the photograph does not exist any more")
    if photo_digest(path) != decision.sha256:
        raise InvalidInputError("the photograph has changed since the review")
    faces = describer.describe(read_image(path))
    if not 0 <= face < len(faces):
        raise InvalidInputError(f"the photograph has {len(faces)} faces, none of number {face}")
    chosen = faces[face]
    if isinstance(chosen, UndescribedFace):
        raise chosen.error
    entries = (new_entry(face, chosen),)
    place = Path(path.name), path.absolute()
    return NewPhoto(decision.name or "", decision.sha256 or "", *place, "chosen", "enrolled", entries=entries)
