"""Fitting the face model to landmarks: camera, shape and expression by regularised Gauss-Newton.

Minimises, over a scaled-orthographic camera (s, R, t), shape p and expression q,

    sum_i w_i |s (R X_i(p, q))_xy + t - x_i|^2 / (s sigma_i)^2 + |p|^2 + |q|^2,

with robust weights w_i (Huber) times the caller's trust in the point. All faces of a batch are solved together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.types import Camera, FittedFace
from facerec.frontalize.visibility import landmark_visibility
from facerec.landmarks.errors import InvalidInputError, UnusablePhotoError
from facerec.landmarks.types import Landmarks

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FitSettings:
    """Settings of the fit."""

    identity_modes: int = 40  # 68 points cannot tell the later ones from noise
    expression_modes: int = 20
    iterations: int = 12  # the residual moves by less than 0.1 % after the tenth
    sigma_mm: float = 2.0  # landmark noise on eyes, nose, mouth: about 1.5 % of a face's height
    sigma_contour_mm: float = 6.0  # jaw points slide along the contour; brows vary with hair
    sigma_brow_mm: float = 3.5
    huber: float = 2.5  # in sigmas; farther points lose weight
    hidden_weight: float = 0.3  # a hidden point's place is the network's guess
    max_residual: float = 0.06  # share of the face's size (see `face_size`) beyond which a fit is called unstable
    max_shape: float = 3.0  # root mean square of the shape coefficients, standard deviations
    min_points: int = 12  # visible points below which 66 unknowns are prior, not picture


def point_sigmas(settings: FitSettings) -> Floats:
    """(68,) landmark noise, mm."""
    sigma = np.full(68, settings.sigma_mm)
    sigma[0:17] = settings.sigma_contour_mm
    sigma[17:27] = settings.sigma_brow_mm
    return sigma


@dataclass(frozen=True, eq=False)
class BatchFit:
    """The parameters of B fitted faces.

    Attributes:
        rotation: (B, 3, 3); translation: (B, 2) px; scale: (B,) px per mm.
        shape: (B, K); expression: (B, E), standard deviations.
        points: (B, 68, 2) the model's landmarks in the picture, px.
        residual: (B,) weighted root mean square distance to the given landmarks, px.
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


def _initial_camera(points: Floats, weights: Floats, mean: Floats) -> tuple[Floats, Floats, Floats]:
    """Scaled-orthographic cameras of the mean face by linear least squares, then the nearest rotation."""
    b = len(points)
    rotation, translation, scale = np.empty((b, 3, 3)), np.empty((b, 2)), np.empty(b)
    homogeneous = np.concatenate([mean, np.ones((68, 1))], axis=1)
    # A few virtual millimetres of ridge keep the depth column finite when all points lie near one plane.
    ridge = np.diag([1e-3, 1e-3, 1e-1, 0.0]) * 68 * 20.0**2
    # The ridge pulls towards a frontal camera, known up to scale from the spread of the points.
    for k in range(b):
        w = weights[k] / weights[k].sum()
        centre = (w[:, None] * points[k]).sum(axis=0)
        spread = np.sqrt((w[:, None] * (points[k] - centre) ** 2).sum())
        model_centre = (w[:, None] * mean).sum(axis=0)
        guess = spread / np.sqrt((w[:, None] * (mean - model_centre) ** 2).sum())
        left = homogeneous.T @ (w[:, None] * homogeneous) * 68 + ridge
        prior = np.zeros((4, 2))
        prior[0, 0] = prior[1, 1] = guess
        affine = np.linalg.solve(left, homogeneous.T @ (w[:, None] * points[k]) * 68 + ridge @ prior)
        rows = affine[:3].T
        scale[k] = np.linalg.norm(rows, axis=1).mean()
        u, _, vt = np.linalg.svd(rows, full_matrices=False)
        first = u @ vt
        full = np.stack([first[0], first[1], np.cross(first[0], first[1])])
        rotation[k] = full
        translation[k] = centre - scale[k] * (full @ model_centre)[:2]
    return rotation, translation, scale


def _turn(vector: Floats) -> Floats:
    """(B, 3) rotation vectors to (B, 3, 3) rotations (Rodrigues)."""
    angle = np.linalg.norm(vector, axis=1)[:, None, None]
    axis = vector / np.maximum(np.linalg.norm(vector, axis=1, keepdims=True), 1e-12)
    k = np.zeros((len(vector), 3, 3))
    k[:, 0, 1], k[:, 0, 2], k[:, 1, 2] = -axis[:, 2], axis[:, 1], -axis[:, 0]
    k = k - k.transpose(0, 2, 1)
    return np.asarray(np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * (k @ k))


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
    if points.ndim != 3 or points.shape[1:] != (68, 2) or weights.shape != points.shape[:2]:
        raise InvalidInputError(f"expected points (B, 68, 2) and weights (B, 68); got {points.shape}, {weights.shape}")
    weights = np.where(np.isfinite(points).all(axis=2), weights, 0.0)
    if len(points) and (weights > 0).sum(axis=1).min() < 6:
        raise InvalidInputError("expected at least six landmarks of positive weight for each face")
    points = np.where(weights[..., None] > 0, points, 0.0)
    k, e = settings.identity_modes, settings.expression_modes
    basis = np.concatenate([model.landmark_identity[:k], model.landmark_expression[:e]])
    mean = model.landmark_mean
    b, n = len(points), k + e
    rotation, translation, scale = _initial_camera(points, weights, mean)
    coefficients = np.zeros((b, n))
    inverse_sigma = 1.0 / point_sigmas(settings)
    residual = np.zeros((b, 68, 2))

    def project() -> tuple[Floats, Floats]:
        surface = mean + np.tensordot(coefficients, basis, axes=1)
        turned = np.einsum("bij,blj->bli", rotation, surface)
        return turned, scale[:, None, None] * turned[..., :2] + translation[:, None]

    for iteration in range(settings.iterations):
        turned, projected = project()
        residual = points - projected
        unit = inverse_sigma[None] / scale[:, None]
        distance = np.linalg.norm(residual, axis=2) * unit
        robust = np.minimum(1.0, settings.huber / np.maximum(distance, 1e-9))
        if iteration < 3:
            robust = np.ones_like(robust)  # far from the solution everything looks like an outlier
        root = np.sqrt(weights * robust) * unit
        jacobian = np.empty((b, 68, 2, 6 + n))
        s = scale[:, None]
        # A small turn d about the camera's axes moves R X by d x (R X).
        jacobian[:, :, 0, 0], jacobian[:, :, 1, 0] = 0.0, -s * turned[..., 2]
        jacobian[:, :, 0, 1], jacobian[:, :, 1, 1] = s * turned[..., 2], 0.0
        jacobian[:, :, 0, 2], jacobian[:, :, 1, 2] = -s * turned[..., 1], s * turned[..., 0]
        jacobian[..., 3] = s[..., None] * turned[..., :2]  # d / d log s
        jacobian[:, :, 0, 4], jacobian[:, :, 1, 4] = 1.0, 0.0
        jacobian[:, :, 0, 5], jacobian[:, :, 1, 5] = 0.0, 1.0
        modes = np.einsum("bij,nlj->blin", rotation[:, :2], basis)
        jacobian[..., 6:] = modes * s[..., None, None]
        flat = (jacobian * root[..., None, None]).reshape(b, 136, 6 + n)
        target = (residual * root[..., None]).reshape(b, 136)
        normal = flat.transpose(0, 2, 1) @ flat
        gradient = np.einsum("brn,br->bn", flat, target)
        diagonal = np.arange(6, 6 + n)
        normal[:, diagonal, diagonal] += 1.0
        gradient[:, 6:] -= coefficients
        # A touch of damping: the turn about an axis is free when the points say nothing about it.
        every = np.arange(6)
        normal[:, every, every] *= 1.0 + 1e-6
        step = np.linalg.solve(normal, gradient[..., None])[..., 0]
        if iteration < 2:
            step[:, 6:] = 0.0  # the pose first: shape must not take up what a turn explains
        turn = step[:, :3]
        turn *= np.minimum(1.0, 0.6 / np.maximum(np.linalg.norm(turn, axis=1, keepdims=True), 1e-12))
        rotation = _turn(turn) @ rotation
        growth = np.clip(step[:, 3], -0.5, 0.5)
        scale = scale * np.exp(growth)
        translation = translation + step[:, 4:6]
        coefficients = coefficients + step[:, 6:]
    _, projected = project()
    squared = ((points - projected) ** 2).sum(axis=2)
    rms = np.sqrt((weights * squared).sum(axis=1) / weights.sum(axis=1))
    return BatchFit(rotation, translation, scale, coefficients[:, :k], coefficients[:, k:], projected, rms)


def face_size(camera: Camera) -> float:
    """Height of the mean face from brows to chin in the picture, px: what residuals are measured by."""
    return 115.0 * camera.scale


def fit_face(landmarks: Landmarks, model: FaceModel, settings: FitSettings | None = None) -> FittedFace:
    """Fit one face.

    Args:
        landmarks: 68 points (markup "ibug68").
        model: the face model.
        settings: see `FitSettings`.

    Raises:
        UnusablePhotoError: `fit_unstable`, with the reason: too few visible points, a residual too large for a face,
            or a shape no person has.
    """
    settings = settings or FitSettings()
    if landmarks.markup != "ibug68":
        raise InvalidInputError(f"expected landmarks in the markup ibug68; got {landmarks.markup}")
    seen = int(landmarks.visible.sum())
    if seen < settings.min_points:
        raise UnusablePhotoError("fit_unstable", f"{seen} visible landmarks, at least {settings.min_points} needed")
    weights = np.where(landmarks.visible, 1.0, settings.hidden_weight) * np.clip(landmarks.confidence, 0.05, 1.0)
    fit = fit_batch(landmarks.points[None].astype(np.float64), weights[None], model, settings)
    camera = fit.camera(0)
    relative = float(fit.residual[0]) / face_size(camera)
    if relative > settings.max_residual:
        raise UnusablePhotoError(
            "fit_unstable",
            f"the model misses the landmarks by {100 * relative:.1f} % of the face, more than "
            f"{100 * settings.max_residual:.1f} %",
        )
    implausible = float(np.sqrt((fit.shape[0] ** 2).mean()))
    if implausible > settings.max_shape:
        raise UnusablePhotoError("fit_unstable", f"the fitted shape lies {implausible:.1f} standard deviations out")
    visible = landmark_visibility(model, fit.shape[0], fit.expression[0], camera)
    return FittedFace(fit.shape[0], fit.expression[0], camera, float(fit.residual[0]), fit.points[0], visible)
