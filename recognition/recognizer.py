"""The path from a photograph to signatures, stage by stage in one function."""

from __future__ import annotations

import hashlib
import json
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.fit import LOCATED, FittedSurface, fit_surfaces
from facerec.frontalize.texture import TEXTURE_SIZE, lift_surface, lift_texture
from facerec.frontalize.types import FaceTexture, FittedFace
from facerec.landmarks.checkpoint import weight_record
from facerec.landmarks.detection.detectors import DEFAULT_DETECTOR, load_detector
from facerec.landmarks.device import one_blas_thread, resolve_device
from facerec.landmarks.errors import InvalidInputError, ReasonCode, UnusablePhotoError
from facerec.landmarks.image import Photo, as_image
from facerec.landmarks.models import LANDMARK_MODELS
from facerec.landmarks.types import Box, Face, Image
from facerec.recognition.descriptors import DEFAULT_DESCRIPTOR, Descriptor, load_descriptor
from facerec.recognition.quality import FaceQuality, measure_quality
from facerec.recognition.signature import Signature, seen_regions

if TYPE_CHECKING:
    from facerec.landmarks.finder import FaceFinder

PREPROCESSING = 5
"""Version of everything between the pixels and the signature that no weight file pins: raise it when that changes."""


@dataclass(frozen=True)
class Contract:
    """Everything that affects a signature. Signatures can be compared only under equal contracts.

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


@dataclass(frozen=True)
class RecognizerSettings:
    """Which models a recognizer is loaded with. What is None is taken from a gallery's contract, or the default.

    Attributes:
        landmarks: landmark model, see `facerec.landmarks.models.LANDMARK_MODELS`.
        descriptor: see `facerec.recognition.descriptors.DESCRIPTORS`.
        detector: see `facerec.landmarks.detection.detectors.DETECTORS`.
        device: "auto" (the GPU when there is one), "cpu" or "cuda".
        smallest: smaller faces are left out, px of the box's shorter side. It shapes no signature.
    """

    landmarks: str | None = None
    descriptor: str | None = None
    detector: str | None = None
    device: str = "auto"
    smallest: float = 0.0

    def of_contract(self, contract_json: str) -> RecognizerSettings:
        """These settings, with what they leave open as a gallery's contract (`Contract.as_json`) names it."""
        made = json.loads(contract_json)
        return replace(
            self,
            landmarks=self.landmarks or made.get("landmarks"),
            descriptor=self.descriptor or made.get("descriptor"),
            detector=self.detector or made.get("detector"),
        )


def load_recognizer(settings: RecognizerSettings | None = None, contract_json: str | None = None) -> Recognizer:
    """The recognizer of `settings`; for a gallery, with the models that its contract names where none is asked for.

    Args:
        settings: see `RecognizerSettings`.
        contract_json: that of the gallery (`Contract.as_json`); None: there is none yet.

    Raises:
        InvalidInputError, ContractError, DeviceError: as `Recognizer.load`. Where a gallery was made with a network
            from a file, its contract holds the file's name alone: the message then says to give the path.
    """
    asked = settings or RecognizerSettings()
    chosen = asked if contract_json is None else asked.of_contract(contract_json)
    for kind in ("detector", "descriptor"):
        name = getattr(chosen, kind) or ""
        file = name.rpartition(":")[2]
        needs_file = name == "boxes" or Path(file).suffix == ".onnx"
        if getattr(asked, kind) is None and needs_file and not Path(file).is_file():
            raise InvalidInputError(
                f"expected the file of the {kind} that made the gallery, {name}; its contract holds no folder: give "
                f"--{kind} {name.removesuffix(file) or 'boxes:'}PATH"
            )
    return Recognizer.load(
        landmarks=chosen.landmarks or LANDMARK_MODELS[0],
        descriptor=chosen.descriptor or DEFAULT_DESCRIPTOR,
        device=resolve_device(chosen.device),
        detector=chosen.detector or DEFAULT_DETECTOR,
        smallest=chosen.smallest,
    )


@dataclass(frozen=True, eq=False)
class FaceFit:
    """A face up to its fit: everything before the texture, and all that must be kept to continue later.

    Attributes:
        face: picture, box and landmarks.
        fitted: shape, expression and camera; a `FittedSurface` where the surface is at hand: `lift` computes it
            otherwise.
        timings_ms: milliseconds by stage: "find" (detector and landmarks, shared by the faces of a picture) and "fit".
    """

    face: Face
    fitted: FittedFace
    timings_ms: dict[str, float] = field(default_factory=dict, kw_only=True)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.face.box!r}, {self.fitted.camera!r})"


@dataclass(frozen=True, eq=False)
class LiftedFace(FaceFit):
    """A face up to its texture, what every descriptor starts from: a `FaceFit` and the texture.

    Attributes:
        texture: UV texture and visibility mask.
    """

    texture: FaceTexture

    @cached_property
    def components(self) -> FaceQuality:
        """The face's quality in components, measured when it is first asked for."""
        return measure_quality(self.face, self.fitted, self.texture)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.face.box!r}, {self.fitted.camera!r}, {self.texture!r})"


@dataclass(frozen=True, eq=False)
class DescribedFace(LiftedFace):
    """A face that went the whole path: a `LiftedFace` and its signature.

    Attributes:
        signature: the masked signature.
        quality: in [0, 1], one number over all (`FaceQuality.unified`).
    """

    signature: Signature
    quality: float

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.face.box!r}, {self.fitted.camera!r}, {self.signature!r}, "
            f"quality {self.quality:.2f})"
        )


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

    @property
    def error(self) -> UnusablePhotoError:
        """The same as an error, to raise where no other face will do."""
        return UnusablePhotoError(self.reason, self.detail)

    @staticmethod
    def after(
        error: UnusablePhotoError, box: Box, stage: Literal["fit", "describe"] = "fit", turned: int = 0
    ) -> UndescribedFace:
        """The face at `box`, found in a picture turned by `turned` degrees, which a stage refused with `error`."""
        return UndescribedFace(box, error.reason, error.detail, stage, turned)


def largest_face(faces: Sequence[DescribedFace | UndescribedFace]) -> DescribedFace:
    """The first of `faces`, which `Recognizer.describe` gives largest first.

    Raises:
        UnusablePhotoError: there is none ("no_face"), or why it was not described. A smaller face never takes its
            place: it may be a bystander's.
    """
    if not faces:
        raise UnusablePhotoError("no_face", "no face was found")
    if isinstance(faces[0], UndescribedFace):
        raise faces[0].error
    return faces[0]


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
        landmarks: str = LANDMARK_MODELS[0],
        descriptor: str = DEFAULT_DESCRIPTOR,
        device: str = "cpu",
        detector: str = DEFAULT_DETECTOR,
        smallest: float = 0.0,
    ) -> Recognizer:
        """The models that come with the package.

        Args:
            landmarks: name of the landmark model; descriptor: name of the descriptor, see `DESCRIPTORS`.
            device: "cpu", "cuda", or "auto": the GPU when there is one.
            detector: name of the detector, see `facerec.landmarks.detection.detectors.DETECTORS`.
            smallest: smaller faces are left out, see `FinderSettings`, px. It shapes no signature, so no contract
                holds it.

        Raises:
            InvalidInputError: no such model or weights. ContractError: a weight file is not the recorded one.
            DeviceError: the device is not there.
        """
        from facerec.landmarks.finder import RULE_MODEL, FaceFinder, FinderSettings

        device = resolve_device(device)
        described = load_descriptor(descriptor, device)
        chosen = load_detector(detector, device)
        # One landmark model verifies candidates, whichever locates the points; it is listed once where it does both.
        located = dict.fromkeys((landmarks, RULE_MODEL, "finder") if chosen.candidates else (landmarks,))
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

    def __repr__(self) -> str:
        made = self._contract
        return f"Recognizer({made.descriptor}, landmarks {made.landmarks}, detector {made.detector}, {made.digest})"

    @one_blas_thread()
    def describe(self, image: Photo, boxes: Sequence[Box] | None = None) -> list[DescribedFace | UndescribedFace]:
        """Photograph -> boxes -> landmarks -> fitted faces -> textures -> signatures.

        Args:
            image: the photograph: its file, the bytes of its file, or its pixels, (H, W, 3) uint8 RGB.
            boxes: where faces are expected, e.g. from the frame of a film before; None: they are searched for.

        Returns:
            One value for each face found, the largest first; an empty list when there is none. A face that cannot be
            fitted or described is an `UndescribedFace` with its reason.

        Raises:
            UnusablePhotoError: the file cannot be read. InvalidInputError: this is no photograph.
        """
        faces: list[DescribedFace | UndescribedFace] = []
        fits = deque(self.fit(as_image(image), boxes))
        while fits:
            fit = fits.popleft()  # let go one after the other: the surfaces of a hundred faces take 35 MB
            lifted = self.lift(fit) if isinstance(fit, FaceFit) else fit
            faces.append(self.sign(lifted) if isinstance(lifted, LiftedFace) else lifted)
        return faces

    @one_blas_thread()
    def fit(self, image: Image, boxes: Sequence[Box] | None = None) -> list[FaceFit | UndescribedFace]:
        """The first part of `describe`: boxes, landmarks, fitted faces; the same whatever the descriptor."""
        timings: dict[str, float] = {}
        with _timed(timings, "find"):
            found = self._finder.find(image) if boxes is None else self._finder.find_at(image, boxes)
        with _timed(timings, "fit"):
            surfaces = fit_surfaces([face.landmarks for face in found], self._model, LOCATED)
        shared = {name: value / len(found) for name, value in timings.items()} if found else {}
        fits: list[FaceFit | UndescribedFace] = []
        for face, surface in zip(found, surfaces, strict=True):
            if isinstance(surface, UnusablePhotoError):
                fits.append(UndescribedFace.after(surface, face.box, turned=face.turned))
            else:
                fits.append(FaceFit(face, surface, timings_ms=dict(shared)))
        return fits

    def describe_texture(self, texture: FaceTexture) -> Signature:
        """The signature of a lifted texture alone, e.g. of one that a gallery kept."""
        cells, visible = self._descriptor.describe(None, None, texture)
        return Signature(cells, visible, self._contract.digest, seen_regions(texture.visible))

    def lift(self, fit: FaceFit) -> LiftedFace | UndescribedFace:
        """The second part of `describe`: the face's texture; the same whatever the descriptor."""
        timings, fitted = dict(fit.timings_ms), fit.fitted
        try:
            with _timed(timings, "lift"):
                if isinstance(fitted, FittedSurface):
                    texture = lift_surface(fit.face.image, fitted)
                    fitted = fitted.without_surface()  # of no use any more, and larger than all the rest
                else:
                    texture = lift_texture(fit.face.image, fitted, self._model)
        except UnusablePhotoError as error:
            return UndescribedFace.after(error, fit.face.box, turned=fit.face.turned)
        return LiftedFace(fit.face, fitted, texture, timings_ms=timings)

    def sign(self, lifted: LiftedFace) -> DescribedFace | UndescribedFace:
        """The last part of `describe`: the descriptor's own."""
        timings = dict(lifted.timings_ms)
        face, texture = lifted.face, lifted.texture
        try:
            with _timed(timings, "describe"):
                cells, visible = self._descriptor.describe(face.image, lifted.fitted, texture)
            if not visible.any():
                raise UnusablePhotoError("fit_unstable", "no part of the middle of the face is visible in the fit")
        except UnusablePhotoError as error:
            return UndescribedFace.after(error, face.box, "describe", face.turned)
        signature = Signature(cells, visible, self._contract.digest, seen_regions(texture.visible))
        quality = lifted.components.unified
        return DescribedFace(face, lifted.fitted, texture, signature, quality, timings_ms=timings)


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    timings[name] = 1000 * (time.perf_counter() - start)
