"""The first half of loop 1: detect and fit the face of a picture, the same for every descriptor.

Kept by what was in the photograph and by everything that shapes a fit (the recognizer's `stages` digest), so that a run
with another descriptor finds, locates and fits nothing again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, get_type_hints

import numpy as np
from numpy.typing import NDArray

from facerec.evaluation.protocols.recognition import Picture
from facerec.evaluation.protocols.resolution import sample_down
from facerec.evaluation.store import UNREADABLE, ResultStore
from facerec.frontalize.types import FittedFace
from facerec.landmarks.errors import REASON_CODES, ReasonCode, UnusablePhotoError
from facerec.landmarks.image import read_image
from facerec.landmarks.types import Box, Face, Image, Landmarks
from facerec.recognition.recognizer import FaceFit, UndescribedFace

Stage = Literal["read", "find", "fit", "describe"]
"""A part of the path at which a picture can fail."""

LEAST_IOU = 0.4
"""A found box is the face that is meant when they overlap by this much (IoU). Lower than the usual 0.5: boxes are cut
differently by different people, and tight ones around landmarks leave much out on turned faces."""

# Part of the cache's key: raise it when what is stored, or how a picture's face is chosen, changes.
_KIND = "fits:1"

Value = TypeVar("Value")


class Fitter(Protocol):
    """The part of `facerec.recognition.recognizer.Recognizer` that is needed here."""

    @property
    def stages(self) -> str:
        """Digest of everything that shapes a fit."""
        ...

    def fit(self, image: Image) -> Sequence[FaceFit | UndescribedFace]:
        """One item per face found in the picture, the largest first; none when no face was found."""
        ...


@dataclass(frozen=True, eq=False)
class FitOutcome:
    """The result for a picture up to the fit of the face that counts.

    Attributes:
        faces: how many faces were found; 0 when the face that is meant is not among them.
        box: of the face that counts; None when it was not found.
        landmarks, fitted: of that face; None when `failed_at` says so.
        failed_at: the stage that gave up; None when there is a fit.
        reason, detail: why, a stable code and a sentence; None and "" when there is a fit.
        seconds: wall-clock time of reading, finding and fitting.
        timings_ms: of "read", "find" and "fit", where there is a fit.
    """

    faces: int
    box: Box | None
    landmarks: Landmarks | None
    fitted: FittedFace | None
    failed_at: Stage | None
    reason: ReasonCode | None
    detail: str
    seconds: float
    timings_ms: dict[str, float]

    def resume(self, image: Image) -> FaceFit:
        """The face with its picture, to continue from."""
        assert self.box is not None
        assert self.landmarks is not None
        assert self.fitted is not None
        shared = {name: value for name, value in self.timings_ms.items() if name != "read"}
        return FaceFit(Face(image, self.box, self.landmarks), self.fitted, timings_ms=shared)


class FitCache:
    """Fits on disk for one `stages` digest. The files hold biometric data."""

    def __init__(self, folder: Path, stages: str) -> None:
        self._store = ResultStore(folder, _KIND, stages)

    def path(self, key: str) -> Path:
        """Where the fit of the picture with this key is kept."""
        return self._store.path(key)

    def get(self, key: str) -> FitOutcome | None:
        """The stored outcome, or None when there is none that can be believed."""
        try:
            header, arrays = self._store.read(key)
            there = header.pop("there")
            box = None if header["box"] is None else Box(*header.pop("box"))
            header.pop("box", None)
            parts = {
                name: _unpack(kind, name, there[name], arrays) if name in there else None
                for name, kind in (("landmarks", Landmarks), ("fitted", FittedFace))
            }
            outcome = FitOutcome(box=box, **parts, **header)  # type: ignore[arg-type]
        except (*UNREADABLE, AttributeError):
            return None
        fine = outcome.landmarks is not None and outcome.fitted is not None and outcome.box is not None
        return outcome if fine == (outcome.reason is None) and (fine or outcome.reason in REASON_CODES) else None

    def put(self, key: str, outcome: FitOutcome) -> None:
        """Store an outcome; a reader sees all of it or nothing."""
        box = outcome.box
        header: dict[str, Any] = {
            "faces": outcome.faces,
            "box": None if box is None else [box.x0, box.y0, box.x1, box.y1, box.score],
            "failed_at": outcome.failed_at,
            "reason": outcome.reason,
            "detail": outcome.detail,
            "seconds": outcome.seconds,
            "timings_ms": outcome.timings_ms,
            "there": {},
        }
        arrays: dict[str, NDArray[Any]] = {}
        for name, value in (("landmarks", outcome.landmarks), ("fitted", outcome.fitted)):
            if value is not None:
                header["there"][name] = _pack(value, name, arrays)
        self._store.write(key, header, arrays)


def fit_picture(picture: Picture, image: Image, recognizer: Fitter, read_ms: float) -> FitOutcome:
    """Find and fit the face of `picture` that counts: the one in its box, without a box the largest.

    Args:
        picture: whose face is meant.
        image: its pixels, see `open_picture`.
        recognizer: finds and fits.
        read_ms: what reading it took, for the timings.
    """
    started = time.perf_counter()

    def failed(faces: int, at: Stage, reason: ReasonCode, detail: str, box: Box | None = None) -> FitOutcome:
        seconds = read_ms / 1000 + time.perf_counter() - started
        return FitOutcome(faces, box, None, None, at, reason, detail, seconds, {})

    try:
        faces = list(recognizer.fit(image))
    except UnusablePhotoError as error:
        return failed(0, "find", error.reason, error.detail)
    if not faces:
        return failed(0, "find", "no_face", "no face was found")
    meant = faces[0]
    if picture.box is not None:
        overlaps = [picture.box.iou(_box(face)) for face in faces]
        best = max(overlaps)
        if best < LEAST_IOU:
            said = f"{len(faces)} faces found, the best overlap with the given box is {best:.2f} < {LEAST_IOU}"
            return failed(0, "find", "no_face", said)
        meant = faces[overlaps.index(best)]
    if isinstance(meant, UndescribedFace):
        return failed(len(faces), "fit", meant.reason, meant.detail, meant.box)
    seconds = read_ms / 1000 + time.perf_counter() - started
    timings = {"read": read_ms} | {str(name): float(value) for name, value in meant.timings_ms.items()}
    return FitOutcome(len(faces), meant.face.box, meant.face.landmarks, meant.fitted, None, None, "", seconds, timings)


def unread(error: UnusablePhotoError, seconds: float) -> FitOutcome:
    """The outcome of a picture that cannot be read."""
    return FitOutcome(0, None, None, None, "read", error.reason, error.detail, seconds, {})


def open_picture(picture: Picture, photo: bytes | None = None) -> Image:
    """The picture's pixels, (H, W, 3) uint8 RGB, down-sampled by area where the protocol asks for a size.

    Args:
        picture: where it is and the size asked for.
        photo: its bytes, where the file is not at hand.

    Raises:
        UnusablePhotoError: it cannot be read, or it is smaller than the size asked for.
    """
    return sample_down(read_image(picture.path if photo is None else photo), picture.size)


def _box(face: FaceFit | UndescribedFace) -> Box:
    return face.face.box if isinstance(face, FaceFit) else face.box


def _pack(value: Any, name: str, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """The plain fields of a dataclass; its arrays go into `arrays`, dataclasses within it are packed likewise."""
    plain: dict[str, Any] = {}
    for one in fields(value):
        item, place = getattr(value, one.name), f"{name}.{one.name}"
        if isinstance(item, np.ndarray):
            arrays[place] = item
        else:
            plain[one.name] = _pack(item, place, arrays) if is_dataclass(item) else item
    return plain


def _unpack(kind: type[Value], name: str, plain: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Value:
    """What `_pack` took apart."""
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for one in fields(kind):  # type: ignore[arg-type]
        place = f"{name}.{one.name}"
        if place in arrays:
            values[one.name] = arrays[place]
        else:
            hint, item = hints[one.name], plain[one.name]
            within = isinstance(hint, type) and is_dataclass(hint)
            values[one.name] = _unpack(hint, place, item, arrays) if within else item
    return kind(**values)
