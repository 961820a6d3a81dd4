"""Regularised Gauss-Newton on landmarks: cameras of many faces, with or without the modes of their shape.

Minimises for each face, over a scaled-orthographic camera (s, R, t) and coefficients c,

    sum_i w_i |s (R X_i(c))_xy + t - x_i|^2 / (s sigma_i)^2 + |c|^2,      X_i(c) = mean_i + sum_k c_k modes_ki,

with sigma_i the landmark's noise, mm, and w_i the caller's trust times a robust (Huber) weight.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LandmarkNoise:
    """How far landmarks lie from where they belong.

    Attributes:
        sigma: (68,) standard deviations, mm.
        huber: distance, in standard deviations, beyond which a point loses weight.
    """

    sigma: Floats
    huber: float


@dataclass(frozen=True, eq=False)
class Estimate:
    """Cameras and coefficients of B faces.

    Attributes:
        rotation: (B, 3, 3); translation: (B, 2) px; scale: (B,) px per mm; coefficients: (B, n).
    """

    rotation: Floats
    translation: Floats
    scale: Floats
    coefficients: Floats

    def turned(self, mean: Floats, modes: Floats) -> Floats:
        """(B, 68, 3) points R X, mm; mean (B or 1, 68, 3), modes (3, 68, n)."""
        _, count, n = modes.shape
        moved = (self.coefficients @ modes.reshape(3 * count, n).T).reshape(len(self.scale), 3, count)
        return np.asarray((mean + moved.transpose(0, 2, 1)) @ self.rotation.transpose(0, 2, 1))

    def place(self, turned: Floats) -> Floats:
        """(B, 68, 2) px of points that `turned` gave."""
        return np.asarray(self.scale[:, None, None] * turned[..., :2] + self.translation[:, None])

    def angles(self) -> tuple[Floats, Floats, Floats]:
        """Yaw, pitch and roll (B,), degrees, as `Camera.angles` counts them."""
        r = self.rotation
        yaw, roll = np.arctan2(r[:, 2, 0], r[:, 2, 2]), np.arctan2(-r[:, 0, 1], r[:, 1, 1])
        return np.rad2deg(yaw), np.rad2deg(np.arcsin(np.clip(-r[:, 2, 1], -1.0, 1.0))), np.rad2deg(roll)

    def moved(self, step: Floats) -> Estimate:
        """The estimate after a step (B, 6 + n): turn, log scale, shift, coefficients; large turns are cut short."""
        turn = step[:, :3] * np.minimum(1.0, 0.6 / np.maximum(np.linalg.norm(step[:, :3], axis=1), 1e-12))[:, None]
        return Estimate(
            rotations(turn) @ self.rotation,
            self.translation + step[:, 4:6],
            self.scale * np.exp(np.clip(step[:, 3], -0.5, 0.5)),
            self.coefficients + step[:, 6:],
        )


def initial_estimate(points: Floats, weights: Floats, mean: Floats, n: int) -> Estimate:
    """Cameras of the mean face (68, 3) by linear least squares, then the nearest rotation; n coefficients of 0."""
    b = len(points)
    w = weights / weights.sum(axis=1, keepdims=True)
    centre = np.einsum("bl,bld->bd", w, points)
    model_centre = w @ mean
    spread = np.einsum("bl,bld->b", w, (points - centre[:, None]) ** 2)
    guess = np.sqrt(spread / np.einsum("bl,bld->b", w, (mean - model_centre[:, None]) ** 2))
    # A few virtual millimetres of ridge keep the depth column finite when all points lie near one plane. It pulls
    # towards a frontal camera, known up to scale from the spread of the points.
    ridge = np.diag([1e-3, 1e-3, 1e-1, 0.0]) * 68 * 20.0**2
    homogeneous = np.concatenate([mean, np.ones((68, 1))], axis=1)
    weighted = homogeneous.T[None] * (68 * w)[:, None]
    prior = np.zeros((b, 4, 2))
    prior[:, 0, 0] = prior[:, 1, 1] = guess
    affine = np.linalg.solve(weighted @ homogeneous + ridge, weighted @ points + ridge @ prior)
    rows = affine[:, :3].transpose(0, 2, 1)
    scale = np.linalg.norm(rows, axis=2).mean(axis=1)
    u, _, vt = np.linalg.svd(rows, full_matrices=False)
    first = u @ vt
    rotation = np.concatenate([first, np.cross(first[:, 0], first[:, 1])[:, None]], axis=1)
    translation = centre - scale[:, None] * np.einsum("bij,bj->bi", rotation, model_centre)[:, :2]
    return Estimate(rotation, translation, scale, np.zeros((b, n)))


def rotations(vector: Floats) -> Floats:
    """(B, 3) rotation vectors to (B, 3, 3) rotations (Rodrigues)."""
    angle = np.linalg.norm(vector, axis=1)[:, None, None]
    axis = vector / np.maximum(np.linalg.norm(vector, axis=1, keepdims=True), 1e-12)
    k = np.zeros((len(vector), 3, 3))
    k[:, 0, 1], k[:, 0, 2], k[:, 1, 2] = -axis[:, 2], axis[:, 1], -axis[:, 0]
    k = k - k.transpose(0, 2, 1)
    return np.asarray(np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * (k @ k))


def normal_equations(
    now: Estimate, points: Floats, weights: Floats, mean: Floats, modes: Floats, noise: LandmarkNoise, robust: bool
) -> tuple[Floats, Floats]:
    """Gauss-Newton's normal matrices (B, 6 + n, 6 + n) and right sides (B, 6 + n) at `now`, the prior included.

    Args:
        now: where to linearise.
        points: (B, 68, 2) px; weights: (B, 68).
        mean: (B or 1, 68, 3) mm; modes: (3, 68, n) mm per standard deviation.
        noise: of the landmarks.
        robust: weigh by Huber's function.
    """
    b, count, n = len(points), points.shape[1], modes.shape[2]
    s = now.scale[:, None]
    turned = now.turned(mean, modes)
    residual = np.moveaxis(points - now.place(turned), 2, 1)  # (B, 2, 68)
    # The columns of a point's two rows: turn, log scale, shift, coefficients. A small turn d about the camera's axes
    # moves R X by d x (R X).
    jacobian = np.empty((b, 2, count, 6 + n))
    x, y, z = (s * turned[..., axis] for axis in range(3))
    jacobian[:, 0, :, 0], jacobian[:, 0, :, 1], jacobian[:, 0, :, 2], jacobian[:, 0, :, 3] = 0.0, z, -y, x
    jacobian[:, 1, :, 0], jacobian[:, 1, :, 1], jacobian[:, 1, :, 2], jacobian[:, 1, :, 3] = -z, 0.0, x, y
    jacobian[:, 0, :, 4], jacobian[:, 0, :, 5] = 1.0, 0.0
    jacobian[:, 1, :, 4], jacobian[:, 1, :, 5] = 0.0, 1.0
    if n:
        scaled = now.rotation[:, :2] * s[..., None]
        jacobian[..., 6:] = (scaled @ modes.reshape(3, -1)).reshape(b, 2, count, n)
    unit = 1.0 / (noise.sigma * s)  # (B, 68), per px
    root = np.sqrt(weights) * unit
    if robust:
        distance = np.linalg.norm(residual, axis=1) * unit
        root = root * np.sqrt(np.minimum(1.0, noise.huber / np.maximum(distance, 1e-9)))
    jacobian *= root[:, None, :, None]
    flat = jacobian.reshape(b, 2 * count, 6 + n)
    target = (residual * root[:, None]).reshape(b, 2 * count, 1)
    normal = flat.transpose(0, 2, 1) @ flat
    gradient = (flat.transpose(0, 2, 1) @ target)[..., 0]
    own = np.arange(6, 6 + n)
    normal[:, own, own] += 1.0
    gradient[:, 6:] -= now.coefficients
    # A touch of damping: the turn about an axis is free when the points say nothing about it.
    camera = np.arange(6)
    normal[:, camera, camera] *= 1.0 + 1e-6
    return normal, gradient


POSE_ROUNDS = 2
"""First rounds that move the camera only: shape must not take up what a turn explains."""

PLAIN_ROUNDS = 3
"""First rounds without robust weights: far from the solution everything looks like an outlier."""


Shift = Callable[[Estimate], Floats]
"""(B, 68, 2) px: where points systematically lie from the model's own landmarks under an estimate's cameras."""


def solve(
    points: Floats,
    weights: Floats,
    mean: Floats,
    modes: Floats,
    noise: LandmarkNoise,
    rounds: int,
    shift: Shift | None = None,
) -> Estimate:
    """Cameras and coefficients of B faces.

    Args:
        points: (B, 68, 2) px; weights: (B, 68) >= 0, at least six of a face positive.
        mean: (B or 1, 68, 3) mm; modes: (3, 68, n) mm per standard deviation.
        noise: of the landmarks.
        rounds: of Gauss-Newton.
        shift: subtracted from the points before each round but the first, whose camera is only a guess. It moves by a
            fraction of what the camera moves, so leaving its derivative out costs two rounds and no more.
    """
    now = initial_estimate(points, weights, mean.mean(axis=0), modes.shape[2])
    for k in range(rounds):
        given = points if shift is None or k == 0 else points - shift(now)
        normal, gradient = normal_equations(now, given, weights, mean, modes, noise, k >= PLAIN_ROUNDS)
        step = np.asarray(np.linalg.solve(normal, gradient[..., None])[..., 0], dtype=np.float64)
        if k < POSE_ROUNDS:
            step[:, 6:] = 0.0
        now = now.moved(step)
    return now
