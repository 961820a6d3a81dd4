"""When a fit cannot be trusted: before it is made, by its figures, and by a rule learnt on known good and bad fits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from facerec.frontalize.types import Camera
from facerec.landmarks.checkpoint import load_weights
from facerec.landmarks.errors import InvalidInputError, UnusablePhotoError
from facerec.landmarks.types import Landmarks

Floats = NDArray[np.float64]

FLATTEST = 0.2
"""Least ratio of the second to the first spread of the landmarks: CFP's profiles have 0.47 and more, a line has 0."""

FARTHEST_TURN = -0.25
"""Least cosine between the face's direction and the camera's: below, one looks at the face from behind (yaw beyond 105
degrees). That is where a fit ends when the landmarks' left and right are swapped; true profiles keep above -0.1."""


def check_landmarks(landmarks: Landmarks, min_points: int) -> None:
    """Refuse landmarks nothing can be fitted to.

    Args:
        landmarks: of one face.
        min_points: visible landmarks needed.

    Raises:
        UnusablePhotoError: `fit_unstable`: too few visible points, or all on a line.
    """
    seen = int(landmarks.visible.sum())
    if seen < min_points:
        raise UnusablePhotoError("fit_unstable", f"{seen} visible landmarks, at least {min_points} needed")
    points = landmarks.points.astype(np.float64)
    first, second = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    flat = second / max(first, 1e-9)
    if flat < FLATTEST:
        raise UnusablePhotoError(
            "fit_unstable",
            f"the landmarks lie on a line: their spread across it is {100 * flat:.0f} % of that along it",
        )


@dataclass(frozen=True)
class FitEvidence:
    """What tells a good fit from a bad one.

    Attributes:
        residual: root mean square distance of the fitted from the given landmarks, a share of the face's size.
        shape, expression: root mean square of the coefficients, standard deviations.
        confidence: mean confidence of the landmarks.
        visible: share of the landmarks that are visible.
        facing: cosine between the direction the face looks in and the direction to the camera.
    """

    residual: float
    shape: float
    expression: float
    confidence: float
    visible: float
    facing: float

    @staticmethod
    def of(landmarks: Landmarks, camera: Camera, residual: float, shape: Floats, expression: Floats) -> FitEvidence:
        """The evidence of one fit; `residual` is a share of the face's size."""
        return FitEvidence(
            residual=residual,
            shape=float(np.sqrt((shape**2).mean())) if len(shape) else 0.0,
            expression=float(np.sqrt((expression**2).mean())) if len(expression) else 0.0,
            confidence=float(landmarks.confidence.mean()),
            visible=float(landmarks.visible.mean()),
            facing=float(camera.rotation[2, 2]),
        )

    def check(self, max_residual: float, max_shape: float) -> None:
        """Refuse what is no face, whatever the landmark network says about it.

        Raises:
            UnusablePhotoError: `fit_unstable`: seen from behind, a residual above `max_residual`, or coefficients above
                `max_shape` standard deviations.
        """
        if self.facing < FARTHEST_TURN:
            raise UnusablePhotoError(
                "fit_unstable", "the face would be seen from behind: left and right of the landmarks are swapped"
            )
        if self.residual > max_residual:
            raise UnusablePhotoError(
                "fit_unstable",
                f"the model misses the landmarks by {100 * self.residual:.1f} % of the face, more than "
                f"{100 * max_residual:.1f} %",
            )
        if self.shape > max_shape:
            raise UnusablePhotoError("fit_unstable", f"the fitted shape lies {self.shape:.1f} standard deviations out")
