"""The values that travel through the 3-D stage: camera, fitted face, face texture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError


@dataclass(frozen=True, eq=False)
class Camera:
    """A scaled-orthographic camera: x_px = scale * (R X)[:2] + t.

    Model space: x to the image's right on a frontal face, y down, z away from the camera (so a frontal face looks
    along -z and a point nearer to the camera has the smaller depth); unit: millimetre.

    Attributes:
        rotation: (3, 3) float64, R.
        translation: (2,) float64, t, px.
        scale: px per millimetre, > 0.
    """

    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]
    scale: float

    def __post_init__(self) -> None:
        if self.rotation.shape != (3, 3) or self.translation.shape != (2,):
            raise InvalidInputError(
                f"expected rotation (3, 3), translation (2,); got {self.rotation.shape}, {self.translation.shape}"
            )
        if not (np.isfinite(self.rotation).all() and np.isfinite(self.translation).all() and self.scale > 0):
            raise InvalidInputError("expected a finite camera with a positive scale")

    def __repr__(self) -> str:
        yaw, pitch, roll = self.angles
        return f"Camera(yaw {yaw:+.1f}, pitch {pitch:+.1f}, roll {roll:+.1f} degrees, {self.scale:.3g} px/mm)"

    def project(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Project (..., 3) points, mm, to (..., 3): x, y in px and depth in px (larger is farther)."""
        turned = points @ self.rotation.T * self.scale
        turned[..., :2] += self.translation
        return np.asarray(turned, dtype=np.float64)

    @staticmethod
    def from_angles(
        yaw: float, pitch: float, roll: float, scale: float = 1.0, translation: tuple[float, float] = (0.0, 0.0)
    ) -> Camera:
        """Camera that shows the head at the given angles, degrees (see `yaw`, `pitch`, `roll`)."""
        y, p, r = np.deg2rad([yaw, pitch, roll])
        # A frontal face looks along -z. Yaw > 0 turns the nose (at -z) to +x; pitch > 0 turns it to -y (up);
        # roll > 0 turns the picture clockwise (x towards y, y pointing down).
        about_y = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
        about_x = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
        about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
        # The head turns about its own upright axis first, then nods in front of the camera, then tilts in the picture.
        return Camera(about_z @ about_x @ about_y, np.asarray(translation, dtype=np.float64), scale)

    @property
    def angles(self) -> tuple[float, float, float]:
        """(yaw, pitch, roll), degrees.

        Yaw > 0: the nose points to the image's right; pitch > 0: up; roll > 0: clockwise.
        """
        # R = Rz(roll) Rx(pitch) Ry(yaw)
        R = self.rotation
        pitch = np.arcsin(np.clip(-R[2, 1], -1.0, 1.0))
        yaw = np.arctan2(R[2, 0], R[2, 2])
        roll = np.arctan2(-R[0, 1], R[1, 1])
        return float(np.rad2deg(yaw)), float(np.rad2deg(pitch)), float(np.rad2deg(roll))

    @property
    def yaw(self) -> float:
        """Yaw, degrees; > 0: the nose points to the image's right."""
        return self.angles[0]

    @property
    def pitch(self) -> float:
        """Pitch, degrees; > 0: the nose points up."""
        return self.angles[1]

    @property
    def roll(self) -> float:
        """Roll, degrees; > 0: clockwise in the picture."""
        return self.angles[2]


@dataclass(frozen=True, eq=False)
class FittedFace:
    """A 3-D face model fitted to landmarks. The mesh is derived: `FaceModel.geometry(shape, expression)`.

    Attributes:
        shape: (K,) float64 identity coefficients, in standard deviations.
        expression: (E,) float64 expression coefficients, in standard deviations.
        camera: the camera that puts the face into the picture.
        residual: root mean square distance of the fitted points from the landmarks, px.
        points: (68, 2) float64, px: the model's 68 landmarks in the picture, the hidden ones where they would be.
        visible: (68,) bool: which of them the z-buffer says the camera sees.
    """

    shape: NDArray[np.float64]
    expression: NDArray[np.float64]
    camera: Camera
    residual: float
    points: NDArray[np.float64]
    visible: NDArray[np.bool_]

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({len(self.shape)} shape and {len(self.expression)} expression coefficients, "
            f"{self.camera!r}, residual {self.residual:.2f} px)"
        )


@dataclass(frozen=True, eq=False)
class FaceTexture:
    """What the camera saw of the face, in the UV chart.

    The chart is upright (forehead on top) and mirror-symmetric about its middle column. A frontal face looks in the
    chart as it does in the picture: the image's left is the chart's left.

    Attributes:
        pixels: (T, T, 3) uint8 RGB; texels that were not seen are 0.
        visible: (T, T) float32 in [0, 1], 0 where nothing was seen, otherwise how squarely the surface faced the
            camera.
        cut: of the inner face's texels (brows to mouth) that face the camera, the share that the photograph does not
            show: they lie outside it or in a patch of one colour (a bar, a filled border), in [0, 1].
    """

    pixels: NDArray[np.uint8]
    visible: NDArray[np.float32]
    cut: float = 0.0

    def __post_init__(self) -> None:
        t = self.visible.shape[0]
        if self.pixels.shape != (t, t, 3) or self.pixels.dtype != np.uint8 or self.visible.shape != (t, t):
            raise InvalidInputError(
                f"expected pixels (T, T, 3) uint8 and visible (T, T); got {self.pixels.shape} {self.pixels.dtype}, "
                f"{self.visible.shape}"
            )

    @property
    def visible_share(self) -> float:
        """Share of the texels that the camera saw at all, in [0, 1]."""
        return float((self.visible > 0).mean())

    @property
    def mask(self) -> NDArray[np.uint8]:
        """(T, T, 3) uint8 RGB, `visible` as a grey picture: black where nothing was seen."""
        grey = np.rint(255 * np.clip(self.visible, 0, 1)).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)

    def __repr__(self) -> str:
        side = len(self.visible)
        return f"FaceTexture({side} x {side} texels, {self.visible_share:.0%} seen)"
