"""The AFLW-style box: the pose it stands on, and that it means the same from every side."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from facerec.landmarks.detection.boxes import (
    DOWN,
    EYE_CORNERS,
    SIDE,
    SPHERE,
    HeadPose,
    aflw_box,
    completed_by_mirror,
    landmark_box,
    posit,
)
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.markup import IBUG68_MIRROR
from facerec.landmarks.types import Landmarks

WIDTH, HEIGHT = 640, 480
CENTER = np.array([(WIDTH - 1) / 2, (HEIGHT - 1) / 2])
FOCAL = 1.5 * WIDTH


def mean_face() -> np.ndarray:
    """A made-up face of 68 points, mirror-symmetric, 140 mm wide, bulging towards the camera (-z)."""
    rng = np.random.default_rng(5)
    points = rng.uniform((-70, -60, 0), (0, 80, 0), (68, 3))
    for eye, x in ((slice(36, 42), -32.0), (slice(42, 48), 32.0)):
        points[eye] = np.array([x, -35.0, 0.0]) + rng.uniform(-10, 10, (6, 3)) * (1, 0.3, 0)
    points[36], points[39] = (-45, -35, 0), (-18, -35, 0)
    for i, twin in enumerate(IBUG68_MIRROR):
        points[twin] = points[i] * (-1, 1, 1) if i < twin else points[twin] * (i != twin, 1, 1)
    points[:, 2] = -90 + 0.012 * (points[:, 0] ** 2 + (points[:, 1] - 10) ** 2)
    return points


def turned(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    y, p, r = np.deg2rad([yaw, pitch, roll])
    about_y = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    turned: np.ndarray = about_z @ about_x @ about_y
    return turned


def seen(yaw: float = 0.0, distance: float = 900.0, roll: float = 0.0, place: tuple[float, float] = (0.0, 0.0)) -> Any:
    pose = HeadPose(turned(yaw, 8.0, roll), np.array([*place, distance]), FOCAL, CENTER)
    return pose, pose.project(mean_face())


@pytest.mark.parametrize("yaw", [-85.0, -40.0, 0.0, 30.0, 70.0])
def test_posit_finds_the_pose_that_made_the_points(yaw: float) -> None:
    true, points = seen(yaw, 700.0, 12.0, (60.0, -40.0))
    found = posit(points, mean_face(), FOCAL, CENTER)
    assert np.abs(found.rotation - true.rotation).max() < 1e-6
    assert found.translation == pytest.approx(true.translation, abs=1e-3)


def test_projection_is_opencvs() -> None:
    pose, points = seen(35.0, 600.0, 5.0, (20.0, 10.0))
    camera = np.array([[FOCAL, 0, CENTER[0]], [0, FOCAL, CENTER[1]], [0, 0, 1]])
    twin, _ = cv2.projectPoints(mean_face(), cv2.Rodrigues(pose.rotation)[0], pose.translation, camera, None)
    assert np.abs(points - twin[:, 0]).max() < 1e-6


def test_posit_is_near_the_best_pose_for_noisy_points() -> None:
    _, points = seen(50.0)
    noisy = points + np.random.default_rng(0).normal(0, 1.0, points.shape)
    found = posit(noisy, mean_face(), FOCAL, CENTER)
    camera = np.array([[FOCAL, 0, CENTER[0]], [0, FOCAL, CENTER[1]], [0, 0, 1]])
    _, turn, _ = cv2.solvePnP(mean_face(), noisy, camera, None, flags=cv2.SOLVEPNP_SQPNP)
    apart = cv2.Rodrigues(found.rotation @ cv2.Rodrigues(turn)[0].T)[0]
    assert np.rad2deg(np.linalg.norm(apart)) < 2


def test_a_frontal_box_has_the_published_place_and_size() -> None:
    pose, points = seen(0.0, 900.0)
    box = aflw_box(points, np.ones(68, bool), mean_face(), (HEIGHT, WIDTH))
    face = mean_face()
    eyes = pose.project(np.stack([face[36:42].mean(axis=0), face[42:48].mean(axis=0)]))
    unit = np.hypot(*(eyes[1] - eyes[0])) / SPHERE  # a sphere as wide as the eyes' distance
    assert box.width == pytest.approx(SIDE * unit, rel=0.01)
    assert box.height == pytest.approx(box.width)
    assert box.center[0] == pytest.approx(eyes[:, 0].mean(), abs=0.5)
    assert box.center[1] == pytest.approx(eyes[:, 1].mean() + DOWN * unit, abs=0.5)


def test_size_does_not_depend_on_the_side_a_face_is_seen_from() -> None:
    sizes = []
    for yaw in (0.0, 45.0, 90.0):
        _, points = seen(yaw)
        sizes.append(aflw_box(points, np.ones(68, bool), mean_face(), (HEIGHT, WIDTH)).width)
    # The eyes come nearer or go farther as the head turns: a tenth, not the half by which a tight box shrinks.
    assert max(sizes) / min(sizes) < 1.15


def test_hidden_and_missing_points_do_not_count() -> None:
    _, points = seen(60.0)
    visible = mean_face()[:, 0] > -5
    whole = aflw_box(points, visible, mean_face(), (HEIGHT, WIDTH))
    spoilt = points.copy()
    spoilt[~visible] = np.nan
    same = aflw_box(spoilt, visible, mean_face(), (HEIGHT, WIDTH))
    assert same.iou(whole) == pytest.approx(1.0)
    marks = Landmarks(np.nan_to_num(spoilt).astype(np.float32), np.ones(68, np.float32), visible)
    assert landmark_box(marks, mean_face(), (HEIGHT, WIDTH)).iou(whole) > 0.999


def test_without_all_eye_corners_down_comes_from_the_pose() -> None:
    _, points = seen(20.0, roll=30.0)
    with_corners = aflw_box(points, np.ones(68, bool), mean_face(), (HEIGHT, WIDTH))
    visible = np.ones(68, bool)
    visible[EYE_CORNERS[0]] = False
    assert aflw_box(points, visible, mean_face(), (HEIGHT, WIDTH)).iou(with_corners) > 0.9


def test_a_half_annotated_frontal_is_completed_by_its_mirror_image() -> None:
    _, points = seen(0.0, roll=20.0)
    half = points.copy()
    half[np.arange(68) > IBUG68_MIRROR] = np.nan
    assert np.isfinite(completed_by_mirror(half)).all()
    assert np.abs(completed_by_mirror(half) - points).max() < 2.0  # perspective and pitch break the symmetry a little


def test_what_fixes_no_pose_is_refused() -> None:
    _, points = seen()
    with pytest.raises(InvalidInputError, match="at least 6"):
        posit(points[:5], mean_face()[:5], FOCAL, CENTER)
    with pytest.raises(InvalidInputError, match="solid"):
        posit(points, mean_face() * (1, 1, 0), FOCAL, CENTER)
    with pytest.raises(InvalidInputError, match="one place"):
        posit(np.zeros_like(points) + 3, mean_face(), FOCAL, CENTER)
    with pytest.raises(InvalidInputError, match=r"\(68, 2\)"):
        aflw_box(points[:30], np.ones(30, bool), mean_face(), (HEIGHT, WIDTH))
    with pytest.raises(InvalidInputError, match="middle"):
        completed_by_mirror(np.full((68, 2), np.nan))
