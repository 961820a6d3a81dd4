"""Enrolment: from folders of photographs to entries of a gallery.

Photographs are identified by the digest of their bytes, so moved, copied or touched files are not described again, and
an interrupted enrolment is resumed by running it again. Each photograph is processed by itself; one that cannot be used
gets a stable reason code and the batch continues. One batch is one transaction.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from facerec.landmarks.errors import InvalidInputError, UnusablePhotoError
from facerec.landmarks.image import read_image
from facerec.recognition.description import (
    DescribeMany,
    Describer,
    EnrolmentSettings,
    Outcome,
    describe_photo,
    new_entry,
)
from facerec.recognition.enrolment_plan import EnrolmentItem, EnrolmentPlan, read_digest
from facerec.recognition.enrolment_summary import EnrolmentSummary, SkippedPhoto
from facerec.recognition.group_photos import GroupPhoto, choose_in_groups
from facerec.recognition.impostors import recalibrate
from facerec.recognition.recognizer import UndescribedFace
from facerec.recognition.review import gallery_findings
from facerec.recognition.store.protocol import GalleryStore
from facerec.recognition.store.records import NewPhoto, PhotoRecord


@dataclass(frozen=True, eq=False)
class WaitingPhoto:
    """A described group photograph whose person's other photographs are still to come, and its digest."""

    item: EnrolmentItem
    digest: str
    photo: GroupPhoto


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
    groups: list[WaitingPhoto] = []
    with worker_pool(settings.workers) as pool:
        describe_many = describe_many or describe_in_threads(pool, describer)
        for start in range(0, len(plan.items), settings.batch):
            end = start + settings.batch
            items = plan.items[start:end]
            groups += enroll_batch(items, gallery, describe_many, settings, pool, summary, seen)
            following = plan.items[end].person if end < len(plan.items) else ""
            enroll_groups([one for one in groups if one.item.person != following], gallery, settings, summary)
            groups = [one for one in groups if one.item.person == following]  # more photographs of theirs come
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
        groups = enroll_batch([item], gallery, lambda photos, settings: [outcome], settings, pool, summary, set())
        enroll_groups(groups, gallery, settings, summary)
        for skipped in summary.skipped:  # a group photograph, or the gallery remembers that it could not be used
            return Outcome(skipped.reason, skipped.detail)
        return replace(outcome, entries=gallery.stored_entries(person, item.sha256), group=0)


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
        yaws.setdefault(record.person, []).extend(record.shown_yaws)
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
) -> list[WaitingPhoto]:
    """One batch, one transaction; returns the group photographs, which wait for the person's other photographs."""
    digests = list(pool.map(EnrolmentItem.digest, items))
    read = [(item, digest) for item, digest in zip(items, digests, strict=True) if isinstance(digest, str)]
    for item, digest in zip(items, digests, strict=True):
        if not isinstance(digest, str):
            summary.skipped.append(SkippedPhoto(item.person, item.path, digest.reason, digest.detail, ""))
    known: dict[str, dict[str, PhotoRecord]] = {}
    for record in gallery.photos(sorted({digest for _, digest in read})):
        if record.faces == settings.faces:
            known.setdefault(record.sha256, {})[record.person] = record

    # Each content is described once, whoever has it and however often, but for a group photograph's other people.
    lacking = {digest for item, digest in read if item.person not in known.get(digest, {})}
    again = {digest for digest in lacking & known.keys() if any(r.in_group for r in known[digest].values())}
    new = {digest: item.path for item, digest in reversed(read) if digest in again or digest not in known}
    paths = [new[digest] for digest in sorted(new)]
    outcomes = dict(zip(sorted(new), describe_many(paths, settings), strict=True)) if paths else {}
    summary.notes += [f"{new[digest]}: {note}" for digest, outcome in outcomes.items() for note in outcome.notes]
    for digest in known.keys() - again:
        outcomes[digest] = _find_remembered(gallery, known[digest], entries=digest in lacking)

    photos: list[NewPhoto] = []
    moved: list[tuple[str, str, Path, Path]] = []
    waiting: list[WaitingPhoto] = []
    for item, digest in read:
        outcome = outcomes[digest]
        absolute = item.absolute_path
        before = known.get(digest, {}).get(item.person)
        twice = (item.person, digest) in seen
        seen.add((item.person, digest))
        if outcome.group and before is None:
            waiting.append(WaitingPhoto(item, digest, GroupPhoto(outcome.entries, outcome.group)))
            continue
        if outcome.reason is not None:
            summary.skipped.append(SkippedPhoto(item.person, item.path, outcome.reason, outcome.detail, digest))
        elif twice:
            summary.duplicates += 1
            summary.enrolled += 1
        else:
            summary.enrolled += 1
            summary.new += digest in new
        if before is not None:
            if before.absolute_path != absolute and not before.absolute_path.exists():
                moved.append((item.person, digest, item.relative_path, absolute))
        elif not twice and outcome.reason != "internal_error":
            photos.append(new_photo(item, digest, settings, outcome))
    if photos:
        gallery.add(photos)
    if moved:
        gallery.relocate(moved)
    return waiting


def enroll_groups(
    waiting: Sequence[WaitingPhoto], gallery: GalleryStore, settings: EnrolmentSettings, summary: EnrolmentSummary
) -> None:
    """Group photographs, once the other photographs of their people are in `gallery`; one transaction.

    One that shows nobody for sure is kept nowhere: the next run, with more photographs of the person, asks again.
    """
    photos: list[NewPhoto] = []
    for person in sorted({one.item.person for one in waiting}):
        own = {one.digest: one.photo for one in waiting if one.item.person == person}
        choices = dict(zip(own, choose_in_groups(person, list(own.values()), gallery), strict=True))
        done: set[str] = set()
        for one in waiting:
            if one.item.person != person:
                continue
            choice = choices[one.digest]
            if choice.entry is None:
                detail = choice.detail
                summary.skipped.append(SkippedPhoto(person, one.item.path, "multiple_faces", detail, one.digest))
                continue
            summary.enrolled += 1
            if one.digest in done:
                summary.duplicates += 1
                continue
            done.add(one.digest)
            summary.new += 1
            summary.groups.append(f"{one.item.path}, face {choice.entry.face}: {choice.detail}")
            outcome = Outcome(None, choice.detail, (choice.entry,))
            photos.append(new_photo(one.item, one.digest, settings, outcome))
    if photos:
        gallery.add(photos)


def new_photo(item: EnrolmentItem, digest: str, settings: EnrolmentSettings, outcome: Outcome) -> NewPhoto:
    """What `outcome` says of a photograph; `internal_error` is a fault of this program, and kept nowhere."""
    assert outcome.reason != "internal_error"
    return NewPhoto(
        person=item.person,
        sha256=digest,
        relative_path=item.relative_path,
        absolute_path=item.absolute_path,
        faces=settings.faces,
        outcome=outcome.reason or "enrolled",
        detail=outcome.detail,
        entries=outcome.entries,
    )


def _find_remembered(gallery: GalleryStore, records: Mapping[str, PhotoRecord], entries: bool) -> Outcome:
    """The gallery's records of a photograph's bytes under any name; `entries` are read when needed."""
    record = records[min(records)]
    if record.outcome != "enrolled":
        return Outcome(record.outcome, record.detail)
    return Outcome(None, entries=gallery.stored_entries(record.person, record.sha256) if entries else ())
