"""What an enrolment did, and the list of what it skipped."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from facerec.landmarks.errors import ReasonCode
from facerec.recognition.enrolment_plan import Layout, reasons_json
from facerec.recognition.store.derived_files import SKIPPED_SUFFIX, derived_file


@dataclass(frozen=True)
class SkippedPhoto:
    """A photograph that was not enrolled.

    Attributes:
        person: the person it is supposed to show.
        path: the file.
        reason: reason code, or "internal_error" when this program failed on it.
        detail: one sentence.
        sha256: digest of its bytes, empty when they could not be read.
    """

    person: str
    path: Path
    reason: ReasonCode | Literal["internal_error"]
    detail: str
    sha256: str

    def as_json(self) -> dict[str, Any]:
        """JSON-ready values, the lines of the file of skipped photographs."""
        return {
            "file": str(self.path),
            "person": self.person,
            "reason": self.reason,
            "detail": self.detail,
            "sha256": self.sha256,
        }


@dataclass
class EnrolmentSummary:
    """What an enrolment did.

    Attributes:
        photos: photographs planned.
        enrolled: of these, how many have entries in the gallery now.
        new: how many of those were described in this run.
        duplicates: photographs whose very bytes the same person has under another name of file.
        skipped: photographs without an entry, also those a former run skipped for the same reason.
        ignored, passed_over: see `EnrolmentPlan`.
        notes: on photographs described in this run, defects that were compensated in reading (`image.read_photo`).
        gone: photographs of the gallery that are no longer in the folders, or have changed there.
        removed: of these, how many were removed from the gallery (`EnrolmentSettings.sync`).
        groups: sentences on group photographs: which face was taken for the person's, and why.
        conflicts: sentences, with scores, on photographs that speak for two people, near-duplicates, people who may be
            one and pictures that look like no other of their person (see `review`).
        people, entries: how many the gallery holds now.
        frontal_only: people of the gallery seen only within `EnrolmentSettings.frontal_yaw`.
        with_profile: people of the gallery with a profile view.
        yaw: lowest and highest yaw of each person of the gallery, degrees.
        lacks: of each person who lacks one, the views that no entry shows: "frontal", "left profile" (the nose points
            to the picture's left), "right profile".
        layout: how names were taken from paths.
        example: the same, by the first photograph: "QUENTIN <- new/QUENTIN/me.jpg".
        contract: digest of the gallery's contract.
        digest: digest of the gallery's content.
        seconds: duration.
    """

    photos: int
    layout: Layout
    contract: str
    enrolled: int = 0
    new: int = 0
    duplicates: int = 0
    skipped: list[SkippedPhoto] = field(default_factory=list)
    ignored: tuple[tuple[Path, str], ...] = ()
    passed_over: tuple[tuple[Path, str], ...] = ()
    notes: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    gone: int = 0
    removed: int = 0
    conflicts: list[str] = field(default_factory=list)
    people: int = 0
    entries: int = 0
    frontal_only: int = 0
    with_profile: int = 0
    yaw: dict[str, tuple[float, float]] = field(default_factory=dict)
    lacks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    digest: str = ""
    seconds: float = 0.0
    example: str = ""

    @property
    def reasons(self) -> dict[str, int]:
        """Number of skipped photographs by reason, most frequent first."""
        return dict(sorted(Counter(s.reason for s in self.skipped).items(), key=lambda item: (-item[1], item[0])))

    def as_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {
            "photos": self.photos,
            "layout": self.layout,
            "example": self.example,
            "enrolled": self.enrolled,
            "new": self.new,
            "duplicates": self.duplicates,
            "skipped": self.reasons,
            "skipped_photos": [s.as_json() for s in self.skipped],
            "ignored": reasons_json(self.ignored),
            "passed_over": reasons_json(self.passed_over),
            "notes": self.notes,
            "groups": self.groups,
            "gone": self.gone,
            "removed": self.removed,
            "conflicts": self.conflicts,
            "people": self.people,
            "entries": self.entries,
            "pose_coverage": {
                "frontal_only": self.frontal_only,
                "with_profile": self.with_profile,
                "yaw": {name: [round(low, 1), round(high, 1)] for name, (low, high) in self.yaw.items()},
                "lacks": {name: list(views) for name, views in self.lacks.items()},
            },
            "contract": self.contract,
            "digest": self.digest,
            "seconds": round(self.seconds, 3),
        }


def write_skipped(gallery: Path, skipped: Sequence[SkippedPhoto]) -> Path | None:
    """List what was skipped, one JSON object per line, in a file beside the gallery; returns it.

    Nothing is skipped: the list of the run before is removed, and None is returned.
    """
    path = derived_file(gallery, SKIPPED_SUFFIX)
    if not skipped:
        path.unlink(missing_ok=True)
        return None
    lines = "".join(json_line(photo.as_json()) for photo in skipped)
    fresh = derived_file(path, ".new")
    fresh.touch(mode=0o600)  # it names people
    fresh.write_text(lines, encoding="utf-8")
    os.replace(fresh, path)
    return path


def json_line(record: Mapping[str, Any]) -> str:
    """One line of JSON in readable Unicode; bytes of file names that are no Unicode become escapes."""
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace").decode() + "\n"
