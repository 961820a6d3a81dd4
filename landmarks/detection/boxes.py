"""The AFLW-style face box: a square that means the same for a frontal face and a profile.

METHODS.md, section 5: the pose of a mean 3-D face is found from the visible landmarks (POSIT: DeMenthon & Davis,
"Model-based object pose in 25 lines of code", IJCV 1995); around the middle of the two projected eye centres lies a
sphere as wide as their distance; its projection, 50 units wide, sets the scale of the box.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.markup import IBUG68_MIRROR, IBUG68_REGIONS
from facerec.landmarks.types import Box, Landmarks

Floats = NDArray[np.float64]

FOCAL = 1.5
"""Focal length over the picture's width, as the AFLW tools assume."""

SPHERE = 50.0
"""Width of the projected sphere between the eyes in the box's units: what 1 unit is."""

SIDE = 128.0
"""Side of the box, units."""

DOWN = 25.0
"""From the eyes' middle down the face to the box's centre, units."""

EYE_CORNERS = (36, 39, 42, 45)
"""Rows of the 68-point markup that tell which way is up, when all four are seen."""

LEAST_POINTS = 6
"""A pose has six unknowns; fewer than six points leave it to chance."""

_EYES = [list(IBUG68_REGIONS["left_eye"]), list(IBUG68_REGIONS["right_eye"])]


@dataclass(frozen=True, eq=False)
class HeadPose:
    """A head in front of a pinhole camera: x_camera = rotation @ x_model + translation, px = focal x / z + centre.

    Attributes:
        rotation: (3, 3).
        translation: (3,) mm; z > 0 lies in front of the camera.
        focal: px.
        center: (2,) principal point, px.
    """

    rotation: Floats
    translation: Floats
    focal: float
    center: Floats

    def project(self, points: Floats) -> Floats:
        """(N, 3) mm of the model to (N, 2) px."""
        seen = points @ self.rotation.T + self.translation
        return np.asarray(self.focal * seen[:, :2] / seen[:, 2:] + self.center, dtype=np.float64)


def posit(points: Floats, model: Floats, focal: float, center: Floats, rounds: int = 30) -> HeadPose:
    """The pose of a 3-D shape from where its points are seen.

    Each round solves the scaled-orthographic problem for points that are moved by the perspective the last round found.

    Args:
        points: (N, 2) px, N >= 6, not all in one plane with the camera.
        model: (N, 3) mm: x right, y down, z away from the camera on a frontal face.
        focal: px; center: (2,) principal point, px.
        rounds: at most; a face a metre away settles in five.

    Raises:
        InvalidInputError: fewer than six points, other shapes, or points that fix no pose.
    """
    n = len(points)
    if points.shape != (n, 2) or model.shape != (n, 3) or n < LEAST_POINTS:
        raise InvalidInputError(
            f"expected at least {LEAST_POINTS} points (N, 2) and their model (N, 3); got {points.shape}, {model.shape}"
        )
    place = np.asarray(points, dtype=np.float64) - center
    middle = model.mean(axis=0)
    about = model - middle
    if np.linalg.matrix_rank(about, tol=1e-6 * float(np.abs(about).max())) < 3:
        raise InvalidInputError("expected points of a solid shape; got a plane or a line")
    solve = np.linalg.pinv(np.column_stack([about, np.ones(n)]))
    depth = np.ones(n)
    for _ in range(rounds):
        rows = solve @ (place * depth[:, None])
        lengths = np.linalg.norm(rows[:3], axis=0)
        if not np.isfinite(rows).all() or lengths.min() < 1e-9:
            raise InvalidInputError("expected points that fix a pose; got points in one place or on one line")
        scale = float(np.sqrt(lengths[0] * lengths[1]))
        # The nearest pair of orthonormal rows, rather than the second bent to the first: no axis is favoured.
        u, _, vt = np.linalg.svd(rows[:3].T / scale, full_matrices=False)
        across, down = u @ vt
        rotation = np.stack([across, down, np.cross(across, down)])
        distance = focal / scale
        before, depth = depth, 1 + about @ rotation[2] / distance
        if np.abs(depth - before).max() < 1e-10:
            break
    translation = np.array([*(rows[3] / scale), distance]) - rotation @ middle
    return HeadPose(rotation, translation, focal, np.asarray(center, dtype=np.float64))


def aflw_box(points: Floats, visible: NDArray[np.bool_], mean_face: Floats, picture: tuple[int, int]) -> Box:
    """The AFLW-style box of a face: square, its score 1.

    Args:
        points: (68, 2) px, ibug68; rows that are not visible may be NaN.
        visible: (68,) bool, the points that count, at least six.
        mean_face: (68, 3) mm, x right, y down, z away from the camera.
        picture: (height, width), px.

    Raises:
        InvalidInputError: other shapes, or too few points for a pose.
    """
    if points.shape != (68, 2) or visible.shape != (68,) or mean_face.shape != (68, 3):
        raise InvalidInputError(
            "expected points (68, 2), visible (68,) and a mean face (68, 3); got "
            f"{points.shape}, {visible.shape}, {mean_face.shape}"
        )
    height, width = picture
    known = visible & np.isfinite(points).all(axis=1)
    center = np.array([(width - 1) / 2, (height - 1) / 2])
    pose = posit(points[known].astype(np.float64), mean_face[known], FOCAL * width, center)
    left, right = (mean_face[eye].mean(axis=0) for eye in _EYES)
    between = (left + right) / 2
    eyes = pose.project(between[None])[0]
    unit = max(_sphere_extent(pose, between, float(np.linalg.norm(left - right)) / 2)) / SPHERE
    if known[list(EYE_CORNERS)].all():
        outer_left, inner_left, inner_right, outer_right = points[list(EYE_CORNERS)].astype(np.float64)
        along = (outer_right + inner_right) - (outer_left + inner_left)
        down = np.array([-along[1], along[0]])
    else:
        # The model's own way down (its y axis), one millimetre from the eyes.
        down = pose.project((between + [0.0, 1.0, 0.0])[None])[0] - eyes
    x, y = eyes + DOWN * unit * down / np.linalg.norm(down)
    half = SIDE * unit / 2
    return Box(float(x - half), float(y - half), float(x + half), float(y + half))


def landmark_box(landmarks: Landmarks, mean_face: Floats, picture: tuple[int, int]) -> Box:
    """`aflw_box` of located landmarks; its score 1. The hidden ones are guesses and do not count."""
    return aflw_box(landmarks.points.astype(np.float64), landmarks.visible, mean_face, picture)


def completed_by_mirror(points: Floats) -> Floats:
    """Points (68, 2) of a frontal face of which one half is annotated: missing rows from their reflection, px.

    The mirror is the line through the annotated points of the face's middle; rows unknown on both sides stay NaN.

    Raises:
        InvalidInputError: fewer than two points of the middle are annotated.
    """
    known = np.asarray(np.isfinite(points).all(axis=1), dtype=np.bool_)
    middle: NDArray[np.bool_] = np.asarray(known & (np.arange(68) == IBUG68_MIRROR))
    if middle.sum() < 2:
        raise InvalidInputError(f"expected two points on the face's middle or more; got {int(middle.sum())}")
    center = points[middle].mean(axis=0)
    axis = np.linalg.svd(points[middle] - center)[2][0]
    offset = points[IBUG68_MIRROR] - center
    reflected = center + 2 * (offset @ axis)[:, None] * axis - offset
    return np.where(known[:, None], points, reflected).astype(np.float64)


def _sphere_extent(pose: HeadPose, center: Floats, radius: float) -> tuple[float, float]:
    """Width and height of a sphere's projection, px: the tangents from the camera, axis by axis."""
    seen = pose.rotation @ center + pose.translation
    z = float(seen[2])
    if z <= radius:
        raise InvalidInputError(f"expected a face in front of the camera; got one {z:.0f} mm away")
    reach = [2 * radius * np.sqrt(float(v) ** 2 + z**2 - radius**2) / (z**2 - radius**2) for v in seen[:2]]
    return float(pose.focal * reach[0]), float(pose.focal * reach[1])
