"""Enrolment: from folders of photographs to entries of a gallery.

Photographs are known by the digest of their bytes, so what was moved, copied or touched is not described again, and an
enrolment that was interrupted is resumed by running it again. Each photograph is tried by itself; one that cannot be
used gets a stable reason code and the batch goes on. One batch is one transaction.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from facerec.frontalize.types import FaceTexture
from facerec.landmarks.errors import ContractError, DeviceError, InvalidInputError, ReasonCode, UnusablePhotoError
from facerec.landmarks.image import find_photos, photo_digest, read_image
from facerec.landmarks.types import Image
from facerec.recognition.gallery import (
    SKIPPED_SUFFIX,
    FacesPolicy,
    Gallery,
    GalleryStore,
    ModelContract,
    NewEntry,
    NewPhoto,
    PhotoRecord,
    person_name,
)
from facerec.recognition.recognizer import DescribedFace, UndescribedFace
from facerec.recognition.signature import Signature
from facerec.recognition.writer_lock import derived_file

Layout = Literal["folders", "flat", "csv"]
"""How photographs name people: PERSON/photo.jpg, PERSON_1.jpg, or a table with the columns path and person."""

_COUNTER = re.compile(r"(?:[ _.-]*\(\d+\)|[ _.-]+\d+)$")


class Describer(Protocol):
    """What enrolment and identification need of a recognizer (see `facerec.recognition.recognizer.Recognizer`).

    `describe` is called from several threads at once and must give each picture the same answer as alone.
    """

    @property
    def contract(self) -> ModelContract:
        """What shaped the signatures."""
        ...

    def describe(self, image: Image) -> list[DescribedFace | UndescribedFace]:
        """The faces of a picture, largest first; none when there is none."""
        ...

    def describe_texture(self, texture: FaceTexture) -> Signature:
        """The signature of a texture alone."""
        ...


@dataclass(frozen=True)
class EnrolmentSettings:
    """How photographs are enrolled.

    Attributes:
        faces: which faces of a photograph belong to its person: "largest" (default: a portrait may have people in the
            background), "one" (photographs with several faces are skipped as multiple_faces) or "all".
        workers: photographs described at a time. The commands take one a core (`facerec.landmarks.device.share_cores`).
        batch: photographs a transaction; what a killed process loses at most. 16 take seconds, a commit milliseconds.
        keep_textures: keep each face's UV texture in the gallery, some 100 KB a face, so that it can be described
            again by another descriptor when the photograph is gone. Off: a texture is a picture of the person.
        sync: remove from the gallery what is no longer in the folders that are enrolled, or has changed.
        frontal_yaw: a person seen only within this |yaw|, degrees, counts as "frontal only".
        profile_yaw: from this |yaw| on, degrees, an entry counts as a profile view: the far eye is hidden.
    """

    faces: FacesPolicy = "largest"
    workers: int = 1
    batch: int = 16
    keep_textures: bool = False
    sync: bool = False
    frontal_yaw: float = 30.0
    profile_yaw: float = 60.0

    def __post_init__(self) -> None:
        if self.workers < 1 or self.batch < 1:
            raise InvalidInputError(f"expected at least 1 worker and 1 photograph a batch; got {self}")


@dataclass(frozen=True)
class EnrolmentItem:
    """One photograph of one person.

    Attributes:
        person: name, as stored.
        path: the file.
        relative_path: the same from the folder, or the table's folder, that was given.
    """

    person: str
    path: Path
    relative_path: Path


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


@dataclass(frozen=True)
class SkippedPhoto:
    """A photograph that was not enrolled.

    Attributes:
        person: whose it is said to be.
        path: the file.
        reason: reason code, or "internal_error" when this program failed on it.
        detail: one sentence.
        sha256: digest of its bytes, empty when they could not be read.
    """

    person: str
    path: Path
    reason: str
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
        ignored: files that name no person.
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

    @property
    def reasons(self) -> dict[str, int]:
        """Number of skipped photographs by reason, most frequent first."""
        return dict(sorted(Counter(s.reason for s in self.skipped).items(), key=lambda item: (-item[1], item[0])))

    def as_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {
            "photos": self.photos,
            "layout": self.layout,
            "enrolled": self.enrolled,
            "new": self.new,
            "duplicates": self.duplicates,
            "skipped": self.reasons,
            "skipped_photos": [s.as_json() for s in self.skipped],
            "ignored": [{"file": str(path), "detail": why} for path, why in self.ignored],
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


# ---- who is on which photograph --------------------------------------------------------------------------------------


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


# ---- describing ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of the bytes of one photograph, whoever is on it."""

    reason: ReasonCode | Literal["internal_error"] | None
    detail: str = ""
    entries: tuple[NewEntry, ...] = ()


class DescribeMany(Protocol):
    """Describes many photographs, somewhere: in threads here, or on other machines (see `ray_workers`)."""

    def __call__(self, photos: Sequence[Path], settings: EnrolmentSettings) -> Iterable[Outcome]:
        """What became of each of `photos`, in their order."""
        ...


def new_entry(number: int, face: DescribedFace, keep_texture: bool = False) -> NewEntry:
    """A described face as an entry; `number` is its place among the faces of its photograph."""
    return NewEntry(
        face=number,
        signature=face.signature,
        pose=face.fitted.camera.angles,
        visible_share=visible_share(face),
        quality=face.quality,
        box=face.face.box,
        texture=texture_bytes(face.texture) if keep_texture else b"",
    )


def texture_bytes(texture: FaceTexture) -> bytes:
    """A texture without loss, as a compressed npz."""
    stream = io.BytesIO()
    np.savez_compressed(stream, pixels=texture.pixels, visible=texture.visible)
    return stream.getvalue()


def stored_texture(data: bytes) -> FaceTexture:
    """Read what `texture_bytes` wrote; raises `InvalidInputError` when it is damaged."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            return FaceTexture(stored["pixels"], stored["visible"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidInputError(f"expected a kept texture; it is damaged: {error}") from error


def visible_share(face: DescribedFace) -> float:
    """Share of the texture that the camera saw at all, in [0, 1]."""
    return face.texture.visible_share


def choose_faces(
    faces: Sequence[DescribedFace | UndescribedFace], policy: FacesPolicy, keep_textures: bool = False
) -> list[NewEntry]:
    """The entries of a photograph under `policy`.

    Raises:
        UnusablePhotoError: no_face, multiple_faces, or why the wanted face was not described. A smaller face never
            takes the place of the largest: it may be a bystander's.
    """
    if not faces:
        raise UnusablePhotoError("no_face", "no face was found")
    if policy == "one" and len(faces) > 1:
        raise UnusablePhotoError("multiple_faces", f"{len(faces)} faces, where one was expected")
    wanted = faces if policy == "all" else faces[:1]
    entries = [new_entry(i, face, keep_textures) for i, face in enumerate(wanted) if isinstance(face, DescribedFace)]
    if not entries:
        first = wanted[0]
        assert isinstance(first, UndescribedFace)
        raise UnusablePhotoError(first.reason, first.detail)
    return entries


def describe_photo(source: Path | bytes, describer: Describer, settings: EnrolmentSettings) -> Outcome:
    """What becomes of one photograph, a file or its bytes."""
    try:
        faces = describer.describe(read_image(source))
        return Outcome(None, entries=tuple(choose_faces(faces, settings.faces, settings.keep_textures)))
    except UnusablePhotoError as error:
        return Outcome(error.reason, error.detail)
    except (ContractError, DeviceError):
        raise  # these would hit every photograph
    except Exception as error:  # one photograph must not end hours of work; the summary names it
        return Outcome("internal_error", f"{type(error).__name__}: {error}")


def _digest(path: Path) -> str | UnusablePhotoError:
    try:
        return photo_digest(path)
    except UnusablePhotoError as error:
        return error
    except ValueError as error:  # a NUL in a path of a table
        return UnusablePhotoError("unreadable", f"cannot be opened: {error}")


@contextmanager
def _pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Worker threads; on an interruption what has not begun is dropped."""
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="facerec")
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    pool.shutdown()


# ---- enrolling -------------------------------------------------------------------------------------------------------


def enroll(
    plan: EnrolmentPlan,
    gallery: GalleryStore,
    describer: Describer,
    settings: EnrolmentSettings | None = None,
    progress: Callable[[int], None] = lambda photos: None,
    describe_many: DescribeMany | None = None,
) -> EnrolmentSummary:
    """Enrol the photographs of `plan` into `gallery`, which is open for writing.

    Afterwards the gallery's impostor scores are measured and stored (`threshold.calibrate`).

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
    from facerec.recognition.review import review
    from facerec.recognition.threshold import calibrate, choose_threshold

    settings = settings or EnrolmentSettings()
    if settings.sync and not plan.folders:
        raise InvalidInputError("expected folders to synchronise with; only these tell what is no longer there")
    gallery.check_contract(describer.contract)
    began = time.monotonic()
    summary = EnrolmentSummary(len(plan.items), plan.layout, gallery.contract_digest, ignored=plan.ignored)
    seen: set[tuple[str, str]] = set()
    with _pool(settings.workers) as pool:
        for start in range(0, len(plan.items), settings.batch):
            items = plan.items[start : start + settings.batch]
            _enroll_batch(items, gallery, describe_many or _in_threads(pool, describer), settings, pool, summary, seen)
            progress(len(items))
    gone = _gone(plan, gallery, seen)
    summary.gone = len(gone)
    if gone and settings.sync:
        gallery.remove_photos(gone)
        summary.removed = len(gone)
    summary.conflicts += [f"{a} and {b} are the same photograph" for a, b in gallery.shared_photos()]
    calibration = calibrate(gallery)
    if not gallery.calibration():
        gallery.store_calibration(calibration.scores.to_bytes())
    if calibration.look_alikes:
        place = {record.entry: record.relative_path for record in gallery.entries()}
        summary.conflicts += [
            f"{place[a.entry]} of {a.person} looks like {a.other}, {a.score:.2f} (other photographs of {a.person}: "
            f"{a.own:.2f})"
            for a in calibration.look_alikes
        ]
    summary.conflicts += review(gallery, choose_threshold(calibration.scores, gallery.contract_digest).value)
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


def _in_threads(pool: ThreadPoolExecutor, describer: Describer) -> DescribeMany:
    return lambda photos, settings: pool.map(lambda path: describe_photo(path, describer, settings), photos)


def _gone(plan: EnrolmentPlan, gallery: GalleryStore, seen: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """Photographs (person, sha256) that lay in the plan's folders and are not there with this person and content."""
    folders = [Path(os.path.abspath(folder)) for folder in plan.folders]
    if not folders:
        return []
    known = [record for record in gallery.photos() if (record.person, record.sha256) not in seen]
    inside = [record for record in known if any(record.absolute_path.is_relative_to(folder) for folder in folders)]
    # A file that is there and cannot be read now may still be the same.
    return [
        (r.person, r.sha256)
        for r in inside
        if isinstance(_digest(r.absolute_path), str) or not r.absolute_path.exists()
    ]


def _enroll_batch(
    items: Sequence[EnrolmentItem],
    gallery: GalleryStore,
    describe_many: DescribeMany,
    settings: EnrolmentSettings,
    pool: ThreadPoolExecutor,
    summary: EnrolmentSummary,
    seen: set[tuple[str, str]],
) -> None:
    """One batch, one transaction."""
    digests = list(pool.map(_digest, [item.path for item in items]))
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
    lacking = {digest for item, digest in read if item.person not in known.get(digest, {})}
    for digest, records in known.items():
        outcomes[digest] = _remembered(gallery, records, entries=digest in lacking)

    photos: list[NewPhoto] = []
    moved: list[tuple[str, str, Path, Path]] = []
    for item, digest in read:
        outcome = outcomes[digest]
        absolute = Path(os.path.abspath(item.path))
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


def _remembered(gallery: GalleryStore, records: Mapping[str, PhotoRecord], entries: bool) -> Outcome:
    """What the gallery already knows of a photograph's bytes, under whatever name; `entries` are read when wanted."""
    record = records[min(records)]
    if record.outcome != "enrolled":
        return Outcome(record.outcome, record.detail)
    return Outcome(None, entries=gallery.stored_entries(record.person, record.sha256) if entries else ())


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
    digests = [_digest(item.path) for item in plan.items]
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


def write_skipped(gallery: Path, skipped: Sequence[SkippedPhoto]) -> Path | None:
    """List what was skipped, a JSON object a line, in a file beside the gallery; returns it.

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


# ---- migrating -------------------------------------------------------------------------------------------------------


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

    The new state is built in a file beside the gallery (an interrupted migration goes on from there) and then takes
    the old one's place in one transaction. Originals are looked for where they were enrolled and, by relative path,
    under `roots`; a file counts only when its bytes are the same. Kept textures stand in for an original that is
    missing, when everything before the descriptor is as it was.

    Raises:
        InvalidInputError: originals are missing and `drop_missing` is not set; the gallery is left as it is.
    """
    from facerec.recognition.threshold import calibrate

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
            f"{missing[0]}. Say where they are (--root DIR), or give their entries up (--drop-missing)"
        )
    staging = derived_file(gallery.path, f".migrating-{describer.contract.digest[:12]}")
    with Gallery.create(staging, describer.contract, exist_ok=True) as target:
        seen: set[tuple[str, str]] = set()
        total = EnrolmentSummary(len(places), "folders", target.contract_digest)
        with _pool(settings.workers) as pool:
            describe_many = _in_threads(pool, describer)
            for policy in ("one", "largest", "all"):
                part = [(record, path) for record, path in places if record.faces == policy]
                chosen = replace(settings, faces=policy)
                for start in range(0, len(part), settings.batch):
                    batch = part[start : start + settings.batch]
                    items = [EnrolmentItem(record.person, path, record.relative_path) for record, path in batch]
                    _enroll_batch(items, target, describe_many, chosen, pool, total, seen)
                    progress(len(items))
        for record in from_textures:
            target.add([_from_textures(record, gallery, describer)])
            progress(1)
        target.store_calibration(calibrate(target).scores.to_bytes())
    gallery.replace_content(staging)
    for suffix in ("", "-wal", "-shm"):
        derived_file(staging, suffix).unlink(missing_ok=True)
    return MigrationSummary(total.enrolled, len(from_textures), tuple(total.skipped), tuple(missing))


def _before_descriptor(contract_json: str) -> dict[str, str]:
    """What of a contract shapes textures: all but the descriptor and its weights."""
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
    for path in (record.absolute_path, *(root / record.relative_path for root in roots)):
        if path.is_file() and _digest(path) == record.sha256:
            return path
    raise InvalidInputError(f"expected the original of {record.relative_path}; it is not there")
