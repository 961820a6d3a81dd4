"""The path from a photograph to signatures, one function that reads like the design's line."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.fit import FittedSurface, fit_surfaces
from facerec.frontalize.frontalize import lift_surface
from facerec.frontalize.texture import TEXTURE_SIZE, lift_texture
from facerec.frontalize.types import FaceTexture, FittedFace
from facerec.landmarks.checkpoint import weight_record
from facerec.landmarks.detection.detectors import DEFAULT_DETECTOR, load_detector
from facerec.landmarks.errors import ReasonCode, UnusablePhotoError
from facerec.landmarks.types import Box, Face, Image
from facerec.recognition.descriptors import DEFAULT_DESCRIPTOR, Descriptor, load_descriptor
from facerec.recognition.signature import Signature

if TYPE_CHECKING:
    from facerec.landmarks.finder import FaceFinder

PREPROCESSING = 3
"""Version of everything between the pixels and the signature that no weight file pins: raise it when that changes."""


@dataclass(frozen=True)
class Contract:
    """What shaped a signature's numbers. Signatures compare only under equal contracts.

    Attributes:
        descriptor, landmarks, detector: names of the models.
        weights: name and SHA-256 of each weight file the path used.
        texture: side of the UV chart, texels.
        preprocessing: see `PREPROCESSING`.
    """

    descriptor: str
    landmarks: str
    weights: tuple[tuple[str, str], ...]
    detector: str = DEFAULT_DETECTOR
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


def gallery_descriptor(contract_json: str) -> str:
    """The descriptor that a gallery's contract (`Contract.as_json`) names; the default one when it names none."""
    return str(json.loads(contract_json).get("descriptor", DEFAULT_DESCRIPTOR))


@dataclass(frozen=True, eq=False)
class FaceFit:
    """A face up to its fit: everything before the texture, and all that must be kept to go on later.

    Attributes:
        face: picture, box and landmarks.
        fitted: shape, expression and camera.
        timings_ms: milliseconds of "find" (detector and landmarks, shared by the faces of a picture) and "fit".
        surface: the fitted surface and what the camera sees of it, where it is at hand; `lift` computes it otherwise.
    """

    face: Face
    fitted: FittedFace
    timings_ms: dict[str, float] = field(default_factory=dict)
    surface: FittedSurface | None = None


@dataclass(frozen=True, eq=False)
class LiftedFace:
    """A face up to its texture: what every descriptor starts from.

    Attributes:
        face: picture, box and landmarks.
        fitted: shape, expression and camera.
        texture: UV texture and visibility mask.
        timings_ms: milliseconds of "find", "fit" and "lift".
    """

    face: Face
    fitted: FittedFace
    texture: FaceTexture
    timings_ms: dict[str, float] = field(default_factory=dict)


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
        stage: which part of the path gave up.
        turned: see `facerec.landmarks.types.Face`.
    """

    box: Box
    reason: ReasonCode
    detail: str
    stage: Literal["fit", "describe"] = "fit"
    turned: int = 0


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
    def load(
        landmarks: str = "godp",
        descriptor: str = DEFAULT_DESCRIPTOR,
        device: str = "cpu",
        detector: str = DEFAULT_DETECTOR,
        smallest: float = 0.0,
    ) -> Recognizer:
        """The models that come with the package.

        Args:
            landmarks: name of the landmark model; descriptor: name of the descriptor, see `DESCRIPTORS`.
            device: "cpu" or "cuda".
            detector: name of the detector, see `facerec.landmarks.detection.detectors.DETECTORS`.
            smallest: smaller faces are left out, see `FinderSettings`, px. It shapes no signature, so no contract
                holds it.

        Raises:
            InvalidInputError: no such model or weights. ContractError: a weight file is not the recorded one.
            DeviceError: the device is not there.
        """
        from facerec.landmarks.finder import JUDGE, FaceFinder, FinderSettings

        described = load_descriptor(descriptor, device)
        chosen = load_detector(detector, device)
        # Candidates are judged by one landmark model, whichever locates the points; named once where it does both.
        located = dict.fromkeys((landmarks, JUDGE, "finder") if chosen.candidates else (landmarks,))
        used = [("landmarks", name) for name in located]
        used += [("frontalize", "face_model"), ("frontalize", "fit_verdict")]
        weights = tuple((f"{folder}/{name}", weight_record(folder, name).sha256) for folder, name in used)
        return Recognizer(
            FaceFinder.load(landmarks, device, detector=chosen, wanted=FinderSettings(smallest)),
            FaceModel.load(),
            described,
            Contract(
                descriptor=described.name,
                landmarks=landmarks,
                detector=chosen.name,
                weights=chosen.weights + weights + described.weights,
            ),
        )

    @property
    def contract(self) -> Contract:
        """What shapes the signatures this recognizer makes."""
        return self._contract

    @property
    def model(self) -> FaceModel:
        """The face model it fits."""
        return self._model

    @property
    def stages(self) -> str:
        """Digest of what shapes a fit, the contract without its descriptor: equal digests, equal landmarks and fits."""
        before = tuple((name, sha) for name, sha in self._contract.weights if not name.startswith("recognition/"))
        return replace(self._contract, descriptor="", weights=before).digest

    def describe(self, image: Image) -> list[DescribedFace | UndescribedFace]:
        """Photograph -> boxes -> landmarks -> fitted faces -> textures -> signatures.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            One value for each face found, the largest first; an empty list when there is none. A face that cannot be
            fitted or described is an `UndescribedFace` with its reason.
        """
        faces: list[DescribedFace | UndescribedFace] = []
        for fit in self.fit(image):
            lifted = self.lift(fit) if isinstance(fit, FaceFit) else fit
            faces.append(self.sign(lifted) if isinstance(lifted, LiftedFace) else lifted)
        return faces

    def fit(self, image: Image) -> list[FaceFit | UndescribedFace]:
        """The first part of `describe`: boxes, landmarks, fitted faces; the same whatever the descriptor."""
        timings: dict[str, float] = {}
        with _timed(timings, "find"):
            found = self._finder.find(image)
        with _timed(timings, "fit"):
            surfaces = fit_surfaces([face.landmarks for face in found], self._model)
            fitted = [s.fitted(self._model) if isinstance(s, FittedSurface) else None for s in surfaces]
        shared = {name: value / len(found) for name, value in timings.items()} if found else {}
        fits: list[FaceFit | UndescribedFace] = []
        for face, surface, fit in zip(found, surfaces, fitted, strict=True):
            if isinstance(surface, UnusablePhotoError):
                fits.append(UndescribedFace(face.box, surface.reason, surface.detail, turned=face.turned))
            elif fit is not None:
                fits.append(FaceFit(face, fit, dict(shared), surface))
        return fits

    def describe_texture(self, texture: FaceTexture) -> Signature:
        """The signature of a lifted texture alone, e.g. of one that a gallery kept."""
        cells, visible = self._descriptor.describe(None, None, texture)
        return Signature(cells, visible, self._contract.digest)

    def lift(self, fit: FaceFit) -> LiftedFace | UndescribedFace:
        """The second part of `describe`: the face's texture; the same whatever the descriptor."""
        timings = dict(fit.timings_ms)
        try:
            with _timed(timings, "lift"):
                if fit.surface is not None:
                    texture = lift_surface(fit.face.image, fit.surface)
                else:
                    texture = lift_texture(fit.face.image, fit.fitted, self._model)
        except UnusablePhotoError as error:
            return UndescribedFace(fit.face.box, error.reason, error.detail, turned=fit.face.turned)
        return LiftedFace(fit.face, fit.fitted, texture, timings)

    def sign(self, lifted: LiftedFace) -> DescribedFace | UndescribedFace:
        """The last part of `describe`: the descriptor's own."""
        timings = dict(lifted.timings_ms)
        face, texture = lifted.face, lifted.texture
        try:
            with _timed(timings, "describe"):
                cells, visible = self._descriptor.describe(face.image, lifted.fitted, texture)
            if not visible.any():
                raise UnusablePhotoError("fit_unstable", "no part of the face's middle is visible in the fit")
        except UnusablePhotoError as error:
            return UndescribedFace(face.box, error.reason, error.detail, "describe", face.turned)
        signature = Signature(cells, visible, self._contract.digest)
        seen = float((texture.visible > 0).mean())
        quality = float(np.clip(seen * float(face.landmarks.confidence.mean()), 0.0, 1.0))
        return DescribedFace(face, lifted.fitted, texture, signature, quality, timings)


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    timings[name] = 1000 * (time.perf_counter() - start)
