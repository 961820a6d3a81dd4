"""What the camera sees of the face turns with the head, and mirrors with it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.synthesize import UHDB31_POSES
from facerec.frontalize.types import Camera
from facerec.frontalize.visibility import (
    VisibilitySettings,
    depth_gap,
    landmark_visibility,
    node_visibility,
    surface_normals,
)
from facerec.landmarks.markup import IBUG68_MIRROR

NONE = np.zeros(0)
EYE_CORNERS = [36, 39, 42, 45]


def seen_at(model: FaceModel, yaw: float, pitch: float = 0.0) -> np.ndarray:
    return landmark_visibility(model, NONE, NONE, Camera.from_angles(yaw, pitch, 0, 1.5))


def test_normals_point_outwards_and_have_unit_length(model: FaceModel) -> None:
    normals = surface_normals(model.mean)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=2), 1.0)
    row, column = np.rint(model.landmark_uv[[30, 2, 14]] * (model.size - 1)).astype(int)[:, ::-1].T
    nose, left, right = normals[row, column]
    assert nose[2] < -0.5
    assert left[0] < -0.5
    assert right[0] > 0.5


def test_a_frontal_face_shows_both_eyes_the_nose_and_the_mouth(model: FaceModel) -> None:
    assert seen_at(model, 0)[17:].all()


@pytest.mark.parametrize(("yaw", "near"), [(90, slice(36, 42)), (-90, slice(42, 48))])
def test_a_profile_shows_the_near_eye_only(model: FaceModel, yaw: float, near: slice) -> None:
    seen = seen_at(model, yaw)
    far = slice(42, 48) if near.start == 36 else slice(36, 42)
    assert seen[near].any()
    assert not seen[far].any()
    # The half of the jaw that belongs to the far eye is gone with it.
    far_jaw = slice(9, 17) if far.start == 42 else slice(0, 8)
    assert not seen[far_jaw].any()


@pytest.mark.parametrize(("yaw", "pitch"), sorted({(yaw, pitch) for _, yaw, pitch in UHDB31_POSES if yaw > 0}))
def test_the_mirrored_pose_shows_the_mirrored_face(model: FaceModel, yaw: float, pitch: float) -> None:
    seen, mirrored = (node_visibility(model, model.mean, Camera.from_angles(y, pitch, 0, 1.5)) for y in (yaw, -yaw))
    assert ((seen > 0) != (mirrored[:, ::-1] > 0)).mean() < 0.003
    assert (seen_at(model, yaw, pitch) != seen_at(model, -yaw, pitch)[IBUG68_MIRROR]).sum() <= 2


def test_the_near_eye_keeps_its_inner_corner_in_profile(model: FaceModel) -> None:
    # It faces the camera less than the far eye's inner corner does, which lies beyond the nose's bridge.
    seen = node_visibility(model, model.mean, Camera.from_angles(55, 0, 0, 1.5)) > 0
    eye = (model.landmark_uv[36:42] * (model.size - 1)).round().astype(int)
    (u0, v0), (u1, v1) = eye.min(axis=0), eye.max(axis=0)
    assert seen[v0 : v1 + 1, u0 : u1 + 1].mean() > 0.95


def test_what_is_seen_hangs_together(model: FaceModel) -> None:
    for yaw in (0, 45, 60, -60, 80):
        seen = node_visibility(model, model.mean, Camera.from_angles(yaw, 0, 0, 1.5)) > 0
        _, _, figures, _ = cv2.connectedComponentsWithStats(seen.astype(np.uint8), connectivity=4)
        assert figures[1:, cv2.CC_STAT_AREA].min() >= 0.02 * seen.sum()


def test_the_middle_line_is_seen_alike_from_both_sides(model: FaceModel) -> None:
    middle = np.flatnonzero(np.arange(68) == IBUG68_MIRROR)
    assert len(middle) == 10
    np.testing.assert_array_equal(seen_at(model, 90)[middle], seen_at(model, -90)[middle])


def test_a_node_is_seen_by_how_squarely_it_faces_the_camera(model: FaceModel) -> None:
    camera = Camera.from_angles(20, 10, 5, 1.5)
    visible = node_visibility(model, model.mean, camera)
    facing = -(surface_normals(model.mean) @ camera.rotation.T)[..., 2]
    seen = visible > 0
    np.testing.assert_allclose(visible[seen], facing[seen])
    assert facing[seen].min() > VisibilitySettings().min_cosine
    assert visible.max() <= 1.0


def test_the_nose_hides_what_lies_behind_it(model: FaceModel) -> None:
    # At 60 degrees the far nostril's wing and cheek face the camera in part, yet the nose stands before them.
    camera = Camera.from_angles(60, 0, 0, 1.5)
    gap = depth_gap(model, model.mean, camera, VisibilitySettings())
    facing = -(surface_normals(model.mean) @ camera.rotation.T)[..., 2]
    hidden = (facing > 0.15) & (gap > 6)
    assert hidden.sum() > 20
    assert (node_visibility(model, model.mean, camera)[hidden] == 0).all()
    assert (gap >= 0).all()


def test_visibility_does_not_depend_on_where_and_how_large_the_face_stands(model: FaceModel) -> None:
    one = node_visibility(model, model.mean, Camera.from_angles(35, -10, 0, 1.0))
    other = node_visibility(model, model.mean, Camera.from_angles(35, -10, 0, 7.3, (912.0, -55.0)))
    np.testing.assert_allclose(one, other, atol=1e-9)
