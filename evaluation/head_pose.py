"""The pose of heads from located landmarks, against a set that states it (AFLW2000-3D).

AFLW2000-3D writes a pose as R = Rx(pitch) Ry(yaw) Rz(roll) with x to the right, y up and z to the viewer; yaw > 0 turns
the nose to the image's left, pitch > 0 up, roll > 0 clockwise. Published errors are of these angles, so errors are
measured in them; `Camera` has the same rotation in axes of its own (y down, z away from the viewer).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerec.evaluation.landmark_errors import LandmarkResult, rotation_of_points
from facerec.evaluation.protocols.landmark_sets import AnnotatedPicture

Matrix = NDArray[np.float64]

MOST_TURNED = 99.0
"""Degrees: faces with a larger angle are left out of the mean errors, as published figures leave them out."""

_FLIP = np.diag([1.0, -1.0, -1.0])


def aflw_rotation(pitch: float, yaw: float, roll: float) -> Matrix:
    """Rotation (3, 3) in `Camera`'s axes of AFLW2000-3D's angles, degrees."""
    p, y, r = np.deg2rad([pitch, yaw, roll])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    about_y = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(r), np.sin(r), 0], [-np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return np.asarray(_FLIP @ about_x @ about_y @ about_z @ _FLIP)


def aflw_angles(rotation: Matrix) -> tuple[float, float, float]:
    """(pitch, yaw, roll), degrees, as AFLW2000-3D writes a rotation in `Camera`'s axes."""
    own = _FLIP @ rotation @ _FLIP
    yaw = np.arcsin(np.clip(-own[0, 2], -1.0, 1.0))
    pitch, roll = np.arctan2(own[1, 2], own[2, 2]), np.arctan2(own[0, 1], own[0, 0])
    return float(np.rad2deg(pitch)), float(np.rad2deg(yaw)), float(np.rad2deg(roll))


def pose_figures(
    annotated: Sequence[AnnotatedPicture], results: Sequence[LandmarkResult], mean_face: Matrix
) -> dict[str, Any]:
    """Errors of the pose that a rigid mean face takes on the located points, degrees; keys in docs/reports.md.

    {} for a set that states no whole pose. Faces that were not found are counted, and in no mean.

    Args:
        annotated, results: the faces and what was located.
        mean_face: (68, 3) mm.
    """
    stated = [(one, result) for one, result in zip(annotated, results, strict=True) if one.rotation is not None]
    if not stated:
        return {}
    kept, missed, errors, turned = 0, 0, [], []
    for one, result in stated:
        assert one.rotation is not None
        truth = np.array(aflw_angles(one.rotation))
        if np.abs(truth).max() > MOST_TURNED:
            continue
        kept += 1
        found = None if result.points is None else rotation_of_points(result.points, mean_face)
        if found is None:
            missed += 1
            continue
        apart = np.abs(np.array(aflw_angles(found)) - truth)
        errors.append(np.minimum(apart, 360 - apart))
        turned.append(np.rad2deg(np.arccos(np.clip((np.trace(found @ one.rotation.T) - 1) / 2, -1.0, 1.0))))
    means = np.mean(errors, axis=0) if errors else [None] * 3
    mean = {f"mae_{name}": value for name, value in zip(("pitch", "yaw", "roll"), means, strict=True)}
    return {
        "pose": {
            "n": kept,
            "left_out": len(stated) - kept,
            "missed": missed,
            **mean,
            "mae": float(np.mean(errors)) if errors else None,
            "rotation": float(np.mean(turned)) if turned else None,
        }
    }
