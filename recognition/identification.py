"""Identification: from a photograph to the people in it, with the reason.

The decision is open-set: faces that reach the gallery's threshold are matches, others are unknown, and where a probe
and the gallery saw too little of the same face the decision is to abstain. A person appears at most once in a
photograph.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from facerec.landmarks.device import cores_shared, photos_at_once, resolve_device
from facerec.landmarks.errors import ContractError, DeviceError, InvalidInputError, UnusablePhotoError, no_face
from facerec.landmarks.image import Photo, as_photo
from facerec.landmarks.photo_files import find_photos
from facerec.landmarks.types import Box, check_image, describe_value
from facerec.recognition.answers import SCORES, SHARES, box_json, pose_json, rounded
from facerec.recognition.decision import FaceResult, decide_together, little_seen
from facerec.recognition.description import Describer
from facerec.recognition.recognizer import DescribedFace, RecognizerSettings, UndescribedFace, load_recognizer
from facerec.recognition.search import Search, SearchMethod, SearchSettings
from facerec.recognition.shipped_impostors import same_person_probability
from facerec.recognition.signature import Decision, Match, Signature
from facerec.recognition.store.galleries import open_gallery, search_of
from facerec.recognition.store.protocol import GalleryStore
from facerec.recognition.threshold import Threshold, threshold_of


@dataclass(frozen=True)
class IdentificationSettings:
    """How probes are identified.

    Attributes:
        candidates: people listed for each face; five fit on a screen and are the usual rank list.
        workers: photographs described at a time. Commands take one per core (`facerec.landmarks.device.share_cores`).
        batch: photographs searched together: one pass over a large gallery serves all their faces.
    """

    candidates: int = 5
    workers: int = 1
    batch: int = 16

    def __post_init__(self) -> None:
        if min(self.candidates, self.workers, self.batch) < 1:
            raise InvalidInputError(f"expected at least 1 candidate, 1 worker and 1 photograph per batch; got {self}")


@dataclass(frozen=True, eq=False)
class ProbeFace:
    """The answer for one face of a photograph, or for a photograph without a usable face.

    Attributes:
        file: the photograph.
        face: number of the face in it, 0 for the largest; None when there is none.
        box: where it is, px; None when there is no face.
        pose: (yaw, pitch, roll), degrees; None when the face was not fitted.
        visible_fraction: share of the texture that the camera saw; None when the face was not fitted.
        quality: see `DescribedFace.quality`; None when the face was not described.
        decision: "match", "unknown" or "abstain"; "none" when there is no signature to search with.
        reason: one sentence with the numbers; for "none" the reason code alone.
        detail: for "none", one sentence; otherwise empty.
        person: who it is, for a match.
        candidates: the best people, best first.
        threshold: what the scores were compared with.
        timings_ms: milliseconds by stage.
        described: the face with everything in between, for inspection.
        turned: degrees clockwise by which the photograph was turned to find the face; box and pose are the
            photograph's own.
        notes: one sentence for each defect that was compensated in reading the photograph (see `image.read_photo`).
        known_stranger: which known stranger of the gallery the face is (`Decision.known_stranger`); not a name.
        code: why there is no decision, stable: for "abstain" that of the decision, for "none" the same as `reason`;
            otherwise None.
    """

    file: Path
    face: int | None
    box: Box | None
    pose: tuple[float, float, float] | None
    visible_fraction: float | None
    quality: float | None
    decision: Literal["match", "unknown", "abstain", "none"]
    reason: str
    detail: str
    person: str | None
    candidates: tuple[Match, ...]
    threshold: Threshold
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    described: DescribedFace | None = None
    turned: int = 0
    notes: tuple[str, ...] = ()
    known_stranger: str | None = None
    code: str | None = None

    @property
    def margin(self) -> float | None:
        """How far the best candidate's score is above the threshold, below 0 where it misses it; None without both."""
        if not self.candidates or self.threshold.value is None:
            return None
        return self.candidates[0].score - self.threshold.value

    def __repr__(self) -> str:
        face = "" if self.face is None else f", face {self.face}"
        why = self.person or (self.reason if self.decision == "none" else "")
        best = f", best {self.candidates[0].person!r} {self.candidates[0].score:.2f}" if self.candidates else ""
        return f"ProbeFace({self.file.name!r}{face}, {self.decision}{f' {why!r}' if why else ''}{best})"

    def as_json(self, versions: Mapping[str, str]) -> dict[str, Any]:
        """JSON-ready values: one line of `facerec identify --format jsonl`."""
        return {
            "file": str(self.file),
            "face": self.face,
            "box": None if self.box is None else box_json(self.box),
            "pose": None if self.pose is None else pose_json(self.pose),
            "turned": self.turned,
            "visible_fraction": rounded(self.visible_fraction, SHARES),
            "quality": rounded(self.quality, SHARES),
            "quality_components": None if self.described is None else self.described.components.as_json(),
            "decision": self.decision,
            "person": self.person,
            "known_stranger": self.known_stranger,
            "reason": self.reason,
            "reason_code": self.code,
            "detail": self.detail,
            "notes": list(self.notes),
            "candidates": [
                {
                    "person": match.person,
                    "score": rounded(match.score, SCORES),
                    "cosine": rounded(match.cosine, SCORES),
                    "p_same": rounded(same_person_probability(versions.get("contract", ""), match.score), SHARES),
                    "overlap": rounded(match.overlap, SHARES),
                    "entry": match.entry,
                    "nobody": match.nobody,
                }
                for match in self.candidates
            ],
            "margin": rounded(self.margin, SCORES),
            "threshold": self.threshold.as_json(),
            "timings_ms": {stage: round(value, 2) for stage, value in self.timings_ms.items()},
            "versions": dict(versions),
        }


def gallery_address(gallery: Path | str) -> Path | str:
    """`gallery` when it can name one; raises `InvalidInputError` otherwise."""
    if not isinstance(gallery, Path | str):
        raise InvalidInputError(f"expected a gallery's file (str or Path) or milvus:URI; got {describe_value(gallery)}")
    return gallery


NamedPhoto = tuple[Path, Photo]
"""A photograph with its name in answers."""

_Described = list[DescribedFace | UndescribedFace] | UnusablePhotoError | Exception
_Photo = tuple[_Described, tuple[str, ...]]
"""The result for a photograph, and the notes from reading it."""


class Identifier:
    """Identifies photographs against one gallery. Keeps no state between photographs; threads may share it.

    Made by `open`, or of its parts. One that was opened is a context manager, and closes its gallery when it goes.
    """

    def __init__(
        self,
        describer: Describer,
        search: Search,
        threshold: Threshold,
        settings: IdentificationSettings | None = None,
        search_settings: SearchSettings | None = None,
    ) -> None:
        """Join models, gallery and threshold.

        Args:
            describer: the models; their contract must be that of the gallery.
            search: the gallery's search.
            threshold: see `threshold.threshold_of`.
            settings: see `IdentificationSettings`.
            search_settings: those of `search`, by default.

        Raises:
            ContractError: gallery and models do not agree.
        """
        if describer.contract.digest != search.contract:
            raise ContractError(
                f"expected models of the gallery's contract {search.contract[:12]}; "
                f"got {describer.contract.digest[:12]}"
            )
        self._describer = describer
        self._search = search
        self._threshold = threshold
        self._settings = settings or IdentificationSettings()
        self._search_settings = search_settings or search.settings
        self._gallery: GalleryStore | None = None
        self._close: Callable[[], object] = lambda: None

    @classmethod
    def open(
        cls,
        gallery: Path | str,
        models: RecognizerSettings | Describer | None = None,
        *,
        fpir: float | None = None,
        far: float | None = None,
        threshold: float | None = None,
        search: SearchMethod = "exact",
        candidates: int = IdentificationSettings.candidates,
        workers: int | None = None,
    ) -> Identifier:
        """Everything to identify with: a gallery, the models that made it, and a threshold.

        Args:
            gallery: a file, or milvus:URI.
            models: which to load, or a loaded recognizer; None: those that the gallery's contract names.
            fpir: share of strangers who may match somebody in a gallery of this size; None: 0.01.
            far: in place of `fpir`, share of impostor pairs that may reach the threshold.
            threshold: in place of both, a threshold of one's own, on the scale of `Match.score`.
            search: how the gallery is searched, see `galleries.search_of`.
            candidates: people listed for each face.
            workers: photographs described at a time; None: one per core, on a GPU one.

        Raises:
            InvalidInputError: no such gallery or model, or more than one of `fpir`, `far` and `threshold`.
            ContractError: the gallery was made with other models. DeviceError: the device is not there.
        """
        with ExitStack() as stack:
            # Before the models are loaded, so that a wrong path is reported at once.
            store = stack.enter_context(open_gallery(gallery_address(gallery)))
            asked = models if isinstance(models, RecognizerSettings) else RecognizerSettings()
            if models is None or isinstance(models, RecognizerSettings):
                describer: Describer = load_recognizer(asked, store.contract_json)
            else:
                describer = models
            store.check_contract(describer.contract)
            chosen = threshold_of(store, fpir=fpir, far=far, value=threshold)
            at_once = photos_at_once(workers, resolve_device(asked.device), IdentificationSettings.batch)
            settings = IdentificationSettings(candidates, at_once)
            identifier = cls(describer, search_of(store, search, asked.device), chosen, settings)
            identifier._gallery = store
            identifier._close = weakref.finalize(identifier, stack.pop_all().close)
        return identifier

    def close(self) -> None:
        """Close the gallery, when `open` opened it."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def threshold(self) -> Threshold:
        """The threshold that scores are compared with."""
        return self._threshold

    @cached_property
    def versions(self) -> dict[str, str]:
        """What shaped the answers: the version of facerec, the contract's digest, and the gallery's, if opened here."""
        versions = {"facerec": version("facerec"), "contract": self._describer.contract.digest}
        return versions if self._gallery is None else {**versions, "gallery": self._gallery.digest()}

    def identify(
        self, photos: Photo | Iterable[Photo | NamedPhoto], progress: Callable[[int], None] = lambda photos: None
    ) -> Iterator[ProbeFace]:
        """The faces of `photos` in their order; a photograph without a usable face gives one with decision "none".

        The results do not depend on the number of workers or on which photographs are given together.

        Args:
            photos: photographs (files, bytes of files, arrays (H, W, 3) uint8 RGB) and folders of them, or one alone.
                One without a file is called "photo N" by its place, from 0; a pair (name, photograph) by its name.
            progress: called with the number of photographs done since the last call.
        """
        with ThreadPoolExecutor(self._settings.workers, thread_name_prefix="facerec") as pool:
            try:
                remaining = _name_photos(photos)
                while batch := list(islice(remaining, self._settings.batch)):
                    with cores_shared(self._settings.workers):
                        described = list(pool.map(self._describe, [photo for _, photo in batch]))
                    yield from self._answers([file for file, _ in batch], described)
                    progress(len(batch))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def identify_bytes(self, photo: bytes, file: Path = Path()) -> list[ProbeFace]:
        """The faces of one photograph given as the bytes of its file; `file` is what the results call it."""
        return self._answers([file], [self._describe(photo)])

    def decide_signatures(self, photos: Sequence[Sequence[Signature]]) -> list[list[tuple[Decision, Match | None]]]:
        """Decide on faces whose signatures are already known, photograph by photograph.

        Returns:
            For each face of each photograph the decision, and the match it names (None unless "match").
        """
        results = iter(self._search.search([one for faces in photos for one in faces], self._settings.candidates))
        return [
            decide_together(
                [FaceResult(next(results), face) for face in range(len(faces))], self._threshold, self._search_settings
            )
            for faces in photos
        ]

    def _describe(self, photo: Photo) -> _Photo:
        notes: tuple[str, ...] = ()
        try:
            decoded = as_photo(photo)
            notes = decoded.notes
            return self._describer.describe(decoded.pixels) or no_face(*decoded.pixels.shape[:2]), notes
        except (ContractError, DeviceError):
            raise  # these would hit every photograph
        except Exception as error:  # one photograph must not end the batch; its line reports the error
            return error, notes

    def _answers(self, files: Sequence[Path], photos: Sequence[_Photo]) -> list[ProbeFace]:
        notes = {file: said for file, (_, said) in zip(files, photos, strict=True) if said}
        answers = self._decide(files, [outcome for outcome, _ in photos])
        return [replace(one, notes=notes[one.file]) if one.file in notes else one for one in answers]

    def _decide(self, files: Sequence[Path], described: Sequence[_Described]) -> list[ProbeFace]:
        faces = {i: found for i, found in enumerate(described) if isinstance(found, list)}
        signatures: list[Signature] = []
        where: dict[tuple[int, int], int] = {}
        for i, found in faces.items():
            for j, face in enumerate(found):
                if isinstance(face, DescribedFace):
                    where[i, j] = len(signatures)
                    signatures.append(face.signature)
        results = self._search.search(signatures, self._settings.candidates) if signatures else []
        said: list[ProbeFace] = []
        for i, (file, outcome) in enumerate(zip(files, described, strict=True)):
            if not isinstance(outcome, list):
                said.append(self._failed(file, outcome))
                continue
            own = [
                FaceResult(results[where[i, j]], j, little_seen(face))
                for j, face in enumerate(outcome)
                if isinstance(face, DescribedFace)
            ]
            said_of = decide_together(own, self._threshold, self._search_settings)
            decisions = {one.face: (*said, one.result.matches) for one, said in zip(own, said_of, strict=True)}
            for j, face in enumerate(outcome):
                if isinstance(face, UndescribedFace):
                    said.append(self._without(file, j, face.box, face.reason, face.detail, face.turned))
                else:
                    said.append(self._with(file, j, face, *decisions[j]))
        return said

    def _with(
        self,
        file: Path,
        number: int,
        face: DescribedFace,
        decision: Decision,
        match: Match | None,
        matches: Sequence[Match],
    ) -> ProbeFace:
        return ProbeFace(
            file=file,
            face=number,
            box=face.face.box,
            pose=face.fitted.camera.angles,
            visible_fraction=face.texture.visible_share,
            quality=face.quality,
            decision=decision.verdict,
            reason=decision.reason,
            detail="",
            person=match.person if match else None,
            candidates=tuple(matches),
            threshold=self._threshold,
            timings_ms=face.timings_ms,
            described=face,
            turned=face.face.turned,
            known_stranger=decision.known_stranger,
            code=decision.code,
        )

    def _without(
        self, file: Path, number: int | None, box: Box | None, reason: str, detail: str, turned: int = 0
    ) -> ProbeFace:
        return ProbeFace(
            file=file,
            face=number,
            box=box,
            pose=None,
            visible_fraction=None,
            quality=None,
            decision="none",
            reason=reason,
            detail=detail,
            person=None,
            candidates=(),
            threshold=self._threshold,
            turned=turned,
            code=reason,
        )

    def _failed(self, file: Path, error: Exception) -> ProbeFace:
        if isinstance(error, UnusablePhotoError):
            return self._without(file, None, None, error.reason, error.detail)
        return self._without(file, None, None, "internal_error", f"{type(error).__name__}: {error}")


def _name_photos(photos: Photo | Iterable[Photo | NamedPhoto]) -> Iterator[tuple[Path, Photo]]:
    """Each photograph with the file that answers call it by; folders are walked."""
    given: Iterable[object] = photos if isinstance(photos, Iterable) else [photos]
    if isinstance(photos, Path | str | bytes | np.ndarray):
        given = [photos]
    for number, photo in enumerate(given):
        if isinstance(photo, tuple) and len(photo) == 2 and isinstance(photo[0], Path):
            yield photo[0], photo[1]
        elif isinstance(photo, Path | str):
            file = Path(photo)
            yield from ((found, found) for found in (find_photos([file]) if file.is_dir() else [file]))
        elif isinstance(photo, bytes | np.ndarray):
            # An array of another shape is an error of the caller, not one unusable photograph among others.
            yield Path(f"photo {number}"), photo if isinstance(photo, bytes) else check_image(photo)
        else:
            raise InvalidInputError(
                "expected photographs: paths (str or Path), the bytes of files or arrays (H, W, 3) uint8 RGB; got "
                f"{describe_value(photo)}"
            )
