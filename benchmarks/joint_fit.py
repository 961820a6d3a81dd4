"""One shape for several photographs of a person: each has a camera and an expression of its own.

A single view leaves depth to the prior; two views from different sides do not. Each round's normal equations are an
arrow: cameras and expressions meet only in the shape, so they are eliminated view by view (Schur's complement).
Not part of the product: `fit.py` measures what it would bring.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.fit import (
    BatchFit,
    FitSettings,
    landmark_modes,
    usable_points,
)
from facerec.frontalize.gauss_newton import PLAIN_ROUNDS, POSE_ROUNDS, initial_estimate, normal_equations

Floats = NDArray[np.float64]


def fit_jointly(points: Floats, weights: Floats, model: FaceModel, settings: FitSettings | None = None) -> BatchFit:
    """Fit V photographs of one person with one shape, by the model fit whatever `settings.method` says.

    Args:
        points: (V, 68, 2) landmarks, px; rows of weight 0 are ignored and may be NaN.
        weights: (V, 68) trust in [0, 1] in each point.
        model: the face model.
        settings: see `FitSettings`.

    Returns:
        As `fit_batch`; all rows of `shape` are equal. With one photograph it is `fit_batch`'s answer.

    Raises:
        InvalidInputError: wrong shapes, or a photograph with fewer than 6 points of positive weight.
    """
    settings = settings or FitSettings()
    points, weights = usable_points(points, weights)
    k = settings.identity_modes
    modes = landmark_modes(model, k, settings.expression_modes)
    mean, noise, shift = model.landmark_mean[None], settings.noise(), settings.shift()
    now = initial_estimate(points, weights, model.landmark_mean, modes.shape[2])
    shape = slice(6, 6 + k)
    own = np.r_[0:6, 6 + k : 6 + modes.shape[2]]
    for round_index in range(settings.iterations):
        given = points if shift is None or round_index == 0 else points - shift(now)
        normal, gradient = normal_equations(now, given, weights, mean, modes, noise, round_index >= PLAIN_ROUNDS)
        if len(points):
            # Every view's equations carry the prior of the shape; it counts once.
            surplus = (len(points) - 1) / len(points)
            normal[:, range(6, 6 + k), range(6, 6 + k)] -= surplus
            gradient[:, shape] += surplus * now.coefficients[:, :k]
        inner, coupling = normal[:, own[:, None], own], normal[:, own, shape]
        solved = np.linalg.solve(inner, np.concatenate([coupling, gradient[:, own, None]], axis=2))
        through, rest = solved[..., :-1], solved[..., -1]
        left = (normal[:, shape, shape] - coupling.transpose(0, 2, 1) @ through).sum(axis=0)
        right = (gradient[:, shape] - np.einsum("vik,vi->vk", coupling, rest)).sum(axis=0)
        step = np.empty_like(gradient)
        step[:, shape] = np.linalg.solve(left, right)
        step[:, own] = rest - through @ step[0, shape]
        if round_index < POSE_ROUNDS:
            step[:, 6:] = 0.0
        now = now.moved(step)
    return BatchFit.of(now, points, weights, model, modes, k, shift)
