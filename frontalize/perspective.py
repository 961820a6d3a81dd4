"""A perspective camera for rendering, as real cameras are; the fit uses a scaled-orthographic one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerec.frontalize.types import Camera
from facerec.landmarks.errors import InvalidInputError


@dataclass(frozen=True, eq=False)
class PerspectiveCamera:
    """x_px = scale * distance * (R X)[:2] / (distance + (R X)[2]) + t: nearer parts are larger.

    Model space as in `facerec.frontalize.types.Camera`. At the depth of the model's origin it is that camera.

    Attributes:
        rotation: (3, 3) float64, R.
        translation: (2,) float64, px: where the origin's axis meets the picture.
        scale: px per millimetre at the origin's depth, > 0.
        distance: from the camera to the origin, mm.
    """

    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]
    scale: float
    distance: float

    def __post_init__(self) -> None:
        if self.rotation.shape != (3, 3) or self.translation.shape != (2,):
            raise InvalidInputError(
                f"expected rotation (3, 3), translation (2,); got {self.rotation.shape}, {self.translation.shape}"
            )
        if not (self.scale > 0 and self.distance > 0):
            raise InvalidInputError(f"expected a positive scale and distance; got {self.scale} and {self.distance}")

    @staticmethod
    def at(camera: Camera, distance: float) -> PerspectiveCamera:
        """The perspective camera that stands `distance` mm away and agrees with `camera` at the origin."""
        return PerspectiveCamera(camera.rotation, camera.translation, camera.scale, distance)

    def project(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Project (..., 3) points, mm, to (..., 3): x, y in px and depth in px (larger is farther).

        Raises:
            InvalidInputError: when a point lies at the camera or behind it.
        """
        turned = np.asarray(points @ self.rotation.T, dtype=np.float64)
        ahead = self.distance + turned[..., 2]
        if not (ahead > 0).all():
            raise InvalidInputError(
                f"expected points in front of the camera, {self.distance:g} mm away; got one behind"
            )
        turned *= self.scale
        turned[..., :2] *= (self.distance / ahead)[..., None]
        turned[..., :2] += self.translation
        return turned

    def towards(self, points: NDArray[np.floating]) -> Camera:
        """The scaled-orthographic camera that shows (N, 3) points, mm, most like this one does.

        It looks along the ray to their middle, not along the picture's axis, with the scale at their depth: a face at
        90 degrees of yaw stands 70 mm beside the axis, which turns it by some degrees.
        """
        middle = (points @ self.rotation.T).mean(axis=0) + [0.0, 0.0, self.distance]
        ray = middle / np.linalg.norm(middle)
        # The turn that carries the ray onto the axis, about the line square to both (Rodrigues).
        across, cosine = np.array([ray[1], -ray[0], 0.0]), ray[2]
        cross = np.array([[0, -across[2], across[1]], [across[2], 0, -across[0]], [-across[1], across[0], 0]])
        rotation = (np.eye(3) + cross + cross @ cross / (1 + cosine)) @ self.rotation
        scale = self.scale * self.distance / float(np.linalg.norm(middle))
        flat = scale * (points @ rotation.T)[:, :2]
        return Camera(rotation, self.project(points)[:, :2].mean(axis=0) - flat.mean(axis=0), scale)
