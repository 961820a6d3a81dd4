"""Verification: decide whether two photographs show the same person, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from facerec.landmarks.errors import InvalidInputError, UnusablePhotoError, no_face
from facerec.landmarks.image import Photo, as_image
from facerec.landmarks.types import check_image, describe_value
from facerec.recognition.answers import SCORES, SHARES, box_json, pose_json, rounded
from facerec.recognition.cohort import normalised_score
from facerec.recognition.decision import Shared, decide_pair, little_seen
from facerec.recognition.description import Describer
from facerec.recognition.recognizer import DescribedFace, largest_face
from facerec.recognition.shipped_impostors import (
    ShippedImpostors,
    ThresholdUnavailableError,
    same_person_probability,
)
from facerec.recognition.threshold import Threshold, ThresholdSettings, given_threshold, shipped_threshold


@dataclass(frozen=True, eq=False)
class ComparedPhoto:
    """One photograph of a pair.

    Attributes:
        name: its file, or what it is called.
        faces: how many faces it shows; the largest is compared.
        described: that face; None when it could not be used.
        failure: why it could not be used; None otherwise.
    """

    name: str
    faces: int = 0
    described: DescribedFace | None = None
    failure: UnusablePhotoError | None = None

    def as_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        if self.failure is not None or self.described is None:
            failure = self.failure or UnusablePhotoError("no_face", "no face was found")
            return {"file": self.name, "reason": failure.reason, "detail": failure.detail}
        face = self.described
        return {
            "file": self.name,
            "faces": self.faces,
            "box": box_json(face.face.box),
            "pose": pose_json(face.fitted.camera.angles),
            "visible_fraction": rounded(face.texture.visible_share, SHARES),
            "quality": rounded(face.quality, SHARES),
            "quality_components": face.components.as_json(),
            "timings_ms": {stage: round(value, 2) for stage, value in face.timings_ms.items()},
        }


@dataclass(frozen=True, eq=False)
class PairDecision:
    """The answer for a pair of photographs.

    Attributes:
        decision: "same", "different" or "abstain" (too little of the face was seen in both); "none" when a photograph
            could not be used.
        reason: one sentence with the numbers; for "none" the reason code of the first photograph that failed.
        score: see `Match.score`; None for "none".
        overlap: share of the face's texture that both saw, in [0, 1]; None for "none".
        threshold: what the score was compared with.
        photos: the two photographs.
        level: see `Match.level`.
        p_same: probability that the two show one person when one pair in two does; None where it was not measured.
    """

    decision: Literal["same", "different", "abstain", "none"]
    reason: str
    score: float | None
    overlap: float | None
    threshold: Threshold
    photos: tuple[ComparedPhoto, ComparedPhoto]
    level: float = 0.0
    p_same: float | None = None

    def __repr__(self) -> str:
        said = self.reason if self.decision != "none" else f"none: {self.reason}"
        return f"PairDecision({said!r})"

    @property
    def failures(self) -> list[UnusablePhotoError]:
        """Why photographs could not be used."""
        return [photo.failure for photo in self.photos if photo.failure is not None]

    def as_json(self, versions: Mapping[str, str]) -> dict[str, Any]:
        """JSON-ready values: what `facerec verify --json` writes."""
        return {
            "photos": [photo.as_json() for photo in self.photos],
            "score": rounded(self.score, SCORES),
            "p_same": rounded(self.p_same, SHARES),
            "cosine": None if self.score is None else rounded(self.score + self.level, SCORES),
            "overlap": rounded(self.overlap, SHARES),
            "decision": self.decision,
            "reason": self.reason,
            "threshold": self.threshold.as_json(),
            "versions": dict(versions),
        }


def pair_threshold(contract: str, far: float | None = None, threshold: float | None = None) -> Threshold:
    """The threshold for pairs of signatures of `contract`: the one given, or the package's at `far`.

    Raises `InvalidInputError` when both are given. Its value is None where no impostor scores fit the contract.
    """
    if threshold is not None and far is not None:
        raise InvalidInputError(f"expected far or threshold, not both; got {far} and {threshold}")
    if threshold is not None:
        return given_threshold(threshold)
    try:
        settings = ThresholdSettings() if far is None else ThresholdSettings(far=far)
        return shipped_threshold(ShippedImpostors.load(contract), settings)
    except ThresholdUnavailableError as error:
        return Threshold(None, None, 0, "none", f"{error}; give a threshold")


def compare_photos(
    describer: Describer, first: Photo, second: Photo, threshold: Threshold, names: tuple[str, str] | None = None
) -> PairDecision:
    """Compare the largest faces of two photographs.

    Args:
        describer: the models.
        first, second: files, bytes of files or arrays (H, W, 3) uint8 RGB.
        threshold: see `pair_threshold`.
        names: what the answer calls the photographs; None: their files, or "photo 0" and "photo 1".
    """
    called = names or (_name(first, 0), _name(second, 1))
    a, b = (_describe_photo(describer, photo, name) for photo, name in zip((first, second), called, strict=True))
    if a.described is None or b.described is None:
        failed = next(photo.failure for photo in (a, b) if photo.failure is not None)
        return PairDecision("none", failed.reason, None, None, threshold, (a, b))
    first_face, second_face = a.described, b.described
    match = normalised_score(first_face.signature, second_face.signature)
    p_same = same_person_probability(describer.contract.digest, match.score)
    cells = float((first_face.signature.visible & second_face.signature.visible).mean())
    shared = Shared(cells, match.overlap, little_seen(first_face) or little_seen(second_face))
    decision, reason = decide_pair(match.score, shared, threshold)
    if p_same is not None and decision != "abstain":
        reason += f"; the probability of one person is {p_same:.3f} at a prior of one half"
    return PairDecision(decision, reason, match.score, match.overlap, threshold, (a, b), match.level, p_same)


def _describe_photo(describer: Describer, photo: Photo, name: str) -> ComparedPhoto:
    try:
        image = as_image(photo)
        if not (faces := describer.describe(image)):
            raise no_face(*image.shape[:2])
        return ComparedPhoto(name, len(faces), largest_face(faces))
    except UnusablePhotoError as error:
        return ComparedPhoto(name, failure=error)


def _name(photo: Photo, number: int) -> str:
    if isinstance(photo, Path | str):
        return str(photo)
    if isinstance(photo, np.ndarray):
        check_image(photo)
    elif not isinstance(photo, bytes):
        raise InvalidInputError(
            "expected a photograph: its path (str or Path), the bytes of its file or an array (H, W, 3) uint8 RGB; got "
            f"{describe_value(photo)}"
        )
    return f"photo {number}"
