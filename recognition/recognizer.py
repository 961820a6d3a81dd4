"""The path from a photograph to signatures, one function that reads like the design's line."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.fit import fit_face
from facerec.frontalize.texture import TEXTURE_SIZE, lift_texture
from facerec.frontalize.types import FaceTexture, FittedFace
from facerec.landmarks.checkpoint import weight_record
from facerec.landmarks.errors import ReasonCode, UnusablePhotoError
from facerec.landmarks.types import Box, Face, Image
from facerec.recognition.descriptors import DEFAULT_DESCRIPTOR, Descriptor, load_descriptor
from facerec.recognition.signature import Signature

if TYPE_CHECKING:
    from facerec.landmarks.finder import FaceFinder

PREPROCESSING = 1
"""Version of everything between the pixels and the signature that no weight file pins: raise it when that changes."""


@dataclass(frozen=True)
class Contract:
    """What shaped a signature's numbers. Signatures compare only under equal contracts.

    Attributes:
        descriptor: name of the descriptor; detector, landmarks: names of the models.
        weights: name and SHA-256 of each weight file the path used.
        texture: side of the UV chart, texels.
        preprocessing: see `PREPROCESSING`.
    """

    descriptor: str
    landmarks: str
    weights: tuple[tuple[str, str], ...]
    texture: int = TEXTURE_SIZE
    preprocessing: int = PREPROCESSING

    def as_json(self) -> str:
        """The contract as a JSON object of strings."""
        plain = {k: str(v) for k, v in asdict(self).items() if k != "weights"}
        return json.dumps({**plain, **{f"weights {name}": sha for name, sha in self.weights}}, sort_keys=True)

    @cached_property
    def digest(self) -> str:
        """Short digest of the contract."""
        return hashlib.sha256(self.as_json().encode()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class DescribedFace:
    """A face that went the whole path.

    Attributes:
        face: picture, box and landmarks.
        fitted: shape, expression and camera.
        texture: UV texture and visibility mask.
        signature: the masked signature.
        quality: in [0, 1], visible share of the texture times the mean landmark confidence.
        timings_ms: milliseconds by stage: "find" (detector and landmarks, shared by the faces of a picture), "fit",
            "lift", "describe".
    """

    face: Face
    fitted: FittedFace
    texture: FaceTexture
    signature: Signature
    quality: float
    timings_ms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class UndescribedFace:
    """A face that was found but did not get a signature.

    Attributes:
        box: where it is, px.
        reason: stable reason code, e.g. "fit_unstable".
        detail: one sentence for a person.
    """

    box: Box
    reason: ReasonCode
    detail: str


class Recognizer:
    """Face finder, face model and descriptor, loaded once; `describe` keeps no state between calls."""

    def __init__(
        self,
        finder: FaceFinder,
        model: FaceModel,
        descriptor: Descriptor,
        contract: Contract,
    ) -> None:
        self._finder = finder
        self._model = model
        self._descriptor = descriptor
        self._contract = contract

    @staticmethod
    def load(landmarks: str = "godp", descriptor: str = DEFAULT_DESCRIPTOR, device: str = "cpu") -> Recognizer:
        """The models that come with the package.

        Args:
            landmarks: name of the landmark model; descriptor: name of the descriptor.
            device: "cpu" or "cuda".

        Raises:
            InvalidInputError: no such model or weights. ContractError: a weight file is not the recorded one.
            DeviceError: the device is not there.
        """
        from facerec.landmarks.finder import JUDGE, FaceFinder

        described = load_descriptor(descriptor)
        # Faces are judged by one landmark model, whichever locates the points; named once where it does both.
        located = dict.fromkeys(("detector", landmarks, "finder", JUDGE))
        used = [("landmarks", name) for name in located] + [("frontalize", "face_model")]
        used += [("recognition", name) for name in described.weights]
        weights = tuple((f"{folder}/{name}", weight_record(folder, name).sha256) for folder, name in used)
        return Recognizer(
            FaceFinder.load(landmarks, device),
            FaceModel.load(),
            described,
            Contract(descriptor=descriptor, landmarks=landmarks, weights=weights),
        )

    @property
    def contract(self) -> Contract:
        """What shapes the signatures this recognizer makes."""
        return self._contract

    @property
    def model(self) -> FaceModel:
        """The face model it fits."""
        return self._model

    def describe(self, image: Image) -> list[DescribedFace | UndescribedFace]:
        """Photograph -> boxes -> landmarks -> fitted faces -> textures -> signatures.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            One value for each face found, the largest first; an empty list when there is none. A face that cannot be
            fitted or described is an `UndescribedFace` with its reason.
        """
        timings: dict[str, float] = {}
        with _timed(timings, "find"):
            found = self._finder.find(image)
        shared = {name: value / len(found) for name, value in timings.items()} if found else {}
        return [self._describe_face(face, shared) for face in found]

    def _describe_face(self, face: Face, shared: dict[str, float]) -> DescribedFace | UndescribedFace:
        timings = dict(shared)
        try:
            with _timed(timings, "fit"):
                fitted = fit_face(face.landmarks, self._model)
            with _timed(timings, "lift"):
                texture = lift_texture(face.image, fitted, self._model)
            with _timed(timings, "describe"):
                cells, visible = self._descriptor.describe(texture)
            if not visible.any():
                raise UnusablePhotoError("fit_unstable", "no part of the face's middle is visible in the fit")
        except UnusablePhotoError as error:
            return UndescribedFace(face.box, error.reason, error.detail)
        signature = Signature(cells, visible, self._contract.digest)
        seen = float((texture.visible > 0).mean())
        quality = float(np.clip(seen * float(face.landmarks.confidence.mean()), 0.0, 1.0))
        return DescribedFace(face, fitted, texture, signature, quality, timings)


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    timings[name] = 1000 * (time.perf_counter() - start)
