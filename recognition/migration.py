"""Migration: describe the photographs of a gallery again with other models."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from facerec.landmarks.errors import InvalidInputError
from facerec.recognition.description import Describer, EnrolmentSettings, Outcome, stored_texture
from facerec.recognition.enrolment import (
    WaitingPhoto,
    describe_in_threads,
    enroll_batch,
    enroll_groups,
    new_photo,
    worker_pool,
)
from facerec.recognition.enrolment_plan import EnrolmentItem, read_digest
from facerec.recognition.enrolment_summary import EnrolmentSummary, SkippedPhoto
from facerec.recognition.store.derived_files import derived_file
from facerec.recognition.store.records import NewPhoto, PhotoRecord
from facerec.recognition.store.sqlite import Gallery

_SAME_PLACE = 0.4
"""Overlap (intersection over union) from which on two boxes of one photograph, by two detectors, are of one face."""


@dataclass(frozen=True)
class MigrationSummary:
    """What a migration did: photographs described again from originals and from kept textures, those now skipped,
    those whose original was not found."""

    described: int
    from_textures: int
    skipped: tuple[SkippedPhoto, ...]
    missing: tuple[Path, ...]


def migrate(
    gallery: Gallery,
    describer: Describer,
    settings: EnrolmentSettings | None = None,
    roots: Sequence[Path] = (),
    drop_missing: bool = False,
    progress: Callable[[int], None] = lambda photos: None,
) -> MigrationSummary:
    """Describe the photographs of a gallery again, with other models: from their originals, or from kept textures.

    The new state is built in a file beside the gallery (an interrupted migration continues from there) and then takes
    the old one's place in one transaction. Originals are looked for where they were enrolled and, by relative path,
    under `roots`; a file counts only when its bytes are the same. Kept textures stand in for an original that is
    missing, when everything before the descriptor is as it was.

    Raises:
        InvalidInputError: originals are missing and `drop_missing` is not set; the gallery is left as it is.
    """
    settings = settings or EnrolmentSettings()
    textures_hold = _before_descriptor(gallery.contract_json) == _before_descriptor(describer.contract.as_json())
    places: list[tuple[PhotoRecord, Path]] = []
    from_textures: list[PhotoRecord] = []
    missing: list[Path] = []
    for record in gallery.photos():
        try:
            places.append((record, _original(record, roots)))
        except InvalidInputError:
            entries = gallery.entries(record.person, record.sha256)
            if entries and textures_hold and all(gallery.texture(entry.entry) for entry in entries):
                from_textures.append(record)
            elif entries:
                missing.append(record.absolute_path)
    if missing and not drop_missing:
        raise InvalidInputError(
            f"expected the originals of {gallery.path}; {len(missing)} are not where they were or have changed, e.g. "
            f"{missing[0]}. Give their folder (--root DIR), or drop their entries (--drop-missing)"
        )
    staging = derived_file(gallery.path, f".migrating-{describer.contract.digest[:12]}")
    with Gallery.create(staging, describer.contract, exist_ok=True) as target:
        seen: set[tuple[str, str]] = set()
        groups: list[WaitingPhoto] = []
        total = EnrolmentSummary(len(places), "folders", target.contract_digest)
        with worker_pool(settings.workers) as pool:
            describe_many = describe_in_threads(pool, describer)
            for policy in ("one", "largest", "all"):
                part = [(record, path) for record, path in places if record.faces == policy]
                chosen = replace(settings, faces=policy)
                for start in range(0, len(part), settings.batch):
                    batch = part[start : start + settings.batch]
                    items = [EnrolmentItem(record.person, path, record.relative_path) for record, path in batch]
                    groups += enroll_batch(items, target, describe_many, chosen, pool, total, seen)
                    progress(len(items))
            largest = replace(settings, faces="largest")
            enroll_groups(_without_known_faces(groups, gallery, target, largest, total), target, largest, total)
        for record in from_textures:
            target.add([_from_textures(record, gallery, describer)])
            progress(1)
        strangers = gallery.nobodies() & {person.name for person in target.people()}
        if strangers:
            target.mark(sorted(strangers), True)
    gallery.replace_content(staging)
    for suffix in ("", "-wal", "-shm"):
        derived_file(staging, suffix).unlink(missing_ok=True)
    return MigrationSummary(total.enrolled, len(from_textures), tuple(total.skipped), tuple(missing))


def _without_known_faces(
    groups: Sequence[WaitingPhoto],
    gallery: Gallery,
    target: Gallery,
    settings: EnrolmentSettings,
    total: EnrolmentSummary,
) -> list[WaitingPhoto]:
    """Group photographs whose face has to be chosen again; where `gallery` says which one it was, it stays that one."""
    left: list[WaitingPhoto] = []
    for one in groups:
        boxes = [entry.box for entry in gallery.entries(one.item.person, one.digest)]
        face = max(one.photo.faces, key=lambda face: boxes[0].iou(face.box)) if boxes else None
        if face is None or boxes[0].iou(face.box) < _SAME_PLACE:
            left.append(one)
            continue
        (record,) = (r for r in gallery.photos([one.digest]) if r.person == one.item.person)
        target.add([new_photo(one.item, one.digest, settings, Outcome(None, record.detail, (face,)))])
        total.enrolled += 1
    return left


def _before_descriptor(contract_json: str) -> dict[str, str]:
    """The part of a contract that affects textures: all but the descriptor and its weights."""
    contract = json.loads(contract_json)
    return {key: value for key, value in contract.items() if key != "descriptor" and "recognition/" not in key}


def _from_textures(record: PhotoRecord, gallery: Gallery, describer: Describer) -> NewPhoto:
    entries = [
        replace(entry, signature=describer.describe_texture(stored_texture(entry.texture)))
        for entry in gallery.stored_entries(record.person, record.sha256)
    ]
    return NewPhoto(
        record.person,
        record.sha256,
        record.relative_path,
        record.absolute_path,
        record.faces,
        "enrolled",
        entries=tuple(entries),
    )


def _original(record: PhotoRecord, roots: Sequence[Path]) -> Path:
    if record.faces == "chosen":
        raise InvalidInputError(
            f"expected no face of {record.relative_path} that was chosen by hand: its number is not recorded"
        )
    for path in (record.absolute_path, *(root / record.relative_path for root in roots)):
        if path.is_file() and read_digest(path) == record.sha256:
            return path
    raise InvalidInputError(f"expected the original of {record.relative_path}; it is not there")
