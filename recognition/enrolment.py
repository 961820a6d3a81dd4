"""Enrolment: from folders of photographs to entries of a gallery.

Photographs are identified by the digest of their bytes, so moved, copied or touched files are not described again, and
an interrupted enrolment is resumed by running it again. Each photograph is processed by itself; one that cannot be used
gets a stable reason code and the batch continues. One batch is one transaction.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from facerec.landmarks.errors import InvalidInputError, ReasonCode, UnusablePhotoError
from facerec.landmarks.image import read_image
from facerec.recognition.description import (
    DescribeMany,
    Describer,
    EnrolmentSettings,
    Outcome,
    describe_photo,
    new_entry,
)
from facerec.recognition.enrolment_plan import EnrolmentItem, EnrolmentPlan, Layout, read_digest, reasons_json
from facerec.recognition.impostors import recalibrate
from facerec.recognition.recognizer import UndescribedFace
from facerec.recognition.review import gallery_findings
from facerec.recognition.store.derived_files import SKIPPED_SUFFIX, derived_file
from facerec.recognition.store.protocol import GalleryStore
from facerec.recognition.store.records import NewPhoto, PhotoRecord


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


@contextmanager
def worker_pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Worker threads; on an interruption what has not begun is dropped."""
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="facerec")
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    pool.shutdown()


def enroll(
    plan: EnrolmentPlan,
    gallery: GalleryStore,
    describer: Describer,
    settings: EnrolmentSettings | None = None,
    progress: Callable[[int], None] = lambda photos: None,
    describe_many: DescribeMany | None = None,
) -> EnrolmentSummary:
    """Enrol the photographs of `plan` into `gallery`, which is open for writing.

    Afterwards the gallery's impostor scores are measured and stored (`impostors.recalibrate`).

    Args:
        plan: from `plan_enrolment`.
        gallery: open for writing.
        describer: the models.
        settings: see `EnrolmentSettings`.
        progress: called with the number of photographs done since the last call.
        describe_many: who describes; None: `describer`, in `settings.workers` threads.

    Raises:
        ContractError: gallery and models do not agree.
        GalleryWriteError: the disk is full; every batch before is kept.
        KeyboardInterrupt: passed on; every batch before is kept.
    """
    settings = settings or EnrolmentSettings()
    if settings.sync and not plan.folders:
        raise InvalidInputError(
            "expected folders for --sync; only a folder shows which photographs were removed from it"
        )
    gallery.check_contract(describer.contract)
    began = time.monotonic()
    summary = EnrolmentSummary(len(plan.items), plan.layout, gallery.contract_digest, ignored=plan.ignored)
    summary.passed_over, summary.example = plan.passed_over, plan.example
    seen: set[tuple[str, str]] = set()
    with worker_pool(settings.workers) as pool:
        for start in range(0, len(plan.items), settings.batch):
            items = plan.items[start : start + settings.batch]
            enroll_batch(
                items, gallery, describe_many or describe_in_threads(pool, describer), settings, pool, summary, seen
            )
            progress(len(items))
    gone = _find_gone(plan, gallery, seen)
    summary.gone = len(gone)
    if gone and settings.sync:
        gallery.remove_photos(gone)
        summary.removed = len(gone)
    summary.conflicts = [finding.sentence for finding in gallery_findings(gallery, recalibrate(gallery))]
    people = gallery.people()
    summary.yaw = {person.name: person.yaw for person in people}
    summary.lacks = lacking_views(gallery, settings)
    summary.people = len(people)
    summary.entries = sum(person.entries for person in people)
    summary.frontal_only = sum(max(map(abs, person.yaw)) <= settings.frontal_yaw for person in people)
    summary.with_profile = sum(max(map(abs, person.yaw)) >= settings.profile_yaw for person in people)
    summary.digest = gallery.digest()
    summary.seconds = time.monotonic() - began
    return summary


def enroll_upload(
    photo: bytes,
    name: str,
    person: str,
    describer: Describer,
    open_for_writing: Callable[[], GalleryStore],
    settings: EnrolmentSettings | None = None,
) -> Outcome:
    """Enrol one photograph that came as bytes, as `enroll` would from a file, but without its review of the gallery.

    It is described before the gallery is opened, so that other writers wait for a commit and not for the models. A
    photograph that cannot be used is not stored.

    Args:
        photo: the bytes of the file.
        name: what the file was called.
        person: whose it is, as stored (`records.person_name`).
        describer: the models.
        open_for_writing: opens the gallery.
        settings: see `EnrolmentSettings`; `workers`, `batch` and `sync` have no meaning here.

    Returns:
        What became of it; without a reason, its entries are in the gallery.

    Raises:
        ContractError: gallery and models do not agree.
        GalleryLockedError, GalleryWriteError: the gallery cannot be written.
    """
    settings = settings or EnrolmentSettings()
    outcome = describe_photo(photo, describer, settings)
    if outcome.reason is not None:
        return outcome
    place = Path("uploaded") / Path(name).name
    item = EnrolmentItem(person, place, place, hashlib.sha256(photo).hexdigest())
    with open_for_writing() as gallery, worker_pool(1) as pool:
        gallery.check_contract(describer.contract)
        summary = EnrolmentSummary(1, "flat", gallery.contract_digest)
        enroll_batch([item], gallery, lambda photos, settings: [outcome], settings, pool, summary, set())
    for skipped in summary.skipped:  # the gallery remembers that it could not be used
        return Outcome(skipped.reason, skipped.detail)
    return outcome


def enroll_face(
    photo: bytes, name: str, person: str, face: int, describer: Describer, open_for_writing: Callable[[], GalleryStore]
) -> Outcome:
    """Enrol one face of a photograph, the one that somebody chose; otherwise as `enroll_upload`.

    What the gallery knows of the photograph under other names is left alone: other people may be on it, too.

    Args:
        photo, name, person, describer, open_for_writing: as `enroll_upload`.
        face: its number in the photograph, from 0, as identification counts faces.

    Raises:
        InvalidInputError: the photograph has no such face. Others: as `enroll_upload`.
    """
    try:
        faces = describer.describe(read_image(photo))
    except UnusablePhotoError as error:
        return Outcome(error.reason, error.detail)
    if not 0 <= face < len(faces):
        raise InvalidInputError(f"expected the number of one of {len(faces)} faces; got {face}")
    chosen = faces[face]
    if isinstance(chosen, UndescribedFace):
        return Outcome(chosen.reason, chosen.detail)
    outcome, place = Outcome(None, entries=(new_entry(face, chosen),)), Path("uploaded") / Path(name).name
    sha256 = hashlib.sha256(photo).hexdigest()
    with open_for_writing() as gallery:
        gallery.check_contract(describer.contract)
        gallery.add([NewPhoto(person, sha256, place, place, "chosen", "enrolled", entries=outcome.entries)])
    return outcome


def lacking_views(gallery: GalleryStore, settings: EnrolmentSettings | None = None) -> dict[str, tuple[str, ...]]:
    """Which views people lack, by name: "frontal", "left profile", "right profile"; nobody who has all three."""
    settings = settings or EnrolmentSettings()
    yaws: dict[str, list[float]] = {}
    for record in gallery.entries():
        yaws.setdefault(record.person, []).append(record.pose[0])
    lacks = {}
    for name, angles in yaws.items():
        shown = {
            "frontal": min(map(abs, angles)) <= settings.frontal_yaw,
            "left profile": min(angles) <= -settings.profile_yaw,
            "right profile": max(angles) >= settings.profile_yaw,
        }
        if not all(shown.values()):
            lacks[name] = tuple(view for view, there in shown.items() if not there)
    return lacks


def describe_in_threads(pool: ThreadPoolExecutor, describer: Describer) -> DescribeMany:
    """`DescribeMany` by `describer` in the threads of `pool`."""
    return lambda photos, settings: pool.map(lambda path: describe_photo(path, describer, settings), photos)


def _find_gone(plan: EnrolmentPlan, gallery: GalleryStore, seen: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """Photographs (person, sha256) that lay in the plan's folders and are not there with this person and content."""
    folders = [Path(os.path.abspath(folder)) for folder in plan.folders]
    if not folders:
        return []
    known = [record for record in gallery.photos() if (record.person, record.sha256) not in seen]
    inside = [record for record in known if any(record.absolute_path.is_relative_to(folder) for folder in folders)]
    return [(record.person, record.sha256) for record in inside if _has_left(record)]


def _has_left(record: PhotoRecord) -> bool:
    """Whether a photograph that no plan named has left its folder, or changed there."""
    digest = read_digest(record.absolute_path)
    if not isinstance(digest, str):  # what is there and cannot be read now may still be the same
        return not record.absolute_path.exists()
    # A film, or a face that somebody chose, was not named by its folder: it stays as long as its file does.
    return record.faces != "chosen" or digest != record.sha256


def enroll_batch(
    items: Sequence[EnrolmentItem],
    gallery: GalleryStore,
    describe_many: DescribeMany,
    settings: EnrolmentSettings,
    pool: ThreadPoolExecutor,
    summary: EnrolmentSummary,
    seen: set[tuple[str, str]],
) -> None:
    """One batch, one transaction."""
    digests = list(pool.map(EnrolmentItem.digest, items))
    read = [(item, digest) for item, digest in zip(items, digests, strict=True) if isinstance(digest, str)]
    for item, digest in zip(items, digests, strict=True):
        if not isinstance(digest, str):
            summary.skipped.append(SkippedPhoto(item.person, item.path, digest.reason, digest.detail, ""))
    known: dict[str, dict[str, PhotoRecord]] = {}
    for record in gallery.photos(sorted({digest for _, digest in read})):
        if record.faces == settings.faces:
            known.setdefault(record.sha256, {})[record.person] = record

    # Each content is described once, whoever has it and however often.
    new = {digest: item.path for item, digest in reversed(read) if digest not in known}
    paths = [new[digest] for digest in sorted(new)]
    outcomes = dict(zip(sorted(new), describe_many(paths, settings), strict=True)) if paths else {}
    summary.notes += [f"{new[digest]}: {note}" for digest, outcome in outcomes.items() for note in outcome.notes]
    lacking = {digest for item, digest in read if item.person not in known.get(digest, {})}
    for digest, records in known.items():
        outcomes[digest] = _find_remembered(gallery, records, entries=digest in lacking)

    photos: list[NewPhoto] = []
    moved: list[tuple[str, str, Path, Path]] = []
    for item, digest in read:
        outcome = outcomes[digest]
        absolute = item.absolute_path
        before = known.get(digest, {}).get(item.person)
        again = (item.person, digest) in seen
        seen.add((item.person, digest))
        if outcome.reason is not None:
            summary.skipped.append(SkippedPhoto(item.person, item.path, outcome.reason, outcome.detail, digest))
        elif again:
            summary.duplicates += 1
            summary.enrolled += 1
        else:
            summary.enrolled += 1
            summary.new += digest in new
        if before is not None:
            if before.absolute_path != absolute and not before.absolute_path.exists():
                moved.append((item.person, digest, item.relative_path, absolute))
        elif not again and outcome.reason != "internal_error":
            photos.append(
                NewPhoto(
                    person=item.person,
                    sha256=digest,
                    relative_path=item.relative_path,
                    absolute_path=absolute,
                    faces=settings.faces,
                    outcome=outcome.reason or "enrolled",
                    detail=outcome.detail,
                    entries=outcome.entries,
                )
            )
    if photos:
        gallery.add(photos)
    if moved:
        gallery.relocate(moved)


def _find_remembered(gallery: GalleryStore, records: Mapping[str, PhotoRecord], entries: bool) -> Outcome:
    """The gallery's records of a photograph's bytes under any name; `entries` are read when needed."""
    record = records[min(records)]
    if record.outcome != "enrolled":
        return Outcome(record.outcome, record.detail)
    return Outcome(None, entries=gallery.stored_entries(record.person, record.sha256) if entries else ())


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
