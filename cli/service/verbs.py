"""The functions of the service: those of the command line, on one gallery that other processes may change."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from facerec.cli.service.faults import ApiError
from facerec.cli.service.groups import grouped, read_signature
from facerec.cli.service.metrics import Metrics
from facerec.cli.service.pictures import face_frontal, face_pictures
from facerec.landmarks.errors import FacerecError, UnusablePhotoError
from facerec.landmarks.image import read_image
from facerec.landmarks.models import LANDMARK_MODELS
from facerec.landmarks.types import Image
from facerec.recognition.answers import landmarks_json, person_json
from facerec.recognition.description import Describer
from facerec.recognition.enrolment import enroll_face, enroll_upload
from facerec.recognition.identification import IdentificationSettings, Identifier, ProbeFace
from facerec.recognition.pair import compare_photos, pair_threshold
from facerec.recognition.recognizer import DescribedFace, largest_face
from facerec.recognition.search import Search
from facerec.recognition.store.galleries import open_gallery, search_of
from facerec.recognition.store.protocol import GalleryStore
from facerec.recognition.store.records import person_name
from facerec.recognition.threshold import Threshold, threshold_of


class GoneError(Exception):
    """The client has disconnected, so the answer is not needed."""


@dataclass(eq=False)
class Snapshot:
    """One state of the gallery with everything derived from it, and the number of requests that use it.

    What is made of a file is in memory or mapped, so that the file itself is closed again and no writer ever meets
    the service; only the search of a very large file that was never mapped, and of Milvus, keeps the gallery open.
    """

    state: str
    gallery: GalleryStore
    search: Search
    threshold: Threshold
    versions: dict[str, str]
    users: int = 0

    @staticmethod
    def of(address: Path | str, describer: Describer, device: str, fpir: float | None) -> Snapshot:
        """The present state of the gallery at `address`, with the threshold at `fpir`."""
        gallery = open_gallery(address, describer.contract)
        try:
            state = gallery.state  # before what is made of it: a change meanwhile is seen by the next request
            threshold = threshold_of(gallery, fpir=fpir)
            versions = {
                "facerec": version("facerec"),
                "contract": gallery.contract_digest,
                "gallery": gallery.digest(),
            }
            search = search_of(gallery, device=device)
        except BaseException:
            gallery.close()
            raise
        if not search.reads_gallery:
            gallery.close()
        return Snapshot(state, gallery, search, threshold, versions)

    def close(self) -> None:
        """Close the gallery, if it is still open."""
        if self.search.reads_gallery:
            self.gallery.close()


class Service:
    """The verbs. Stateless but for the gallery's snapshot, which follows the gallery; threads share it."""

    def __init__(
        self, describer: Describer, gallery: Path | str, device: str = "cpu", fpir: float | None = None
    ) -> None:
        """Serve `gallery` (a file, or milvus:URI) by the models of `describer`, searching on `device`.

        `fpir` is the share of strangers for whom anybody may be named; None: that of `threshold_of`.
        """
        self.describer = describer
        self.path = gallery
        self.metrics = Metrics()
        self._device = device
        self._fpir = fpir
        self._landmarks = str(json.loads(describer.contract.as_json()).get("landmarks", LANDMARK_MODELS[0]))
        self._lock = threading.Lock()
        self._current = Snapshot.of(gallery, describer, device, fpir)

    def close(self) -> None:
        """Close the gallery."""
        with self._lock:
            self._current.close()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """The gallery's present state, for as long as a request needs it.

        Raises:
            FacerecError: the gallery cannot be read any more; the next request tries again.
        """
        with self._lock:
            if self._current.gallery.current_state() != self._current.state:
                old, self._current = self._current, Snapshot.of(self.path, self.describer, self._device, self._fpir)
                if not old.users:
                    old.close()
            snapshot = self._current
            snapshot.users += 1
        try:
            yield snapshot
        finally:
            with self._lock:
                snapshot.users -= 1
                if not snapshot.users and snapshot is not self._current:
                    snapshot.close()

    def follow(self) -> dict[str, Any]:
        """Move on to the gallery's present state, and say whether it can be read: {"status"}, and of an error more."""
        try:
            with self.snapshot():
                return {"status": "ok"}
        except FacerecError as error:
            said = ApiError.of(error)
            return {"status": said.code, "detail": said.detail}

    def warm(self, portrait: bytes) -> None:
        """Take a photograph of one face along the whole path, and forget it: what is made or loaded at first use is
        there before the first request, whose answer then is as fast as the others."""
        with contextlib.suppress(FacerecError), self.snapshot() as now:
            for probe in Identifier(self.describer, now.search, now.threshold).identify_bytes(portrait):
                if probe.described is not None:
                    face_pictures(probe.described.face.image, probe)

    def identify(
        self, photo: bytes, name: str, candidates: int, gone: Callable[[], bool] = lambda: False
    ) -> tuple[Image | None, list[ProbeFace], dict[str, str]]:
        """The faces of one photograph, with its pixels (None: it cannot be read) and the versions behind the answer.

        Raises:
            GoneError: `gone` reports that the client has disconnected.
        """
        began = time.perf_counter()
        with self.snapshot() as now:
            self.metrics.stage("follow", time.perf_counter() - began)
            if gone():
                raise GoneError
            settings = IdentificationSettings(candidates)
            probes = Identifier(self.describer, now.search, now.threshold, settings).identify_bytes(photo, Path(name))
            versions = now.versions
        for probe in probes:
            self.metrics.face(probe.decision, probe.timings_ms)
        pixels = next((probe.described.face.image for probe in probes if probe.described is not None), None)
        return pixels, probes, versions

    def pixels(self, photo: bytes) -> Image | None:
        """The photograph's pixels; None when it cannot be read."""
        try:
            return read_image(photo)
        except UnusablePhotoError:
            return None

    def verify(self, first: tuple[str, bytes], second: tuple[str, bytes]) -> dict[str, Any]:
        """The record of `facerec verify --json`."""
        contract = self.describer.contract.digest
        (name, photo), (other_name, other) = first, second
        pair = compare_photos(self.describer, photo, other, pair_threshold(contract), (name, other_name))
        return pair.as_json({"facerec": version("facerec"), "contract": contract})

    def landmarks(self, photo: bytes, name: str) -> dict[str, Any]:
        """The records of `facerec landmarks --format jsonl`, without faces that could not be fitted."""
        found = list(enumerate(self.describer.describe(read_image(photo))))
        located = [(number, face) for number, face in found if isinstance(face, DescribedFace)]
        if not located:
            raise UnusablePhotoError("no_face", "no face was found")
        return {"faces": [{"file": name} | landmarks_json(face.face, i, self._landmarks) for i, face in located]}

    def frontalize(self, photo: bytes) -> bytes:
        """The frontal view of the largest face, PNG."""
        face = largest_face(self.describer.describe(read_image(photo)))
        return face_frontal(face.texture, face.fitted)

    def enroll(self, photo: bytes, name: str, person: str, face: int | None, wait_s: float) -> dict[str, Any]:
        """Enrol one photograph of `person`, its largest face or face number `face`.

        One that cannot be used is kept nowhere; the outcome says why.
        """
        who, sha256 = _person(person), hashlib.sha256(photo).hexdigest()
        writer = functools.partial(open_gallery, self.path, self.describer.contract, write=True, wait_s=wait_s)
        if face is None:
            outcome = enroll_upload(photo, name, who, self.describer, writer)
        else:
            outcome = enroll_face(photo, name, who, face, self.describer, writer)
        return {
            "person": who,
            "sha256": sha256,
            "outcome": outcome.reason or "enrolled",
            "detail": outcome.detail,
            "entries": len(outcome.entries),
        }

    def people(self, poses: bool = False) -> dict[str, Any]:
        """The people of the gallery, as `facerec gallery list --json` has them; with `poses` those of their entries."""
        with self.snapshot() as now, self._reading(now) as gallery:
            seen: dict[str, list[list[float]]] = {}
            if poses:
                for entry in gallery.entries():
                    seen.setdefault(entry.person, []).append([round(float(angle), 1) for angle in entry.pose[:2]])
            return {
                "people": [
                    person_json(p) | ({"poses": seen.get(p.name, [])} if poses else {}) for p in gallery.people()
                ],
                "versions": now.versions,
            }

    def remove(self, person: str, wait_s: float) -> dict[str, Any]:
        """Remove a person for good."""
        who = _person(person)
        with self._writing(wait_s) as gallery:
            gallery.remove_people([who])
        return {"removed": who, "bytes_gone": gallery.erased}

    def rename(self, person: str, new: str, wait_s: float) -> dict[str, Any]:
        """Call a person by another name."""
        who, name = _person(person), _person(new)
        with self._writing(wait_s) as gallery:
            gallery.rename(who, name)
        return {"renamed": who, "to": name, "bytes_gone": gallery.erased}

    def merge(self, person: str, into: str, wait_s: float) -> dict[str, Any]:
        """Merge two people into one, who is called `into`."""
        who, name = _person(person), _person(into)
        if who == name:
            raise ApiError(422, "bad_request", f"expected two people; got {who!r} twice")
        with self._writing(wait_s) as gallery:
            gallery.merge([who], name)
        return {"merged": who, "into": name, "bytes_gone": gallery.erased}

    def mark(self, person: str, nobody: bool, wait_s: float) -> dict[str, Any]:
        """Mark a person as a known stranger, or as an ordinary person again."""
        who = _person(person)
        with self._writing(wait_s) as gallery:
            gallery.mark([who], nobody)
        return {"person": who, "nobody": nobody}

    def group(self, signatures: list[str]) -> dict[str, Any]:
        """Which of several faces, given by their signatures (`groups.signature_text`), look like one person."""
        contract = self.describer.contract.digest
        value = pair_threshold(contract).value
        if value is None:  # no measured pairs for models of one's own: the gallery's are what there is
            with self.snapshot() as now:
                value = now.threshold.value
        if value is None:
            return {"groups": [[place] for place in range(len(signatures))]}
        return {"groups": grouped([read_signature(text, contract) for text in signatures], value)}

    def _writing(self, wait_s: float) -> GalleryStore:
        return open_gallery(self.path, self.describer.contract, write=True, wait_s=wait_s)

    @contextlib.contextmanager
    def _reading(self, now: Snapshot) -> Iterator[GalleryStore]:
        """The gallery, to read records of: that of the snapshot where it is open, otherwise one of its own."""
        if now.search.reads_gallery:
            yield now.gallery
            return
        with open_gallery(self.path) as gallery:
            yield gallery


def _person(name: str) -> str:
    who = person_name(name)
    if not who:
        raise ApiError(422, "bad_request", "expected a person's name; got an empty one")
    return who
