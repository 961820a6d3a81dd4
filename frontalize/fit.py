"""Fitting the face model to landmarks: camera, shape and expression, all faces of a batch together.

Two ways behind one interface (`FitSettings.method`): the regularised model fit ("model", see
`facerec.frontalize.gauss_newton`) and two-fold coupled structure learning ("2fcsl", `facerec.frontalize.shape_2fcsl`).
`benchmarks/fit.py` compares them; the better one is the default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.fit_verdict import FitEvidence, FitRule, check_landmarks
from facerec.frontalize.gauss_newton import Estimate, LandmarkNoise, Shift, solve
from facerec.frontalize.landmark_places import LandmarkPlaces, LandmarkSource
from facerec.frontalize.shape_2fcsl import Shape2FCSL
from facerec.frontalize.types import Camera, FittedFace
from facerec.frontalize.visibility import SurfaceView, VisibilitySettings
from facerec.landmarks.errors import InvalidInputError, UnusablePhotoError
from facerec.landmarks.types import Landmarks

Floats = NDArray[np.float64]

FitMethod = Literal["model", "2fcsl"]
"""The regularised model fit, or two-fold coupled structure learning."""


@dataclass(frozen=True)
class FitSettings:
    """Settings of the fit."""

    method: FitMethod = "model"
    places: LandmarkSource = "model"  # whose systematic offsets are subtracted from the points, see `landmark_places`
    identity_modes: int = 40  # 68 points cannot distinguish the later ones from noise
    expression_modes: int = 20
    iterations: int = 12  # the residual moves by less than 0.1 % after the tenth
    sigma_mm: float = 2.0  # landmark noise on eyes, nose, mouth: about 1.5 % of a face's height
    sigma_contour_mm: float = 6.0  # jaw points slide along the contour; brows vary with hair
    sigma_brow_mm: float = 3.5
    huber: float = 2.5  # in sigmas; farther points lose weight
    hidden_weight: float = 0.3  # a hidden point's place is the network's guess
    max_residual: float = 0.06  # share of the face's size (see `face_size`): worse annotations are left out of sets
    hopeless_residual: float = 0.12  # beyond, no confidence of the network's helps; below, a learnt rule decides
    max_shape: float = 3.0  # root mean square of the shape coefficients, standard deviations
    min_points: int = 12  # visible points below which 66 unknowns are prior, not picture

    def noise(self) -> LandmarkNoise:
        """Noise of the 68 landmarks."""
        sigma = np.full(68, self.sigma_mm)
        sigma[0:17] = self.sigma_contour_mm
        sigma[17:27] = self.sigma_brow_mm
        return LandmarkNoise(sigma, self.huber)

    def shift(self) -> Shift | None:
        """Where the given points systematically lie from the face model's own."""
        return None if self.places == "model" else LandmarkPlaces.load(self.places).shift


LOCATED = FitSettings(places="located")
"""Subtracts the systematic offsets of the package's landmark network, which makes the angles and shapes of turned and
nodding heads more accurate. The recognizer fits with it; the fit verdict, the descriptors and the thresholds were
trained with it.
"""


@dataclass(frozen=True, eq=False)
class BatchFit:
    """The parameters of B fitted faces.

    Attributes:
        rotation: (B, 3, 3); translation: (B, 2) px; scale: (B,) px per mm.
        shape: (B, K); expression: (B, E), standard deviations.
        points: (B, 68, 2) the model's landmarks in the picture, px.
        residual: (B,) weighted root mean square distance to the given landmarks, less their systematic part, px.
    """

    rotation: Floats
    translation: Floats
    scale: Floats
    shape: Floats
    expression: Floats
    points: Floats
    residual: Floats

    def camera(self, index: int) -> Camera:
        """The camera of face `index`."""
        return Camera(self.rotation[index], self.translation[index], float(self.scale[index]))

    @staticmethod
    def of(
        found: Estimate,
        points: Floats,
        weights: Floats,
        model: FaceModel,
        modes: Floats,
        identity_modes: int,
        shift: Shift | None,
    ) -> BatchFit:
        """What an estimate over `modes` (identity first) says about the landmarks it was made from."""
        placed = found.place(found.turned(model.landmark_mean[None], modes))
        expected = placed if shift is None else placed + shift(found)
        squared = ((points - expected) ** 2).sum(axis=2)
        rms = np.sqrt((weights * squared).sum(axis=1) / weights.sum(axis=1))
        shape, expression = found.coefficients[:, :identity_modes], found.coefficients[:, identity_modes:]
        return BatchFit(found.rotation, found.translation, found.scale, shape, expression, placed, rms)


def landmark_modes(model: FaceModel, identity_modes: int, expression_modes: int) -> Floats:
    """(3, 68, k + e) identity and expression modes at the landmarks, mm per standard deviation."""
    both = np.concatenate([model.landmark_identity[:identity_modes], model.landmark_expression[:expression_modes]])
    return np.ascontiguousarray(both.transpose(2, 1, 0))


def usable_points(points: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Points and weights with missing rows (NaN or weight 0) at 0 and of weight 0.

    Raises:
        InvalidInputError: wrong shapes, or a face with fewer than 6 points of positive weight.
    """
    if points.ndim != 3 or points.shape[1:] != (68, 2) or weights.shape != points.shape[:2]:
        raise InvalidInputError(f"expected points (B, 68, 2) and weights (B, 68); got {points.shape}, {weights.shape}")
    weights = np.where(np.isfinite(points).all(axis=2), weights, 0.0)
    if len(points) and (weights > 0).sum(axis=1).min() < 6:
        raise InvalidInputError("expected at least six landmarks of positive weight for each face")
    return np.where(weights[..., None] > 0, points, 0.0), weights


def fit_batch(points: Floats, weights: Floats, model: FaceModel, settings: FitSettings | None = None) -> BatchFit:
    """Fit B faces at once.

    Args:
        points: (B, 68, 2) landmarks, px; rows of weight 0 are ignored and may be NaN.
        weights: (B, 68) trust in [0, 1] in each point.
        model: the face model.
        settings: see `FitSettings`.

    Raises:
        InvalidInputError: wrong shapes, or a face with fewer than 6 points of positive weight.
    """
    settings = settings or FitSettings()
    points, weights = usable_points(points, weights)
    noise, shift = settings.noise(), settings.shift()
    if settings.method == "2fcsl":
        learnt = Shape2FCSL.load()
        modes = landmark_modes(model, learnt.identity_modes, learnt.expression_modes)
        found = learnt.solve(points, weights, model.landmark_mean, modes, noise, shift)
        return BatchFit.of(found, points, weights, model, modes, learnt.identity_modes, shift)
    modes = landmark_modes(model, settings.identity_modes, settings.expression_modes)
    found = solve(points, weights, model.landmark_mean[None], modes, noise, settings.iterations, shift)
    return BatchFit.of(found, points, weights, model, modes, settings.identity_modes, shift)


def face_size(camera: Camera) -> float:
    """Height of the mean face from brows to chin in the picture, px: what residuals are measured by."""
    return 115.0 * camera.scale


def landmark_weights(landmarks: Landmarks, settings: FitSettings) -> Floats:
    """(68,) trust in each landmark: its confidence, less where it is hidden."""
    trust = np.where(landmarks.visible, 1.0, settings.hidden_weight) * np.clip(landmarks.confidence, 0.05, 1.0)
    return np.asarray(trust, dtype=np.float64)


def fit_faces(
    landmarks: Sequence[Landmarks], model: FaceModel, settings: FitSettings | None = None
) -> list[FittedFace | UnusablePhotoError]:
    """Fit many faces at once.

    Args:
        landmarks: 68 points each (markup "ibug68").
        model: the face model.
        settings: see `FitSettings`.

    Returns:
        For each face its fit, or the error `fit_face` would raise.
    """
    return [
        found if isinstance(found, UnusablePhotoError) else found.without_surface()
        for found in fit_surfaces(landmarks, model, settings)
    ]


@dataclass(frozen=True, eq=False, repr=False)
class FittedSurface(FittedFace):
    """A stable fit with its surface and the visibility of it, from which lifting continues.

    Attributes:
        geometry: (G, G, 3) mm.
        view: what the camera sees of it.
    """

    geometry: Floats
    view: SurfaceView

    def without_surface(self) -> FittedFace:
        """The fit alone, which is small: what is kept of a face."""
        return FittedFace(self.shape, self.expression, self.camera, self.residual, self.points, self.visible)


def fit_surfaces(
    landmarks: Sequence[Landmarks], model: FaceModel, settings: FitSettings | None = None
) -> list[FittedSurface | UnusablePhotoError]:
    """`fit_faces`, with the surfaces."""
    settings = settings or FitSettings()
    judged: dict[int, FittedSurface | UnusablePhotoError] = {}
    for index, mark in enumerate(landmarks):
        if mark.markup != "ibug68":
            raise InvalidInputError(f"expected landmarks in the markup ibug68; got {mark.markup}")
        try:
            check_landmarks(mark, settings.min_points)
        except UnusablePhotoError as error:
            judged[index] = error
    tried = [index for index in range(len(landmarks)) if index not in judged]
    if tried:
        points = np.stack([landmarks[k].points for k in tried]).astype(np.float64)
        weights = np.stack([landmark_weights(landmarks[k], settings) for k in tried])
        fit = fit_batch(points, weights, model, settings)
        judged |= {index: _check_fits(fit, row, landmarks[index], model, settings) for row, index in enumerate(tried)}
    return [judged[index] for index in range(len(landmarks))]


def _check_fits(
    fit: BatchFit, row: int, landmarks: Landmarks, model: FaceModel, settings: FitSettings
) -> FittedSurface | UnusablePhotoError:
    camera = fit.camera(row)
    evidence = FitEvidence.of(
        landmarks, camera, float(fit.residual[row]) / face_size(camera), fit.shape[row], fit.expression[row]
    )
    try:
        evidence.check(settings.hopeless_residual, settings.max_shape)
        FitRule.load().check(evidence)
    except UnusablePhotoError as error:
        return error
    geometry = model.geometry(fit.shape[row], fit.expression[row])
    view = SurfaceView.of(model, geometry, camera, VisibilitySettings())
    visible = view.landmarks(model, VisibilitySettings())
    return FittedSurface(
        fit.shape[row], fit.expression[row], camera, float(fit.residual[row]), fit.points[row], visible, geometry, view
    )


def annotated_points(fitted: FittedFace) -> Floats:
    """(68, 2) px: where an annotator would put the landmarks of a fitted face; `fitted.points` are the model's own."""
    return fitted.points + LandmarkPlaces.load("annotated").under(fitted.camera)


def fit_face(landmarks: Landmarks, model: FaceModel, settings: FitSettings | None = None) -> FittedFace:
    """Fit one face.

    Args:
        landmarks: 68 points (markup "ibug68").
        model: the face model.
        settings: see `FitSettings`.

    Raises:
        UnusablePhotoError: `fit_unstable`, with the reason: too few visible points, points on a line or with left and
            right swapped, a residual too large for a face, or a shape no person has.
    """
    found = fit_faces([landmarks], model, settings)[0]
    if isinstance(found, UnusablePhotoError):
        raise found
    return found
